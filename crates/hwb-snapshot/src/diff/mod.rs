//! What a run changed, from what it wrote to, as a layer.
//!
//! - What is equal to what the layers below show is left out, though overlayfs copied it up: something was opened for
//!   writing, or changed and changed back. A directory stays if anything in it does, so that a reader that does not
//!   look below unpacks the same.
//! - The root is left out, as Docker does.
//! - A directory is opaque only where there is something below to hide.
//! - Of several names of one file the first is the file, and the others are links to it.
//! - Places that were made only to mount something there are left out, and what that did to the time of their
//!   directory.
//! - Sockets are left out: nobody listens at them any more. Files with holes become whole.
//!
//! The process of the run and everything it started must have ended.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use hwb_ident::Timestamp;
use hwb_oci::layer::LayerTarError;
use serde::{Deserialize, Serialize};

use crate::attributes::{Marks, Owners};
use crate::lowers::LowerError;
use crate::path::LayerPath;
use crate::snapshots::{Snapshot, SnapshotError};

mod compare;
mod plan;
mod write;

/// What is to be compared with what.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Diff {
    /// What was written to.
    pub upper: Upper,
    /// The layers below, the topmost first.
    pub lowers: Vec<Snapshot>,
    /// What became of owners.
    pub owners: Owners,
    /// How overlayfs marks what is hidden.
    pub marks: Marks,
    /// The attribute in which the run noted, as `user:group` in decimal, an owner that it could not give; it is no part
    /// of the layer.
    pub owner_attribute: Option<String>,
    /// Where something was made only to mount something there.
    pub mounts: Vec<LayerPath>,
    /// Nothing in the layer is newer than this.
    pub newest: Option<Timestamp>,
}

/// What a run writes to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Upper {
    /// The upper directory of an overlay: it has what was changed, and marks for what is gone.
    Changes(PathBuf),
    /// A copy of all that the layers below show ([`flatten`](crate::flatten)): what it lacks is gone.
    Whole(PathBuf),
}

impl Upper {
    /// Where it is.
    pub fn path(&self) -> &Path {
        match self {
            Self::Changes(path) | Self::Whole(path) => path,
        }
    }
}

/// What a layer has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Diffed {
    /// Entries that were written, whiteouts included.
    pub entries: u64,
    /// Bytes of contents.
    pub bytes: u64,
    /// Sockets that were left out.
    pub sockets: u64,
}

/// Why there is no layer.
#[derive(Debug, thiserror::Error)]
pub enum DiffError {
    /// Something that the run left cannot be read.
    #[error("cannot read `{}`", path.display())]
    Read {
        /// What could not be read.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// overlayfs was told to do what we never tell it to.
    #[error("`{path}` has the overlay mark `{mark}`, which is not understood")]
    Mark {
        /// What has the mark.
        path: LayerPath,
        /// The mark.
        mark: String,
    },
    /// What should say who something belongs to does not.
    #[error("`{path}` is noted to belong to `{owner}`, which is no owner")]
    Owner {
        /// What it is noted of.
        path: LayerPath,
        /// What is noted.
        owner: String,
    },
    /// A layer below cannot be read.
    #[error(transparent)]
    Lower(#[from] LowerError),
    /// A snapshot below cannot be used.
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    /// The layer cannot be written.
    #[error(transparent)]
    Layer(#[from] LayerTarError),
}

/// Writes what changed as the tar archive of a layer.
///
/// # Errors
///
/// If something cannot be read, understood or written; then what was written is of no use.
pub fn diff<W: Write>(request: &Diff, out: W) -> Result<(W, Diffed), DiffError> {
    let (upper, plan) = plan::plan(request)?;
    write::write(request, &upper, plan, out)
}
