//! The root of a container: layers of an image under a directory for what is written, and the way into it.

use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::path::{Path, PathBuf};

use hwb_ident::HostPath;
use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, MountFlags, UnmountFlags};

use super::super::layer::{Made, Marks, check_writable, look_alike, make_directory};
use super::super::request::{Guarantee, Report};
use super::super::root::{attach, clone_chosen, clone_mount};
use crate::container::Root;
use crate::os::{self, Extent};
use crate::spec::UPPER;

/// Makes the root, which is not yet attached. `staging` is a directory of the host that may be covered meanwhile.
pub(super) fn make(root: &Root, staging: &Path) -> Result<OwnedFd, Report> {
    match root {
        Root::Layers { lowers, changes } => {
            let lowers = open_layers(lowers)?;
            let (marks, upper, work) = changes_of(changes, lowers.first())?;
            let overlay = Overlay { lowers, upper, work, marks };
            let root = overlay.mount().or_else(|error| match error.raw_os_error() {
                // A kernel before 6.7.
                Some(libc::EINVAL) => overlay.mount_by_names(staging),
                _ => Err(error),
            });
            let unsupported = |error: io::Error| Report::unsupported(Guarantee::Layers, &error);
            let root = root.map_err(unsupported)?;
            check_writable(&root).map_err(unsupported)?;
            Ok(root)
        }
        Root::Directory(directory) => {
            let failed = |error: io::Error| Report::setup(format!("use `{directory}` as a root"), &error);
            let root = clone_chosen(directory.as_path(), Extent::Mount).map_err(failed)?;
            os::restrict(&root, MountAttrFlags::MOUNT_ATTR_NODEV, Extent::Mount).map_err(failed)?;
            Ok(root)
        }
    }
}

fn open_layers(lowers: &[HostPath]) -> Result<Vec<OwnedFd>, Report> {
    if lowers.is_empty() || lowers.len() > Root::MOST_LAYERS {
        let step = format!("stack {} layers", lowers.len());
        return Err(Report::setup(step, &io::ErrorKind::InvalidInput.into()));
    }
    lowers
        .iter()
        .map(|lower| {
            open_directory(lower.as_path())
                .map_err(|error| Report::setup(format!("open the layer `{lower}`"), &error))
        })
        .collect()
}

fn open_directory(path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(CWD, path, flags, Mode::empty())?)
}

/// Makes ready what is written to.
fn changes_of(changes: &HostPath, lower: Option<&OwnedFd>) -> Result<(Marks, OwnedFd, OwnedFd), Report> {
    let attempt = || {
        let marks = Marks::possible_at(changes.as_path())?;
        let [upper, work] = [UPPER, "work"].map(|name| changes.as_path().join(name));
        if let (Made::Now, Some(lower)) = (make_directory(&upper)?, lower) {
            look_alike(lower, &upper)?;
        }
        if make_directory(&work)? == Made::Before {
            forget_earlier_use(&work)?;
        }
        Ok((marks, open_directory(&upper)?, open_directory(&work)?))
    };
    attempt()
        .map_err(|error: io::Error| Report::setup(format!("keep what is written in `{changes}`"), &error))
}

/// Removes the mark that a mount without syncing leaves, by which the kernel refuses to go on with what might be lost
/// after a crash: who uses a directory of changes again vouches for it.
fn forget_earlier_use(work: &Path) -> io::Result<()> {
    let mark = work.join("work/incompat");
    let removed = [
        rustix::fs::unlink(mark.join("volatile/dirty")),
        rustix::fs::rmdir(mark.join("volatile")),
        rustix::fs::rmdir(mark),
    ];
    removed.into_iter().try_for_each(|removed| match removed {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(errno) => Err(errno.into()),
    })
}

/// The parts of an overlay.
///
/// They are named by descriptors: no path, with whatever characters and of whatever length, becomes part of an option,
/// and the guest sees none in its list of mounts.
#[derive(Debug)]
struct Overlay {
    /// The topmost first.
    lowers: Vec<OwnedFd>,
    upper: OwnedFd,
    work: OwnedFd,
    marks: Marks,
}

impl Overlay {
    /// Mounts it. Nothing is synced at its end (`volatile`): that would wait for everything that anybody has written to
    /// the same disk. Devices on it do not open.
    fn mount(&self) -> io::Result<OwnedFd> {
        let name = |descriptor: &OwnedFd| format!("/proc/self/fd/{}", descriptor.as_raw_fd());
        let context = rustix::mount::fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC)?;
        for lower in &self.lowers {
            rustix::mount::fsconfig_set_string(&context, "lowerdir+", name(lower))?;
        }
        rustix::mount::fsconfig_set_string(&context, "upperdir", name(&self.upper))?;
        rustix::mount::fsconfig_set_string(&context, "workdir", name(&self.work))?;
        rustix::mount::fsconfig_set_flag(&context, "volatile")?;
        if self.marks == Marks::User {
            rustix::mount::fsconfig_set_flag(&context, "userxattr")?;
        }
        rustix::mount::fsconfig_create(&context)?;
        let flags = FsMountFlags::FSMOUNT_CLOEXEC;
        Ok(rustix::mount::fsmount(&context, flags, MountAttrFlags::MOUNT_ATTR_NODEV)?)
    }

    /// The same for kernels that take all layers in one option, which must fit into a page: as bare numbers, relative to
    /// the directory of descriptors.
    fn mount_by_names(&self, staging: &Path) -> io::Result<OwnedFd> {
        rustix::process::chdir("/proc/self/fd")?;
        let lowers: Vec<_> = self.lowers.iter().map(|lower| lower.as_raw_fd().to_string()).collect();
        let mut options = format!(
            "lowerdir={},upperdir={},workdir={},volatile",
            lowers.join(":"),
            self.upper.as_raw_fd(),
            self.work.as_raw_fd()
        );
        if self.marks == Marks::User {
            options.push_str(",userxattr");
        }
        let options = std::ffi::CString::new(options)?;
        rustix::mount::mount("overlay", staging, "overlay", MountFlags::NODEV, options.as_c_str())?;
        let root = clone_mount(staging, Extent::Mount)?;
        rustix::mount::unmount(staging, UnmountFlags::DETACH)?;
        Ok(root)
    }
}

/// Attaches `root` over `staging`, and makes it the root of this process; the host's is gone then.
pub(super) fn enter(root: &OwnedFd, staging: &Path) -> io::Result<()> {
    attach(root, staging)?;
    rustix::process::chdir(staging)?;
    super::super::root::pivot()
}

/// A directory of the host that may be covered.
pub(super) fn staging() -> PathBuf {
    // It is there on every host: the helper itself was found through it, or reads it.
    PathBuf::from("/proc")
}
