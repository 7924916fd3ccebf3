//! The tree of a layer while it is being made.

use std::collections::BTreeMap;
use std::ffi::CStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt as _;

use rustix::fs::{AtFlags, Dev, FileType, Mode, OFlags};
use rustix::io::Errno;

use super::contents::{self, Contents, Stored};
use super::entry::{Extent, Node};
use super::{Below, Unpack, UnpackError};
use crate::attributes::{Attributes, EPOCH, Owner, Owners};
use crate::ledger::{Ledger, Special};
use crate::lowers::Lowers;
use crate::path::{LayerPath, MOST_LINKS, name_to_c, steps};
use crate::snapshots::SnapshotError;
use crate::tree::{self, Tree, is_whiteout, kind};

/// A layer being written.
#[derive(Debug)]
pub(super) struct Writer<'a> {
    request: &'a Unpack,
    tree: Tree,
    pub(super) lowers: Lowers,
    /// The directory of the entry before, which is most often that of the next one.
    nearest: Option<Nearest>,
    /// Directories and what they will be like: until the end they are open to the writer, and their times change.
    directories: BTreeMap<LayerPath, Attributes>,
    hidden: BTreeMap<LayerPath, Hidden>,
    ledger: Ledger,
    /// Contents so far.
    bytes: u64,
    buffer: Vec<u8>,
}

/// What of the layers below does not show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Hidden {
    /// What they have at this path: a whiteout stands there.
    Itself,
    /// What they have in this directory.
    Contents,
}

/// A held directory.
#[derive(Debug)]
struct Nearest {
    /// How the layer calls it.
    said: LayerPath,
    /// Where it is, links of the layer resolved.
    path: LayerPath,
    held: OwnedFd,
}

impl<'a> Writer<'a> {
    pub(super) fn start(request: &'a Unpack) -> Result<Self, UnpackError> {
        let path = request.snapshot.tree();
        let made = std::fs::DirBuilder::new().mode(0o700).create(&path).and_then(|()| Tree::open(&path));
        let tree = made.map_err(|source| SnapshotError::Open { path, source })?;
        Ok(Self {
            request,
            tree,
            lowers: Lowers::open(&request.lowers, request.marks)?,
            nearest: None,
            directories: BTreeMap::new(),
            hidden: BTreeMap::new(),
            ledger: Ledger::default(),
            bytes: 0,
            buffer: vec![0; 128 << 10],
        })
    }

    /// Takes in so many bytes of contents, if the layer may have them.
    pub(super) fn take(&mut self, bytes: u64) -> Result<(), UnpackError> {
        self.bytes = self.bytes.saturating_add(bytes);
        let most = self.request.limits.bytes;
        if self.bytes > most { Err(UnpackError::TooLarge(most)) } else { Ok(()) }
    }

    /// How many bytes of contents it has.
    pub(super) const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Makes `path` a directory; one that is there is kept, with what is in it.
    pub(super) fn directory(&mut self, path: &LayerPath, attributes: Attributes) -> Result<(), UnpackError> {
        let path = match path.split() {
            None => LayerPath::ROOT,
            Some((above, name)) => {
                let above = self.enter(&above)?;
                let path = above.child(name);
                self.make_directory(&path)?;
                path
            }
        };
        self.directories.insert(path, attributes);
        Ok(())
    }

    /// Makes `path` something else than a directory.
    pub(super) fn entry(
        &mut self,
        path: &LayerPath,
        node: &Node,
        attributes: &Attributes,
        contents: &mut Contents<'_>,
    ) -> Result<(), UnpackError> {
        let Some((above, name)) = path.split() else { return Ok(()) };
        let path = self.enter(&above)?.child(name);
        let name = name_to_c(name);
        let made = self.replacing(&path, |at| match node {
            Node::File(_) => {
                let flags =
                    OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                rustix::fs::openat(at, &*name, flags, Mode::RUSR | Mode::WUSR).map(Some)
            }
            Node::Symlink(target) => rustix::fs::symlinkat(&*name_to_c(target), at, &*name).map(|()| None),
            Node::Device(Special::Character(device)) => {
                let device = rustix::fs::makedev(device.major, device.minor);
                make_node(at, &name, FileType::CharacterDevice, device)
            }
            Node::Device(Special::Block(device)) => {
                let device = rustix::fs::makedev(device.major, device.minor);
                make_node(at, &name, FileType::BlockDevice, device)
            }
            Node::Fifo => make_node(at, &name, FileType::Fifo, 0),
        });
        match (made, node) {
            (Ok(Some(file)), Node::File(extent)) => {
                let file = File::from(file);
                contents::write(&path, &file, extent, contents, &mut self.buffer)?;
                self.finish_file(&path, &file, attributes)
            }
            (Ok(_), _) => self.finish_node(&path, attributes),
            // Only real root makes devices: it stands in the ledger, and an empty file in its place.
            (Err(UnpackError::Write { source, .. }), Node::Device(special))
                if source.raw_os_error() == Some(Errno::PERM.raw_os_error()) =>
            {
                let nothing = Node::File(Extent::Plain(0));
                self.entry(&path, &nothing, attributes, contents)?;
                self.ledger.entry(path).device = Some(*special);
                Ok(())
            }
            (Err(error), _) => Err(error),
        }
    }

    /// Makes `path` another name of what is at `target`.
    pub(super) fn hard_link(&mut self, path: &LayerPath, target: &LayerPath) -> Result<(), UnpackError> {
        let target = self.resolve(target)?;
        let is_file = match self.stat(&target)? {
            Some(stat) => !is_whiteout(&stat) && kind(&stat) != FileType::Directory,
            None => self.bring_up(&target)?,
        };
        let ends = path.split().zip(target.split()).filter(|_| is_file);
        let Some(((above, name), (target_above, target_name))) = ends else {
            return Err(UnpackError::HardLink { entry: path.clone(), target });
        };
        let path = self.enter(&above)?.child(name);
        // Some writers store a file's later appearance as a link to itself.
        if path == target {
            return Ok(());
        }
        let from = self.tree.directory(&target_above).map_err(fault(&target))?;
        let (target_name, name) = (name_to_c(target_name), name_to_c(name));
        self.replacing(&path, |at| rustix::fs::linkat(&from, &*target_name, at, &*name, AtFlags::empty()))?;
        if let Some(record) = self.ledger.get(&target).cloned() {
            self.ledger.set(path, record);
        }
        Ok(())
    }

    /// Hides what the layers below have at `path`; what this layer has there stays.
    pub(super) fn whiteout(&mut self, path: &LayerPath) -> Result<(), UnpackError> {
        let path = self.resolve(path)?;
        let Some((above, name)) = path.split() else { return Ok(()) };
        match self.stat(&path)? {
            Some(stat) if kind(&stat) == FileType::Directory => {
                self.hidden.insert(path, Hidden::Contents);
            }
            Some(_) => {}
            // In a directory that only one layer has, overlayfs would list a whiteout.
            None if self.lowers.find(&path)?.is_none() => {}
            None => {
                self.enter(&above)?;
                let name = name_to_c(name);
                let made =
                    rustix::fs::mknodat(self.at(), &*name, FileType::CharacterDevice, Mode::empty(), 0);
                made.map_err(fault(&path))?;
                self.hidden.insert(path, Hidden::Itself);
            }
        }
        Ok(())
    }

    /// Hides what the layers below have in the directory `path`.
    pub(super) fn opaque(&mut self, path: &LayerPath) -> Result<(), UnpackError> {
        let path = self.enter(path)?;
        self.hidden.insert(path, Hidden::Contents);
        Ok(())
    }

    /// Gives directories what they are to be like, and writes the ledger.
    pub(super) fn finish(mut self) -> Result<Below, UnpackError> {
        self.nearest = None;
        if !self.directories.contains_key(&LayerPath::ROOT) {
            let attributes = self.as_below(&LayerPath::ROOT)?;
            self.directories.insert(LayerPath::ROOT, attributes);
        }
        self.drop_idle_whiteouts()?;
        let opaque =
            self.hidden.iter().filter(|(path, hidden)| **hidden == Hidden::Contents && !path.is_root());
        for (path, _) in opaque {
            let held = self.tree.directory(path).map_err(fault(path))?;
            tree::set_xattr(&held, self.request.marks.opaque().to_bytes(), b"y").map_err(fault(path))?;
        }
        // Those inside come before those around them, which may be closed to the writer after this.
        for (path, attributes) in std::mem::take(&mut self.directories).iter().rev() {
            let held = self.tree.directory(path).map_err(fault(path))?;
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let opened = rustix::fs::openat(&held, c".", flags, Mode::empty()).map_err(fault(path))?;
            self.finish_file(path, &File::from(opened), attributes)?;
        }
        if !self.ledger.is_empty() {
            let text = self.ledger.to_string();
            hwb_store::fs::write_atomic(&self.request.snapshot.ledger(), text.as_bytes())
                .map_err(SnapshotError::from)?;
        }
        Ok(if self.hidden.contains_key(&LayerPath::ROOT) { Below::Hidden } else { Below::Shows })
    }

    /// Removes whiteouts below opaque directories, where there is nothing for them to hide.
    fn drop_idle_whiteouts(&mut self) -> Result<(), UnpackError> {
        let is_opaque = |path: &LayerPath| self.hidden.get(path) == Some(&Hidden::Contents);
        for path in self.hidden.iter().filter(|(_, hidden)| **hidden == Hidden::Itself).map(|(path, _)| path)
        {
            if let Some((above, name)) = path.split()
                && above.way().any(|directory| is_opaque(&directory))
            {
                let held = self.tree.directory(&above).map_err(fault(path))?;
                tree::remove(held.as_fd(), name).map_err(fault(path))?;
            }
        }
        Ok(())
    }

    /// Holds the directory that the layer calls `said`, made as needed, and says where it is.
    fn enter(&mut self, said: &LayerPath) -> Result<LayerPath, UnpackError> {
        if let Some(nearest) = &self.nearest
            && nearest.said == *said
        {
            return Ok(nearest.path.clone());
        }
        let (path, held) = match self.tree.directory(said) {
            Ok(held) => (said.clone(), held),
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => {
                let path = self.resolve_directory(said)?;
                for step in path.way().skip(1) {
                    self.make_way(said, &step)?;
                }
                let held = self.tree.directory(&path).map_err(fault(&path))?;
                (path, held)
            }
            Err(errno) => return Err(fault(said)(errno)),
        };
        self.nearest = Some(Nearest { said: said.clone(), path: path.clone(), held });
        Ok(path)
    }

    /// Makes `step`, a directory on the way to `said`, if it is not there.
    fn make_way(&mut self, said: &LayerPath, step: &LayerPath) -> Result<(), UnpackError> {
        match self.stat(step)? {
            Some(stat) if kind(&stat) == FileType::Directory => return Ok(()),
            Some(stat) if !is_whiteout(&stat) => {
                return Err(UnpackError::NoDirectory { entry: said.clone(), above: step.clone() });
            }
            _ => {}
        }
        let Some((above, _)) = step.split() else { return Ok(()) };
        let attributes = self.as_below(step)?;
        let held = self.tree.directory(&above).map_err(fault(&above))?;
        self.nearest = Some(Nearest { said: above.clone(), path: above, held });
        self.make_directory(step)?;
        self.directories.insert(step.clone(), attributes);
        Ok(())
    }

    /// Makes the directory `path`, in the nearest one.
    fn make_directory(&mut self, path: &LayerPath) -> Result<(), UnpackError> {
        let name = name_to_c(path.split().map_or(&b""[..], |(_, name)| name));
        let make = |at: BorrowedFd<'_>| rustix::fs::mkdirat(at, &*name, Mode::RWXU);
        match make(self.at()) {
            Err(Errno::EXIST) => {}
            made => return made.map_err(fault(path)),
        }
        if self.stat(path)?.is_some_and(|stat| kind(&stat) == FileType::Directory) {
            return Ok(());
        }
        // The whiteout was for what is below, and goes on to be.
        let was_hidden = self.hidden.contains_key(path);
        self.replacing(path, make)?;
        if was_hidden {
            self.hidden.insert(path.clone(), Hidden::Contents);
        }
        Ok(())
    }

    /// What a directory is like that has no entry: as the layers below have it.
    fn as_below(&self, path: &LayerPath) -> Result<Attributes, UnpackError> {
        match self.lowers.find(path)? {
            Some(found) if kind(&found.stat) == FileType::Directory => {
                Ok(self.lowers.attributes(path, &found, self.request.owners)?)
            }
            _ => Ok(Attributes::directory(EPOCH)),
        }
    }

    /// Brings a file of the layers below into this one; `false` if there is none at `path`.
    pub(super) fn bring_up(&mut self, path: &LayerPath) -> Result<bool, UnpackError> {
        let Some(found) = self.lowers.find(path)? else { return Ok(false) };
        let attributes = self.lowers.attributes(path, &found, self.request.owners)?;
        let device = self.lowers.ledger(&found).get(path).and_then(|record| record.device);
        let (from, stat) = (self.lowers.tree(&found), &found.stat);
        let number = hwb_archive::tar::Device {
            major: rustix::fs::major(stat.st_rdev),
            minor: rustix::fs::minor(stat.st_rdev),
        };
        let mut source = None;
        let mut size = 0;
        let node = match (kind(stat), device) {
            (_, Some(special)) => Node::Device(special),
            (FileType::RegularFile, None) => {
                let file = File::from(from.read(path).map_err(fault(path))?);
                let sparse = contents::find_holes(&file).map_err(fault(path))?;
                size = sparse.pieces.iter().map(|piece| piece.length).sum();
                source = Some(Stored::new(file, &sparse));
                Node::File(Extent::Sparse(sparse))
            }
            (FileType::Symlink, None) => Node::Symlink(tree::read_link(from, path).map_err(fault(path))?),
            (FileType::CharacterDevice, None) => Node::Device(Special::Character(number)),
            (FileType::BlockDevice, None) => Node::Device(Special::Block(number)),
            (FileType::Fifo, None) => Node::Fifo,
            _ => return Ok(false),
        };
        self.take(size)?;
        let mut contents = |buffer: &mut [u8]| match &mut source {
            Some(stored) => stored.read(buffer).map_err(fault(path)),
            None => Ok(0),
        };
        self.entry(path, &node, &attributes, &mut contents)?;
        Ok(true)
    }

    /// Where the layer's `path` is: links of the layer on the way resolved, the last part taken as it is.
    fn resolve(&self, path: &LayerPath) -> Result<LayerPath, UnpackError> {
        match path.split() {
            Some((above, name)) => Ok(self.resolve_directory(&above)?.child(name)),
            None => Ok(LayerPath::ROOT),
        }
    }

    /// Where the directory is that the layer calls `path`, links of the layer resolved. Nothing leads out: a link to
    /// `/` leads to the root of the layer, and so does one `..` too many.
    fn resolve_directory(&self, path: &LayerPath) -> Result<LayerPath, UnpackError> {
        let mut rest: Vec<Vec<u8>> = path.parts().rev().map(<[u8]>::to_vec).collect();
        let (mut at, mut links) = (LayerPath::ROOT, 0);
        while let Some(part) = rest.pop() {
            if part == b".." {
                at = at.split().map_or(LayerPath::ROOT, |(above, _)| above);
                continue;
            }
            let next = at.child(&part);
            let Some(target) = self.read_link(&next)? else {
                at = next;
                continue;
            };
            links += 1;
            if links > MOST_LINKS {
                return Err(UnpackError::Links(path.clone()));
            }
            if target.starts_with(b"/") {
                at = LayerPath::ROOT;
            }
            rest.extend(steps(&target).rev().map(<[u8]>::to_vec));
        }
        Ok(at)
    }

    /// What the link at `path` of this layer holds; `None` if it is none.
    fn read_link(&self, path: &LayerPath) -> Result<Option<Vec<u8>>, UnpackError> {
        match self.stat(path)? {
            Some(stat) if kind(&stat) == FileType::Symlink => {
                tree::read_link(&self.tree, path).map(Some).map_err(fault(path))
            }
            _ => Ok(None),
        }
    }

    fn stat(&self, path: &LayerPath) -> Result<Option<rustix::fs::Stat>, UnpackError> {
        self.tree.stat(path).map_err(fault(path))
    }

    fn at(&self) -> BorrowedFd<'_> {
        self.nearest.as_ref().expect("a directory is entered before something is made in it").held.as_fd()
    }

    /// Makes something at `path`, in the nearest directory; what has its name goes first.
    fn replacing<T>(
        &mut self,
        path: &LayerPath,
        make: impl Fn(BorrowedFd<'_>) -> Result<T, Errno>,
    ) -> Result<T, UnpackError> {
        match make(self.at()) {
            Err(Errno::EXIST) => {}
            made => return made.map_err(fault(path)),
        }
        let name = path.split().map_or(&b""[..], |(_, name)| name).to_vec();
        tree::remove(self.at(), &name).map_err(fault(path))?;
        path.forget_in(&mut self.directories);
        path.forget_in(&mut self.hidden);
        self.ledger.forget(path);
        make(self.at()).map_err(fault(path))
    }
    /// Gives a file or directory that is open what the layer says of it. The order matters: a new owner takes setuid
    /// bits and capabilities away, and everything changes the time.
    fn finish_file(
        &mut self,
        path: &LayerPath,
        file: &File,
        attributes: &Attributes,
    ) -> Result<(), UnpackError> {
        if self.request.owners == Owners::Kept {
            let (user, group) = attributes.owner.ids();
            rustix::fs::fchown(file, user, group).map_err(owner_fault(path, attributes))?;
        }
        let mode = Mode::from_raw_mode(attributes.mode);
        rustix::fs::fchmod(file, mode).map_err(fault(path))?;
        self.record(path, file.as_fd(), attributes)?;
        rustix::fs::futimens(file, &attributes.times()).map_err(fault(path))
    }

    /// Gives what is at `path`, in the nearest directory, and is neither file nor directory, what the layer says of
    /// it.
    fn finish_node(&mut self, path: &LayerPath, attributes: &Attributes) -> Result<(), UnpackError> {
        let held = self.tree.hold(path).map_err(fault(path))?;
        let name = name_to_c(path.split().map_or(&b""[..], |(_, name)| name));
        if self.request.owners == Owners::Kept {
            let (user, group) = attributes.owner.ids();
            rustix::fs::chownat(self.at(), &*name, user, group, AtFlags::SYMLINK_NOFOLLOW)
                .map_err(owner_fault(path, attributes))?;
        }
        let stat = rustix::fs::fstat(&held).map_err(fault(path))?;
        if kind(&stat) != FileType::Symlink {
            let mode = Mode::from_raw_mode(attributes.mode);
            rustix::fs::chmodat(self.at(), &*name, mode, AtFlags::empty()).map_err(fault(path))?;
        }
        self.record(path, held.as_fd(), attributes)?;
        rustix::fs::utimensat(self.at(), &*name, &attributes.times(), AtFlags::SYMLINK_NOFOLLOW)
            .map_err(fault(path))
    }

    /// Sets extended attributes, and writes down what cannot be set.
    fn record(
        &mut self,
        path: &LayerPath,
        held: BorrowedFd<'_>,
        attributes: &Attributes,
    ) -> Result<(), UnpackError> {
        if self.request.owners == Owners::Recorded && attributes.owner != Owner::ROOT {
            self.ledger.entry(path.clone()).owner = Some(attributes.owner);
        }
        for (name, value) in &attributes.xattrs {
            match tree::set_xattr(&held, &self.request.marks.escape(name), value) {
                Ok(()) => {}
                // Not ours to set, or not in this file system.
                Err(Errno::PERM | Errno::NOTSUP) => {
                    self.ledger.entry(path.clone()).xattrs.insert(name.clone(), value.clone());
                }
                Err(errno) => return Err(fault(path)(errno)),
            }
        }
        Ok(())
    }
}

fn make_node(at: BorrowedFd<'_>, name: &CStr, kind: FileType, device: Dev) -> Result<Option<OwnedFd>, Errno> {
    rustix::fs::mknodat(at, name, kind, Mode::RUSR | Mode::WUSR, device).map(|()| None)
}

fn fault<E: Into<io::Error>>(path: &LayerPath) -> impl FnOnce(E) -> UnpackError + use<'_, E> {
    move |source| UnpackError::Write { entry: path.clone(), source: source.into() }
}

fn owner_fault(path: &LayerPath, attributes: &Attributes) -> impl FnOnce(Errno) -> UnpackError {
    let (entry, owner) = (path.clone(), attributes.owner);
    move |source| UnpackError::Owner { entry, owner, source: source.into() }
}
