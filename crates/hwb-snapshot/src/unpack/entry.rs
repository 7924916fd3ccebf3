//! What an entry of a layer means.

use hwb_archive::tar::{Device, Entry, EntryKind, Sparse};
use hwb_oci::layer::{OPAQUE, WHITEOUT};

use super::UnpackError;
use crate::attributes::{Attributes, EPOCH, Owner, PERMISSIONS};
use crate::ledger::Special;
use crate::path::LayerPath;

/// What an entry asks for.
#[derive(Debug)]
pub(super) enum Meaning {
    /// Nothing: what aufs wrote for itself.
    Nothing,
    /// Nothing of the layers below shows in this directory.
    Opaque(LayerPath),
    /// What the layers below have at this path does not show.
    Whiteout(LayerPath),
    /// This path is a directory.
    Directory(LayerPath, Attributes),
    /// Something else stands at this path.
    Entry(LayerPath, Node, Attributes),
    /// What is at the second path stands at the first one, too.
    HardLink(LayerPath, LayerPath),
}

/// What stands at a path, and is no directory.
#[derive(Debug)]
pub(super) enum Node {
    File(Extent),
    Symlink(Vec<u8>),
    Device(Special),
    Fifo,
}

/// How long a file is, and where its contents go.
#[derive(Debug)]
pub(super) enum Extent {
    /// All of it is there.
    Plain(u64),
    /// It has holes.
    Sparse(Sparse),
}

/// What the names start with that aufs uses for itself; the mark of an opaque directory is one of them.
const AUFS: &[u8] = b".wh..wh.";

/// Says what an entry asks for.
pub(super) fn interpret(path: LayerPath, entry: Entry) -> Result<Meaning, UnpackError> {
    let Some((above, name)) = path.split() else {
        return match entry.kind {
            EntryKind::Directory => {
                let attributes = attributes(&path, &entry)?;
                Ok(Meaning::Directory(path, attributes))
            }
            other => Err(UnpackError::Root(other.describe())),
        };
    };
    if above.parts().any(|part| part.starts_with(AUFS)) || (name.starts_with(AUFS) && name != OPAQUE) {
        return Ok(Meaning::Nothing);
    }
    // A whiteout has nothing below it, and a directory of such a name could not be told from one later.
    if above.parts().any(|part| part.starts_with(WHITEOUT)) {
        return Err(UnpackError::Whiteout(path));
    }
    if name == OPAQUE {
        return Ok(Meaning::Opaque(above));
    }
    if let Some(hidden) = name.strip_prefix(WHITEOUT) {
        return match hidden {
            b"" | b"." | b".." => Err(UnpackError::Whiteout(path)),
            hidden => Ok(Meaning::Whiteout(above.child(hidden))),
        };
    }
    if entry.kind == EntryKind::HardLink {
        return Ok(Meaning::HardLink(path, LayerPath::parse(&entry.link)?));
    }
    let attributes = attributes(&path, &entry)?;
    let node = match entry.kind {
        EntryKind::File | EntryKind::HardLink => Node::File(Extent::Plain(entry.size)),
        EntryKind::Sparse(sparse) => Node::File(Extent::Sparse(sparse)),
        EntryKind::Directory => return Ok(Meaning::Directory(path, attributes)),
        EntryKind::Symlink => Node::Symlink(entry.link),
        EntryKind::Character(Device { major: 0, minor: 0 }) => return Err(UnpackError::ForgedWhiteout(path)),
        EntryKind::Character(device) => Node::Device(Special::Character(device)),
        EntryKind::Block(device) => Node::Device(Special::Block(device)),
        EntryKind::Fifo => Node::Fifo,
    };
    Ok(Meaning::Entry(path, node, attributes))
}

fn attributes(path: &LayerPath, entry: &Entry) -> Result<Attributes, UnpackError> {
    let missing = |field| UnpackError::Number { entry: path.clone(), field };
    let owner = entry.uid.zip(entry.gid).and_then(|(uid, gid)| Owner::new(uid, gid));
    Ok(Attributes {
        mode: entry.mode.ok_or_else(|| missing("mode"))? & PERMISSIONS,
        owner: owner.ok_or_else(|| missing("owner"))?,
        mtime: entry.mtime.unwrap_or(EPOCH),
        xattrs: entry.xattrs.iter().cloned().collect(),
    })
}
