//! Reading an OCI image layout.

use std::io::{self, Read};

use serde::{Deserialize, Serialize};

use crate::config::ImageConfig;
use crate::descriptor::Descriptor;
use crate::error::ParseError;
use crate::json;
use crate::layout::files::{self, Blobs, Files};
use crate::layout::{IMAGE_NAME, LayoutError, REF_NAME, blob_path, known};
use crate::manifest::{Document, Index};
use crate::media::{Dialect, MediaType};

/// An OCI image layout: blobs by their digests, and an index of the images among them.
#[derive(Debug)]
pub struct Layout<F> {
    files: F,
    index: Index,
}

/// The file `oci-layout`, which says what all of it is.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Marker {
    image_layout_version: String,
}

impl Marker {
    const VERSION: &str = "1.0.0";

    pub(super) fn to_bytes() -> Vec<u8> {
        json::write(&Self { image_layout_version: Self::VERSION.to_owned() })
    }
}

impl<F: Files> Layout<F> {
    /// Opens a layout.
    ///
    /// # Errors
    ///
    /// If it is none, or of another version.
    pub fn open(mut files: F) -> Result<Self, LayoutError> {
        let refused = |path| |source| LayoutError::Document { path, source };
        let path = known("oci-layout");
        let bytes = files::read_document(&mut files, &path)?;
        let marker: Marker = json::read("layout", &bytes).map_err(refused(path))?;
        if marker.image_layout_version != Marker::VERSION {
            return Err(LayoutError::Version(marker.image_layout_version));
        }
        let path = known("index.json");
        let bytes = files::read_document(&mut files, &path)?;
        let media_type = MediaType::Index(Dialect::Oci);
        match Document::parse(&bytes, Some(&media_type)).map_err(refused(path.clone()))? {
            Document::Index(index) => Ok(Self { files, index }),
            Document::Manifest(_) => {
                Err(refused(path)(ParseError::MediaType { media_type, place: "one image alone" }))
            }
        }
    }

    /// The images it has.
    pub const fn index(&self) -> &Index {
        &self.index
    }

    /// An image by its tag, its whole name or its digest; without a name the only one.
    ///
    /// # Errors
    ///
    /// If there is none or more than one.
    pub fn find(&self, name: Option<&str>) -> Result<&Descriptor, LayoutError> {
        let answers = |image: &&Descriptor| {
            let is = |key| image.annotations.get(key).map(String::as_str) == name;
            name.is_none()
                || is(REF_NAME)
                || is(IMAGE_NAME)
                || Some(image.digest.to_string()).as_deref() == name
        };
        let found: Vec<_> = self.index.manifests.iter().filter(answers).collect();
        match (found.first(), name) {
            // One image under two names is one image.
            (Some(first), _) if found.iter().all(|image| image.digest == first.digest) => Ok(first),
            (Some(_), _) => Err(LayoutError::Ambiguous(found.iter().map(|image| name_of(image)).collect())),
            (None, Some(wanted)) if !self.index.manifests.is_empty() => {
                let found = self.index.manifests.iter().map(name_of).collect();
                Err(LayoutError::NoImage { wanted: wanted.to_owned(), found })
            }
            (None, _) => Err(LayoutError::Empty),
        }
    }

    /// A manifest or index with its bytes, which are what its digest names.
    ///
    /// # Errors
    ///
    /// If it is missing, is another one, or is refused.
    pub fn document(&mut self, descriptor: &Descriptor) -> Result<(Document, Vec<u8>), LayoutError> {
        let bytes = files::read_blob(self, descriptor)?;
        match Document::parse(&bytes, Some(&descriptor.media_type)) {
            Ok(document) => Ok((document, bytes)),
            Err(source) => Err(LayoutError::Document { path: blob_path(descriptor.digest), source }),
        }
    }

    /// A config with its bytes, which are what its digest names.
    ///
    /// # Errors
    ///
    /// If it is missing, is another one, or is refused.
    pub fn config(&mut self, descriptor: &Descriptor) -> Result<(ImageConfig, Vec<u8>), LayoutError> {
        let bytes = files::read_blob(self, descriptor)?;
        match ImageConfig::parse(&bytes) {
            Ok(config) => Ok((config, bytes)),
            Err(source) => Err(LayoutError::Document { path: blob_path(descriptor.digest), source }),
        }
    }
}

/// What an image is called: its longest name.
fn name_of(image: &Descriptor) -> String {
    let annotation = |key| image.annotations.get(key).cloned();
    annotation(IMAGE_NAME).or_else(|| annotation(REF_NAME)).unwrap_or_else(|| image.digest.to_string())
}

impl<F: Files> Blobs for Layout<F> {
    fn open(&mut self, descriptor: &Descriptor) -> io::Result<Box<dyn Read + '_>> {
        self.files.open(&blob_path(descriptor.digest))?.ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}
