//! What of the store images and runs need.

use std::collections::BTreeSet;
use std::path::PathBuf;

use hwb_ident::{Digest, ImageReference};
use hwb_oci::Descriptor;
use hwb_oci::chain::chain_ids;
use hwb_store::Store;

use super::catalogue::Catalogue;
use super::kept;
use crate::error::{Error, ErrorKind};

/// Parts of an image.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Parts {
    /// Its manifest, its config and its layers, packed.
    pub(crate) blobs: BTreeSet<Digest>,
    /// The chain ids of its layers.
    pub(crate) chains: BTreeSet<Digest>,
}

/// The name of an image, and what is behind it.
#[derive(Debug)]
pub(crate) struct NamedParts {
    pub(crate) name: ImageReference,
    /// Where the store keeps the name, among its records.
    pub(crate) record: PathBuf,
    pub(crate) parts: Parts,
}

/// What is needed, by whom.
#[derive(Debug, Default)]
pub(crate) struct Needs {
    /// By names that may go.
    pub(crate) names: Vec<NamedParts>,
    /// By names with a digest, and by runs: what they need cannot be told by a registry later.
    pub(crate) held: Parts,
}

impl Needs {
    /// Looks at every name and every run.
    pub(crate) fn of(store: &Store) -> Result<Self, Error> {
        let catalogue = Catalogue { store };
        let mut needs = Self::default();
        for (record, entry) in catalogue.entries()? {
            let parts = Parts::of(catalogue, &entry.name, &entry.manifest)?;
            if entry.name.digest().is_some() {
                needs.held.extend(parts);
            } else {
                needs.names.push(NamedParts { name: entry.name, record, parts });
            }
        }
        for (image, manifest) in kept::bases(store)? {
            needs.held.extend(Parts::of(catalogue, &image, &manifest)?);
        }
        Ok(needs)
    }
}

impl Parts {
    /// The parts of an image; none if it cannot be read, as then it is none.
    fn of(catalogue: Catalogue<'_>, name: &ImageReference, manifest: &Descriptor) -> Result<Self, Error> {
        let image = match catalogue.read(name, manifest) {
            Ok(Some(image)) => image,
            Ok(None) => return Ok(Self::default()),
            Err(error) if error.kind() == ErrorKind::Source => return Ok(Self::default()),
            Err(error) => return Err(error),
        };
        let documents = [manifest.digest, image.manifest.config.digest];
        let layers = image.manifest.layers.iter().map(|layer| layer.digest);
        Ok(Self {
            blobs: documents.into_iter().chain(layers).collect(),
            chains: chain_ids(&image.config.rootfs.diff_ids).into_iter().collect(),
        })
    }

    fn extend(&mut self, other: Self) {
        self.blobs.extend(other.blobs);
        self.chains.extend(other.chains);
    }
}
