//! Linux: fast listing, reflinks, and opening that stays on one mount.

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, RawDir, ResolveFlags};
use rustix::io::Errno;

/// One name in a directory, and what it names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Name {
    /// The bytes of the name.
    pub(crate) name: CString,
    /// What it is, links not followed.
    pub(crate) kind: FileType,
}

/// Lists a directory in the order of its bytes, `.` and `..` left out.
pub(crate) fn list(directory: BorrowedFd<'_>) -> io::Result<Vec<Name>> {
    let mut buffer = Vec::with_capacity(32 << 10);
    let mut names = Vec::new();
    let mut entries = RawDir::new(directory, buffer.spare_capacity_mut());
    while let Some(entry) = entries.next() {
        let entry = entry?;
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        // A few file systems do not say what an entry is.
        let kind = match entry.file_type() {
            FileType::Unknown => match rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) => FileType::from_raw_mode(stat.st_mode),
                Err(Errno::NOENT) => continue,
                Err(error) => return Err(error.into()),
            },
            kind => kind,
        };
        names.push(Name { name: name.to_owned(), kind });
    }
    names.sort_unstable_by(|a, b| a.name.cmp(&b.name));
    Ok(names)
}

/// Opens a directory below another: never through a link, never onto another mount.
pub(crate) fn open_below(directory: BorrowedFd<'_>, name: &CStr) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let resolve = ResolveFlags::NO_XDEV | ResolveFlags::NO_SYMLINKS | ResolveFlags::BENEATH;
    match rustix::fs::openat2(directory, name, flags, Mode::empty(), resolve) {
        // Old kernels and some system call filters do not have it.
        Err(Errno::NOSYS | Errno::PERM) => Ok(rustix::fs::openat(directory, name, flags, Mode::empty())?),
        opened => Ok(opened?),
    }
}

/// Whether files can share their blocks here, found out by the first attempt.
#[derive(Debug)]
pub(crate) struct Reflink(AtomicBool);

impl Reflink {
    /// Nothing is known yet.
    pub(crate) const fn untried() -> Self {
        Self(AtomicBool::new(true))
    }

    /// Lets `to` share the blocks of `from`; `false` if it has to be copied.
    pub(crate) fn share(&self, from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> bool {
        if !self.0.load(Ordering::Relaxed) {
            return false;
        }
        match rustix::fs::ioctl_ficlone(to, from) {
            Ok(()) => true,
            // This file only, for example one that is being written.
            Err(Errno::TXTBSY | Errno::INTR) => false,
            // Whatever it is, it holds for the file system, and copying will name it if it matters.
            Err(_) => {
                self.0.store(false, Ordering::Relaxed);
                false
            }
        }
    }
}
