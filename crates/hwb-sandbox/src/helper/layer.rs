//! Writable views of directories of the host that stay as they are: overlayfs, with what is written in memory or in a
//! directory of its own.
//!
//! What is forgotten goes to one file system in memory, a directory of it for each view. It is mounted where nobody finds
//! it after the root has changed; the views hold on to it, and it ends with the last of them. Before that it is the
//! working directory, and a view's layers have short names below it: a path of the host, with whatever separators it
//! contains, never becomes part of a mount option.

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Mode, StatVfsMountFlags, Timespec, Timestamps, XattrFlags};
use rustix::io::Errno;
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags};

use super::root::attach;
use crate::spec::UPPER;

/// Where the views of a session keep what is written: the working directory.
#[derive(Debug)]
pub(super) struct Memory {
    marks: Marks,
}

/// How overlayfs may mark a directory that hides the one below it.
///
/// Without such marks it would mount all the same, and then fail to remove a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Marks {
    /// In extended attributes for root alone.
    Trusted,
    /// In those of the owner, inside a user namespace; since Linux 5.11, in memory since 6.6.
    User,
}

impl Marks {
    /// What may be set at `directory`.
    pub(super) fn possible_at(directory: &Path) -> io::Result<Self> {
        let may_set = |name: &str| rustix::fs::setxattr(directory, name, b"", XattrFlags::empty());
        Ok(match may_set("trusted.hwb") {
            Ok(()) => Self::Trusted,
            Err(_) => may_set("user.hwb").map(|()| Self::User)?,
        })
    }
}

/// Mounts a file system in memory with `options`; it is not yet attached.
pub(super) fn in_memory(options: &[(&str, &str)]) -> io::Result<OwnedFd> {
    let context = rustix::mount::fsopen("tmpfs", FsOpenFlags::FSOPEN_CLOEXEC)?;
    for (name, value) in options {
        rustix::mount::fsconfig_set_string(&context, *name, *value)?;
    }
    rustix::mount::fsconfig_create(&context)?;
    mount(&context)
}

fn mount(context: &OwnedFd) -> io::Result<OwnedFd> {
    let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV;
    Ok(rustix::mount::fsmount(context, FsMountFlags::FSMOUNT_CLOEXEC, attributes)?)
}

impl Memory {
    /// Mounts it over `at`, which is covered afterwards, and enters it.
    pub(super) fn enter(at: &Path) -> io::Result<Self> {
        attach(&in_memory(&[("mode", "0700")])?, at)?;
        rustix::process::chdir(at)?;
        Ok(Self { marks: Marks::possible_at(Path::new("."))? })
    }

    /// Makes the view of `lower`, a directory; `name` is that of no other view. What is written is kept in `changes`, or
    /// in memory. It is not yet attached.
    pub(super) fn view(
        &self,
        name: usize,
        lower: &OwnedFd,
        changes: Option<&OwnedFd>,
    ) -> io::Result<OwnedFd> {
        let layers = PathBuf::from(name.to_string());
        let [below, kept] = ["lower", "changes"].map(|layer| layers.join(layer));
        for directory in [&layers, &below, &kept] {
            rustix::fs::mkdir(directory, Mode::RWXU)?;
        }
        let marks = match changes {
            None => self.marks,
            Some(changes) => {
                attach(changes, &kept)?;
                Marks::possible_at(&kept)?
            }
        };
        let [above, work] = [UPPER, "work"].map(|layer| kept.join(layer));
        for directory in [&above, &work] {
            make_directory(directory)?;
        }
        look_alike(lower, &above)?;
        attach(lower, &below)?;
        let context = rustix::mount::fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC)?;
        for (option, layer) in [("lowerdir", below), ("upperdir", above), ("workdir", work)] {
            rustix::mount::fsconfig_set_string(&context, option, layer)?;
        }
        if marks == Marks::User {
            rustix::mount::fsconfig_set_flag(&context, "userxattr")?;
        }
        rustix::mount::fsconfig_create(&context)?;
        let view = mount(&context)?;
        check_writable(&view)?;
        Ok(view)
    }
}

/// Refuses an overlay that cannot be written to: overlayfs mounts it all the same, with a word in the kernel's log.
pub(super) fn check_writable(overlay: &OwnedFd) -> io::Result<()> {
    if rustix::fs::fstatvfs(overlay)?.f_flag.contains(StatVfsMountFlags::RDONLY) {
        return Err(Errno::ROFS.into());
    }
    Ok(())
}

/// Whether a directory had to be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Made {
    Now,
    Before,
}

/// Makes `directory` for its owner alone, if it is not there.
pub(super) fn make_directory(directory: &Path) -> io::Result<Made> {
    match rustix::fs::mkdir(directory, Mode::RWXU) {
        Ok(()) => Ok(Made::Now),
        Err(Errno::EXIST) => Ok(Made::Before),
        Err(errno) => Err(errno.into()),
    }
}

/// Gives `above` the attributes of `lower`: those of the view's own directory are taken from there.
pub(super) fn look_alike(lower: &OwnedFd, above: &Path) -> io::Result<()> {
    let stat = rustix::fs::fstat(lower)?;
    let owner = rustix::fs::Uid::from_raw(stat.st_uid);
    let group = rustix::fs::Gid::from_raw(stat.st_gid);
    // In a user namespace others than oneself cannot be named, and it stays one's own.
    let _unnamed = rustix::fs::chown(above, Some(owner), None);
    let _unnamed = rustix::fs::chown(above, None, Some(group));
    rustix::fs::chmod(above, Mode::from_raw_mode(stat.st_mode))?;
    let time = |seconds: i64, nanoseconds: u64| Timespec {
        tv_sec: seconds,
        tv_nsec: i64::try_from(nanoseconds).unwrap_or_default(),
    };
    let times = Timestamps {
        last_access: time(stat.st_atime, stat.st_atime_nsec),
        last_modification: time(stat.st_mtime, stat.st_mtime_nsec),
    };
    Ok(rustix::fs::utimensat(CWD, above, &times, AtFlags::empty())?)
}
