//! What `docker save` writes and `docker load` reads: a list of images, and their files by paths.

use std::io::Read;

use hwb_ident::{ArchivePath, ImageReference};
use serde::{Deserialize, Serialize};

use crate::config::ImageConfig;
use crate::error::ParseError;
use crate::json;
use crate::layout::files::{self, Files};
use crate::layout::{LayoutError, blob_path, known};
use crate::manifest::Manifest;

/// The images of a `docker save`. Their layers may be compressed; nothing there has a digest but what the configs say.
#[derive(Debug)]
pub struct DockerArchive<F> {
    files: F,
    images: Vec<DockerImage>,
}

/// One of these images.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DockerImage {
    /// What it is called.
    pub names: Vec<ImageReference>,
    /// The file with its config.
    pub config: ArchivePath,
    /// The files with its layers, lowest first.
    pub layers: Vec<ArchivePath>,
}

/// An image as `manifest.json` has it.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Entry {
    config: String,
    #[serde(default, deserialize_with = "json::or_default")]
    repo_tags: Vec<String>,
    #[serde(default, deserialize_with = "json::or_default")]
    layers: Vec<String>,
}

impl<F: Files> DockerArchive<F> {
    /// Opens an archive.
    ///
    /// # Errors
    ///
    /// If it has no readable `manifest.json`; what Docker wrote before version 1.10 has none.
    pub fn open(mut files: F) -> Result<Self, LayoutError> {
        let path = known("manifest.json");
        let bytes = files::read_document(&mut files, &path)?;
        let entries: Vec<Entry> =
            json::read("list of images", &bytes).map_err(|source| LayoutError::Document { path, source })?;
        let images = entries.iter().map(Entry::parse).collect::<Result<_, _>>()?;
        Ok(Self { files, images })
    }

    /// The images it has.
    pub fn images(&self) -> &[DockerImage] {
        &self.images
    }

    /// An image by its name; without a name the only one.
    ///
    /// # Errors
    ///
    /// If there is none or more than one.
    pub fn find(&self, name: Option<&ImageReference>) -> Result<&DockerImage, LayoutError> {
        let answers = |image: &&DockerImage| name.is_none_or(|name| image.names.contains(name));
        let names = || self.images.iter().map(DockerImage::display).collect();
        let found: Vec<_> = self.images.iter().filter(answers).collect();
        match (found.as_slice(), name) {
            ([image], _) => Ok(image),
            ([], Some(wanted)) if !self.images.is_empty() => {
                Err(LayoutError::NoImage { wanted: wanted.to_string(), found: names() })
            }
            ([], _) => Err(LayoutError::Empty),
            _ => Err(LayoutError::Ambiguous(names())),
        }
    }

    /// The config of an image with its bytes, whose digest is the identifier of the image.
    ///
    /// # Errors
    ///
    /// If it is missing or refused, or has another number of layers than the image.
    pub fn config(&mut self, image: &DockerImage) -> Result<(ImageConfig, Vec<u8>), LayoutError> {
        let bytes = files::read_document(&mut self.files, &image.config)?;
        let refused = |source| LayoutError::Document { path: image.config.clone(), source };
        let config = ImageConfig::parse(&bytes).map_err(refused)?;
        let (layers, diff_ids) = (image.layers.len(), config.rootfs.diff_ids.len());
        if layers != diff_ids {
            return Err(refused(ParseError::Layers { layers, diff_ids }));
        }
        Ok((config, bytes))
    }

    /// The blob of a layer: [`LayerReader`](crate::layer::LayerReader) finds out how it is compressed, and holds it
    /// against the config.
    ///
    /// # Errors
    ///
    /// If it is missing or cannot be opened.
    pub fn layer(&mut self, path: &ArchivePath) -> Result<Box<dyn Read + '_>, LayoutError> {
        files::open(&mut self.files, path)
    }
}

impl DockerImage {
    fn display(&self) -> String {
        let names: Vec<_> = self.names.iter().map(ImageReference::familiar).collect();
        if names.is_empty() { self.config.to_string() } else { names.join(", ") }
    }
}

impl Entry {
    /// What Docker is told of an image in a layout.
    pub(super) fn of(manifest: &Manifest) -> Self {
        let path = |digest| blob_path(digest).to_string();
        Self {
            config: path(manifest.config.digest),
            repo_tags: Vec::new(),
            layers: manifest.layers.iter().map(|layer| path(layer.digest)).collect(),
        }
    }

    /// Adds a name as people write it; so does Docker, and it has none without a tag.
    pub(super) fn add_name(&mut self, name: Option<&ImageReference>) {
        let name = name.filter(|name| name.tag().is_some() && name.digest().is_none());
        self.repo_tags.extend(name.map(ImageReference::familiar));
    }

    fn parse(&self) -> Result<DockerImage, LayoutError> {
        let name = |text: &String| text.parse().map_err(LayoutError::Name);
        let path = |text: &String| text.parse().map_err(|_| LayoutError::Path(text.clone()));
        Ok(DockerImage {
            names: self.repo_tags.iter().map(name).collect::<Result<_, _>>()?,
            config: path(&self.config)?,
            layers: self.layers.iter().map(path).collect::<Result<_, _>>()?,
        })
    }
}
