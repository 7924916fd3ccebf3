//! From files into the store.
//!
//! - [`source`]: which files, and what they are.
//! - [`layout`]: an OCI image layout; [`docker`]: what `docker save` writes; [`root`]: a root file system.
//! - [`keep`]: their layers, checked on the way into the store.

mod docker;
mod keep;
mod layout;
mod root;
mod source;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io::{self, Read};

use hwb_ident::{Digest, ImagePlatform, ImageReference};
use hwb_oci::change::ParseChangeError;
use hwb_oci::layer::LayerError;
use hwb_oci::layout::LayoutError;
use hwb_oci::manifest::ChooseError;
use hwb_oci::{Change, Descriptor};
use hwb_store::Store;

use self::source::{Material, Source};
use super::catalogue::{Catalogue, Image};
use super::choice::Platforms;
use super::{ImageFault, ImageReport, host, reference, wanted};
use crate::ambient::Ambient;
use crate::error::{Error, ErrorKind};
use crate::event::EventSink;
use crate::settings::Settings;
use crate::{cache, world};

/// What is to be imported.
#[derive(Debug, Clone)]
pub struct ImportRequest {
    /// `oci-layout:DIR[:NAME]`, `oci-archive:FILE[:NAME]`, `docker-archive:FILE[:NAME]`, `tar:FILE`, or a path whose
    /// kind is found out; `-` is an input.
    pub source: String,
    /// What it is to be called; `None` for the names that it has there.
    pub name: Option<String>,
    /// For which platforms. A root file system is for one.
    pub platforms: Platforms,
    /// How a root file system is run: `CMD ["sh"]`, `ENV A=b`.
    pub changes: Vec<String>,
    /// A remark about a root file system.
    pub message: Option<String>,
}

#[derive(Debug, thiserror::Error)]
enum ImportFault {
    #[error("cannot read {from}")]
    Read { from: String, source: io::Error },
    #[error("{0} is no tar archive")]
    NoArchive(String),
    #[error("{from} is {found}; only tar archives are read, and gzip and zstd around them")]
    Kind { from: String, found: String },
    #[error("{from} is {found}, not {wanted}")]
    Other { from: String, found: &'static str, wanted: &'static str },
    #[error("cannot read {from} as a tar archive")]
    Tar { from: String, source: hwb_archive::tar::TarError },
    #[error("cannot import {from}")]
    Layout { from: String, source: LayoutError },
    #[error("cannot import {from}")]
    Choice { from: String, source: ChooseError },
    #[error("cannot import layer {layer} of {from}")]
    Layer { from: String, layer: Digest, source: LayerError },
    #[error("what is in {from} has no name")]
    Nameless { from: String },
    #[error("{from} says that {name} is {digest}")]
    Misnamed { from: String, name: ImageReference, digest: Digest },
    #[error("what is in {from} is for {found}, not for {wanted}")]
    Platform { from: String, found: ImagePlatform, wanted: ImagePlatform },
    #[error("`{0}` is for root file systems; {1} says by itself how it is run")]
    Finished(&'static str, String),
    #[error("a root file system is for one platform")]
    Platforms,
    #[error("{from} has `{member}`, which would remove a file: it is a layer, and no root file system")]
    Whiteout { from: String, member: String },
    #[error(transparent)]
    Change(#[from] ParseChangeError),
}

/// Brings images out of files into the store. Everything is checked before it gets a name.
///
/// # Errors
///
/// If they are not what they should be. Those that were named before are there.
pub fn import(
    settings: &Settings,
    ambient: &Ambient,
    request: &ImportRequest,
    input: &mut dyn Read,
    events: EventSink<'_>,
) -> Result<Vec<ImageReport>, Error> {
    let name = request.name.as_deref().map(reference).transpose()?;
    let source = Source::parse(&request.source, ambient);
    let changes = changes(&request.changes)?;
    let store = cache::open(settings)?;
    let platform = match &request.platforms {
        Platforms::One(Some(text)) => Some(wanted(Some(text))?),
        Platforms::One(None) | Platforms::All => None,
    };
    let scratch = store.scratch("import")?;
    let material = source.open(input, scratch.path())?;
    let importer = Importer {
        store: &store,
        from: source.display(),
        name,
        platforms: &request.platforms,
        platform,
        kept: RefCell::default(),
        events,
    };
    let images = match material {
        Material::Root(file) => {
            let steps =
                root::Steps { changes, message: request.message.clone(), epoch: world::epoch(ambient)? };
            importer.root(file, steps)?
        }
        Material::Layout(_) | Material::Docker(_) if !request.changes.is_empty() => {
            return Err(importer.finished("--change"));
        }
        Material::Layout(_) | Material::Docker(_) if request.message.is_some() => {
            return Err(importer.finished("--message"));
        }
        Material::Layout(files) => importer.layout(files, source.selection.as_deref())?,
        Material::Docker(members) => importer.docker(members, source.selection.as_deref())?,
    };
    Ok(images.iter().map(ImageReport::of).collect())
}

fn changes(texts: &[String]) -> Result<Vec<Change>, Error> {
    let refused = |error| Error::new(ErrorKind::Usage, ImportFault::Change(error));
    texts.iter().map(|text| text.parse().map_err(refused)).collect()
}

/// Brings what is in one source into a store.
struct Importer<'a> {
    store: &'a Store,
    /// The source, for people.
    from: String,
    /// The name that is asked for.
    name: Option<ImageReference>,
    platforms: &'a Platforms,
    /// The platform that is asked for.
    platform: Option<ImagePlatform>,
    /// The layers that are in the store by now, by what they unpack to: several images may be made on one base.
    kept: RefCell<BTreeMap<Digest, Descriptor>>,
    events: EventSink<'a>,
}

impl Importer<'_> {
    /// The platform that serves best if there is a choice.
    fn preferred(&self) -> ImagePlatform {
        self.platform.clone().unwrap_or_else(host)
    }

    /// What an image is to be called that is called `names` in its source.
    fn names(&self, names: Vec<ImageReference>) -> Result<Vec<ImageReference>, Error> {
        let names = self.name.clone().map_or(names, |name| vec![name]);
        if names.is_empty() {
            let fault = ImportFault::Nameless { from: self.from.clone() };
            return Err(Error::new(ErrorKind::Usage, fault).hint("say one behind the source"));
        }
        Ok(names)
    }

    /// Names an image of which everything is in the store. A name with a digest must have that of `top`, which leads
    /// to the image.
    fn publish(
        &self,
        names: &[ImageReference],
        top: Digest,
        manifest: &Descriptor,
    ) -> Result<Vec<Image>, Error> {
        let wrong = |name: &&ImageReference| name.digest().is_some_and(|digest| digest != top);
        if let Some(name) = names.iter().find(wrong) {
            let (from, name) = (self.from.clone(), name.clone());
            return Err(Error::new(ErrorKind::Source, ImportFault::Misnamed { from, name, digest: top }));
        }
        let catalogue = Catalogue { store: self.store };
        let publish = |name: &ImageReference| {
            let vanished = || Error::new(ErrorKind::Machine, ImageFault::Vanished(name.to_string()));
            let image = catalogue.read(name, manifest)?.ok_or_else(vanished)?;
            catalogue.name(name, &image)?;
            Ok(image)
        };
        names.iter().map(publish).collect()
    }

    /// Fails where an image is for another platform than the one that was asked for.
    fn check_platform(&self, found: ImagePlatform) -> Result<(), Error> {
        match &self.platform {
            Some(wanted) if found.distance_from(wanted).is_none() => {
                let (from, wanted) = (self.from.clone(), wanted.clone());
                Err(Error::new(ErrorKind::Source, ImportFault::Platform { from, found, wanted }))
            }
            _ => Ok(()),
        }
    }

    fn finished(&self, argument: &'static str) -> Error {
        Error::new(ErrorKind::Usage, ImportFault::Finished(argument, self.from.clone()))
    }

    fn failed(&self, source: LayoutError) -> Error {
        Error::new(ErrorKind::Source, ImportFault::Layout { from: self.from.clone(), source })
    }
}
