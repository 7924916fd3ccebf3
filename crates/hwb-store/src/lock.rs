//! Lock files: what is held exists, and what is not held may be taken or swept.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;

use crate::fs::FsError;

/// A lock file that this process holds until it drops it or dies.
#[derive(Debug)]
pub(crate) struct Lock {
    file: File,
    path: PathBuf,
}

/// What to do where there is no lock file yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Absent {
    /// Make one, and hold it.
    Create,
    /// Leave it so: there is nothing to hold.
    Leave,
}

impl Lock {
    /// Takes the lock at `path`, making it if it is not there, and waits for whoever has it.
    pub(crate) fn wait(path: &Path) -> Result<Self, FsError> {
        Self::wait_by(path, File::lock)
    }

    /// Takes the lock at `path` together with others who do so, making it if it is not there, and waits for whoever
    /// has it alone.
    pub(crate) fn share(path: &Path) -> Result<Self, FsError> {
        Self::wait_by(path, File::lock_shared)
    }

    fn wait_by(path: &Path, lock: impl Fn(&File) -> io::Result<()>) -> Result<Self, FsError> {
        loop {
            let file = open(path, Absent::Create).map_err(FsError::create(path))?;
            lock(&file).map_err(FsError::lock(path))?;
            if is_at(&file, path).map_err(FsError::lock(path))? {
                return Ok(Self { file, path: path.to_owned() });
            }
        }
    }

    /// Takes the lock at `path`; `None` if somebody else has it, or there is none to take.
    ///
    /// Locks belong to the opened file, so that two holders in one process shut each other out as well.
    pub(crate) fn attempt(path: &Path, absent: Absent) -> Result<Option<Self>, FsError> {
        loop {
            let file = match open(path, absent) {
                Ok(file) => file,
                Err(error) if error.kind() == io::ErrorKind::NotFound && absent == Absent::Leave => {
                    return Ok(None);
                }
                Err(error) => return Err(FsError::create(path)(error)),
            };
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => return Ok(None),
                Err(TryLockError::Error(error)) => return Err(FsError::lock(path)(error)),
            }
            // The holder before us may have removed the file between our opening and our locking it: then what we
            // hold is a nameless file, and the next one who comes would hold another.
            if is_at(&file, path).map_err(FsError::lock(path))? {
                return Ok(Some(Self { file, path: path.to_owned() }));
            }
        }
    }

    /// The file that is locked.
    pub(crate) fn file(&self) -> &File {
        &self.file
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Lets go of a lock that is shared; whoever is the last removes the file.
    pub(crate) fn leave(self) -> Result<(), FsError> {
        match self.file.try_lock() {
            // Trading is not one step: in between, another may have removed the file, and a third made one.
            Ok(()) if is_at(&self.file, &self.path).map_err(FsError::lock(&self.path))? => self.remove(),
            Ok(()) => Ok(()),
            Err(TryLockError::WouldBlock) => Ok(()),
            Err(TryLockError::Error(error)) => Err(FsError::lock(&self.path)(error)),
        }
    }

    /// Removes the file while it is held, and lets go.
    pub(crate) fn remove(self) -> Result<(), FsError> {
        std::fs::remove_file(&self.path).map_err(FsError::remove(&self.path))
    }
}

fn open(path: &Path, absent: Absent) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(absent == Absent::Create)
        .truncate(false)
        .custom_flags(flags(OFlags::NOFOLLOW))
        .open(path)
}

/// The bits of flags, as the standard library wants them.
fn flags(flags: OFlags) -> i32 {
    flags.bits().cast_signed()
}

/// Whether `file` is what `path` names now.
fn is_at(file: &File, path: &Path) -> io::Result<bool> {
    let held = file.metadata()?;
    match std::fs::symlink_metadata(path) {
        Ok(named) => Ok((named.dev(), named.ino()) == (held.dev(), held.ino())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_holder_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        assert!(Lock::attempt(&path, Absent::Leave).unwrap().is_none());
        let first = Lock::attempt(&path, Absent::Create).unwrap().unwrap();
        assert!(Lock::attempt(&path, Absent::Create).unwrap().is_none());
        drop(first);
        let second = Lock::attempt(&path, Absent::Leave).unwrap().unwrap();
        second.remove().unwrap();
        assert!(!path.exists());
    }

    #[test]
    fn the_last_who_shares_removes_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        let (first, second) = (Lock::share(&path).unwrap(), Lock::share(&path).unwrap());
        assert!(Lock::attempt(&path, Absent::Create).unwrap().is_none());
        first.leave().unwrap();
        assert!(Lock::attempt(&path, Absent::Create).unwrap().is_none());
        second.leave().unwrap();
        assert!(!path.exists());
    }

    #[test]
    fn never_locks_through_a_link() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        std::os::unix::fs::symlink(folder.path().join("elsewhere"), &path).unwrap();
        assert!(Lock::attempt(&path, Absent::Create).is_err());
        assert!(!folder.path().join("elsewhere").exists());
    }
}
