//! A private root: the host's file system, with directories of the session at paths of their own.
//!
//! The root is a small file system in memory. Every entry of the host's root is mounted on it, links are made again,
//! and the session's mounts come on top. So a directory can stand at a fixed path such as `/hwb` without anything being
//! made on the host, and a build path tells nothing. A layered view may stand over the directory that it shows.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Component, Path, PathBuf};

use hwb_ident::HostPath;
use rustix::fs::{CWD, FileType};
use rustix::io::Errno;
use rustix::mount::{MountAttrFlags, MountPropagationFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags};

use super::layer::{Memory, in_memory};
use super::request::{Guarantee, Report};
use crate::os::{self, Extent};
use crate::spec::{Access, Mount};

/// Something at the top of the host's file system.
#[derive(Debug)]
enum TopEntry {
    Link(PathBuf),
    Directory(OwnedFd),
    File(OwnedFd),
}

/// What a mount is made of, taken from the host before anything is covered.
#[derive(Debug)]
pub(super) struct Source {
    tree: OwnedFd,
    /// Where what is written is kept, if it is.
    changes: Option<OwnedFd>,
}

/// Makes a private root with `mounts`, and enters it. The mount namespace must be the caller's own.
pub(super) fn enter(mounts: &[Mount]) -> Result<(), Report> {
    let unsupported = |error: io::Error| Report::unsupported(Guarantee::PrivateMounts, &error);
    // Nothing that is mounted here is seen outside, and nothing from outside appears here.
    rustix::mount::mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)
        .map_err(|errno| unsupported(errno.into()))?;
    let top = clone_top().map_err(unsupported)?;
    // Taken before the staging directory is covered: they may lie below it.
    let sources = mounts.iter().map(clone_source).collect::<Result<Vec<_>, _>>()?;
    let staging = staging_directory(&top).map_err(unsupported)?;
    let sources = lay(mounts, sources, &staging)?;
    let root = stage(&staging).map_err(unsupported)?;
    let device = top_device().map_err(unsupported)?;
    populate(top).map_err(unsupported)?;
    for (mount, source) in mounts.iter().zip(sources) {
        place(mount, &source, device).map_err(|error| setup(mount, &error))?;
    }
    // What was made for mount points only is nobody's to write to.
    os::restrict(&root, MountAttrFlags::MOUNT_ATTR_RDONLY, Extent::Mount).map_err(unsupported)?;
    pivot().map_err(unsupported)
}

fn setup(mount: &Mount, error: &io::Error) -> Report {
    Report::setup(format!("mount `{}` at `{}`", mount.host, mount.guest), error)
}

/// A view of what is at `path`, of a link itself; it is not yet attached.
pub(super) fn clone_mount(path: &Path, extent: Extent) -> io::Result<OwnedFd> {
    clone_tree(path, extent, OpenTreeFlags::AT_SYMLINK_NOFOLLOW)
}

/// The same for a path that the caller of hwb chose: of what a link leads to.
pub(super) fn clone_chosen(path: &Path, extent: Extent) -> io::Result<OwnedFd> {
    clone_tree(path, extent, OpenTreeFlags::empty())
}

fn clone_tree(path: &Path, extent: Extent, links: OpenTreeFlags) -> io::Result<OwnedFd> {
    let extent = match extent {
        Extent::Mount => OpenTreeFlags::empty(),
        Extent::Tree => OpenTreeFlags::AT_RECURSIVE,
    };
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | links | extent;
    Ok(rustix::mount::open_tree(CWD, path, flags)?)
}

fn clone_top() -> io::Result<Vec<(OsString, TopEntry)>> {
    let mut top = Vec::new();
    for entry in fs_err::read_dir("/")? {
        let entry = entry?;
        // The listing says it: nothing is looked up for it.
        let (path, kind) = (entry.path(), entry.file_type()?);
        let cloned = match kind {
            kind if kind.is_symlink() => TopEntry::Link(fs_err::read_link(&path)?),
            kind if kind.is_dir() => TopEntry::Directory(clone_mount(&path, Extent::Tree)?),
            _ => TopEntry::File(clone_mount(&path, Extent::Tree)?),
        };
        top.push((entry.file_name(), cloned));
    }
    top.sort_by(|(name, _), (other, _)| name.cmp(other));
    Ok(top)
}

pub(super) fn clone_source(mount: &Mount) -> Result<Source, Report> {
    let clone =
        |path: &HostPath, extent| clone_chosen(path.as_path(), extent).map_err(|error| setup(mount, &error));
    match &mount.access {
        Access::ReadWrite => Ok(Source { tree: clone(&mount.host, Extent::Tree)?, changes: None }),
        Access::ReadOnly => {
            let tree = clone(&mount.host, Extent::Tree)?;
            os::restrict(&tree, MountAttrFlags::MOUNT_ATTR_RDONLY, Extent::Tree)
                .map_err(|error| Report::unsupported(Guarantee::PrivateMounts, &error))?;
            Ok(Source { tree, changes: None })
        }
        Access::Layered | Access::Overlaid { .. } => {
            // One file system is all that a layer can lie over.
            let tree = clone(&mount.host, Extent::Mount)?;
            if Kind::of(&tree).map_err(|error| setup(mount, &error))? != Kind::Directory {
                return Err(setup(mount, &Errno::NOTDIR.into()));
            }
            let changes = match &mount.access {
                Access::Overlaid { changes } => Some(clone(changes, Extent::Mount)?),
                Access::ReadOnly | Access::ReadWrite | Access::Layered => None,
            };
            Ok(Source { tree, changes })
        }
    }
}

/// Replaces the sources of layered mounts by views of them; covers `staging` if there are any.
pub(super) fn lay(mounts: &[Mount], sources: Vec<Source>, staging: &Path) -> Result<Vec<OwnedFd>, Report> {
    let unsupported = |error: io::Error| Report::unsupported(Guarantee::LayeredMounts, &error);
    let is_plain = |mount: &Mount| matches!(mount.access, Access::ReadOnly | Access::ReadWrite);
    if mounts.iter().all(is_plain) {
        return Ok(sources.into_iter().map(|source| source.tree).collect());
    }
    let memory = Memory::enter(staging).map_err(unsupported)?;
    let lay = |(index, (mount, source)): (usize, (&Mount, Source))| {
        if is_plain(mount) {
            return Ok(source.tree);
        }
        memory.view(index, &source.tree, source.changes.as_ref()).map_err(unsupported)
    };
    mounts.iter().zip(sources).enumerate().map(lay).collect()
}

/// A directory of the host that may be covered meanwhile.
fn staging_directory(top: &[(OsString, TopEntry)]) -> io::Result<PathBuf> {
    let is_directory = |entry: &TopEntry| matches!(entry, TopEntry::Directory(_));
    let (name, _) = top.iter().find(|(_, entry)| is_directory(entry)).ok_or(io::ErrorKind::NotFound)?;
    Ok(Path::new("/").join(name))
}

/// Mounts an empty file system over `staging`, and makes it the working directory.
fn stage(staging: &Path) -> io::Result<OwnedFd> {
    let root = in_memory(&[("mode", "0755"), ("size", "1m")])?;
    attach(&root, staging)?;
    rustix::process::chdir(staging)?;
    Ok(root)
}

/// Mounts what is not yet attached, or moves what is.
pub(super) fn attach(mount: &OwnedFd, at: &Path) -> io::Result<()> {
    Ok(rustix::mount::move_mount(mount, "", CWD, at, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)?)
}

fn top_device() -> io::Result<u64> {
    Ok(fs_err::symlink_metadata(".")?.dev())
}

/// Puts the host's top entries below the working directory.
fn populate(top: Vec<(OsString, TopEntry)>) -> io::Result<()> {
    for (name, entry) in top {
        let at = Path::new(&name);
        match entry {
            TopEntry::Link(target) => fs_err::os::unix::fs::symlink(target, at)?,
            TopEntry::Directory(tree) => {
                fs_err::create_dir(at)?;
                attach(&tree, at)?;
            }
            TopEntry::File(tree) => {
                fs_err::File::create_new(at)?;
                attach(&tree, at)?;
            }
        }
    }
    Ok(())
}

/// Puts one of the session's mounts below the working directory.
fn place(mount: &Mount, source: &OwnedFd, device: u64) -> io::Result<()> {
    let mut names = Vec::new();
    for component in mount.guest.as_path().components() {
        match component {
            Component::RootDir | Component::CurDir => {}
            Component::Normal(name) => names.push(name),
            Component::ParentDir | Component::Prefix(_) => return Err(io::ErrorKind::InvalidInput.into()),
        }
    }
    let (last, parents) = names.split_last().ok_or(io::ErrorKind::InvalidInput)?;
    let mut at = PathBuf::new();
    for &name in parents {
        make_point(&mut at, name, Kind::Directory, device)?;
    }
    make_point(&mut at, last, Kind::of(source)?, device)?;
    attach(source, &at)
}

/// What something is to whoever mounts it, or mounts over it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Directory,
    /// Anything else.
    File,
}

impl Kind {
    /// That of what `descriptor` stands for.
    pub(crate) fn of(descriptor: &OwnedFd) -> io::Result<Self> {
        let mode = rustix::fs::fstat(descriptor)?.st_mode;
        Ok(if FileType::from_raw_mode(mode).is_dir() { Self::Directory } else { Self::File })
    }
}

/// Enters `name` below `at`; makes it if it is missing *and* the place is ours: nothing is made on the host.
fn make_point(at: &mut PathBuf, name: &OsStr, kind: Kind, device: u64) -> io::Result<()> {
    let parent = if at.as_os_str().is_empty() { Path::new(".") } else { at.as_path() };
    let is_ours = fs_err::symlink_metadata(parent)?.dev() == device;
    at.push(name);
    match std::fs::symlink_metadata(&*at) {
        Ok(metadata) if metadata.is_dir() == (kind == Kind::Directory) && !metadata.is_symlink() => Ok(()),
        Ok(_) => Err(io::ErrorKind::NotADirectory.into()),
        Err(error) if error.kind() == io::ErrorKind::NotFound && is_ours => match kind {
            Kind::Directory => fs_err::create_dir(&*at),
            Kind::File => fs_err::File::create_new(&*at).map(drop),
        },
        Err(error) => Err(error),
    }
}

/// Makes the working directory the root, and lets go of the old one.
pub(super) fn pivot() -> io::Result<()> {
    // The old root is stacked on the new one, from where it is unmounted: no directory is needed to keep it in.
    rustix::process::pivot_root(".", ".")?;
    rustix::mount::unmount(".", UnmountFlags::DETACH)?;
    rustix::process::chdir("/")?;
    Ok(())
}
