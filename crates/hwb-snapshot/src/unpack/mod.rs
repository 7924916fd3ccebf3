//! A layer out of its tar archive, in the form in which overlayfs stacks it.
//!
//! - An entry `.wh.name` becomes the character device 0:0 at `name`, if the layers below show something there.
//! - `.wh..wh..opq` makes its directory opaque: nothing of the layers below shows in it.
//! - Both hide what is below only, never what the layer itself brings, wherever in the archive they stand.
//! - A directory on the way to an entry that has no entry itself is as the layers below have it.
//! - A hard link to a file of a layer below brings that file up.
//! - Of several entries of one name the last counts.
//! - A link of this layer on the way to an entry leads on inside the layer, as if the layer were all there is; a
//!   link of a layer below does not: the entry makes a directory that hides it. So it is with Docker.

use std::io::{self, Read};

use hwb_archive::tar::{Reader, TarError};
use serde::{Deserialize, Serialize};

use crate::attributes::{Marks, Owner, Owners};
use crate::lowers::LowerError;
use crate::path::{LayerPath, ParseLayerPathError};
use crate::snapshots::{Snapshot, SnapshotError};

mod contents;
mod entry;
mod flatten;
mod writer;

use self::entry::Meaning;
pub use self::flatten::flatten;
use self::writer::Writer;

/// What is to be unpacked where, and how.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unpack {
    /// The directory of the new snapshot, which is there and empty.
    pub snapshot: Snapshot,
    /// The layers below, the topmost first.
    pub lowers: Vec<Snapshot>,
    /// What becomes of owners.
    pub owners: Owners,
    /// How overlayfs is told what is hidden.
    pub marks: Marks,
    /// How much the layer may be.
    pub limits: Limits,
}

/// The most that is taken of one layer; beyond it the layer is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Entries.
    pub entries: u64,
    /// Bytes of contents, holes left out; those of files that links bring up from the layers below, too.
    pub bytes: u64,
    /// Bytes of a path.
    pub path: usize,
    /// Directories below each other.
    pub depth: usize,
}

impl Default for Limits {
    /// Room for every real layer; no path is longer than the kernel takes.
    fn default() -> Self {
        Self { entries: 10_000_000, bytes: 1 << 40, path: 4000, depth: 500 }
    }
}

/// What has been unpacked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unpacked {
    /// Entries that were read.
    pub entries: u64,
    /// Bytes of contents, holes left out; those of files that links brought up from the layers below, too.
    pub bytes: u64,
    /// Whether the layers below show.
    pub below: Below,
}

/// Whether anything of the layers below shows through a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Below {
    /// Wherever this layer has nothing of its own.
    Shows,
    /// Nowhere: the root is opaque. overlayfs does not obey that of a root, so the layers below must be left out.
    Hidden,
}

/// Why a layer cannot be unpacked. What was unpacked until then is of no use.
#[derive(Debug, thiserror::Error)]
pub enum UnpackError {
    /// The archive cannot be read.
    #[error("cannot read the layer")]
    Archive(#[from] TarError),
    /// An entry has a name that could lead elsewhere.
    #[error("an entry of the layer has a name that leads nowhere in it")]
    Name(#[from] ParseLayerPathError),
    /// An entry is deeper or its name longer than allowed.
    #[error("entry `{0}` of the layer is too deep, or its name too long")]
    TooDeep(LayerPath),
    /// There are too many entries.
    #[error("the layer has more than {0} entries")]
    TooMany(u64),
    /// There are too many bytes.
    #[error("the layer unpacks to more than {0} bytes")]
    TooLarge(u64),
    /// An entry for the root is no directory.
    #[error("the root of the layer is {0}")]
    Root(&'static str),
    /// An entry lacks a number, or has one that is none.
    #[error("entry `{entry}` of the layer has no usable {field}")]
    Number {
        /// The entry.
        entry: LayerPath,
        /// What is missing.
        field: &'static str,
    },
    /// A whiteout that hides nothing one could name.
    #[error("entry `{0}` of the layer hides no name")]
    Whiteout(LayerPath),
    /// A device that overlayfs would take for a whiteout.
    #[error("entry `{0}` of the layer is the device 0:0, which would hide what is below it")]
    ForgedWhiteout(LayerPath),
    /// An entry lies below something else.
    #[error("entry `{entry}` of the layer lies below `{above}`, which is no directory")]
    NoDirectory {
        /// The entry, or the directory that it is in.
        entry: LayerPath,
        /// What is in the way.
        above: LayerPath,
    },
    /// Links lead to links without an end.
    #[error("the way to entry `{0}` of the layer goes through too many links")]
    Links(LayerPath),
    /// A hard link to nothing.
    #[error("entry `{entry}` of the layer is a hard link to `{target}`, which is no file")]
    HardLink {
        /// The entry.
        entry: LayerPath,
        /// Its target.
        target: LayerPath,
    },
    /// A file cannot be given its owner.
    #[error("cannot give entry `{entry}` of the layer to user {}, group {}", owner.uid, owner.gid)]
    Owner {
        /// The entry.
        entry: LayerPath,
        /// Its owner.
        owner: Owner,
        /// Why.
        source: io::Error,
    },
    /// Something cannot be written.
    #[error("cannot write entry `{entry}` of the layer")]
    Write {
        /// The entry.
        entry: LayerPath,
        /// Why.
        source: io::Error,
    },
    /// A layer below cannot be read.
    #[error(transparent)]
    Lower(#[from] LowerError),
    /// The snapshot, or one below, is not as it must be.
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
}

/// Unpacks a layer, which is not compressed, and reads it to its end.
///
/// # Errors
///
/// If the layer is not well made or more than allowed, or something cannot be read or written; see [`UnpackError`].
pub fn unpack(layer: &mut dyn Read, request: &Unpack) -> Result<Unpacked, UnpackError> {
    let mut reader = Reader::new(layer);
    let mut writer = Writer::start(request)?;
    let limits = &request.limits;
    let mut entries = 0;
    while let Some(entry) = reader.next_entry()? {
        entries += 1;
        if entries > limits.entries {
            return Err(UnpackError::TooMany(limits.entries));
        }
        writer.take(entry.size)?;
        let path = LayerPath::parse(&entry.name)?;
        if path.as_bytes().len() > limits.path || path.parts().count() > limits.depth {
            return Err(UnpackError::TooDeep(path));
        }
        match entry::interpret(path, entry)? {
            Meaning::Nothing => {}
            Meaning::Opaque(directory) => writer.opaque(&directory)?,
            Meaning::Whiteout(path) => writer.whiteout(&path)?,
            Meaning::Directory(path, attributes) => writer.directory(&path, attributes)?,
            Meaning::Entry(path, node, attributes) => {
                let mut contents = |buffer: &mut [u8]| Ok(reader.contents(buffer)?);
                writer.entry(&path, &node, &attributes, &mut contents)?;
            }
            Meaning::HardLink(path, target) => writer.hard_link(&path, &target)?,
        }
    }
    reader.drain()?;
    let bytes = writer.bytes();
    let below = writer.finish()?;
    Ok(Unpacked { entries, bytes, below })
}
