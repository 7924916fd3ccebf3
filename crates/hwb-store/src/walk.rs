//! A directory, listed in one order on every machine.

use std::ffi::{CString, OsStr, OsString};
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use hwb_archive::Executable;
use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags};
use rustix::io::Errno;

use crate::fs::FsError;
use crate::os::{self, Name};

/// One thing below a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Where it is, relative to the directory that was walked.
    pub path: PathBuf,
    /// What it is.
    pub kind: EntryKind,
}

/// What something below a directory is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EntryKind {
    /// A directory.
    Directory,
    /// A file.
    File {
        /// Whether its owner may run it.
        executable: Executable,
        /// How long it is.
        bytes: u64,
    },
    /// A symbolic link, not followed.
    Link {
        /// What it holds.
        target: PathBuf,
    },
    /// A socket, a pipe or a device.
    Special,
}

/// Lists everything below `directory`, in the order of the bytes of the whole relative paths (`a`, `a-b`, `a/b`).
///
/// # Errors
///
/// If a directory cannot be read; the error names it. What vanishes during the walk is left out.
pub fn walk_sorted(directory: &Path) -> Result<Vec<Entry>, FsError> {
    let mut entries = Vec::new();
    each(directory, &mut |at, path, name| {
        let kind = match name.kind {
            FileType::Directory => EntryKind::Directory,
            FileType::RegularFile => {
                let stat = rustix::fs::statat(at, &*name.name, AtFlags::SYMLINK_NOFOLLOW)?;
                let bytes = u64::try_from(stat.st_size).unwrap_or_default();
                EntryKind::File { executable: Executable::of_mode(stat.st_mode), bytes }
            }
            FileType::Symlink => {
                let target = rustix::fs::readlinkat(at, &*name.name, Vec::new())?;
                EntryKind::Link { target: OsString::from_vec(target.into_bytes()).into() }
            }
            _ => EntryKind::Special,
        };
        entries.push(Entry { path: path.to_owned(), kind });
        Ok(())
    })?;
    entries.sort_unstable_by(|a, b| a.path.as_os_str().as_bytes().cmp(b.path.as_os_str().as_bytes()));
    Ok(entries)
}

/// What is done with each thing found: its directory, its path relative to the top, its name in that directory.
type Visit<'a> = dyn FnMut(BorrowedFd<'_>, &Path, &Name) -> Result<(), Errno> + 'a;

/// Visits everything below `top` in no promised order; what vanishes meanwhile is left out.
pub(crate) fn each(top: &Path, visit: &mut Visit<'_>) -> Result<(), FsError> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let opened = rustix::fs::openat(CWD, top, flags, Mode::empty()).map_err(FsError::read(top))?;
    let mut pending = Vec::new();
    list(top, Path::new(""), opened, visit, &mut pending)?;
    while let Some(Pending { parent, name, path }) = pending.pop() {
        match rustix::fs::openat(&*parent, &*name, flags | OFlags::NOFOLLOW, Mode::empty()) {
            Ok(opened) => list(top, &path, opened, visit, &mut pending)?,
            Err(Errno::NOENT) => {}
            Err(error) => return Err(FsError::read(&top.join(path))(error)),
        }
    }
    Ok(())
}

/// A directory that waits to be listed, below one that is open.
#[derive(Debug)]
struct Pending {
    parent: Rc<OwnedFd>,
    name: CString,
    path: PathBuf,
}

fn list(
    top: &Path,
    path: &Path,
    opened: OwnedFd,
    visit: &mut Visit<'_>,
    pending: &mut Vec<Pending>,
) -> Result<(), FsError> {
    let parent = Rc::new(opened);
    let names = match os::list(parent.as_fd()) {
        // It was removed while it was open.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        listed => listed.map_err(FsError::read(&top.join(path)))?,
    };
    for name in names {
        let path = path.join(OsStr::from_bytes(name.name.to_bytes()));
        match visit(parent.as_fd(), &path, &name) {
            Ok(()) => {}
            Err(Errno::NOENT) => continue,
            Err(error) => return Err(FsError::read(&top.join(path))(error)),
        }
        if name.kind == FileType::Directory {
            pending.push(Pending { parent: Rc::clone(&parent), name: name.name, path });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sorts_by_bytes_and_follows_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let top = folder.path();
        std::fs::create_dir_all(top.join("a")).unwrap();
        for path in ["a/b", "a-b", "a.b", "ä"] {
            crate::fs::write_atomic(&top.join(path), b"four").unwrap();
        }
        std::os::unix::fs::symlink("..", top.join("a/up")).unwrap();
        rustix::fs::mknodat(CWD, top.join("pipe"), FileType::Fifo, Mode::RUSR, 0).unwrap();
        let file = EntryKind::File { executable: Executable::No, bytes: 4 };
        let expect = [
            ("a", EntryKind::Directory),
            ("a-b", file.clone()),
            ("a.b", file.clone()),
            ("a/b", file.clone()),
            ("a/up", EntryKind::Link { target: "..".into() }),
            ("pipe", EntryKind::Special),
            ("ä", file),
        ];
        assert_eq!(walk_sorted(top).unwrap(), expect.map(|(path, kind)| Entry { path: path.into(), kind }));
        let error = walk_sorted(&top.join("absent")).unwrap_err();
        assert_eq!(error.to_string(), format!("cannot read `{}`", top.join("absent").display()));
    }

    #[test]
    fn leaves_out_what_vanishes_while_it_is_open() {
        let folder = tempfile::tempdir().unwrap();
        let gone = folder.path().join("gone");
        std::fs::create_dir(&gone).unwrap();
        let opened = OwnedFd::from(std::fs::File::open(&gone).unwrap());
        std::fs::remove_dir(&gone).unwrap();
        let mut pending = Vec::new();
        list(folder.path(), Path::new("gone"), opened, &mut |_, _, _| Ok(()), &mut pending).unwrap();
        assert!(pending.is_empty());
    }
}
