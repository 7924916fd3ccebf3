//! Which images the store has, and what they are called.

use std::io;
use std::path::{Path, PathBuf};

use hwb_ident::{Digest, ImagePlatform, ImageReference};
use hwb_oci::{Descriptor, Document, ImageConfig, Manifest};
use hwb_store::Store;
use serde::{Deserialize, Serialize};

use super::ImageFault;
use crate::error::{Error, ErrorKind};

/// Where the store keeps names.
pub(crate) const AREA: &str = "images";
/// As many digits of an identifier name an image.
const LEAST_DIGITS: usize = 4;

/// A name, and the image that it is for. One document for each name and platform: two pulls at once take nothing from
/// each other.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Entry {
    pub(super) name: ImageReference,
    platform: ImagePlatform,
    pub(super) manifest: Descriptor,
}

/// An image in the store.
#[derive(Debug, Clone)]
pub(crate) struct Image {
    pub(crate) name: ImageReference,
    pub(crate) platform: ImagePlatform,
    /// Names the manifest.
    pub(crate) descriptor: Descriptor,
    pub(crate) manifest: Manifest,
    pub(crate) config: ImageConfig,
}

impl Image {
    /// The digest of its config, which is what Docker calls it by.
    pub(crate) const fn id(&self) -> Digest {
        self.manifest.config.digest
    }
}

/// The images of a store.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Catalogue<'a> {
    pub(crate) store: &'a Store,
}

impl Catalogue<'_> {
    /// Gives an image a name; what had it for the same platform loses it.
    pub(crate) fn name(&self, name: &ImageReference, image: &Image) -> Result<(), Error> {
        let entry = Entry {
            name: name.clone(),
            platform: image.platform.clone(),
            manifest: image.descriptor.clone(),
        };
        Ok(self.store.record_put(AREA, &key(name, &image.platform), &entry)?)
    }

    /// Takes a name from all its images, and says how many there were.
    pub(crate) fn forget(&self, name: &ImageReference) -> Result<usize, Error> {
        let entries = self.entries()?;
        let named = entries.iter().map(|(_, entry)| entry).filter(|entry| entry.name == *name);
        let forgotten =
            named.map(|entry| self.forget_one(name, &entry.platform)).collect::<Result<Vec<()>, Error>>()?;
        Ok(forgotten.len())
    }

    /// Takes a name from its image for one platform.
    pub(crate) fn forget_one(&self, name: &ImageReference, platform: &ImagePlatform) -> Result<(), Error> {
        Ok(self.store.record_remove(AREA, &key(name, platform))?)
    }

    /// All of them, by name. Those of which something was removed from the store are not there any more.
    pub(crate) fn all(&self) -> Result<Vec<Image>, Error> {
        let mut entries: Vec<Entry> = self.entries()?.into_iter().map(|(_, entry)| entry).collect();
        entries.sort_by(|one, other| {
            (&one.name, one.platform.to_string()).cmp(&(&other.name, other.platform.to_string()))
        });
        let images = entries.into_iter().map(|entry| self.open(entry)).collect::<Result<Vec<_>, _>>()?;
        Ok(images.into_iter().flatten().collect())
    }

    /// The image of a name that serves a platform best; `text` may also be digits of an identifier. What is found
    /// counts as used.
    pub(crate) fn find(&self, text: &str, wanted: &ImagePlatform) -> Result<Option<Image>, Error> {
        let found = self.nearest(text, wanted)?;
        if let Some(image) = &found {
            self.store.record_touch(AREA, &key(&image.name, &image.platform))?;
        }
        Ok(found)
    }

    fn nearest(&self, text: &str, wanted: &ImagePlatform) -> Result<Option<Image>, Error> {
        let all = self.all()?;
        let nearest = |images: &mut dyn Iterator<Item = Image>| {
            let near = images.filter_map(|image| Some((image.platform.distance_from(wanted)?, image)));
            near.min_by_key(|(distance, _)| *distance).map(|(_, image)| image)
        };
        if let Ok(name) = text.parse::<ImageReference>() {
            let found = nearest(&mut all.iter().filter(|image| is_named(image, &name)).cloned());
            if found.is_some() {
                return Ok(found);
            }
        }
        self.identified(text)
    }

    /// The one image under one name that is meant by its digest, or by digits of its identifier.
    pub(crate) fn single(&self, text: &str) -> Result<Option<Image>, Error> {
        if let Ok(name) = text.parse::<ImageReference>() {
            let is_tagged = |image: &Image| name.tag().is_none_or(|tag| image.name.tag() == Some(tag));
            let mut all = self.all()?.into_iter();
            let found = all.find(|image| is_named(image, &name) && is_tagged(image));
            if found.is_some() {
                return Ok(found);
            }
        }
        self.identified(text)
    }

    /// The image whose identifier begins with these digits.
    pub(crate) fn identified(&self, text: &str) -> Result<Option<Image>, Error> {
        let digits = text.strip_prefix("sha256:").unwrap_or(text);
        if digits.len() < LEAST_DIGITS || !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return Ok(None);
        }
        let mut found: Vec<Image> =
            self.all()?.into_iter().filter(|image| image.id().hex().starts_with(digits)).collect();
        found.dedup_by_key(|image| image.id());
        match found.as_slice() {
            [] | [_] => Ok(found.pop()),
            _ => Err(Error::new(ErrorKind::Usage, ImageFault::Ambiguous(text.to_owned()))),
        }
    }

    /// The images of a name, one for each platform, by platform.
    pub(crate) fn named(&self, name: &ImageReference) -> Result<Vec<Image>, Error> {
        let mut images: Vec<Image> = self.all()?.into_iter().filter(|image| is_named(image, name)).collect();
        images.sort_by_key(|image| image.platform.to_string());
        images.dedup_by(|one, other| one.platform == other.platform);
        Ok(images)
    }

    /// The image that a manifest describes; `None` if a part of the description is not in the store.
    pub(crate) fn read(
        &self,
        name: &ImageReference,
        descriptor: &Descriptor,
    ) -> Result<Option<Image>, Error> {
        let fault =
            |source| Error::new(ErrorKind::Source, ImageFault::Malformed { name: name.to_string(), source });
        let Some(bytes) = self.document(descriptor.digest)? else { return Ok(None) };
        let document = Document::parse(&bytes, Some(&descriptor.media_type)).map_err(fault)?;
        let Document::Manifest(manifest) = document else { return Ok(None) };
        let Some(bytes) = self.document(manifest.config.digest)? else { return Ok(None) };
        let config = ImageConfig::parse(&bytes).map_err(fault)?;
        manifest.check_config(&config).map_err(fault)?;
        let platform = config.platform().map_err(|source| {
            Error::new(ErrorKind::Source, ImageFault::Platform { name: name.to_string(), source })
        })?;
        let descriptor = Descriptor { platform: Some((&platform).into()), ..descriptor.clone() };
        Ok(Some(Image { name: name.clone(), platform, descriptor, manifest: *manifest, config }))
    }

    fn open(&self, entry: Entry) -> Result<Option<Image>, Error> {
        self.read(&entry.name, &entry.manifest)
    }

    /// Every name, with where the store keeps it among its records.
    pub(super) fn entries(&self) -> Result<Vec<(PathBuf, Entry)>, Error> {
        let records = self.store.records(AREA)?.into_iter();
        let place = |name: String| Path::new(AREA).join(format!("{name}.json"));
        Ok(records.map(|(name, entry)| (place(name), entry)).collect())
    }

    /// The bytes of a manifest or a config; `None` if they are not in the store.
    pub(crate) fn document(&self, digest: Digest) -> Result<Option<Vec<u8>>, Error> {
        let Some(mut file) = self.store.open_blob(&digest)? else { return Ok(None) };
        let mut bytes = Vec::new();
        let fault = |source| Error::new(ErrorKind::Machine, ImageFault::Read { digest, source });
        io::copy(&mut file, &mut bytes).map_err(fault)?;
        Ok(Some(bytes))
    }
}

fn key(name: &ImageReference, platform: &ImagePlatform) -> String {
    Digest::of(format!("{name} {platform}").as_bytes()).hex()
}

/// Whether an image is meant by a name: by the same one, or by its own digest in the same repository.
fn is_named(image: &Image, name: &ImageReference) -> bool {
    image.name == *name
        || name.digest() == Some(image.descriptor.digest)
            && (image.name.registry(), image.name.repository()) == (name.registry(), name.repository())
}
