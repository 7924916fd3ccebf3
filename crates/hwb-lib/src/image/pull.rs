//! From a registry into the store.

use std::collections::BTreeSet;
use std::io;

use hwb_ident::{ImagePlatform, ImageReference};
use hwb_net::registry::{Registry, RemoteImage};
use hwb_oci::Descriptor;
use hwb_sandbox::Cancel;
use hwb_store::Store;

use super::catalogue::{Catalogue, Image};
use super::{ImageFault, ImageReport, parallel, reference, registry, wanted};
use crate::ambient::Ambient;
use crate::cache;
use crate::error::{Error, ErrorKind};
use crate::event::{Event, EventSink};
use crate::settings::Settings;

/// What is to be pulled.
#[derive(Debug, Clone)]
pub struct PullRequest {
    /// The names.
    pub images: Vec<String>,
    /// For which platform; `None` for this machine's.
    pub platform: Option<String>,
}

/// Brings images into the store, one after the other.
///
/// # Errors
///
/// If one cannot be had. Those before it are there.
pub fn pull(
    settings: &Settings,
    ambient: &Ambient,
    cancel: &Cancel,
    request: &PullRequest,
    events: EventSink<'_>,
) -> Result<Vec<ImageReport>, Error> {
    let wanted = wanted(request.platform.as_deref())?;
    let names = request.images.iter().map(|name| reference(name)).collect::<Result<Vec<_>, _>>()?;
    let store = cache::open(settings)?;
    let puller =
        Puller { registry: registry::open(settings, ambient, cancel, events)?, store: &store, events };
    let pulled = names.iter().map(|name| Ok(ImageReport::of(&puller.pull(name, &wanted)?)));
    pulled.collect()
}

/// Brings images into a store.
pub(super) struct Puller<'a> {
    pub(super) registry: Registry<'a>,
    pub(super) store: &'a Store,
    pub(super) events: EventSink<'a>,
}

impl Puller<'_> {
    /// Brings one image; what of it is in the store already does not come again.
    pub(super) fn pull(&self, name: &ImageReference, wanted: &ImagePlatform) -> Result<Image, Error> {
        let remote = self.registry.image(name, wanted).map_err(registry::failed)?;
        // A layer may stand there twice.
        let mut seen = BTreeSet::new();
        let is_absent =
            |layer: &&Descriptor| seen.insert(layer.digest) && !self.store.has_blob(&layer.digest);
        let absent: Vec<&Descriptor> = remote.manifest.layers.iter().filter(is_absent).collect();
        parallel::each(&absent, |layer| self.layer(name, layer))?;
        let RemoteImage { descriptor, manifest_bytes, config_bytes, .. } = remote;
        for mut bytes in [manifest_bytes.as_slice(), config_bytes.as_slice()] {
            self.store.put_blob(&mut bytes)?;
        }
        let catalogue = Catalogue { store: self.store };
        let image = catalogue
            .read(name, &descriptor)?
            .ok_or_else(|| Error::new(ErrorKind::Machine, ImageFault::Vanished(name.to_string())))?;
        catalogue.name(name, &image)?;
        Ok(image)
    }

    fn layer(&self, name: &ImageReference, layer: &Descriptor) -> Result<(), Error> {
        let create = || self.store.begin_blob().map_err(io::Error::other);
        let blob = self.registry.blob(name, layer, &create).map_err(registry::failed)?;
        blob.keep(&layer.digest)?;
        (self.events)(Event::Fetched { what: format!("layer {}", layer.digest.short()), bytes: layer.size });
        Ok(())
    }
}
