//! Images out of an OCI image layout.

use hwb_ident::ImageReference;
use hwb_oci::layer::LayerError;
use hwb_oci::layout::{Blobs, IMAGE_NAME, Layout, LayoutError, REF_NAME};
use hwb_oci::{Descriptor, Document, Manifest, MediaType};

use super::source::LayoutFiles;
use super::{ImportFault, Importer};
use crate::error::{Error, ErrorKind};
use crate::image::ImageFault;
use crate::image::catalogue::Image;
use crate::image::choice::Platforms;

/// So many indexes may lie in each other.
const DEEPEST: usize = 3;

/// What leads to an image in a layout, and what it is called there.
struct Entry {
    names: Vec<ImageReference>,
    top: Descriptor,
}

impl Importer<'_> {
    /// Imports the image that `selection` names. Without one and without a name to give, imports all.
    pub(super) fn layout(&self, files: LayoutFiles, selection: Option<&str>) -> Result<Vec<Image>, Error> {
        let mut layout = Layout::open(files).map_err(|error| self.failed(error))?;
        let tops = match (selection, &self.name) {
            (None, None) if !layout.index().manifests.is_empty() => layout.index().manifests.clone(),
            _ => vec![layout.find(selection).map_err(|error| self.failed(error))?.clone()],
        };
        let mut entries = Vec::new();
        for top in tops {
            let names = self.names(name_of(&top).into_iter().collect())?;
            entries.push(Entry { names, top });
        }
        let mut images = Vec::new();
        for Entry { names, top } in entries {
            for manifest in self.chosen(&mut layout, &top, DEEPEST)? {
                self.image(&mut layout, &manifest)?;
                images.extend(self.publish(&names, top.digest, &manifest)?);
            }
        }
        Ok(images)
    }

    /// The manifests that a descriptor leads to, as far as they are asked for.
    fn chosen(
        &self,
        layout: &mut Layout<LayoutFiles>,
        top: &Descriptor,
        depth: usize,
    ) -> Result<Vec<Descriptor>, Error> {
        let depth = depth.checked_sub(1).ok_or_else(|| self.failed(LayoutError::TooDeep(top.digest)))?;
        let (document, bytes) = layout.document(top).map_err(|error| self.failed(error))?;
        let Document::Index(index) = document else {
            self.store.put_blob(&mut bytes.as_slice())?;
            return Ok(vec![top.clone()]);
        };
        let below = match self.platforms {
            Platforms::All => index.manifests.iter().filter(is_image).collect(),
            Platforms::One(_) => {
                let chosen = index.choose(&self.preferred()).map_err(|error| {
                    let from = self.from.clone();
                    Error::new(ErrorKind::Source, ImportFault::Choice { from, source: error })
                        .hint("ask for one of these with `--platform`, or for all with `--all-platforms`")
                })?;
                vec![chosen]
            }
        };
        let mut manifests = Vec::new();
        for found in below {
            manifests.extend(self.chosen(layout, found, depth)?);
        }
        Ok(manifests)
    }

    /// Brings config and layers of an image into the store.
    fn image(&self, layout: &mut Layout<LayoutFiles>, descriptor: &Descriptor) -> Result<(), Error> {
        let (document, _) = layout.document(descriptor).map_err(|error| self.failed(error))?;
        let Document::Manifest(manifest) = document else { return Ok(()) };
        let Manifest { config, layers, .. } = manifest.as_ref();
        let (config, bytes) = layout.config(config).map_err(|error| self.failed(error))?;
        let malformed =
            |source| Error::new(ErrorKind::Source, ImageFault::Malformed { name: self.from.clone(), source });
        manifest.check_config(&config).map_err(malformed)?;
        let platform = config.platform().map_err(|source| {
            Error::new(ErrorKind::Source, ImageFault::Platform { name: self.from.clone(), source })
        })?;
        self.check_platform(platform)?;
        self.store.put_blob(&mut bytes.as_slice())?;
        for (layer, diff_id) in layers.iter().zip(&config.rootfs.diff_ids) {
            if self.known(diff_id).is_some_and(|known| known.digest == layer.digest) {
                continue;
            }
            let unread = |source| self.spoilt(layer.digest, LayerError::Read(source));
            let input = Blobs::open(layout, layer).map_err(unread)?;
            self.keep(layer, *diff_id, input)?;
        }
        Ok(())
    }
}

/// What an image is called in a layout, if that is a whole name: a tag alone says nothing.
fn name_of(image: &Descriptor) -> Option<ImageReference> {
    let annotation = |key| image.annotations.get(key).map(String::as_str);
    let whole = annotation(REF_NAME).filter(|name| name.contains([':', '/']));
    annotation(IMAGE_NAME).or(whole)?.parse().ok()
}

/// Whether something in an index is an image, and not a remark about one.
fn is_image(found: &&Descriptor) -> bool {
    let is_remark = found.platform.as_ref().is_some_and(|platform| platform.os == "unknown");
    matches!(found.media_type, MediaType::Manifest(_) | MediaType::Index(_)) && !is_remark
}
