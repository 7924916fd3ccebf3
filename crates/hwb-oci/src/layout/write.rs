//! Writing an OCI image layout; one that Docker reads too, if need be.

use std::collections::BTreeMap;
use std::io::Read;

use hwb_ident::{ArchivePath, Digest, ImageReference};

use crate::blob::Checked;
use crate::descriptor::Descriptor;
use crate::json;
use crate::layout::docker::Entry;
use crate::layout::files::{self, Blobs, PutFiles};
use crate::layout::read::Marker;
use crate::layout::{IMAGE_NAME, LayoutError, MAX_DEPTH, REF_NAME, blob_path, known};
use crate::manifest::{self, Document, Index};
use crate::media::{Dialect, MediaType};

/// An image that goes into a layout.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedImage {
    /// What it is called there.
    pub name: Option<ImageReference>,
    /// Its manifest or index.
    pub descriptor: Descriptor,
}

/// Who is to read a layout.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flavour {
    /// Whoever reads OCI image layouts.
    Oci,
    /// What goes by `manifest.json` too: every `docker load`, and `podman load`. Each image is for one platform.
    Docker,
}

/// What a layout is to hold.
#[derive(Debug)]
pub struct Contents {
    index: Index,
    blobs: BTreeMap<Digest, Descriptor>,
    /// What `manifest.json` says, by the digest of a manifest; empty if there is to be none.
    docker: BTreeMap<Digest, Entry>,
}

impl Contents {
    /// Finds out what belongs to `images`. Of `blobs`, manifests are read and nothing else.
    ///
    /// # Errors
    ///
    /// If a manifest is missing or refused, or the flavour has no words for it.
    pub fn of(images: &[NamedImage], flavour: Flavour, blobs: &mut dyn Blobs) -> Result<Self, LayoutError> {
        let mut contents = Self {
            index: Index { dialect: Dialect::Oci, manifests: Vec::new(), annotations: BTreeMap::new() },
            blobs: BTreeMap::new(),
            docker: BTreeMap::new(),
        };
        let mut images: Vec<_> = images.iter().collect();
        images.sort_by_key(|image| (&image.name, image.descriptor.digest));
        images.dedup();
        for image in images {
            contents.collect(&image.descriptor, MAX_DEPTH, blobs)?;
            if flavour == Flavour::Docker {
                contents.describe(image, blobs)?;
            }
            contents.index.manifests.push(named(image));
        }
        Ok(contents)
    }

    /// The same, beside what a layout has already. An image there gives way to another one of its name, and to itself.
    #[must_use]
    pub fn beside(mut self, existing: &Index) -> Self {
        let name = |image: &Descriptor| {
            image.annotations.get(IMAGE_NAME).or_else(|| image.annotations.get(REF_NAME)).cloned()
        };
        let gives_way = |old: &&Descriptor| {
            let same = |new: &Descriptor| match name(new) {
                Some(new) => Some(new) == name(old),
                None => name(old).is_none() && new.digest == old.digest,
            };
            self.index.manifests.iter().any(same)
        };
        let kept: Vec<_> = existing.manifests.iter().filter(|old| !gives_way(old)).cloned().collect();
        self.index.manifests = [kept, self.index.manifests].concat();
        self.index.annotations.clone_from(&existing.annotations);
        self
    }

    /// The images that it names.
    pub const fn index(&self) -> &Index {
        &self.index
    }

    /// Every blob that goes in, by digest.
    pub fn blobs(&self) -> impl Iterator<Item = &Descriptor> {
        self.blobs.values()
    }

    /// Writes it sorted by path, which is also blobs first: an index names nothing that is not there yet.
    ///
    /// # Errors
    ///
    /// If something cannot be written, or a blob is missing or is another one.
    pub fn write(&self, blobs: &mut dyn Blobs, out: &mut dyn PutFiles) -> Result<(), LayoutError> {
        let mut put = |path: ArchivePath, size: u64, contents: &mut dyn Read| {
            out.put(&path, size, contents).map_err(|source| LayoutError::Write { path, source })
        };
        for descriptor in self.blobs.values() {
            let path = blob_path(descriptor.digest);
            match blobs.open(descriptor) {
                Ok(contents) => put(path, descriptor.size, &mut Checked::new(contents, descriptor))?,
                Err(source) => return Err(LayoutError::Read { path, source }),
            }
        }
        let mut document =
            |name, bytes: &[u8]| put(known(name), bytes.len() as u64, &mut std::io::Cursor::new(bytes));
        document("index.json", &self.index.to_bytes())?;
        if !self.docker.is_empty() {
            document("manifest.json", &json::write(&self.docker.values().collect::<Vec<_>>()))?;
        }
        document("oci-layout", &Marker::to_bytes())
    }

    /// Takes in a blob and everything that it names.
    fn collect(
        &mut self,
        descriptor: &Descriptor,
        depth: usize,
        blobs: &mut dyn Blobs,
    ) -> Result<(), LayoutError> {
        let (digest, media_type) = (descriptor.digest, &descriptor.media_type);
        let bare = Descriptor::new(media_type.clone(), digest, descriptor.size);
        let is_known = self.blobs.insert(digest, bare).is_some();
        if is_known || !matches!(media_type, MediaType::Manifest(_) | MediaType::Index(_)) {
            return Ok(());
        }
        let depth = depth.checked_sub(1).ok_or(LayoutError::TooDeep(digest))?;
        let bytes = files::read_blob(blobs, descriptor)?;
        let children = manifest::children(&bytes)
            .map_err(|source| LayoutError::Document { path: blob_path(digest), source })?;
        children.iter().try_for_each(|child| self.collect(child, depth, blobs))
    }

    /// Notes what Docker wants to know of an image.
    fn describe(&mut self, image: &NamedImage, blobs: &mut dyn Blobs) -> Result<(), LayoutError> {
        let digest = image.descriptor.digest;
        let bytes = files::read_blob(blobs, &image.descriptor)?;
        match Document::parse(&bytes, Some(&image.descriptor.media_type)) {
            Ok(Document::Manifest(manifest)) => {
                let entry = self.docker.entry(digest).or_insert_with(|| Entry::of(&manifest));
                entry.add_name(image.name.as_ref());
                Ok(())
            }
            Ok(Document::Index(_)) => Err(LayoutError::SeveralPlatforms(digest)),
            Err(source) => Err(LayoutError::Document { path: blob_path(digest), source }),
        }
    }
}

/// The descriptor of an image under its name: its tag, which is what most tools go by, and its whole name, which tells
/// images with the same tag apart.
fn named(image: &NamedImage) -> Descriptor {
    let mut descriptor = image.descriptor.clone();
    if let Some(name) = &image.name {
        let tag = name.tag().map(|tag| (REF_NAME.to_owned(), tag.to_owned()));
        let names = tag.into_iter().chain([(IMAGE_NAME.to_owned(), name.to_string())]);
        descriptor.annotations.extend(names);
    }
    descriptor
}
