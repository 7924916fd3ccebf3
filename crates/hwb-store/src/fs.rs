//! Single operations on files that stay whole when the process dies, and never follow a link that is in the way.

use std::ffi::{CString, OsStr};
use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags};
use rustix::io::Errno;

use crate::lock::{Absent, Lock};
use crate::os::{self, Name};
use crate::transfer::{self, Transfer};
use crate::tree::TreeError;

/// What could not be done to a path.
#[derive(Debug, thiserror::Error)]
pub enum FsError {
    /// It cannot be made.
    #[error("cannot create `{}`", path.display())]
    Create {
        /// What was to be made.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It cannot be opened.
    #[error("cannot open `{}`", path.display())]
    Open {
        /// What was to be opened.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It cannot be read or listed.
    #[error("cannot read `{}`", path.display())]
    Read {
        /// What was to be read.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Somebody else wrote to it.
    #[error("`{}` has changed while it was read", _0.display())]
    Changed(PathBuf),
    /// It cannot be written.
    #[error("cannot write `{}`", path.display())]
    Write {
        /// What was to be written.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It cannot be removed.
    #[error("cannot remove `{}`", path.display())]
    Remove {
        /// What was to be removed.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It cannot be locked.
    #[error("cannot lock `{}`", path.display())]
    Lock {
        /// The lock file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It cannot be put in its place.
    #[error("cannot move `{}` to `{}`", from.display(), to.display())]
    Move {
        /// What was to be moved.
        from: PathBuf,
        /// Its place.
        to: PathBuf,
        /// Why.
        source: io::Error,
    },
}

macro_rules! constructors {
    ($($name:ident => $variant:ident),* $(,)?) => {
        impl FsError {
            $(pub(crate) fn $name<E: Into<io::Error>>(path: &Path) -> impl FnOnce(E) -> Self + use<'_, E> {
                move |source| Self::$variant { path: path.to_owned(), source: source.into() }
            })*
        }
    };
}

constructors!(
    create => Create, open => Open, read => Read, write => Write, remove => Remove, lock => Lock,
);

/// Makes a directory and those above it; one that is there is fine.
///
/// # Errors
///
/// If it cannot be made, or something else has its name.
pub fn create_directory(path: &Path) -> Result<(), FsError> {
    std::fs::create_dir_all(path).map_err(FsError::create(path))
}

/// Reads a whole file.
///
/// # Errors
///
/// If it cannot be opened or read.
pub fn read(path: &Path) -> Result<Vec<u8>, FsError> {
    let mut bytes = Vec::new();
    let mut file = File::open(path).map_err(FsError::open(path))?;
    io::copy(&mut file, &mut bytes).map_err(FsError::read(path))?;
    Ok(bytes)
}

/// Writes a whole file: whoever looks sees the old one or the new one, never a part.
///
/// It is not forced to the disk; see [`publish`] for that. What a killed process leaves beside it, the next writer
/// of the same file takes over.
///
/// # Errors
///
/// If the file beside it cannot be written, or not be put in place.
pub fn write_atomic(path: &Path, bytes: &[u8]) -> Result<(), FsError> {
    let partial = Partial::beside(path)?;
    partial.fill(|mut file| file.write_all(bytes))?;
    partial.settle(path)
}

/// As [`write_atomic`], with what `write` writes to the file that it is given; if that fails, so does this.
///
/// # Errors
///
/// If the file cannot be made or not be put in place, or `write` fails; then what was at `path` is untouched.
pub fn write_atomic_with<T, E: From<FsError>>(
    path: &Path,
    write: impl FnOnce(&File) -> Result<T, E>,
) -> Result<T, E> {
    let partial = Partial::beside(path)?;
    let written = write(partial.lock().file())?;
    partial.settle(path)?;
    Ok(written)
}

/// Moves the complete file `from` to `to`, across file systems too, and does not return before it is on the disk.
///
/// What was at `to` stays until the new file replaces it in one step.
///
/// # Errors
///
/// If `from` cannot be read, or `to` not be written; then what was at `to` is untouched.
pub fn publish(from: &Path, to: &Path) -> Result<(), FsError> {
    let source = File::open(from).map_err(FsError::open(from))?;
    source.sync_all().map_err(FsError::write(from))?;
    match std::fs::rename(from, to) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::CrossesDevices => {
            let partial = Partial::beside(to)?;
            partial.fill(|mut file| {
                io::copy(&mut &source, &mut file)?;
                file.set_permissions(source.metadata()?.permissions())?;
                file.sync_all()
            })?;
            partial.settle(to)?;
            std::fs::remove_file(from).map_err(FsError::remove(from))?;
        }
        Err(source) => return Err(FsError::Move { from: from.to_owned(), to: to.to_owned(), source }),
    }
    // The name is on the disk when its directory is.
    let directory = to.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(directory).and_then(|opened| opened.sync_all()).map_err(FsError::write(directory))
}

/// A file beside the one it will become; it vanishes if it does not.
#[derive(Debug)]
struct Partial(Option<Lock>);

impl Partial {
    /// Makes one that nobody else writes to. Its name is found again, so that a killed writer's is used up.
    fn beside(path: &Path) -> Result<Self, FsError> {
        let mut number = 0_u32;
        loop {
            let beside = partial(path, number);
            if let Some(lock) = Lock::attempt(&beside, Absent::Create)? {
                lock.file().set_len(0).map_err(FsError::write(&beside))?;
                return Ok(Self(Some(lock)));
            }
            number += 1;
        }
    }

    fn lock(&self) -> &Lock {
        self.0.as_ref().expect("a partial file holds its lock until it is settled")
    }

    /// Writes its content.
    fn fill(&self, write: impl FnOnce(&File) -> io::Result<()>) -> Result<(), FsError> {
        let lock = self.lock();
        write(lock.file()).map_err(FsError::write(lock.path()))
    }

    /// Puts it in its place.
    fn settle(mut self, to: &Path) -> Result<(), FsError> {
        let from = self.0.as_ref().map(|lock| lock.path().to_owned()).unwrap_or_default();
        std::fs::rename(&from, to).map_err(|source| FsError::Move { from, to: to.to_owned(), source })?;
        self.0 = None;
        Ok(())
    }
}

/// Where a file is written that is to be at `path`; a number tells several writers apart.
pub(crate) fn partial(path: &Path, number: u32) -> PathBuf {
    let name = path.file_name().unwrap_or_default().display();
    path.with_file_name(format!(".{name}.{number}.part"))
}

impl Drop for Partial {
    fn drop(&mut self) {
        if let Some(lock) = self.0.take() {
            // The error that brought us here says more than this one could.
            drop(lock.remove());
        }
    }
}

/// Copies everything below `from` to `to`, which is empty or absent: links as they are, modes and times kept, blocks
/// shared where the file system can. Sockets, pipes and devices stay behind.
///
/// # Errors
///
/// If something cannot be read or written; the error names it, and what was copied so far stays.
pub fn copy_tree(from: &Path, to: &Path) -> Result<(), TreeError> {
    transfer::run(&Transfer::verbatim(from, to), &mut transfer::Everything).map(drop)
}

/// How many bytes an ordinary user may still write to the file system of `path`.
///
/// # Errors
///
/// If it cannot be asked.
pub fn free_space(path: &Path) -> Result<u64, FsError> {
    let stat = rustix::fs::statvfs(path).map_err(FsError::open(path))?;
    Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
}

/// Removes `path` and everything below it, directories that nobody may write to included; links are removed, never
/// followed, and what is mounted below is not entered. It is fine if nothing is there.
///
/// # Errors
///
/// If something cannot be removed; the error names it, and the rest may be gone.
pub fn remove_tree(path: &Path) -> Result<(), FsError> {
    match std::fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_dir() => {}
        Ok(_) => return std::fs::remove_file(path).map_err(FsError::remove(path)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(FsError::remove(path)(error)),
    }
    let name = CString::new(path.as_os_str().as_bytes()).map_err(FsError::remove(path))?;
    let top = open_unlocked(CWD, &name).map_err(FsError::remove(path))?;
    Removal {
        path,
        levels: vec![Level::list(name, top).map_err(FsError::remove(path))?],
        hoisted: Vec::new(),
        names_used: 0,
    }
    .empty()?;
    std::fs::remove_dir(path).map_err(FsError::remove(path))
}

/// Directories that a removal holds open at most; a tree may be deeper than a process may open files.
const DEEPEST: usize = 200;

/// A directory on the way down, and what is left in it.
#[derive(Debug)]
struct Level {
    name: CString,
    opened: OwnedFd,
    rest: std::vec::IntoIter<Name>,
}

impl Level {
    fn list(name: CString, opened: OwnedFd) -> io::Result<Self> {
        let rest = os::list(opened.as_fd())?.into_iter();
        Ok(Self { name, opened, rest })
    }
}

/// The removal of what is in a directory.
#[derive(Debug)]
struct Removal<'a> {
    path: &'a Path,
    levels: Vec<Level>,
    /// Directories from too far down, moved to the top under these names.
    hoisted: Vec<CString>,
    names_used: u64,
}

impl Removal<'_> {
    fn empty(&mut self) -> Result<(), FsError> {
        while let Some(level) = self.levels.last_mut() {
            let step = match level.rest.next() {
                Some(Name { name, kind: FileType::Directory }) => self.descend(name),
                Some(Name { name, .. }) => unlink(level.opened.as_fd(), &name, AtFlags::empty())
                    .map_err(|error| self.error(&name, error)),
                None => self.ascend(),
            };
            step?;
        }
        Ok(())
    }

    fn descend(&mut self, name: CString) -> Result<(), FsError> {
        let above = self.levels.last().map(|level| level.opened.as_fd()).unwrap_or(CWD);
        if self.levels.len() > DEEPEST {
            return self.hoist(name);
        }
        let level = open_unlocked(above, &name).and_then(|opened| Level::list(name.clone(), opened));
        match level {
            Ok(level) => self.levels.push(level),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(self.error(&name, error)),
        }
        Ok(())
    }

    /// Moves a directory from the innermost level to the top, to be emptied when all else there is gone.
    fn hoist(&mut self, name: CString) -> Result<(), FsError> {
        let (Some(top), Some(level)) = (self.levels.first(), self.levels.last()) else { return Ok(()) };
        loop {
            let free = CString::new(format!(".hwb-removed-{}", self.names_used)).unwrap_or_default();
            self.names_used += 1;
            match rustix::fs::renameat(&level.opened, &*name, &top.opened, &*free) {
                Ok(()) => {
                    self.hoisted.push(free);
                    return Ok(());
                }
                // Somebody has thought of the same name.
                Err(Errno::EXIST | Errno::NOTEMPTY | Errno::NOTDIR) => {}
                Err(error) => return Err(self.error(&name, error.into())),
            }
        }
    }

    fn ascend(&mut self) -> Result<(), FsError> {
        if self.levels.len() == 1
            && let Some(name) = self.hoisted.pop()
        {
            return self.descend(name);
        }
        let Some(Level { name, .. }) = self.levels.pop() else { return Ok(()) };
        match self.levels.last() {
            // The top itself is the caller's.
            None => Ok(()),
            Some(above) => unlink(above.opened.as_fd(), &name, AtFlags::REMOVEDIR)
                .map_err(|error| self.error(&name, error)),
        }
    }

    fn error(&self, name: &CString, source: io::Error) -> FsError {
        let mut path = self.path.to_owned();
        path.extend(self.levels.iter().skip(1).map(|level| OsStr::from_bytes(level.name.as_bytes())));
        path.push(OsStr::from_bytes(name.as_bytes()));
        FsError::Remove { path, source }
    }
}

/// Opens a directory for listing; one that its owner may not enter is made enterable first.
fn open_unlocked(above: BorrowedFd<'_>, name: &CString) -> io::Result<OwnedFd> {
    // The top is named by an absolute path, and may well be a mount's own top.
    let open = || {
        if above.as_raw_fd() == CWD.as_raw_fd() {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            Ok(rustix::fs::openat(above, &**name, flags, Mode::empty())?)
        } else {
            os::open_below(above, name)
        }
    };
    match open() {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let held = rustix::fs::openat(above, &**name, flags, Mode::empty())?;
            // A descriptor of this kind takes no mode by itself, and a name could be swapped for a link.
            rustix::fs::chmod(format!("/proc/self/fd/{}", held.as_raw_fd()), Mode::RWXU)?;
            open()
        }
        opened => opened,
    }
}

/// Removes one name; a directory that lets nobody write is made to.
fn unlink(directory: BorrowedFd<'_>, name: &CString, flags: AtFlags) -> io::Result<()> {
    let unlink = || match rustix::fs::unlinkat(directory, &**name, flags) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(error) => Err(error),
    };
    match unlink() {
        Err(Errno::ACCESS | Errno::PERM) => {
            rustix::fs::fchmod(directory, Mode::RWXU)?;
            Ok(unlink()?)
        }
        done => Ok(done?),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    fn names(directory: &Path) -> Vec<String> {
        let entries = crate::walk_sorted(directory).unwrap();
        entries.into_iter().map(|entry| entry.path.display().to_string()).collect()
    }

    #[test]
    fn writes_all_or_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        for content in ["first", "second, longer", ""] {
            write_atomic(&path, content.as_bytes()).unwrap();
            assert_eq!(read(&path).unwrap(), content.as_bytes());
            assert_eq!(names(folder.path()), ["file"]);
        }
        let fails = |mut file: &File| {
            file.write_all(b"a part").unwrap();
            Err(FsError::Changed(PathBuf::new()))
        };
        write_atomic_with::<(), FsError>(&path, fails).unwrap_err();
        assert_eq!(read(&path).unwrap(), b"");
        std::fs::create_dir(folder.path().join("taken")).unwrap();
        write_atomic(&folder.path().join("taken"), b"").unwrap_err();
        write_atomic(&folder.path().join("absent/file"), b"").unwrap_err();
        assert_eq!(names(folder.path()), ["file", "taken"]);
    }

    #[test]
    fn what_a_killed_writer_left_is_used_up() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        File::create(folder.path().join(".file.0.part")).unwrap().write_all(b"half of something").unwrap();
        let living = Lock::attempt(&folder.path().join(".file.1.part"), Absent::Create).unwrap().unwrap();
        write_atomic(&path, b"whole").unwrap();
        assert_eq!(read(&path).unwrap(), b"whole");
        assert_eq!(names(folder.path()), [".file.1.part", "file"]);
        drop(living);
    }

    #[test]
    fn publishes_in_one_step() {
        let folder = tempfile::tempdir().unwrap();
        let (from, to) = (folder.path().join("from"), folder.path().join("to"));
        write_atomic(&to, b"old").unwrap();
        publish(&from, &to).unwrap_err();
        assert_eq!(read(&to).unwrap(), b"old");
        write_atomic(&from, b"new").unwrap();
        publish(&from, &to).unwrap();
        assert_eq!((read(&to).unwrap(), names(folder.path())), (b"new".to_vec(), vec!["to".to_owned()]));
    }

    #[test]
    fn publishes_across_file_systems() {
        let (memory, disk) = (tempfile::tempdir_in("/dev/shm"), tempfile::tempdir().unwrap());
        // Where both are one file system this is the test above once more.
        let memory = memory.unwrap_or_else(|_| tempfile::tempdir().unwrap());
        let (from, to) = (memory.path().join("from"), disk.path().join("to"));
        write_atomic(&from, b"new").unwrap();
        std::fs::set_permissions(&from, std::fs::Permissions::from_mode(0o755)).unwrap();
        publish(&from, &to).unwrap();
        assert_eq!(read(&to).unwrap(), b"new");
        assert_eq!(to.metadata().unwrap().permissions().mode() & 0o777, 0o755);
        assert_eq!((names(memory.path()), names(disk.path())), (Vec::new(), vec!["to".to_owned()]));
    }

    #[test]
    fn removes_what_is_locked_up_and_nothing_behind_links() {
        let folder = tempfile::tempdir().unwrap();
        let (kept, tree) = (folder.path().join("kept"), folder.path().join("tree"));
        std::fs::create_dir_all(tree.join("shut/inner/empty")).unwrap();
        std::fs::create_dir(&kept).unwrap();
        write_atomic(&kept.join("file"), b"").unwrap();
        write_atomic(&tree.join("shut/inner/file"), b"").unwrap();
        symlink(&kept, tree.join("link")).unwrap();
        symlink(&kept, folder.path().join("top")).unwrap();
        for (path, mode) in [("shut/inner/empty", 0o0), ("shut/inner", 0o555), ("shut", 0o0)] {
            std::fs::set_permissions(tree.join(path), std::fs::Permissions::from_mode(mode)).unwrap();
        }
        remove_tree(&tree).unwrap();
        remove_tree(&tree).unwrap();
        remove_tree(&folder.path().join("top")).unwrap();
        assert_eq!(names(folder.path()), ["kept", "kept/file"]);
    }

    #[test]
    fn removes_a_tree_deeper_than_open_files() {
        let folder = tempfile::tempdir().unwrap();
        let tree = folder.path().join("tree");
        std::fs::create_dir(&tree).unwrap();
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let mut at = rustix::fs::openat(CWD, &tree, flags, Mode::empty()).unwrap();
        for _ in 0..1_500 {
            rustix::fs::mkdirat(&at, c"d", Mode::RWXU).unwrap();
            at = rustix::fs::openat(&at, c"d", flags, Mode::empty()).unwrap();
        }
        remove_tree(&tree).unwrap();
        assert!(!tree.exists());
    }

    #[test]
    fn copies_modes_times_and_links() {
        let folder = tempfile::tempdir().unwrap();
        let (from, to) = (folder.path().join("from"), folder.path().join("to"));
        std::fs::create_dir_all(from.join("shut")).unwrap();
        write_atomic(&from.join("shut/file"), &vec![7; 300_000]).unwrap();
        symlink("/nowhere", from.join("link")).unwrap();
        let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_234_567);
        File::open(from.join("shut/file")).unwrap().set_modified(time).unwrap();
        std::fs::set_permissions(from.join("shut/file"), std::fs::Permissions::from_mode(0o751)).unwrap();
        std::fs::set_permissions(from.join("shut"), std::fs::Permissions::from_mode(0o555)).unwrap();
        copy_tree(&from, &to).unwrap();
        assert_eq!(crate::tree_digest(&to).unwrap(), crate::tree_digest(&from).unwrap());
        let metadata = to.join("shut/file").metadata().unwrap();
        assert_eq!((metadata.permissions().mode() & 0o7777, metadata.modified().unwrap()), (0o751, time));
        assert_eq!(to.join("shut").metadata().unwrap().permissions().mode() & 0o7777, 0o555);
        remove_tree(&from).unwrap();
        remove_tree(&to).unwrap();
    }
}
