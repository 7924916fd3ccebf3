//! What a run changed, as the top layer of a new image.

use std::collections::BTreeMap;
use std::num::NonZero;
use std::os::unix::ffi::OsStrExt as _;

use hwb_archive::Codec;
use hwb_archive::compress::{Level, LevelError};
use hwb_ident::{Digest, GuestPath, Timestamp};
use hwb_oci::layer::{LayerBlob, LayerWriter};
use hwb_oci::{Change, Descriptor, History, ImageConfig, LayerCompression, Manifest, MediaType};
use hwb_sandbox::Cancel;
use hwb_sandbox::container::OWNER_ATTRIBUTE;
use hwb_snapshot::snapshots::AnyError;
use hwb_snapshot::{Diff, LayerPath, Owners, Upper};
use hwb_store::Store;
use schemars::JsonSchema;
use serde::Serialize;

use super::catalogue::{Catalogue, Image};
use super::engine::Engine;
use super::kept::{Kept, RunDocument, RunName};
use super::layers::Stoppable;
use super::{ImageFault, reference};
use crate::ambient::Ambient;
use crate::cache;
use crate::error::{Error, ErrorKind};
use crate::event::EventSink;
use crate::settings::Settings;
use crate::world;

/// What is to become an image.
#[derive(Debug, Clone)]
pub struct CommitRequest {
    /// The run that made the changes.
    pub run: RunName,
    /// What the image is called.
    pub image: String,
    /// A remark.
    pub message: Option<String>,
    /// Who made it.
    pub author: Option<String>,
    /// What is changed of how the image is run.
    pub changes: Vec<Change>,
    /// How the layer is compressed.
    pub compression: LayerCompression,
    /// How hard; `None` for what is usual.
    pub level: Option<u8>,
}

/// An image that was made of a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct CommitReport {
    /// Its whole name.
    pub name: String,
    /// The digest of its config.
    pub id: String,
    /// The digest of its manifest.
    pub digest: String,
    /// The layer that it has on top; `None` if the run changed nothing.
    pub layer: Option<CommittedLayer>,
}

/// A layer that was made of a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct CommittedLayer {
    /// Its digest as it is packed.
    pub digest: String,
    /// Its digest as a tar archive.
    pub diff_id: String,
    /// Bytes as it is packed.
    pub size: u64,
    /// Entries, those that say that something is gone included.
    pub entries: u64,
}

/// Makes an image of what a run changed. The same changes make the same image, if `SOURCE_DATE_EPOCH` says when.
///
/// # Errors
///
/// If there is no such run, or its image or its files cannot be read.
pub fn commit(
    settings: &Settings,
    ambient: &Ambient,
    cancel: &Cancel,
    request: &CommitRequest,
    events: EventSink<'_>,
) -> Result<CommitReport, Error> {
    let name = reference(&request.image)?;
    let codec = codec(request)?;
    let newest = world::epoch(ambient)?;
    let store = cache::open(settings)?;
    let kept = Kept::take(&store, &request.run)?;
    let run = kept.document()?;
    let catalogue = Catalogue { store: &store };
    let base = catalogue.read(&run.image, &run.manifest)?.ok_or_else(|| {
        Error::new(ErrorKind::Source, ImageFault::BaseGone(run.image.to_string()))
            .hint(format!("`hwb image pull {}` gets it, if it is still the same", run.image))
    })?;
    let engine = Engine::start(ambient)?;
    engine.warn(events);
    let taking = Taking { request, store: &store, run: &run, base: &base, newest, cancel };
    let layer = taking.layer(&kept, &engine, codec)?;
    let descriptor = taking.image(layer.as_ref(), newest.unwrap_or(ambient.clock))?;
    let vanished = || Error::new(ErrorKind::Machine, ImageFault::Vanished(name.to_string()));
    let image = catalogue.read(&name, &descriptor)?.ok_or_else(vanished)?;
    catalogue.name(&name, &image)?;
    Ok(CommitReport {
        name: name.to_string(),
        id: image.id().to_string(),
        digest: descriptor.digest.to_string(),
        layer: layer.map(|layer| layer.report()),
    })
}

fn codec(request: &CommitRequest) -> Result<Codec, Error> {
    let fault = |error: LevelError| Error::new(ErrorKind::Usage, error);
    Ok(match (request.compression, request.level) {
        (LayerCompression::None, None) => Codec::None,
        (LayerCompression::None, Some(_)) => {
            return Err(Error::new(ErrorKind::Usage, ImageFault::NoLevels));
        }
        (LayerCompression::Gzip, None) => Codec::GZIP,
        (LayerCompression::Gzip, Some(level)) => Codec::Gzip(Level::new(level).map_err(fault)?),
        (LayerCompression::Zstd, None) => Codec::ZSTD,
        (LayerCompression::Zstd, Some(level)) => Codec::Zstd(Level::new(level).map_err(fault)?),
    })
}

/// A layer that is in the store.
#[derive(Debug)]
struct Layer {
    blob: LayerBlob,
    entries: u64,
}

impl Layer {
    fn report(&self) -> CommittedLayer {
        let LayerBlob { diff_id, digest, size, .. } = &self.blob;
        CommittedLayer {
            digest: digest.to_string(),
            diff_id: diff_id.to_string(),
            size: *size,
            entries: self.entries,
        }
    }
}

/// A run that becomes an image.
struct Taking<'a> {
    request: &'a CommitRequest,
    store: &'a Store,
    run: &'a RunDocument,
    base: &'a Image,
    /// Nothing in the layer is newer.
    newest: Option<Timestamp>,
    cancel: &'a Cancel,
}

impl Taking<'_> {
    /// Puts what changed into the store; `None` if nothing did.
    fn layer(&self, kept: &Kept<'_>, engine: &Engine, codec: Codec) -> Result<Option<Layer>, Error> {
        let fault = |kind, source: AnyError| {
            Error::new(kind, ImageFault::Changes { name: self.request.run.to_string(), source })
        };
        if engine.form != self.run.form {
            return Err(fault(ErrorKind::Machine, "it was run under other ids than there are now".into()));
        }
        let path = |path: &GuestPath| LayerPath::parse(path.as_path().as_os_str().as_bytes());
        let mounts: Result<_, _> = self.run.made.iter().map(path).collect();
        let diff = Diff {
            upper: Upper::Changes(kept.upper()),
            lowers: engine.layers(self.store, self.base, self.cancel)?.layers,
            owners: self.run.form.owners,
            marks: self.run.form.marks,
            owner_attribute: match self.run.form.owners {
                Owners::Kept => None,
                Owners::Recorded => Some(OWNER_ATTRIBUTE.to_owned()),
            },
            mounts: mounts.map_err(|error| fault(ErrorKind::Internal, error.into()))?,
            newest: self.newest,
        };
        let threads = std::thread::available_parallelism().map_or(1, NonZero::get);
        let mut writer = LayerWriter::new(self.store.begin_blob()?, codec, threads);
        let mut stream = Stoppable { stream: &mut writer, cancel: self.cancel.clone() };
        let diffed = engine.worker().diff(&diff, &mut stream);
        world::check(self.cancel)?;
        let diffed = diffed.map_err(|error| fault(ErrorKind::Machine, error))?;
        if diffed.entries == 0 {
            return Ok(None);
        }
        let finished = writer.finish();
        let (incoming, blob) = finished.map_err(|error| fault(ErrorKind::Machine, error.into()))?;
        incoming.keep(&blob.digest)?;
        Ok(Some(Layer { blob, entries: diffed.entries }))
    }

    /// Puts the image into the store, and names its manifest.
    fn image(&self, layer: Option<&Layer>, created: Timestamp) -> Result<Descriptor, Error> {
        let Manifest { dialect, layers, .. } = &self.base.manifest;
        let top = layer.map(|layer| layer.blob.descriptor(*dialect));
        let config = self.config(layer.map(|layer| layer.blob.diff_id), created).to_bytes();
        let manifest = Manifest {
            dialect: *dialect,
            config: Descriptor::of(MediaType::Config(*dialect), &config),
            layers: layers.iter().cloned().chain(top).collect(),
            // Those of the base are about the base.
            annotations: BTreeMap::new(),
        };
        let bytes = manifest.to_bytes();
        for mut document in [config.as_slice(), bytes.as_slice()] {
            self.store.put_blob(&mut document)?;
        }
        Ok(Descriptor::of(manifest.media_type(), &bytes))
    }

    fn config(&self, diff_id: Option<Digest>, created: Timestamp) -> ImageConfig {
        let CommitRequest { message, author, changes, .. } = self.request;
        let mut config = self.base.config.clone();
        config.config.apply(changes);
        config.author = author.clone().or(config.author);
        let step = History::new(created, self.run.command.join(" "));
        let step = History { author: author.clone(), comment: message.clone(), ..step };
        match diff_id {
            Some(diff_id) => config.append_layer(diff_id, step),
            None => config.append_empty(step),
        }
        config
    }
}
