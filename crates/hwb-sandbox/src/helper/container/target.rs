//! Where something is put in the root of a container.
//!
//! Looked up after the host's root is gone, and before the container has a `/proc`: so no link, however it was laid,
//! leads anywhere but to a place in the container.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use hwb_ident::GuestPath;
use rustix::fs::{AtFlags, CWD, Mode, OFlags, StatxFlags};
use rustix::io::Errno;
use rustix::mount::MoveMountFlags;

use super::super::root::Kind;

/// As many links as the kernel follows.
const MOST_LINKS: u32 = 40;

/// The mounts of a container as they grow.
#[derive(Debug)]
pub(super) struct Targets {
    root: u64,
    /// The mounts in which missing places may be made; the host's are not among them.
    own: BTreeSet<u64>,
    made: Vec<GuestPath>,
}

fn mount_id(descriptor: &OwnedFd) -> io::Result<u64> {
    Ok(rustix::fs::statx(descriptor, "", AtFlags::EMPTY_PATH, StatxFlags::MNT_ID)?.stx_mnt_id)
}

impl Targets {
    pub(super) fn new(root: &OwnedFd) -> io::Result<Self> {
        let root = mount_id(root)?;
        Ok(Self { root, own: BTreeSet::from([root]), made: Vec::new() })
    }

    /// What was made on the root itself.
    pub(super) fn into_made(self) -> Vec<GuestPath> {
        self.made
    }

    /// Attaches `mount` at `path`; what is missing is made.
    pub(super) fn attach(&mut self, mount: &OwnedFd, path: &Path) -> io::Result<()> {
        let at = self.stand(path, Kind::of(mount)?)?;
        attach(mount, &at)
    }

    /// As [`attach`](Self::attach), for a file system of the container's own, in which places may be made.
    pub(super) fn attach_own(&mut self, mount: &OwnedFd, path: &Path) -> io::Result<()> {
        self.attach(mount, path)?;
        self.own(mount)
    }

    /// Lets places be made in `mount`, which is of the container's own.
    pub(super) fn own(&mut self, mount: &OwnedFd) -> io::Result<()> {
        self.own.insert(mount_id(mount)?);
        Ok(())
    }

    /// Makes `path` a directory, if it is none.
    pub(super) fn directory(&mut self, path: &Path) -> io::Result<()> {
        self.stand(path, Kind::Directory).map(drop)
    }

    fn stand(&mut self, path: &Path, kind: Kind) -> io::Result<OwnedFd> {
        let found = self.find(path, kind, MOST_LINKS)?;
        match (kind, Kind::of(&found)?) {
            (Kind::Directory, Kind::File) => Err(Errno::NOTDIR.into()),
            (Kind::File, Kind::Directory) => Err(Errno::ISDIR.into()),
            _ => Ok(found),
        }
    }

    fn find(&mut self, path: &Path, kind: Kind, links: u32) -> io::Result<OwnedFd> {
        match rustix::fs::openat(CWD, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()) {
            Err(Errno::NOENT) => {}
            found => return Ok(found?),
        }
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(io::ErrorKind::InvalidInput.into());
        };
        let directory = self.find(parent, Kind::Directory, links)?;
        match rustix::fs::readlinkat(&directory, name, Vec::new()) {
            Ok(target) => {
                let links = links.checked_sub(1).ok_or(Errno::LOOP)?;
                let target = parent.join(OsStr::from_bytes(target.as_bytes()));
                self.find(&target, kind, links)
            }
            Err(Errno::NOENT) => {
                let made = self.make(&directory, name, kind)?;
                if mount_id(&directory)? == self.root {
                    self.made.push(GuestPath::new(std::fs::canonicalize(parent)?.join(name)));
                }
                Ok(made)
            }
            Err(errno) => Err(errno.into()),
        }
    }

    fn make(&self, directory: &OwnedFd, name: &OsStr, kind: Kind) -> io::Result<OwnedFd> {
        if !self.own.contains(&mount_id(directory)?) {
            // A directory of the host: what is missing there stays missing.
            return Err(Errno::NOENT.into());
        }
        match kind {
            Kind::Directory => rustix::fs::mkdirat(directory, name, Mode::from_raw_mode(0o755))?,
            Kind::File => {
                let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
                drop(rustix::fs::openat(directory, name, flags, Mode::from_raw_mode(0o644))?);
            }
        }
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok(rustix::fs::openat(directory, name, flags, Mode::empty())?)
    }
}

fn attach(mount: &OwnedFd, at: &OwnedFd) -> io::Result<()> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    Ok(rustix::mount::move_mount(mount, "", at, "", flags)?)
}
