//! What will be in the layer.

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::AsFd as _;

use rustix::fs::{FileType, Stat};
use rustix::io::Errno;

use super::compare::{Difference, View, compare, fault};
use super::{Diff, DiffError, Upper};
use crate::attributes::Attributes;
use crate::ledger::Special;
use crate::lowers::{Found, Lowers, Part};
use crate::path::LayerPath;
use crate::tree::{self, Tree, is_whiteout, kind};

/// What is written, in the order of a layer, and what is not.
#[derive(Debug, Default)]
pub(super) struct Plan {
    pub(super) changes: Vec<Change>,
    pub(super) sockets: u64,
}

/// Something that the upper directory has.
#[derive(Debug)]
pub(super) struct Change {
    pub(super) path: LayerPath,
    pub(super) kind: ChangeKind,
    difference: Difference,
    /// The change of the directory it is in; `None` at the top.
    above: Option<usize>,
}

/// What it says.
#[derive(Debug)]
pub(super) enum ChangeKind {
    /// What is below does not show.
    Gone,
    /// This is there.
    Present(Box<Present>),
}

/// Something that is there.
#[derive(Debug)]
pub(super) struct Present {
    pub(super) stat: Stat,
    pub(super) attributes: Attributes,
    /// A device that an empty file stands for.
    pub(super) device: Option<Special>,
    pub(super) opaque: Opaque,
}

/// Whether what is below a directory shows in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Opaque {
    No,
    Yes,
}

impl Present {
    /// What its other names have as well; `None` if it has none.
    pub(super) fn inode(&self) -> Option<(u64, u64)> {
        let several = self.stat.st_nlink > 1 && kind(&self.stat) != FileType::Directory;
        several.then_some((self.stat.st_dev, self.stat.st_ino))
    }
}

/// Reads the upper directory, and decides.
pub(super) fn plan(request: &Diff) -> Result<(Tree, Plan), DiffError> {
    let path = request.upper.path();
    let upper = Tree::open(path).map_err(|source| DiffError::Read { path: path.to_owned(), source })?;
    let lowers = Lowers::open(&request.lowers, request.marks)?;
    let view = View { request, upper, lowers };
    let mounts = request.mounts.iter().collect();
    let mut walk = Walk { view, mounts, plan: Plan::default(), pending: Vec::new() };
    walk.all()?;
    let mut plan = walk.plan;
    plan.settle();
    Ok((walk.view.upper, plan))
}

#[derive(Debug)]
struct Walk<'a> {
    view: View<'a>,
    mounts: BTreeSet<&'a LayerPath>,
    plan: Plan,
    /// The directories that are being read, the innermost last: they may be deeper than a stack is.
    pending: Vec<Level>,
}

/// A directory that is being read.
#[derive(Debug)]
struct Level {
    path: LayerPath,
    /// Its change; `None` of the root.
    change: Option<usize>,
    /// The layers that take part in it.
    part: Part,
    names: std::vec::IntoIter<Vec<u8>>,
}

impl Walk<'_> {
    fn all(&mut self) -> Result<(), DiffError> {
        let part = self.view.lowers.root();
        self.descend(LayerPath::ROOT, None, part)?;
        while let Some(level) = self.pending.last_mut() {
            let Some(name) = level.names.next() else {
                self.pending.pop();
                continue;
            };
            let (path, above) = (level.path.child(&name), level.change);
            let found = self.view.lowers.look(&level.part, &path)?;
            self.entry(path, above, found)?;
        }
        Ok(())
    }

    fn descend(&mut self, path: LayerPath, change: Option<usize>, part: Part) -> Result<(), DiffError> {
        let upper = &self.view.upper;
        let held = upper.directory(&path).map_err(fault(upper, &path))?;
        let mut names = tree::names(held.as_fd()).map_err(fault(upper, &path))?;
        if let Upper::Whole(_) = self.view.request.upper {
            let below = self.view.lowers.names(&part, &path)?;
            names = names.into_iter().chain(below).collect::<BTreeSet<_>>().into_iter().collect();
        }
        self.pending.push(Level { path, change, part, names: names.into_iter() });
        Ok(())
    }

    /// Takes in what is at `path`, in the directory of the change `above`; `found` is what the layers below have there.
    fn entry(
        &mut self,
        path: LayerPath,
        above: Option<usize>,
        (found, below): (Option<Found>, Part),
    ) -> Result<(), DiffError> {
        let held = match (self.view.upper.hold(&path), &self.view.request.upper) {
            (Err(Errno::NOENT), Upper::Whole(_)) => {
                if found.is_some() {
                    self.plan.push(path, ChangeKind::Gone, Difference::More, above);
                }
                return Ok(());
            }
            (held, _) => held.map_err(fault(&self.view.upper, &path))?,
        };
        let stat = rustix::fs::fstat(&held).map_err(fault(&self.view.upper, &path))?;
        if is_whiteout(&stat) {
            if found.is_some() {
                self.plan.push(path, ChangeKind::Gone, Difference::More, above);
            }
            return Ok(());
        }
        let kind = kind(&stat);
        if kind == FileType::Socket {
            self.plan.sockets += 1;
            return Ok(());
        }
        let is_mount = found.is_none() && self.mounts.contains(&path);
        if is_mount && kind == FileType::RegularFile && stat.st_size == 0 {
            self.plan.forget_time(above);
            return Ok(());
        }
        let (mut present, mut difference) = compare(&self.view, &path, (&held, stat), found.as_ref())?;
        let inside = if present.opaque == Opaque::Yes { Part::new() } else { below };
        if !found.is_some_and(|found| tree::kind(&found.stat) == FileType::Directory) {
            present.opaque = Opaque::No;
        }
        if is_mount && kind == FileType::Directory {
            // It stays only for what somebody put into it.
            difference = Difference::None;
            self.plan.forget_time(above);
        }
        let change = self.plan.push(path.clone(), ChangeKind::Present(Box::new(present)), difference, above);
        if kind == FileType::Directory { self.descend(path, Some(change), inside) } else { Ok(()) }
    }
}

impl Plan {
    /// Adds a change, and says where it is.
    fn push(
        &mut self,
        path: LayerPath,
        kind: ChangeKind,
        difference: Difference,
        above: Option<usize>,
    ) -> usize {
        self.changes.push(Change { path, kind, difference, above });
        self.changes.len() - 1
    }

    /// A directory is not changed by the time at which a mount point was made in it.
    fn forget_time(&mut self, directory: Option<usize>) {
        if let Some(change) = directory.and_then(|at| self.changes.get_mut(at))
            && change.difference == Difference::Time
        {
            change.difference = Difference::None;
        }
    }

    /// Keeps what differs, all names of a file of which one does, and the directories on the way to these.
    fn settle(&mut self) {
        let mut kept: Vec<bool> =
            self.changes.iter().map(|change| change.difference != Difference::None).collect();
        let mut names = BTreeMap::<_, Vec<usize>>::new();
        for (at, change) in self.changes.iter().enumerate() {
            if let ChangeKind::Present(present) = &change.kind
                && let Some(inode) = present.inode()
            {
                names.entry(inode).or_default().push(at);
            }
        }
        for group in names.into_values() {
            let any = group.iter().any(|&at| kept[at]);
            group.into_iter().for_each(|at| kept[at] = any);
        }
        for at in (0..kept.len()).rev() {
            if kept[at]
                && let Some(above) = self.changes[at].above
            {
                kept[above] = true;
            }
        }
        let mut kept = kept.into_iter();
        self.changes.retain(|_| kept.next().unwrap_or_default());
    }
}
