//! One commit of a git repository, checked out by the host's git (2.29 or later).
//!
//! # What is fetched
//!
//! The history of the commit without its trees and files (a *treeless* fetch) where the server filters, the whole
//! history where it does not; then the trees and files of this one commit. So little more than a shallow clone is
//! transferred, and yet every tag below the commit is there: tools that take a project's version from `git describe`
//! say the same as in a full clone, which they would not in a shallow one. Submodules, whose history nobody asks for,
//! are shallow.
//!
//! # Where it is kept
//!
//! `<cache>/<digest of the URL>` is the `.git` directory of one repository, and `<cache>/<digest>.lock` is held while
//! it is used. A checkout copies it: nothing in the destination is a way back into the cache. A commit that was named
//! in full and is cached needs no network.
//!
//! # What does not get in
//!
//! Hooks, the content filter of LFS (its pointers stay), and the line-ending conversion and attributes of the user or
//! the system. The rest of the user's configuration counts: it says how to reach and to trust servers. Credentials of
//! the URL travel in the environment only.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::Path;

use hwb_ident::{Digest, GitSource, Timestamp};
use hwb_sandbox::Cancel;
use hwb_store::fs;

use self::command::{Call, Git};
pub use self::error::{GitError, GitFailure};
use self::reference::Reference;

mod command;
mod error;
mod reference;

/// Whether servers may be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Connectivity {
    /// They may.
    Online,
    /// What is not cached is an error.
    Offline,
}

/// How to check out.
#[derive(Debug, Clone)]
pub struct CheckoutOptions<'a> {
    /// Where repositories are kept; made if it is missing.
    pub cache_dir: &'a Path,
    /// Where the tree is to be; absent or empty.
    pub destination: &'a Path,
    /// Whether servers may be asked.
    pub connectivity: Connectivity,
    /// Stops it.
    pub cancel: &'a Cancel,
    /// The environment of git: `PATH`, `HOME`, proxies, certificates, `SSH_AUTH_SOCK`, `GIT_SSH_COMMAND`.
    pub env: &'a BTreeMap<OsString, OsString>,
}

/// A tree that was checked out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkout {
    /// The full name of the commit: 40 hexadecimal digits, or 64 in a repository of SHA-256.
    pub commit: String,
    /// When it was committed.
    pub committed: Timestamp,
}

/// Checks out what `source` names, with its submodules. Its subdirectory is the caller's affair.
///
/// # Errors
///
/// See [`GitError`]; the destination may then have a part of the tree.
pub fn checkout(source: &GitSource, options: &CheckoutOptions<'_>) -> Result<Checkout, GitError> {
    let reference = source.reference.as_deref().map_or(Ok(Reference::Default), Reference::parse)?;
    let git = Git::new(&source.repository, options);
    fs::create_directory(options.cache_dir).map_err(GitError::Disk)?;
    let key = Digest::of(git.url().as_bytes()).hex();
    let repository = options.cache_dir.join(&key[..32]);
    let _lock = lock(&repository.with_extension("lock"))?;
    let attempt = Attempt { git: &git, reference: &reference, repository: &repository, options };
    if repository.exists() {
        match attempt.run() {
            // Somebody was killed while he wrote to it, or a disk forgot: the cache is not worth a question.
            Err(error) if error.may_be_the_cache() && options.connectivity == Connectivity::Online => {
                fs::remove_tree(&repository).map_err(GitError::Disk)?;
                fs::remove_tree(options.destination).map_err(GitError::Disk)?;
            }
            result => return result,
        }
    }
    attempt.initialise()?;
    attempt.run()
}

/// Waits until the repository is ours alone; until the file is closed.
fn lock(path: &Path) -> Result<fs_err::File, GitError> {
    let failed = |source| GitError::Lock { path: path.to_owned(), source };
    let file = fs_err::File::options().create(true).append(true).open(path).map_err(failed)?;
    file.file().lock().map_err(failed)?;
    Ok(file)
}

/// One way from a cached repository to a tree.
struct Attempt<'a> {
    git: &'a Git<'a>,
    reference: &'a Reference,
    repository: &'a Path,
    options: &'a CheckoutOptions<'a>,
}

impl Attempt<'_> {
    /// Makes an empty repository that knows its origin.
    fn initialise(&self) -> Result<(), GitError> {
        let unfinished = self.repository.with_extension("new");
        fs::remove_tree(&unfinished).map_err(GitError::Disk)?;
        let format =
            if self.reference.is_sha256() { "--object-format=sha256" } else { "--object-format=sha1" };
        let call = Call::local("make a copy of", ["init", "--quiet", "--template=", format, "--"]);
        self.git.run(call.arg(&unfinished), self.options.cache_dir)?;
        let made = unfinished.join(".git");
        let call = Call::local("make a copy of", ["config", "remote.origin.url", self.git.url()]);
        self.git.run(call.within(&made), &made)?;
        fs_err::rename(&made, self.repository).map_err(GitError::Keep)?;
        fs::remove_tree(&unfinished).map_err(GitError::Disk)
    }

    fn run(&self) -> Result<Checkout, GitError> {
        let commit = match self.options.connectivity {
            Connectivity::Online => self.resolve_online()?,
            Connectivity::Offline => self.resolve_cached()?.ok_or_else(|| self.not_cached())?,
        };
        let checkout = self.describe(&commit)?;
        self.write_tree(&checkout.commit)?;
        self.copy_repository(&checkout.commit)?;
        if self.options.destination.join(".gitmodules").is_file() {
            self.update_submodules()?;
        }
        Ok(checkout)
    }

    fn not_cached(&self) -> GitError {
        GitError::NotCached { repository: self.git.shown(), reference: self.reference.to_string() }
    }

    fn unknown(&self) -> GitError {
        GitError::UnknownReference { repository: self.git.shown(), reference: self.reference.to_string() }
    }

    /// Runs git on the cached repository.
    fn call(&self, call: Call) -> Result<Vec<u8>, GitError> {
        self.git.run(call.within(self.repository), self.repository)
    }

    /// The commit that `revision` names in the cached repository.
    fn look_up(&self, revision: &str) -> Result<Option<String>, GitError> {
        let peeled = format!("{revision}^{{commit}}");
        let call = Call::local("look into the copy of", ["rev-parse", "--verify", "--quiet"]).arg(peeled);
        match self.call(call) {
            Ok(name) => Ok(Some(String::from_utf8_lossy(&name).trim().to_owned())),
            Err(GitError::Failed { source, .. }) if source.is_ambiguous() => Err(GitError::Ambiguous {
                repository: self.git.shown(),
                reference: self.reference.to_string(),
            }),
            Err(GitError::Failed { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// What the reference named when it was fetched last.
    fn resolve_cached(&self) -> Result<Option<String>, GitError> {
        for name in self.reference.remote_names() {
            if let Some(commit) = self.look_up(&reference::local_name(&name))? {
                return Ok(Some(commit));
            }
        }
        self.reference.as_commit().map_or(Ok(None), |commit| self.look_up(commit))
    }

    fn resolve_online(&self) -> Result<String, GitError> {
        if let Reference::Commit(commit) = self.reference {
            if let Some(commit) = self.look_up(commit)? {
                return Ok(commit);
            }
            let one = format!("+{commit}:{}", reference::local_name(commit));
            // Servers of protocol version 2 give any commit by its name; others only what they announce.
            match self.fetch(&[one]) {
                Ok(()) => {}
                Err(GitError::Failed { .. }) => self.fetch_everything()?,
                Err(error) => return Err(error),
            }
            return self.look_up(commit)?.ok_or_else(|| self.unknown());
        }
        if let Some(announced) = self.ask_server()? {
            let local = reference::local_name(&announced.name);
            let current = self
                .call(Call::local("look into the copy of", ["rev-parse", "--verify", "--quiet"]).arg(&local));
            if !current.is_ok_and(|id| id.trim_ascii() == announced.id.as_bytes()) {
                self.fetch(&[format!("+{}:{local}", announced.name)])?;
            }
            return self.look_up(&local)?.ok_or_else(|| self.unknown());
        }
        // A part of a commit's name cannot be asked for.
        let Some(abbreviated) = self.reference.as_commit() else {
            return Err(self.unknown());
        };
        if let Some(commit) = self.look_up(abbreviated)? {
            return Ok(commit);
        }
        self.fetch_everything()?;
        self.look_up(abbreviated)?.ok_or_else(|| self.unknown())
    }

    /// What the server has under the first name that the reference may mean.
    fn ask_server(&self) -> Result<Option<Announced>, GitError> {
        let names = self.reference.remote_names();
        let call = Call::remote("ask for references of", ["ls-remote", "--quiet", "origin"]);
        let listed = self.call(names.iter().fold(call, |call, name| call.arg(name)))?;
        let listed = String::from_utf8_lossy(&listed);
        let announced = names.iter().find_map(|name| {
            let line = listed.lines().filter_map(|line| line.split_once('\t'));
            let (id, name) = line.into_iter().find(|(_, listed)| listed == name)?;
            Some(Announced { id: id.to_owned(), name: name.to_owned() })
        });
        Ok(announced)
    }

    fn fetch(&self, refspecs: &[String]) -> Result<(), GitError> {
        let call = Call::remote(
            "fetch from",
            [
                "fetch",
                "--quiet",
                "--no-write-fetch-head",
                "--recurse-submodules=no",
                "--filter=tree:0",
                "origin",
            ],
        );
        // A server of plain files, asked for an object, is otherwise asked for it again by the asking process.
        let call = call.env("GIT_NO_LAZY_FETCH", "1");
        self.call(refspecs.iter().fold(call, |call, refspec| call.arg(refspec))).map(drop)
    }

    /// Fetches what any branch or tag has.
    fn fetch_everything(&self) -> Result<(), GitError> {
        self.fetch(&["+refs/heads/*:refs/remotes/origin/*".into(), "+refs/tags/*:refs/tags/*".into()])
    }

    /// The full name and the time of a commit.
    fn describe(&self, commit: &str) -> Result<Checkout, GitError> {
        let arguments = ["log", "-1", "--no-show-signature", "--format=%H %ct", commit, "--"];
        let line = self.call(Call::local("look into the copy of", arguments))?;
        let line = String::from_utf8_lossy(&line);
        let (commit, seconds) = line.trim().split_once(' ').unwrap_or((commit, ""));
        // A commit may claim to be older than 1970; no archive can.
        let committed = Timestamp::from_seconds(seconds.parse().unwrap_or(0));
        Ok(Checkout { commit: commit.to_owned(), committed })
    }

    /// Writes the files of `commit` to the destination; fetches them into the cached repository if they are missing.
    fn write_tree(&self, commit: &str) -> Result<(), GitError> {
        fs::create_directory(self.options.destination).map_err(GitError::Disk)?;
        // What it says is about another destination.
        fs::remove_tree(&self.repository.join("index")).map_err(GitError::Disk)?;
        let arguments = ["read-tree", "--reset", "-u", commit];
        let call = match self.options.connectivity {
            Connectivity::Online => Call::remote("check out a commit of", arguments),
            Connectivity::Offline => Call::local("check out a commit of", arguments),
        };
        let call = call.within(self.repository).env("GIT_WORK_TREE", self.options.destination);
        match self.git.run(call, self.options.destination) {
            Err(GitError::Failed { .. }) if self.options.connectivity == Connectivity::Offline => {
                Err(self.not_cached())
            }
            result => result.map(drop),
        }
    }

    /// Gives the destination a `.git` of its own, at `commit`.
    fn copy_repository(&self, commit: &str) -> Result<(), GitError> {
        let own = self.options.destination.join(".git");
        fs::copy_tree(self.repository, &own).map_err(|source| GitError::Copy { source: Box::new(source) })?;
        fs_err::write(own.join("HEAD"), format!("{commit}\n")).map_err(GitError::Keep)
    }

    /// Checks out the submodules, and keeps what had to be fetched for them.
    fn update_submodules(&self) -> Result<(), GitError> {
        const ACTION: &str = "check out the submodules of";
        let update = ["submodule", "--quiet", "update", "--init", "--recursive", "--depth=1"];
        let kept = self.repository.join("modules");
        if kept.exists() {
            match self.git.run(Call::local(ACTION, update), self.options.destination) {
                Ok(_) => return Ok(()),
                Err(GitError::Failed { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        if self.options.connectivity == Connectivity::Offline {
            return Err(self.not_cached());
        }
        match self.git.run(Call::remote(ACTION, update), self.options.destination) {
            // A server that does not give a commit by its name gives it with a branch.
            Err(GitError::Failed { .. }) => {
                let whole = &update[..update.len() - 1];
                self.git.run(Call::remote(ACTION, whole.iter().copied()), self.options.destination)?;
            }
            result => drop(result?),
        }
        let fetched = self.options.destination.join(".git").join("modules");
        let unfinished = self.repository.join("modules.new");
        fs::remove_tree(&unfinished).map_err(GitError::Disk)?;
        fs::copy_tree(&fetched, &unfinished).map_err(|source| GitError::Copy { source: Box::new(source) })?;
        fs::remove_tree(&kept).map_err(GitError::Disk)?;
        fs_err::rename(&unfinished, &kept).map_err(GitError::Keep)
    }
}

/// A reference as the server has it.
struct Announced {
    id: String,
    name: String,
}
