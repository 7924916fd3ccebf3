//! From the store to a registry.

use std::collections::BTreeSet;
use std::io::{self, Read, Seek as _, SeekFrom};

use hwb_ident::{Digest, ImageReference};
use hwb_net::registry::{BlobUpload, Pushed, Registry};
use hwb_oci::{Descriptor, MediaType};
use hwb_sandbox::Cancel;
use hwb_store::Store;
use schemars::JsonSchema;
use serde::Serialize;

use super::catalogue::{Catalogue, Image};
use super::choice::{Chosen, Platforms, lacking};
use super::{ImageFault, parallel, reference, registry};
use crate::ambient::Ambient;
use crate::cache;
use crate::error::{Error, ErrorKind};
use crate::event::{Event, EventSink};
use crate::settings::Settings;

/// What is to be pushed.
#[derive(Debug, Clone)]
pub struct PushRequest {
    /// The image: its name, or the beginning of its identifier.
    pub image: String,
    /// What it is to be called at registries; nothing for its own name.
    pub names: Vec<String>,
    /// For which platforms; several go under an index of them.
    pub platforms: Platforms,
}

/// What was pushed under one name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct PushReport {
    /// The name.
    pub name: String,
    /// The digest of the manifest or index that it leads to now.
    pub digest: String,
    /// Layers, lowest first, and configs.
    pub blobs: Vec<BlobReport>,
}

/// What became of a blob.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct BlobReport {
    /// Its digest.
    pub digest: String,
    /// Its bytes.
    pub size: u64,
    /// How it got there.
    pub result: BlobResult,
}

/// How a blob got to a registry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum BlobResult {
    /// It was there.
    Present,
    /// It was taken over from another repository of the registry.
    Mounted,
    /// It was sent.
    Uploaded,
}

/// Sends an image of the store to registries, name by name.
///
/// # Errors
///
/// If it is not in the store, or one registry does not take it. Under the names before it is there.
pub fn push(
    settings: &Settings,
    ambient: &Ambient,
    cancel: &Cancel,
    request: &PushRequest,
    events: EventSink<'_>,
) -> Result<Vec<PushReport>, Error> {
    let names = request.names.iter().map(|name| reference(name)).collect::<Result<Vec<_>, _>>()?;
    let store = cache::open(settings)?;
    let chosen = Chosen::find(&store, &request.image, &request.platforms)?;
    chosen.check(&store)?;
    let names = if names.is_empty() { vec![chosen.name.clone()] } else { names };
    let digest = chosen.descriptor.digest;
    if let Some(name) = names.iter().find(|name| name.digest().is_some_and(|named| named != digest)) {
        return Err(Error::new(ErrorKind::Usage, ImageFault::Pinned { name: name.to_string(), digest }));
    }
    let registry = registry::open(settings, ambient, cancel, events)?;
    let known = Catalogue { store: &store }.all()?;
    let pusher = Pusher { registry, store: &store, chosen: &chosen, known: &known, events };
    let push = |(number, name): (usize, &ImageReference)| pusher.push(name, &names[..number]);
    names.iter().enumerate().map(push).collect()
}

struct Pusher<'a> {
    registry: Registry<'a>,
    store: &'a Store,
    chosen: &'a Chosen,
    /// What the store has, by which repositories may have a blob already.
    known: &'a [Image],
    events: EventSink<'a>,
}

impl Pusher<'_> {
    /// Pushes under a name; under those `before` it is there already.
    fn push(&self, name: &ImageReference, before: &[ImageReference]) -> Result<PushReport, Error> {
        let is_there = before.iter().any(|other| repository(other) == repository(name));
        let blobs = parallel::each(&self.blobs(), |blob| {
            let pushed = if is_there { Pushed::Present } else { self.blob(name, blob, before)? };
            Ok(BlobReport { digest: blob.digest.to_string(), size: blob.size, result: pushed.into() })
        })?;
        // An index names images that are there.
        if self.chosen.images.len() > 1 && !is_there {
            for image in &self.chosen.images {
                let by_digest =
                    format!("{}/{}@{}", name.registry(), name.repository(), image.descriptor.digest);
                self.manifest(&reference(&by_digest)?, &image.descriptor)?;
            }
        }
        let digest = self.manifest(name, &self.chosen.descriptor)?;
        Ok(PushReport { name: name.to_string(), digest: digest.to_string(), blobs })
    }

    /// Every layer and config once.
    fn blobs(&self) -> Vec<&Descriptor> {
        let manifests = || self.chosen.images.iter().map(|image| &image.manifest);
        let all = manifests()
            .flat_map(|manifest| &manifest.layers)
            .chain(manifests().map(|manifest| &manifest.config));
        let mut seen = BTreeSet::new();
        all.filter(|blob| seen.insert(blob.digest)).collect()
    }

    fn blob(
        &self,
        name: &ImageReference,
        blob: &Descriptor,
        before: &[ImageReference],
    ) -> Result<Pushed, Error> {
        let open = |from| open_at(self.store, blob.digest, from);
        let upload = BlobUpload { blob, from: self.neighbour(name, blob, before), open: &open };
        let pushed = self.registry.push_blob(name, &upload).map_err(registry::failed)?;
        if pushed == Pushed::Uploaded {
            let what = match blob.media_type {
                MediaType::Layer(..) => format!("layer {}", blob.digest.short()),
                _ => format!("config {}", blob.digest.short()),
            };
            (self.events)(Event::Sent { what, bytes: blob.size });
        }
        Ok(pushed)
    }

    /// Another repository of the same registry that may have a blob: one to which it was just pushed, or one whose
    /// name an image with that blob has.
    fn neighbour<'n>(
        &'n self,
        name: &ImageReference,
        blob: &Descriptor,
        before: &'n [ImageReference],
    ) -> Option<&'n str> {
        let has = |image: &&Image| {
            let manifest = &image.manifest;
            manifest.layers.iter().chain([&manifest.config]).any(|found| found.digest == blob.digest)
        };
        let named = self.known.iter().filter(has).map(|image| &image.name);
        let is_near = |other: &&ImageReference| {
            other.registry() == name.registry() && other.repository() != name.repository()
        };
        before.iter().chain(named).find(is_near).map(ImageReference::repository)
    }

    fn manifest(&self, name: &ImageReference, descriptor: &Descriptor) -> Result<Digest, Error> {
        let catalogue = Catalogue { store: self.store };
        let bytes = catalogue
            .document(descriptor.digest)?
            .ok_or_else(|| lacking(&self.chosen.name, descriptor.digest))?;
        self.registry.push_manifest(name, &descriptor.media_type, &bytes).map_err(registry::failed)
    }
}

impl From<Pushed> for BlobResult {
    fn from(pushed: Pushed) -> Self {
        match pushed {
            Pushed::Present => Self::Present,
            Pushed::Mounted => Self::Mounted,
            Pushed::Uploaded => Self::Uploaded,
        }
    }
}

fn repository(name: &ImageReference) -> (&str, &str) {
    (name.registry(), name.repository())
}

/// Opens a blob of the store at a byte.
fn open_at(store: &Store, digest: Digest, from: u64) -> io::Result<Box<dyn Read>> {
    let found = store.open_blob(&digest).map_err(io::Error::other)?;
    let mut file = found.ok_or(io::ErrorKind::NotFound)?;
    file.seek(SeekFrom::Start(from))?;
    Ok(Box::new(file))
}
