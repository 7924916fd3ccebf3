//! Chains of layers, unpacked once under their chain id and shared by all who use them.
//!
//! ```text
//! snapshots/<key>/fs             the tree of a layer, as overlayfs takes it
//! snapshots/<key>/ledger         what the tree cannot be made to say, if there is such
//! snapshots/<key>/snapshot.json  which layer on which others this is, and in which form
//! ```
//!
//! The key follows from the chain id and the form: who owns the files, and how overlayfs' marks are called. The
//! directory itself belongs to the user, whoever its contents belong to, so that it can be moved away.

use std::error::Error;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use hwb_ident::Digest;
use hwb_oci::layer::{LayerError, LayerReader};
use hwb_store::{FsError, Store, StoreError, fs};
use serde::{Deserialize, Serialize};

use crate::attributes::{Marks, Owners};
use crate::ledger::{Ledger, ParseLedgerError};
use crate::unpack::{Below, Limits, Unpack, Unpacked, unpack};

/// An unpacked layer: a directory with the tree (`fs`) and, where something is recorded, the ledger (`ledger`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Snapshot(PathBuf);

/// Why an unpacked layer cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// Its tree cannot be opened.
    #[error("cannot open the layer at `{}`", path.display())]
    Open {
        /// Its tree.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file of it cannot be read or written.
    #[error(transparent)]
    Fs(#[from] FsError),
    /// Its ledger is none.
    #[error("cannot understand the ledger `{}`", path.display())]
    Ledger {
        /// The ledger.
        path: PathBuf,
        /// What is wrong with it.
        source: ParseLedgerError,
    },
}

impl Snapshot {
    /// The unpacked layer in this directory.
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        Self(directory.into())
    }

    /// The directory of it all.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Its files, as overlayfs takes them.
    pub fn tree(&self) -> PathBuf {
        self.0.join("fs")
    }

    /// The chain that it is the top of; `None` if that is not known of it.
    pub fn chain_id(&self) -> Option<Digest> {
        let text = fs::read(&document_path(&self.0)).ok()?;
        serde_json::from_slice(&text).ok().map(|document: Document| document.chain_id)
    }

    /// Where its ledger is, if it has one.
    pub fn ledger(&self) -> PathBuf {
        self.0.join("ledger")
    }

    /// Reads its ledger; an empty one if there is none.
    ///
    /// # Errors
    ///
    /// If it cannot be read or understood.
    pub fn read_ledger(&self) -> Result<Ledger, SnapshotError> {
        let path = self.ledger();
        match fs::read(&path) {
            Ok(bytes) => {
                let parsed = String::from_utf8_lossy(&bytes).parse();
                parsed.map_err(|source| SnapshotError::Ledger { path, source })
            }
            Err(FsError::Open { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                Ok(Ledger::default())
            }
            Err(error) => Err(error.into()),
        }
    }
}

/// The area of the store.
const AREA: &str = "snapshots";

/// How layers are unpacked for one kind of sandbox.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Form {
    /// What becomes of owners.
    pub owners: Owners,
    /// How overlayfs is told what is hidden.
    pub marks: Marks,
    /// How the ids of the layers are mapped to those of the host; empty where they are the same. Under another
    /// mapping a layer is unpacked anew.
    pub ids: String,
}

impl Form {
    fn key(&self, chain_id: &Digest) -> Digest {
        let Self { owners, marks, ids } = self;
        Digest::of(format!("{owners:?} {marks:?} {ids}\n{chain_id}").as_bytes())
    }
}

/// Any error: what another process says of a failure is but a text.
pub type AnyError = Box<dyn Error + Send + Sync>;

/// Who works on the files of layers: this process, or one inside a user namespace.
pub trait Worker {
    /// Does what [`unpack`] does.
    ///
    /// # Errors
    ///
    /// What it gives.
    fn unpack(&self, layer: &mut dyn Read, request: &Unpack) -> Result<Unpacked, AnyError>;

    /// Removes what a killed process left of a snapshot. It is fine if nothing is there.
    ///
    /// # Errors
    ///
    /// If something cannot be removed.
    fn clear(&self, path: &Path) -> Result<(), AnyError>;
}

/// This process.
#[derive(Debug, Clone, Copy)]
pub struct Here;

impl Worker for Here {
    fn unpack(&self, layer: &mut dyn Read, request: &Unpack) -> Result<Unpacked, AnyError> {
        Ok(unpack(layer, request)?)
    }

    fn clear(&self, path: &Path) -> Result<(), AnyError> {
        Ok(fs::remove_tree(path)?)
    }
}

/// The unpacked layers of a store, in one form.
pub struct Snapshots<'a> {
    /// Where they are.
    pub store: &'a Store,
    /// How they are unpacked.
    pub form: Form,
    /// By whom.
    pub worker: &'a dyn Worker,
    /// How much each may be.
    pub limits: Limits,
}

impl std::fmt::Debug for Snapshots<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Snapshots").field("store", &self.store.root()).field("form", &self.form).finish()
    }
}

/// Why a chain of layers is not there.
#[derive(Debug, thiserror::Error)]
pub enum ChainError {
    /// The store does not work.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A layer cannot be had.
    #[error("cannot read layer {diff_id}")]
    Open {
        /// The layer.
        diff_id: Digest,
        /// Why.
        source: AnyError,
    },
    /// A layer is not what its name says.
    #[error("layer {diff_id} is not to be trusted")]
    Layer {
        /// The layer.
        diff_id: Digest,
        /// Why.
        source: LayerError,
    },
    /// A layer cannot be unpacked.
    #[error("cannot unpack layer {diff_id}")]
    Unpack {
        /// The layer.
        diff_id: Digest,
        /// Why.
        source: AnyError,
    },
    /// What a killed process left cannot be removed.
    #[error("cannot remove `{}`, which is half made", path.display())]
    Clear {
        /// Where it is.
        path: PathBuf,
        /// Why.
        source: AnyError,
    },
    /// What is known of an unpacked layer cannot be read or written.
    #[error("cannot understand `{}`", path.display())]
    Document {
        /// The document.
        path: PathBuf,
        /// Why.
        source: serde_json::Error,
    },
}

/// Finds a layer by its diff id.
pub type OpenLayer<'a> = dyn FnMut(&Digest) -> Result<LayerReader<Box<dyn Read>>, AnyError> + 'a;

/// The layers of an image, unpacked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chain {
    /// What overlayfs stacks, the topmost first. Layers without an entry are left out, and those of which an opaque
    /// root lets nothing show.
    pub layers: Vec<Snapshot>,
}

/// What is known of an unpacked layer.
#[derive(Debug, Serialize, Deserialize)]
struct Document {
    chain_id: Digest,
    diff_id: Digest,
    form: Form,
    unpacked: Unpacked,
}

impl Snapshots<'_> {
    /// Unpacks what is not yet unpacked of a chain of layers, the lowest first. As long as the store is open, nobody
    /// removes it.
    ///
    /// # Errors
    ///
    /// If a layer cannot be read or unpacked; those below it stay.
    pub fn chain(&self, diff_ids: &[Digest], open: &mut OpenLayer<'_>) -> Result<Chain, ChainError> {
        let mut layers = Vec::new();
        for (diff_id, chain_id) in diff_ids.iter().zip(hwb_oci::chain::chain_ids(diff_ids)) {
            let (snapshot, unpacked) = self.layer(diff_id, &chain_id, &layers, open)?;
            if unpacked.below == Below::Hidden {
                layers.clear();
            }
            // overlayfs takes no more than some hundreds.
            if unpacked.entries > 0 || layers.is_empty() {
                layers.insert(0, snapshot);
            }
        }
        Ok(Chain { layers })
    }

    /// One layer on those below it.
    fn layer(
        &self,
        diff_id: &Digest,
        chain_id: &Digest,
        lowers: &[Snapshot],
        open: &mut OpenLayer<'_>,
    ) -> Result<(Snapshot, Unpacked), ChainError> {
        let clear = |path: &Path| {
            let removed = self.worker.clear(path);
            removed.map_err(|source| ChainError::Clear { path: path.to_owned(), source })
        };
        let make = |path: &Path| {
            let mut layer = open(diff_id).map_err(|source| ChainError::Open { diff_id: *diff_id, source })?;
            let request = Unpack {
                snapshot: Snapshot::new(path),
                lowers: lowers.to_vec(),
                owners: self.form.owners,
                marks: self.form.marks,
                limits: self.limits,
            };
            let unpacked = self.worker.unpack(&mut layer, &request);
            let unpacked = unpacked.map_err(|source| ChainError::Unpack { diff_id: *diff_id, source })?;
            // Only now is it known that these were the right bytes.
            match layer.finish() {
                Ok(found) if found == *diff_id => {}
                Ok(found) => {
                    let source = LayerError::DiffId { wanted: *diff_id, found };
                    return Err(ChainError::Layer { diff_id: *diff_id, source });
                }
                Err(source) => return Err(ChainError::Layer { diff_id: *diff_id, source }),
            }
            let form = self.form.clone();
            let document = Document { chain_id: *chain_id, diff_id: *diff_id, form, unpacked };
            let path = document_path(path);
            let text = serde_json::to_vec(&document);
            let text = text.map_err(|source| ChainError::Document { path: path.clone(), source })?;
            fs::write_atomic(&path, &text).map_err(|error| StoreError::from(error).into())
        };
        let place = self.store.kept_and_cleared(AREA, &self.form.key(chain_id), clear, make)?;
        let path = document_path(&place);
        let text = fs::read(&path).map_err(StoreError::from)?;
        let document: Document =
            serde_json::from_slice(&text).map_err(|source| ChainError::Document { path, source })?;
        Ok((Snapshot::new(place), document.unpacked))
    }
}

fn document_path(snapshot: &Path) -> PathBuf {
    snapshot.join("snapshot.json")
}
