//! The files that a build starts from, taken out of a working tree.
//!
//! A snapshot holds everything below the source, except:
//!
//! - `.git`, at any depth: whoever needs it reads it where it is ([`crate::git`]);
//! - directories that tools make again ([`LEFT_OUT`]), if git ignores them and tracks nothing in them, or if there
//!   is no git. Without git, one that is a Python package itself (it holds an `__init__.py`) is kept;
//! - what the caller excludes, such as the output folder;
//! - sockets, pipes and devices, which are only counted.
//!
//! Other ignored files are kept: compiled libraries often are ignored.

use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use hwb_ident::Digest;
use rustix::fs::FileType;

use crate::git::{Rules, Verdict};
use crate::links;
use crate::os::Name;
use crate::transfer::{self, Choice, Done, Transfer};

pub use crate::tree::TreeError as SnapshotError;

/// Names of directories that are made by tools and can be made again.
pub const LEFT_OUT: [&str; 14] = [
    ".mypy_cache",
    ".nox",
    ".pyre",
    ".pytest_cache",
    ".pytype",
    ".ruff_cache",
    ".tox",
    ".venv",
    "__pycache__",
    "build",
    "dist",
    "node_modules",
    "target",
    "venv",
];

/// Files of a tree up to which it is not large.
const MANY: u64 = 2_000;
/// Bytes of a tree up to which it is not large.
const MUCH: u64 = 64 << 20;

/// What was taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// The digest of exactly what was taken: what [`crate::tree_digest`] says of the copy.
    pub digest: Digest,
    /// How many files there are.
    pub files: u64,
    /// How many bytes they have together.
    pub bytes: u64,
    /// The directories that were left out, relative to the source, in order; `.git` is not among them.
    pub left_out: Vec<PathBuf>,
    /// Sockets, pipes and devices that were passed over.
    pub passed_over: u64,
}

/// What the caller does not want taken.
#[derive(Debug, Clone, Default)]
pub struct Exclude {
    /// Absolute paths of directories, such as the output folder or the cache. One that is not below the source, or
    /// is the source itself, has no effect.
    pub directories: Vec<PathBuf>,
}

/// Copies the directory `source` to `destination`, which is empty or absent, and says what was taken.
///
/// Files are 0644 or 0755 whatever the umask, and everything is of 1980-01-01. Links that stay inside are kept,
/// absolute ones as relative ones. Blocks are shared with the original where the file system can; else several
/// threads copy, each byte being read once for the copy and the digest.
///
/// # Errors
///
/// If something cannot be read or written, or a link leads out of the source; the error names it.
pub fn take(source: &Path, destination: &Path, exclude: &Exclude) -> Result<Snapshot, SnapshotError> {
    let source = canonical(source)?;
    crate::fs::create_directory(destination)?;
    let mut taking = Taking::new(&source, exclude);
    taking.exclude(destination);
    let done = transfer::run(&Transfer::canonical(&source, destination), &mut taking)?;
    Ok(taking.snapshot(done))
}

/// Copies the directory `source` as [`take`] does, but with everything in it: for a tree that comes out of an archive
/// or out of the store, where no tool has been at work and every directory belongs to the source.
///
/// # Errors
///
/// As [`take`].
pub fn take_whole(source: &Path, destination: &Path) -> Result<Snapshot, SnapshotError> {
    let source = canonical(source)?;
    let mut taking = Whole(&source);
    let done = transfer::run(&Transfer::canonical(&source, destination), &mut taking)?;
    Ok(snapshot_of(done, Vec::new()))
}

/// Says what [`take`] would take, and copies nothing: for a source that is used where it is.
///
/// # Errors
///
/// As [`take`], writing excepted.
pub fn measure(source: &Path, exclude: &Exclude) -> Result<Snapshot, SnapshotError> {
    let source = canonical(source)?;
    let mut taking = Taking::new(&source, exclude);
    let done = transfer::run(&Transfer::measure(&source), &mut taking)?;
    Ok(taking.snapshot(done))
}

/// Says whether a copy of what [`take`] would take is worth keeping ([`crate::Store::mirror`]): it has more than
/// 2,000 files or 64 MiB. No file is read, and no more directories are listed than it takes to know.
///
/// # Errors
///
/// If something cannot be read, or a link leads out of the source, as far as it was looked at.
pub fn is_large(source: &Path, exclude: &Exclude) -> Result<bool, SnapshotError> {
    let source = canonical(source)?;
    let mut counting = Counting { taking: Taking::new(&source, exclude), files: 0 };
    let Done { files, bytes, .. } = transfer::run(&Transfer::survey(&source), &mut counting)?;
    Ok(files > MANY || bytes > MUCH)
}

pub(crate) fn canonical(source: &Path) -> Result<PathBuf, SnapshotError> {
    source.canonicalize().map_err(SnapshotError::read(source.to_owned()))
}

/// The choice of what comes along.
#[derive(Debug)]
pub(crate) struct Taking<'a> {
    source: &'a Path,
    excluded: Vec<PathBuf>,
    rules: Rules,
    left_out: Vec<PathBuf>,
}

impl<'a> Taking<'a> {
    pub(crate) fn new(source: &'a Path, exclude: &Exclude) -> Self {
        let mut taking = Self { source, excluded: Vec::new(), rules: Rules::default(), left_out: Vec::new() };
        exclude.directories.iter().for_each(|directory| taking.exclude(directory));
        taking
    }

    /// Leaves out `directory` if it lies below the source.
    pub(crate) fn exclude(&mut self, directory: &Path) {
        // What does not exist cannot be found either.
        if let Ok(directory) = directory.canonicalize()
            && let Ok(relative) = directory.strip_prefix(self.source)
        {
            self.excluded.push(relative.to_owned());
        }
    }

    /// Whether the directory `path`, relative to the source, stays behind.
    fn leaves_out(&mut self, path: &Path) -> bool {
        if self.excluded.iter().any(|excluded| excluded == path) {
            return true;
        }
        if !path.file_name().is_some_and(|name| is_made_again(name.as_bytes())) {
            return false;
        }
        let absolute = self.source.join(path);
        match self.rules.verdict(&absolute, &is_made_again) {
            Verdict::Kept => false,
            Verdict::Ignored => true,
            Verdict::Outside => !absolute.join("__init__.py").is_file(),
        }
    }

    fn snapshot(self, done: Done) -> Snapshot {
        snapshot_of(done, self.left_out())
    }

    /// The directories that were left out, in order.
    pub(crate) fn left_out(mut self) -> Vec<PathBuf> {
        self.left_out.sort_unstable();
        self.left_out
    }
}

/// Says what was taken.
fn snapshot_of(done: Done, left_out: Vec<PathBuf>) -> Snapshot {
    let Done { records, files, bytes, passed_over, .. } = done;
    Snapshot { digest: records.digest(), files, bytes, left_out, passed_over }
}

/// Whether a directory of this name is on the list.
fn is_made_again(name: &[u8]) -> bool {
    LEFT_OUT.iter().any(|left_out| left_out.as_bytes() == name)
}

impl Choice for Taking<'_> {
    fn takes(&mut self, directory: &Path, name: &Name) -> bool {
        let bytes = name.name.to_bytes();
        if bytes == b".git" {
            return false;
        }
        if name.kind != FileType::Directory || (self.excluded.is_empty() && !is_made_again(bytes)) {
            return true;
        }
        let path = directory.join(std::ffi::OsStr::from_bytes(bytes));
        if self.leaves_out(&path) {
            self.left_out.push(path);
            return false;
        }
        true
    }

    fn link(&mut self, path: &Path, target: PathBuf) -> Result<PathBuf, SnapshotError> {
        confine(self.source, path, target)
    }
}

/// What comes along, until it is known to be many files.
#[derive(Debug)]
struct Counting<'a> {
    taking: Taking<'a>,
    files: u64,
}

impl Choice for Counting<'_> {
    fn takes(&mut self, directory: &Path, name: &Name) -> bool {
        if self.has_enough() || !self.taking.takes(directory, name) {
            return false;
        }
        self.files += u64::from(name.kind == FileType::RegularFile);
        true
    }

    fn link(&mut self, path: &Path, target: PathBuf) -> Result<PathBuf, SnapshotError> {
        self.taking.link(path, target)
    }

    fn has_enough(&self) -> bool {
        self.files > MANY
    }
}

/// Everything below a directory.
#[derive(Debug)]
struct Whole<'a>(&'a Path);

impl Choice for Whole<'_> {
    fn takes(&mut self, _: &Path, _: &Name) -> bool {
        true
    }

    fn link(&mut self, path: &Path, target: PathBuf) -> Result<PathBuf, SnapshotError> {
        confine(self.0, path, target)
    }
}

/// What a link of a copy is to hold; an error if it leads out.
pub(crate) fn confine(source: &Path, path: &Path, target: PathBuf) -> Result<PathBuf, SnapshotError> {
    links::confine(source, path, &target)
        .ok_or_else(|| SnapshotError::LinkLeaves { link: source.join(path), target })
}

#[cfg(test)]
mod tests {
    use std::fs::{File, Permissions};
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;
    use crate::fs::{copy_tree, remove_tree, write_atomic};
    use crate::{tree_digest, walk_sorted};

    /// A source in a folder of its own. `-> x` is a link; a path that ends in `/` is an empty directory.
    fn source(things: &[(&str, &str)]) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let source = folder.path().canonicalize().unwrap().join("source");
        for (path, content) in things {
            let path = source.join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            if let Some(target) = content.strip_prefix("-> ") {
                symlink(target, path).unwrap();
            } else if path.as_os_str().as_bytes().ends_with(b"/") {
                std::fs::create_dir_all(path).unwrap();
            } else {
                write_atomic(&path, content.as_bytes()).unwrap();
            }
        }
        (folder, source)
    }

    /// Takes a snapshot of these things, and says which paths are in it.
    fn check(things: &[(&str, &str)], exclude: &[&str], expect: &[&str]) {
        let (folder, source) = source(things);
        let directories = exclude.iter().map(|path| source.join(path)).collect();
        let exclude = Exclude { directories };
        let copy = folder.path().join("copy");
        let snapshot = take(&source, &copy, &exclude).unwrap();
        let paths: Vec<_> = walk_sorted(&copy).unwrap().into_iter().map(|entry| entry.path).collect();
        assert_eq!(paths, expect.iter().map(PathBuf::from).collect::<Vec<_>>());
        assert_eq!(snapshot.digest, tree_digest(&copy).unwrap());
        assert_eq!(snapshot, measure(&source, &exclude).unwrap());
    }

    #[test]
    fn takes_what_the_rules_say() {
        let made_again = [
            ("build/lib/a", ""),
            ("src/p/__pycache__/a.pyc", ""),
            ("src/p/a.py", ""),
            (".venv/lib", ""),
            ("node_modules/x/y", ""),
            ("a.so", ""),
        ];
        // Outside git, names decide; a package may have any name.
        check(&made_again, &[], &["a.so", "src", "src/p", "src/p/a.py"]);
        check(
            &[("src/build/__init__.py", ""), ("build/x", "")],
            &[],
            &["src", "src/build", "src/build/__init__.py"],
        );
        // A file is no directory.
        check(&[("dist", ""), ("target", "-> dist")], &[], &["dist", "target"]);
        // Inside git, git has to agree; what is ignored and not on the list is kept.
        let git = [(".git/HEAD", ""), (".gitignore", "/build/\n__pycache__/\n*.so\nsecret/\n")];
        let all = [&made_again[..], &git, &[("secret/x", "")]].concat();
        check(
            &all,
            &[],
            &[
                ".gitignore",
                ".venv",
                ".venv/lib",
                "a.so",
                "node_modules",
                "node_modules/x",
                "node_modules/x/y",
                "secret",
                "secret/x",
                "src",
                "src/p",
                "src/p/a.py",
            ],
        );
    }

    #[test]
    fn takes_tracked_files_out_of_ignored_directories() {
        let mut index = b"DIRC\0\0\0\x02\0\0\0\x01".to_vec();
        index.extend([0; 60]);
        index.extend(b"\0\x0abuild/keep\0\0\0\0\0\0\0\0");
        let (folder, source) =
            source(&[(".git/HEAD", ""), (".gitignore", "build\ndist\n"), ("build/keep", ""), ("dist/x", "")]);
        write_atomic(&source.join(".git/index"), &index).unwrap();
        let snapshot = take(&source, &folder.path().join("copy"), &Exclude::default()).unwrap();
        assert_eq!(snapshot.left_out, [PathBuf::from("dist")]);
        assert_eq!(snapshot.files, 2);
    }

    #[test]
    fn rules_above_the_source_count() {
        let (folder, source) = source(&[("build/x", ""), ("dist/y", ""), ("a", "")]);
        std::fs::create_dir(folder.path().join(".git")).unwrap();
        write_atomic(&folder.path().join(".git/HEAD"), b"").unwrap();
        write_atomic(&folder.path().join(".gitignore"), b"/source/build\n").unwrap();
        let snapshot = measure(&source, &Exclude::default()).unwrap();
        assert_eq!(snapshot.left_out, [PathBuf::from("build")]);
    }

    #[test]
    fn leaves_out_what_is_excluded() {
        let things = [("out/a.whl", ""), ("sub/out/b", ""), ("c", ""), ("empty/", "")];
        check(&things, &["out"], &["c", "empty", "sub", "sub/out", "sub/out/b"]);
        check(&things, &["", "absent", "../source/sub/out"], &["c", "empty", "out", "out/a.whl", "sub"]);
        // A copy inside the source does not contain itself.
        let (_folder, source) = source(&things);
        let inside = source.join("cache/copy");
        let snapshot = take(&source, &inside, &Exclude::default()).unwrap();
        assert!(!inside.join("cache/copy").exists());
        assert_eq!(snapshot.left_out, [PathBuf::from("cache/copy")]);
    }

    #[test]
    fn git_is_never_copied() {
        check(
            &[
                (".git/HEAD", ""),
                ("sub/.git", "gitdir: ../.git/modules/sub"),
                ("sub/a", ""),
                (".github/x", ""),
            ],
            &[],
            &[".github", ".github/x", "sub", "sub/a"],
        );
    }

    #[test]
    fn takes_all_of_what_no_tool_was_at() {
        let (folder, source) =
            source(&[("build/a", ""), ("dist/b", ""), (".git/HEAD", ""), ("l", "-> dist/b")]);
        let copy = folder.path().join("copy");
        let snapshot = take_whole(&source, &copy).unwrap();
        assert_eq!((snapshot.files, snapshot.left_out), (3, Vec::new()));
        assert_eq!(snapshot.digest, tree_digest(&source).unwrap());
        symlink("../outside", source.join("dist/../out")).unwrap();
        take_whole(&source, &folder.path().join("again")).unwrap_err();
    }

    #[test]
    fn links_stay_inside() {
        check(&[("a", ""), ("b/l", "-> ../a"), ("c", "-> absent")], &[], &["a", "b", "b/l", "c"]);
        let (folder, source) = source(&[("a", ""), ("b/c/x", "")]);
        symlink(source.join("a"), source.join("b/c/l")).unwrap();
        let copy = folder.path().join("copy");
        take(&source, &copy, &Exclude::default()).unwrap();
        assert_eq!(std::fs::read_link(copy.join("b/c/l")).unwrap(), Path::new("../../a"));
        symlink("../../..", source.join("b/out")).unwrap();
        let error = measure(&source, &Exclude::default()).unwrap_err();
        let expect =
            format!("link `{}` points out of the source tree, to `../../..`", source.join("b/out").display());
        assert_eq!(error.to_string(), expect);
    }

    #[test]
    fn modes_and_times_tell_nothing() {
        let (folder, source) = source(&[("a", "1"), ("run", "2"), ("d/b", "3"), ("l", "-> a")]);
        std::fs::set_permissions(source.join("a"), Permissions::from_mode(0o606)).unwrap();
        std::fs::set_permissions(source.join("run"), Permissions::from_mode(0o4711)).unwrap();
        std::fs::set_permissions(source.join("d"), Permissions::from_mode(0o700)).unwrap();
        let copy = folder.path().join("copy");
        take(&source, &copy, &Exclude::default()).unwrap();
        for (path, mode) in
            [("a", 0o644), ("run", 0o755), ("d", 0o755), ("d/b", 0o644), ("l", 0o777), ("", 0o755)]
        {
            let metadata = copy.join(path).symlink_metadata().unwrap();
            assert_eq!(metadata.permissions().mode() & 0o7777, mode, "{path}");
            let time = metadata.modified().unwrap().duration_since(std::time::UNIX_EPOCH).unwrap();
            assert_eq!(time.as_secs(), hwb_ident::Timestamp::ZIP_EPOCH.seconds(), "{path}");
        }
    }

    #[test]
    fn the_same_tree_has_one_digest() {
        let (folder, source) = source(&[(".git/HEAD", "")]);
        for number in 0..300 {
            let path = source.join(format!("{}/{}", number % 7, number));
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            write_atomic(&path, &vec![u8::try_from(number % 251).unwrap(); number * 1_000]).unwrap();
        }
        let expect = measure(&source, &Exclude::default()).unwrap();
        assert_eq!((expect.files, expect.bytes), (300, 44_850_000));
        for copy in ["first", "second"] {
            let copy = folder.path().join(copy);
            assert_eq!(take(&source, &copy, &Exclude::default()).unwrap(), expect);
            assert_eq!(tree_digest(&copy).unwrap(), expect.digest);
        }
        copy_tree(&folder.path().join("first"), &folder.path().join("third")).unwrap();
        assert_eq!(tree_digest(&folder.path().join("third")).unwrap(), expect.digest);
    }

    #[test]
    fn many_files_or_much_content_is_large() {
        let check = |files: u64, bytes: u64, expect: bool| {
            let (_folder, source) = source(&[(".git/HEAD", ""), ("out/", ""), ("d/", "")]);
            for number in 0..files {
                File::create(source.join(format!("d/{number}"))).unwrap();
                File::create(source.join(format!("out/{number}"))).unwrap();
            }
            // It takes no space on the disk.
            File::create(source.join("sparse")).unwrap().set_len(bytes).unwrap();
            File::create(source.join("out/sparse")).unwrap().set_len(MUCH).unwrap();
            let exclude = Exclude { directories: vec![source.join("out")] };
            assert_eq!(is_large(&source, &exclude).unwrap(), expect, "{files} files, {bytes} bytes");
        };
        check(0, 0, false);
        check(MANY - 1, MUCH, false);
        check(MANY, 0, true);
        check(0, MUCH + 1, true);
        assert!(is_large(Path::new("/nowhere/at/all"), &Exclude::default()).is_err());
    }

    #[test]
    fn sockets_and_pipes_are_passed_over() {
        let (folder, source) = source(&[("a", "")]);
        let _socket = std::os::unix::net::UnixListener::bind(source.join("socket")).unwrap();
        rustix::fs::mknodat(rustix::fs::CWD, source.join("pipe"), FileType::Fifo, rustix::fs::Mode::RUSR, 0)
            .unwrap();
        let snapshot = take(&source, &folder.path().join("copy"), &Exclude::default()).unwrap();
        assert_eq!((snapshot.files, snapshot.passed_over), (1, 2));
    }

    #[test]
    fn errors_name_the_path() {
        let (folder, source) = source(&[("a", ""), ("d/secret", "")]);
        let copy = folder.path().join("copy");
        write_atomic(&folder.path().join("taken"), b"").unwrap();
        let text = |result: Result<Snapshot, SnapshotError>| result.unwrap_err().to_string();
        let none = Exclude::default();
        assert_eq!(
            text(take(&source, &folder.path().join("taken"), &none)),
            format!("cannot create `{}`", folder.path().join("taken").display())
        );
        assert_eq!(
            text(measure(&source.join("absent"), &none)),
            format!("cannot read `{}`", source.join("absent").display())
        );
        std::fs::create_dir(&copy).unwrap();
        File::create(copy.join("a")).unwrap();
        assert_eq!(text(take(&source, &copy, &none)), format!("cannot write `{}`", copy.join("a").display()));
        // Root may read everything.
        if rustix::process::geteuid().is_root() {
            return;
        }
        for path in ["d/secret", "d"] {
            std::fs::set_permissions(source.join(path), Permissions::from_mode(0o0)).unwrap();
            assert_eq!(
                text(measure(&source, &none)),
                format!("cannot read `{}`", source.join(path).display())
            );
        }
        remove_tree(&source).unwrap();
    }
}
