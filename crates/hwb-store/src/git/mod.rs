//! The git repository around a source: where it is, and which directories it ignores.
//!
//! Only what a snapshot needs is read, straight from the files (gitignore(5), gitrepository-layout(5),
//! index-format(5)): git itself need not be there, and no setting of a user can change what a snapshot holds.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use ignore::Match;
use ignore::gitignore::{Gitignore, GitignoreBuilder};

use crate::fs;

mod index;
mod lend;

/// A repository with a working tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Repository {
    /// The directory that its `.git` is in.
    pub work_tree: PathBuf,
    /// The directory of this working tree's own metadata: HEAD and the index.
    pub git_dir: PathBuf,
    /// The directory that all working trees of the repository share: objects, refs, configuration. The same as
    /// `git_dir` unless this is a linked working tree.
    pub common_dir: PathBuf,
}

impl Repository {
    /// Finds the repository that `directory` is in, looking upwards.
    pub fn discover(directory: &Path) -> Option<Self> {
        directory.ancestors().find_map(Self::at)
    }

    /// The repository whose working tree begins exactly here. A `.git` that is none is passed over, as git does.
    fn at(work_tree: &Path) -> Option<Self> {
        let dot_git = work_tree.join(".git");
        let metadata = std::fs::metadata(&dot_git).ok()?;
        let git_dir =
            if metadata.is_dir() { dot_git } else { work_tree.join(first_line(&dot_git, "gitdir:")?) };
        if !git_dir.join("HEAD").is_file() {
            return None;
        }
        let git_dir = git_dir.canonicalize().ok()?;
        let common_dir = first_line(&git_dir.join("commondir"), "")
            .and_then(|common| git_dir.join(common).canonicalize().ok())
            .unwrap_or_else(|| git_dir.clone());
        Some(Self { work_tree: work_tree.to_owned(), git_dir, common_dir })
    }
}

/// Finds the metadata directory of the repository that `source` is in, looking upwards; a `.git` file of a linked
/// working tree or a submodule is followed to the directory it names. [`Repository::discover`] says more.
pub fn git_dir_of(source: &Path) -> Option<PathBuf> {
    Repository::discover(source).map(|repository| repository.git_dir)
}

/// The path on the first line of a small file of git's, after `prefix`.
fn first_line(path: &Path, prefix: &str) -> Option<PathBuf> {
    let bytes = fs::read(path).ok()?;
    let text = String::from_utf8(bytes).ok()?;
    let line = text.lines().next()?.strip_prefix(prefix)?.trim();
    (!line.is_empty()).then(|| line.into())
}

/// What git thinks of a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// There is no repository around it.
    Outside,
    /// It is ignored, and nothing below it is tracked.
    Ignored,
    /// It is neither.
    Kept,
}

/// The rules of all repositories that a walk comes by, each read when it is first needed.
///
/// Not read: the user's own excludes (`core.excludesFile`). The same tree must be taken in the same way by everybody.
#[derive(Debug, Default)]
pub(crate) struct Rules {
    repositories: BTreeMap<PathBuf, Option<Repository>>,
    ignore_files: BTreeMap<PathBuf, Gitignore>,
    tracked: BTreeMap<PathBuf, index::Tracked>,
}

impl Rules {
    /// Asks what git thinks of `directory`, an absolute path without links; `of_interest` says which names of
    /// directories are ever asked for.
    pub(crate) fn verdict(&mut self, directory: &Path, of_interest: &dyn Fn(&[u8]) -> bool) -> Verdict {
        let Some(repository) = directory.parent().and_then(|parent| self.repository(parent)) else {
            return Verdict::Outside;
        };
        if !self.is_ignored(&repository, directory) {
            return Verdict::Kept;
        }
        let tracked = self
            .tracked
            .entry(repository.work_tree.clone())
            .or_insert_with(|| index::Tracked::read(&repository.git_dir.join("index"), of_interest));
        let relative = directory.strip_prefix(&repository.work_tree).unwrap_or(directory);
        if tracked.any_below(relative) { Verdict::Kept } else { Verdict::Ignored }
    }

    /// The innermost repository around `directory`.
    fn repository(&mut self, directory: &Path) -> Option<Repository> {
        if let Some(known) = self.repositories.get(directory) {
            return known.clone();
        }
        let found = Repository::at(directory)
            .or_else(|| directory.parent().and_then(|parent| self.repository(parent)));
        self.repositories.insert(directory.to_owned(), found.clone());
        found
    }

    /// Whether a pattern ignores `directory` or one above it: what is in an ignored directory cannot be kept again.
    fn is_ignored(&mut self, repository: &Repository, directory: &Path) -> bool {
        let Ok(relative) = directory.strip_prefix(&repository.work_tree) else { return false };
        let mut here = repository.work_tree.clone();
        relative.components().any(|component| {
            here.push(component);
            self.matches(repository, &here)
        })
    }

    /// Whether the patterns, the nearest file's first, ignore just this directory.
    fn matches(&mut self, repository: &Repository, directory: &Path) -> bool {
        let above = directory.ancestors().skip(1);
        for parent in above.take_while(|above| above.starts_with(&repository.work_tree)) {
            let rules = self.ignore_files.entry(parent.join(".gitignore"));
            match rules.or_insert_with_key(|file| read_patterns(parent, file)).matched(directory, true) {
                Match::Ignore(_) => return true,
                Match::Whitelist(_) => return false,
                Match::None => {}
            }
        }
        let exclude = self.ignore_files.entry(repository.common_dir.join("info/exclude"));
        let rules = exclude.or_insert_with_key(|file| read_patterns(&repository.work_tree, file));
        rules.matched(directory, true).is_ignore()
    }
}

/// Reads a file of patterns that are relative to `root`. As in git, one that is absent or unreadable holds none, and
/// neither does a line that is no pattern.
fn read_patterns(root: &Path, file: &Path) -> Gitignore {
    let mut builder = GitignoreBuilder::new(root);
    // Partial errors are lines without meaning.
    drop(builder.add(file));
    builder.build().unwrap_or_else(|_| Gitignore::empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(files: &[(&str, &str)]) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        for (path, content) in files {
            let path = root.join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write_atomic(&path, content.as_bytes()).unwrap();
        }
        (folder, root)
    }

    #[test]
    fn finds_the_repository() {
        let (_folder, root) = folder(&[
            ("main/.git/HEAD", "ref: refs/heads/main\n"),
            ("main/.git/worktrees/side/HEAD", ""),
            ("main/.git/worktrees/side/commondir", "../..\n"),
            ("main/src/deep/file", ""),
            ("main/broken/.git/config", "no HEAD here"),
            ("side/.git", "gitdir: ../main/.git/worktrees/side\n"),
            ("gone/.git", "gitdir: ../nowhere\n"),
        ]);
        let git = root.join("main/.git");
        let check = |directory: &str, expect: Option<PathBuf>| {
            assert_eq!(git_dir_of(&root.join(directory)), expect, "{directory}");
        };
        check("main", Some(git.clone()));
        check("main/src/deep", Some(git.clone()));
        check("main/broken", Some(git.clone()));
        check("side", Some(git.join("worktrees/side")));
        check("gone", None);
        let side = Repository::discover(&root.join("side")).unwrap();
        assert_eq!((side.work_tree, side.common_dir), (root.join("side"), git));
    }

    #[test]
    fn asks_every_rule() {
        let (_folder, root) = folder(&[
            ("repo/.git/HEAD", ""),
            ("repo/.git/info/exclude", "/private/\n"),
            ("repo/.gitignore", "build/\n/dist\n*.cache/\n!kept.cache/\nout\nbroken[\n"),
            ("repo/sub/.gitignore", "!build/\n/target/\n"),
            ("repo/module/.git", "gitdir: ../.git/modules/module"),
            ("repo/.git/modules/module/HEAD", ""),
        ]);
        let mut rules = Rules::default();
        let mut check = |directory: &str, expect: Verdict| {
            assert_eq!(rules.verdict(&root.join(directory), &|_| true), expect, "{directory}");
        };
        use Verdict::{Ignored, Kept, Outside};
        check("build", Outside);
        check("repo/build", Ignored);
        check("repo/a/build", Ignored);
        check("repo/dist", Ignored);
        check("repo/a/dist", Kept);
        check("repo/sub/build", Kept);
        check("repo/sub/deeper/build", Kept);
        check("repo/sub/target", Ignored);
        check("repo/sub/a/target", Kept);
        check("repo/x.cache", Ignored);
        check("repo/kept.cache", Kept);
        check("repo/out/deep/anything", Ignored);
        check("repo/private", Ignored);
        // Another repository begins there, with rules of its own.
        check("repo/module/build", Kept);
    }
}
