//! The layers below one, as overlayfs would show them.

use std::collections::BTreeSet;
use std::io;
use std::os::fd::AsFd as _;
use std::path::PathBuf;

use rustix::fs::{FileType, Stat};
use rustix::io::Errno;

use crate::attributes::{Attributes, Marks, Owner, Owners, PERMISSIONS, modified};
use crate::ledger::Ledger;
use crate::path::{LayerPath, MOST_LINKS, steps};
use crate::snapshots::{Snapshot, SnapshotError};
use crate::tree::{self, Tree, is_whiteout, kind};

/// Unpacked layers, the topmost first.
#[derive(Debug)]
pub(crate) struct Lowers {
    layers: Vec<Lower>,
    marks: Marks,
}

#[derive(Debug)]
struct Lower {
    tree: Tree,
    ledger: Ledger,
}

/// Which of the layers take part in a directory: the topmost first, none where the directory is in none of them.
pub(crate) type Part = Vec<usize>;

/// What the layers show at a path.
#[derive(Debug)]
pub(crate) struct Found {
    /// The layer that it is of.
    layer: usize,
    pub(crate) stat: Stat,
}

impl Found {
    /// What its other names have as well.
    pub(crate) const fn inode(&self) -> (usize, u64) {
        (self.layer, self.stat.st_ino)
    }
}

impl Lowers {
    pub(crate) fn open(snapshots: &[Snapshot], marks: Marks) -> Result<Self, SnapshotError> {
        let layers = snapshots.iter().map(|snapshot| {
            let tree = snapshot.tree();
            let tree = Tree::open(&tree).map_err(|source| SnapshotError::Open { path: tree, source })?;
            Ok(Lower { tree, ledger: snapshot.read_ledger()? })
        });
        Ok(Self { layers: layers.collect::<Result<_, SnapshotError>>()?, marks })
    }

    /// The layers that take part in the root: all of them.
    pub(crate) fn root(&self) -> Part {
        (0..self.layers.len()).collect()
    }

    /// What is at `path`, in a directory that has these parts, and which layers take part in it if it is a directory.
    pub(crate) fn look(&self, above: &Part, path: &LayerPath) -> Result<(Option<Found>, Part), LowerError> {
        let (mut found, mut part) = (None, Part::new());
        for &layer in above {
            let tree = &self.layers[layer].tree;
            let fault = |errno: Errno| LowerError::new(tree, path, errno);
            let held = match tree.hold(path) {
                Ok(held) => held,
                Err(Errno::NOENT) => continue,
                Err(errno) => return Err(fault(errno)),
            };
            let stat = rustix::fs::fstat(&held).map_err(fault)?;
            let is_directory = kind(&stat) == FileType::Directory;
            if is_whiteout(&stat) || (!is_directory && !part.is_empty()) {
                break;
            }
            if found.is_none() {
                found = Some(Found { layer, stat });
            }
            if !is_directory {
                break;
            }
            part.push(layer);
            if tree::xattr(&held, self.marks.opaque().to_bytes()).map_err(fault)?.as_deref() == Some(b"y") {
                break;
            }
        }
        Ok((found, part))
    }

    /// The names that layers have in the directory `path`, in which these take part; some may be of what is hidden.
    pub(crate) fn names(&self, part: &Part, path: &LayerPath) -> Result<BTreeSet<Vec<u8>>, LowerError> {
        let mut names = BTreeSet::new();
        for &layer in part {
            let tree = &self.layers[layer].tree;
            let listed = tree.directory(path).map_err(io::Error::from);
            let listed = listed.and_then(|held| tree::names(held.as_fd()));
            names.extend(listed.map_err(|source| LowerError::new(tree, path, source))?);
        }
        Ok(names)
    }

    /// What is at `path`; `None` if nothing is to be seen there.
    pub(crate) fn find(&self, path: &LayerPath) -> Result<Option<Found>, LowerError> {
        let (mut found, mut part) = (None, self.root());
        for step in path.way() {
            (found, part) = self.look(&part, &step)?;
        }
        Ok(found)
    }

    /// What is no directory and would be opened at `path` by a process of which the layers are the root, and where it
    /// is: links are followed, and lead nowhere else.
    pub(crate) fn follow(&self, path: &[u8]) -> Result<Option<(LayerPath, Found)>, LowerError> {
        let mut rest: Vec<Vec<u8>> = steps(path).rev().map(<[u8]>::to_vec).collect();
        // The directories on the way, the innermost last, each with the layers that take part in it.
        let mut way = vec![(LayerPath::ROOT, self.root())];
        let mut links = 0;
        while let Some(step) = rest.pop() {
            if step == b".." {
                // Above the root is the root.
                if way.len() > 1 {
                    way.pop();
                }
                continue;
            }
            let Some((above, part)) = way.last() else { break };
            let path = above.child(&step);
            let (found, inside) = self.look(part, &path)?;
            let Some(found) = found else { return Ok(None) };
            match kind(&found.stat) {
                FileType::Directory => way.push((path, inside)),
                FileType::Symlink if links == MOST_LINKS => {
                    return Err(LowerError::new(self.tree(&found), &path, Errno::LOOP));
                }
                FileType::Symlink => {
                    links += 1;
                    let tree = self.tree(&found);
                    let target = tree::read_link(tree, &path);
                    let target = target.map_err(|errno| LowerError::new(tree, &path, errno))?;
                    if target.starts_with(b"/") {
                        way.truncate(1);
                    }
                    rest.extend(steps(&target).rev().map(<[u8]>::to_vec));
                }
                _ => return Ok(rest.is_empty().then_some((path, found))),
            }
        }
        Ok(None)
    }

    /// The tree of the layer that this was found in.
    pub(crate) fn tree(&self, found: &Found) -> &Tree {
        &self.layers[found.layer].tree
    }

    /// The ledger of the layer that this was found in.
    pub(crate) fn ledger(&self, found: &Found) -> &Ledger {
        &self.layers[found.layer].ledger
    }

    /// The attributes of what was found at `path`.
    pub(crate) fn attributes(
        &self,
        path: &LayerPath,
        found: &Found,
        owners: Owners,
    ) -> Result<Attributes, LowerError> {
        let Lower { tree, ledger } = &self.layers[found.layer];
        let fault = |errno: Errno| LowerError::new(tree, path, errno);
        let held = tree.hold(path).map_err(fault)?;
        let record = ledger.get(path);
        let stored = tree::xattrs(&held).map_err(fault)?.into_iter();
        let shown = stored.filter_map(|(name, value)| Some((self.marks.unescape(&name)?, value)));
        let recorded = record.into_iter().flat_map(|record| record.xattrs.clone());
        let xattrs = shown.chain(recorded).collect();
        let owner = match owners {
            Owners::Kept => Owner { uid: found.stat.st_uid, gid: found.stat.st_gid },
            Owners::Recorded => record.and_then(|record| record.owner).unwrap_or_default(),
        };
        Ok(Attributes { mode: found.stat.st_mode & PERMISSIONS, owner, mtime: modified(&found.stat), xattrs })
    }
}

/// A layer below cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("cannot read `{}` of a layer below", path.display())]
pub struct LowerError {
    /// What could not be read.
    path: PathBuf,
    /// Why.
    source: io::Error,
}

impl LowerError {
    pub(crate) fn new(tree: &Tree, path: &LayerPath, source: impl Into<io::Error>) -> Self {
        Self { path: tree.place(path), source: source.into() }
    }
}
