//! Checkouts of repositories on this machine, made by the host's git.

#![expect(clippy::unwrap_used, clippy::panic, reason = "helpers of tests are not tests to clippy")]

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};

use hwb_ident::{GitSource, SourceSpec, Timestamp};
use hwb_net::git::{Checkout, CheckoutOptions, Connectivity, GitError, checkout};
use hwb_sandbox::Cancel;
use hwb_sandbox::host::{self, HostCommand};

/// A place for repositories, a cache and checkouts.
struct World {
    directory: tempfile::TempDir,
    cancel: Cancel,
    env: BTreeMap<OsString, OsString>,
}

impl World {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let home = directory.path().join("home");
        fs_err::create_dir(&home).unwrap();
        // Settings of a user that must not matter.
        fs_err::write(
            home.join(".gitconfig"),
            "[core]\n\tautocrlf = true\n[log]\n\tshowSignature = true\n[filter \"lfs\"]\n\tsmudge = false\n",
        )
        .unwrap();
        let env = [
            ("PATH", "/usr/local/bin:/usr/bin:/bin"),
            ("HOME", home.to_str().unwrap()),
            ("GIT_CONFIG_NOSYSTEM", "1"),
            ("GIT_AUTHOR_NAME", "A"),
            ("GIT_AUTHOR_EMAIL", "a@example.org"),
            ("GIT_COMMITTER_NAME", "A"),
            ("GIT_COMMITTER_EMAIL", "a@example.org"),
            ("GIT_AUTHOR_DATE", "1700000000 +0000"),
            ("GIT_COMMITTER_DATE", "1700000000 +0200"),
        ];
        let env = env.map(|(name, value)| (name.into(), value.into())).into();
        Self { directory, cancel: Cancel::new().unwrap(), env }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Runs git in `directory`; what it prints.
    fn git(&self, directory: &Path, args: &[&str]) -> String {
        let command = HostCommand {
            program: "git".into(),
            args: args.iter().map(Into::into).collect(),
            env: self.env.clone(),
            cwd: directory.into(),
            input: Vec::new(),
            timeout: None,
        };
        let output = host::run(&command, &self.cancel).unwrap();
        assert!(output.status.is_success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    /// A repository with the tag `v1.0` at its first commit, `main` one further, and a branch `side`.
    fn repository(&self, name: &str) -> PathBuf {
        let repository = self.path(name);
        fs_err::create_dir(&repository).unwrap();
        self.git(&repository, &["init", "--quiet", "--initial-branch=main"]);
        self.git(&repository, &["config", "core.autocrlf", "false"]);
        self.commit(&repository, "one\n");
        self.git(&repository, &["tag", "-a", "-m", "first", "v1.0"]);
        self.git(&repository, &["branch", "side"]);
        self.commit(&repository, "two\r\n");
        repository
    }

    fn commit(&self, repository: &Path, content: &str) -> String {
        fs_err::write(repository.join("file"), content).unwrap();
        self.git(repository, &["add", "file"]);
        self.git(repository, &["commit", "--quiet", "-m", content.trim()]);
        self.git(repository, &["rev-parse", "HEAD"])
    }

    fn source(&self, repository: &Path, reference: &str) -> GitSource {
        source(&format!("git+file://{}{reference}", repository.display()))
    }

    /// Checks out into a new directory; the result and the directory.
    fn check_out(
        &self,
        source: &GitSource,
        connectivity: Connectivity,
    ) -> (Result<Checkout, GitError>, PathBuf) {
        let destination = tempfile::Builder::new().disable_cleanup(true).tempdir_in(self.directory.path());
        let destination = destination.unwrap().path().join("tree");
        let options = CheckoutOptions {
            cache_dir: &self.path("cache"),
            destination: &destination,
            connectivity,
            cancel: &self.cancel,
            env: &self.env,
        };
        (checkout(source, &options), destination)
    }

    fn check(&self, source: &GitSource, content: &str) -> PathBuf {
        let (result, tree) = self.check_out(source, Connectivity::Online);
        let Checkout { commit, committed } = result.unwrap();
        assert_eq!(fs_err::read_to_string(tree.join("file")).unwrap(), content, "{source:?}");
        assert_eq!(self.git(&tree, &["rev-parse", "HEAD"]), commit);
        assert_eq!(committed, Timestamp::from_seconds(1_700_000_000));
        assert_eq!(self.git(&tree, &["status", "--porcelain"]), "");
        tree
    }
}

fn source(text: &str) -> GitSource {
    match SourceSpec::parse(text, &|_| false) {
        Ok(SourceSpec::Git(source)) => source,
        other => panic!("{other:?}"),
    }
}

/// Serves the files of `directory` to whoever is `user` with the password `p@ss`; the address.
fn serve(directory: PathBuf) -> std::net::SocketAddr {
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            answer(&directory, stream.unwrap()).ok();
        }
    });
    address
}

fn answer(directory: &Path, mut stream: std::net::TcpStream) -> std::io::Result<()> {
    let mut head = Vec::new();
    for line in BufReader::new(&stream).lines() {
        let line = line?;
        if line.is_empty() {
            break;
        }
        head.push(line);
    }
    let path = head[0].split([' ', '?']).nth(1).unwrap().trim_start_matches('/');
    let is_user = head.iter().any(|line| line == "Authorization: Basic dXNlcjpwQHNz");
    let (status, body) = match fs_err::read(directory.join(path)) {
        _ if !is_user => ("401 Unauthorized\r\nWWW-Authenticate: Basic realm=x", Vec::new()),
        Ok(body) => ("200 OK", body),
        Err(_) => ("404 Not Found", Vec::new()),
    };
    write!(stream, "HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len())?;
    stream.write_all(&body)
}

#[test]
fn shows_credentials_to_the_server_only() {
    let world = World::new();
    let repository = world.repository("origin");
    world.git(&repository, &["update-server-info"]);
    let server = serve(repository);
    let url = format!("http://{server}/.git");
    let tree = world.check(&source(&format!("git+http://user:p%40ss@{server}/.git@main")), "two\r\n");
    assert_eq!(world.git(&tree, &["config", "remote.origin.url"]), url);
    let config = fs_err::read_to_string(tree.join(".git/config")).unwrap();
    assert!(!config.contains("dXNlcjpwQHNz"), "{config}");

    for (credentials, said) in [("", "needs credentials"), ("user:wrong@", "refuses the credentials")] {
        fs_err::remove_dir_all(world.path("cache")).unwrap();
        let source = source(&format!("git+http://{credentials}{server}/.git"));
        let error = world.check_out(&source, Connectivity::Online).0.unwrap_err();
        assert_eq!(error.to_string(), format!("`{url}` {said}"));
        assert!(!format!("{error:?}").contains("wrong"));
    }
    let source = source(&format!("git+http://user:p%40ss@{server}/missing"));
    let error = world.check_out(&source, Connectivity::Online).0.unwrap_err();
    assert!(matches!(error, GitError::NoRepository { .. }), "{error:?}");
}

#[test]
fn checks_out_every_kind_of_reference() {
    let world = World::new();
    let repository = world.repository("origin");
    let commit = world.git(&repository, &["rev-parse", "v1.0^{commit}"]);
    world.git(&repository, &["update-ref", "refs/pull/7/head", "main"]);
    for (reference, content) in [
        ("", "two\r\n"),
        ("@v1.0", "one\n"),
        ("@side", "one\n"),
        ("@main", "two\r\n"),
        (&format!("@{commit}"), "one\n"),
        (&format!("@{}", &commit[..8]), "one\n"),
        ("@refs/heads/side", "one\n"),
        ("@refs/pull/7/head", "two\r\n"),
        ("@HEAD", "two\r\n"),
    ] {
        world.check(&world.source(&repository, reference), content);
        // As the first of a cache, too.
        fs_err::remove_dir_all(world.path("cache")).unwrap();
        world.check(&world.source(&repository, reference), content);
    }
}

#[test]
fn leaves_tags_for_version_tools() {
    let world = World::new();
    let repository = world.repository("origin");
    for filter in ["false", "true"] {
        world.git(&repository, &["config", "uploadpack.allowFilter", filter]);
        let tree = world.check(&world.source(&repository, ""), "two\r\n");
        assert!(world.git(&tree, &["describe", "--tags"]).starts_with("v1.0-1-g"));
        fs_err::remove_dir_all(world.path("cache")).unwrap();
    }
}

#[test]
fn follows_what_moves() {
    let world = World::new();
    let repository = world.repository("origin");
    let source = world.source(&repository, "@main");
    world.check(&source, "two\r\n");
    world.commit(&repository, "three\n");
    world.check(&source, "three\n");
    world.git(&repository, &["tag", "-f", "v1.0"]);
    world.check(&world.source(&repository, "@v1.0"), "three\n");
    world.git(&repository, &["branch", "-D", "side"]);
    world.git(&repository, &["branch", "side/below"]);
    world.check(&world.source(&repository, "@side/below"), "three\n");
}

#[test]
fn fetches_a_commit_that_is_on_no_branch() {
    let world = World::new();
    let repository = world.repository("origin");
    let commit = world.commit(&repository, "three\n");
    world.git(&repository, &["reset", "--quiet", "--hard", "HEAD~1"]);
    world.check(&world.source(&repository, &format!("@{commit}")), "three\n");
}

#[test]
fn says_what_is_not_there() {
    let world = World::new();
    let repository = world.repository("origin");
    let check = |reference: &str, expect: &str| {
        let source = world.source(&repository, reference);
        let error = world.check_out(&source, Connectivity::Online).0.unwrap_err();
        let url = format!("file://{}", repository.display());
        assert_eq!(error.to_string(), expect.replace("URL", &url));
        assert!(error.hint().is_some());
    };
    check("@v9", "`URL` has no tag, branch or commit `v9`");
    check("@abcdef12", "`URL` has no tag, branch or commit `abcdef12`");
    let absent = "0123456789abcdef0123456789abcdef01234567";
    check(&format!("@{absent}"), &format!("`URL` has no tag, branch or commit `{absent}`"));
    check("@--upload-pack=x", "`--upload-pack=x` is not a tag, branch or commit of git");

    let source = world.source(&world.path("nothing"), "");
    let error = world.check_out(&source, Connectivity::Online).0.unwrap_err();
    assert!(matches!(error, GitError::NoRepository { .. }), "{error:?}");
}

#[test]
fn says_that_git_is_missing() {
    let mut world = World::new();
    let repository = world.repository("origin");
    world.env.insert("PATH".into(), "/nonexistent".into());
    let error = world.check_out(&world.source(&repository, ""), Connectivity::Online).0.unwrap_err();
    assert!(matches!(error, GitError::NoGit(_)), "{error:?}");
}

#[test]
fn works_offline_with_what_is_cached() {
    let world = World::new();
    let repository = world.repository("origin");
    world.git(&repository, &["config", "uploadpack.allowFilter", "true"]);
    let main = world.source(&repository, "@main");
    let error = world.check_out(&main, Connectivity::Offline).0.unwrap_err();
    assert!(matches!(error, GitError::NotCached { .. }), "{error:?}");
    let commit = world.check_out(&main, Connectivity::Online).0.unwrap();
    fs_err::rename(&repository, world.path("moved")).unwrap();
    assert_eq!(world.check_out(&main, Connectivity::Offline).0.unwrap(), commit);
    let full = world.source(&repository, &format!("@{}", commit.commit));
    for connectivity in [Connectivity::Offline, Connectivity::Online] {
        assert_eq!(world.check_out(&full, connectivity).0.unwrap(), commit);
    }
    // Its history is known, but not its files.
    let side = world.source(&repository, "@v1.0");
    let error = world.check_out(&side, Connectivity::Offline).0.unwrap_err();
    assert!(matches!(error, GitError::NotCached { .. }), "{error:?}");
}

#[test]
fn checks_out_submodules() {
    let world = World::new();
    let inner = world.repository("inner");
    let middle = world.repository("middle");
    let outer = world.repository("outer");
    for (below, repository) in [(&inner, &middle), (&middle, &outer)] {
        let url = format!("file://{}", below.display());
        let add = ["-c", "protocol.file.allow=always", "submodule", "--quiet", "add", &url, "vendored"];
        world.git(repository, &add);
        world.git(repository, &["commit", "--quiet", "-m", "submodule"]);
    }
    // A branch that is further than what the outer repository has.
    world.commit(&inner, "later\n");
    let source = world.source(&outer, "@main");
    let tree = world.check(&source, "two\r\n");
    for file in ["vendored/file", "vendored/vendored/file"] {
        assert_eq!(fs_err::read_to_string(tree.join(file)).unwrap(), "two\r\n");
    }
    for repository in [&inner, &middle, &outer] {
        fs_err::rename(repository, repository.with_extension("moved")).unwrap();
    }
    let (result, tree) = world.check_out(&source, Connectivity::Offline);
    result.unwrap();
    assert!(tree.join("vendored/vendored/file").is_file());
}

#[test]
fn runs_nothing_of_the_repository_or_the_user() {
    let world = World::new();
    let repository = world.repository("origin");
    let marker = world.path("ran");
    let hooks = world.path("hooks");
    fs_err::create_dir(&hooks).unwrap();
    for hook in ["post-checkout", "reference-transaction", "post-index-change"] {
        let path = hooks.join(hook);
        fs_err::write(&path, format!("#!/bin/sh\ntouch {}\n", marker.display())).unwrap();
        world.git(&repository, &["config", "core.hooksPath", hooks.to_str().unwrap()]);
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        fs_err::set_permissions(&path, mode).unwrap();
    }
    fs_err::write(repository.join(".gitattributes"), "file filter=lfs\n").unwrap();
    world.git(&repository, &["add", ".gitattributes"]);
    world.git(&repository, &["-c", "core.hooksPath=/dev/null", "commit", "--quiet", "-m", "filtered"]);
    fs_err::remove_file(&marker).ok();
    let config = format!(
        "[core]\n\thooksPath = {}\n[filter \"lfs\"]\n\tsmudge = touch {}\n\trequired\n",
        hooks.display(),
        marker.display()
    );
    fs_err::write(world.path("home/.gitconfig"), config).unwrap();
    let (result, tree) = world.check_out(&world.source(&repository, ""), Connectivity::Online);
    result.unwrap();
    assert_eq!(fs_err::read_to_string(tree.join("file")).unwrap(), "two\r\n");
    assert!(!marker.exists());
}

#[test]
fn makes_a_damaged_cache_again() {
    let world = World::new();
    let repository = world.repository("origin");
    let source = world.source(&repository, "@main");
    world.check(&source, "two\r\n");
    for entry in fs_err::read_dir(world.path("cache")).unwrap() {
        let config = entry.unwrap().path().join("config");
        if config.exists() {
            fs_err::write(config, "[core\n").unwrap();
        }
    }
    world.check(&source, "two\r\n");
}

#[test]
fn leaves_no_way_back_into_the_cache() {
    let world = World::new();
    let repository = world.repository("origin");
    let source = world.source(&repository, "@main");
    let tree = world.check(&source, "two\r\n");
    fs_err::remove_dir_all(world.path("cache")).unwrap();
    assert_eq!(world.git(&tree, &["fsck", "--no-dangling"]), "");
    let mut pending = vec![tree];
    while let Some(directory) = pending.pop() {
        for entry in fs_err::read_dir(directory).unwrap() {
            let entry = entry.unwrap();
            let metadata = entry.metadata().unwrap();
            if metadata.is_dir() {
                pending.push(entry.path());
            } else {
                assert_eq!(std::os::unix::fs::MetadataExt::nlink(&metadata), 1, "{entry:?}");
            }
        }
    }
}
