//! Which of the images that have one name.

use std::collections::BTreeMap;

use hwb_ident::{Digest, ImageReference};
use hwb_oci::{Descriptor, Dialect, Index};
use hwb_store::Store;

use super::catalogue::{Catalogue, Image};
use super::{ImageFault, known, unknown};
use crate::error::{Error, ErrorKind};

/// For which platforms.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Platforms {
    /// For one; `None` for this machine's.
    One(Option<String>),
    /// For all that there are.
    All,
}

/// What goes under one name: an image, or images for several platforms and their index.
#[derive(Debug)]
pub(super) struct Chosen {
    pub(super) name: ImageReference,
    /// At least one, by platform.
    pub(super) images: Vec<Image>,
    /// Names the image or the index, and says nothing but what follows from what it names.
    pub(super) descriptor: Descriptor,
}

impl Chosen {
    /// Finds what is called `text`, and puts an index of it into the store if it needs one.
    pub(super) fn find(store: &Store, text: &str, platforms: &Platforms) -> Result<Self, Error> {
        let images = match platforms {
            Platforms::One(platform) => vec![known(store, text, platform.as_deref())?],
            Platforms::All => all(store, text)?,
        };
        let first = images.first().ok_or_else(|| unknown(store, text))?;
        let (name, mut descriptor) = (first.name.clone(), plain(first));
        if images.len() > 1 {
            let index = Index {
                dialect: Dialect::Oci,
                manifests: images.iter().map(plain).collect(),
                annotations: BTreeMap::new(),
            };
            let bytes = index.to_bytes();
            store.put_blob(&mut bytes.as_slice())?;
            descriptor = Descriptor::of(index.media_type(), &bytes);
        }
        Ok(Self { name, images, descriptor })
    }

    /// Fails where a blob of it is not in the store; whether it is what it should be is seen when it is read.
    pub(super) fn check(&self, store: &Store) -> Result<(), Error> {
        let blobs = self.images.iter().flat_map(|image| &image.manifest.layers);
        match blobs.into_iter().find(|blob| !store.has_blob(&blob.digest)) {
            None => Ok(()),
            Some(blob) => Err(lacking(&self.name, blob.digest)),
        }
    }
}

/// A blob went missing, or was spoilt and thrown away.
pub(super) fn lacking(name: &ImageReference, digest: Digest) -> Error {
    let fault = ImageFault::Lacking { name: name.familiar(), digest };
    Error::new(ErrorKind::Source, fault).hint("`hwb image pull` gets it again, if a registry has it")
}

/// Every image of a name, or the one that this is the identifier of.
pub(super) fn meant(store: &Store, text: &str) -> Result<Vec<Image>, Error> {
    let named = named(store, text)?;
    if named.is_empty() { Ok(Catalogue { store }.identified(text)?.into_iter().collect()) } else { Ok(named) }
}

/// Every image of a name, or of the name of the image that this is the identifier of.
fn all(store: &Store, text: &str) -> Result<Vec<Image>, Error> {
    let (catalogue, named) = (Catalogue { store }, named(store, text)?);
    match catalogue.identified(text)? {
        Some(image) if named.is_empty() => catalogue.named(&image.name),
        _ => Ok(named),
    }
}

fn named(store: &Store, text: &str) -> Result<Vec<Image>, Error> {
    text.parse().map_or_else(|_| Ok(Vec::new()), |name| Catalogue { store }.named(&name))
}

/// The descriptor of an image without what only the registry that it is from has to say.
fn plain(image: &Image) -> Descriptor {
    let Descriptor { media_type, digest, size, .. } = image.descriptor.clone();
    Descriptor { platform: Some((&image.platform).into()), ..Descriptor::new(media_type, digest, size) }
}
