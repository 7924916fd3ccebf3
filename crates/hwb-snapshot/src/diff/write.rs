//! Writing what was decided.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Write};

use hwb_archive::tar::{Device, Node, NodeKind};
use hwb_oci::layer::LayerTar;
use rustix::fs::FileType;

use super::compare::fault;
use super::plan::{Change, ChangeKind, Opaque, Plan, Present};
use super::{Diff, DiffError, Diffed};
use crate::ledger::Special;
use crate::path::LayerPath;
use crate::tree::{self, Tree, kind};

/// Writes the layer.
pub(super) fn write<W: Write>(
    request: &Diff,
    upper: &Tree,
    plan: Plan,
    out: W,
) -> Result<(W, Diffed), DiffError> {
    let newest = request.newest.map_or(i64::MAX, |time| i64::try_from(time.seconds()).unwrap_or(i64::MAX));
    let mut layer = LayerTar::new(out);
    let mut diffed = Diffed { entries: 0, bytes: 0, sockets: plan.sockets };
    // The first name of a file that has several.
    let mut first = BTreeMap::new();
    for Change { path, kind, .. } in plan.changes {
        diffed.entries += 1;
        let present = match kind {
            ChangeKind::Gone => {
                // The device that says so is one for all, and its time means nothing.
                layer.whiteout(path.as_bytes(), 0)?;
                continue;
            }
            ChangeKind::Present(present) => present,
        };
        let target = present.inode().and_then(|inode| match first.get(&inode) {
            Some(target) => Some(LayerPath::clone(target)),
            None => {
                first.insert(inode, path.clone());
                None
            }
        });
        let kind = match target {
            Some(target) => NodeKind::HardLink { target: target.as_bytes().to_vec() },
            None => node_kind(upper, &path, &present)?,
        };
        let node = Node {
            path: path.as_bytes().to_vec(),
            kind,
            mode: present.attributes.mode,
            uid: present.attributes.owner.uid,
            gid: present.attributes.owner.gid,
            mtime: present.attributes.mtime.seconds.min(newest),
            xattrs: present.attributes.xattrs,
        };
        if let NodeKind::File { size } = node.kind {
            let mut file = File::from(upper.read(&path).map_err(fault(upper, &path))?);
            layer.node(&node, &mut file)?;
            diffed.bytes += size;
        } else {
            layer.node(&node, &mut io::empty())?;
        }
        if present.opaque == Opaque::Yes {
            layer.opaque(&node)?;
            diffed.entries += 1;
        }
    }
    Ok((layer.finish()?, diffed))
}

fn node_kind(upper: &Tree, path: &LayerPath, present: &Present) -> Result<NodeKind, DiffError> {
    let stat = &present.stat;
    let number = || Device { major: rustix::fs::major(stat.st_rdev), minor: rustix::fs::minor(stat.st_rdev) };
    Ok(match (present.device, kind(stat)) {
        (Some(Special::Character(device)), _) => NodeKind::Character(device),
        (Some(Special::Block(device)), _) => NodeKind::Block(device),
        (None, FileType::Directory) => NodeKind::Directory,
        (None, FileType::Symlink) => {
            NodeKind::Symlink { target: tree::read_link(upper, path).map_err(fault(upper, path))? }
        }
        (None, FileType::CharacterDevice) => NodeKind::Character(number()),
        (None, FileType::BlockDevice) => NodeKind::Block(number()),
        (None, FileType::Fifo) => NodeKind::Fifo,
        (None, _) => NodeKind::File { size: u64::try_from(stat.st_size).unwrap_or_default() },
    })
}
