//! A file of an image, read without a container.

use std::fs::File;
use std::io::Read as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::FileType;

use crate::attributes::Marks;
use crate::lowers::{LowerError, Lowers};
use crate::snapshots::{Chain, SnapshotError};
use crate::tree::kind;

/// Why a file of an image cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadFileError {
    /// An unpacked layer cannot be used.
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    /// The file, or something on the way there, cannot be read.
    #[error(transparent)]
    Lower(#[from] LowerError),
    /// It is longer than it may be.
    #[error("`{}` of the image has more than {limit} bytes", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// How many it may have.
        limit: u64,
    },
}

/// Reads the regular file at `path` as a process in a container would; `None` where it would find none.
///
/// What upper layers hide is not there. Links are followed as if the layers were all there is. `marks` are those of the
/// [form](crate::Form) in which the layers were unpacked.
///
/// # Errors
///
/// If something cannot be read, links go round in a circle, or the file has more than `limit` bytes.
pub fn read_file(
    layers: &Chain,
    marks: Marks,
    path: &Path,
    limit: u64,
) -> Result<Option<Vec<u8>>, ReadFileError> {
    let lowers = Lowers::open(&layers.layers, marks)?;
    let Some((place, found)) = lowers.follow(path.as_os_str().as_bytes())? else { return Ok(None) };
    // An empty file may stand for a device.
    let is_device = lowers.ledger(&found).get(&place).is_some_and(|record| record.device.is_some());
    if kind(&found.stat) != FileType::RegularFile || is_device {
        return Ok(None);
    }
    let tree = lowers.tree(&found);
    let file = tree.read(&place).map_err(|errno| LowerError::new(tree, &place, errno))?;
    let mut bytes = Vec::new();
    let read = File::from(file).take(limit.saturating_add(1)).read_to_end(&mut bytes);
    let length = read.map_err(|source| LowerError::new(tree, &place, source))?;
    if length as u64 > limit {
        return Err(ReadFileError::TooLarge { path: path.to_owned(), limit });
    }
    Ok(Some(bytes))
}
