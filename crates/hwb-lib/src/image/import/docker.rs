//! Images out of what `docker save` writes.

use std::collections::BTreeMap;
use std::fs::File;

use hwb_archive::tar::Members;
use hwb_oci::layout::{DockerArchive, DockerImage};
use hwb_oci::{Descriptor, Dialect, Manifest, MediaType};

use super::Importer;
use crate::error::{Error, ErrorKind};
use crate::image::catalogue::Image;
use crate::image::{ImageFault, reference};

impl Importer<'_> {
    /// Imports the image that `selection` names. Without one and without a name to give, imports all.
    pub(super) fn docker(
        &self,
        members: Members<File>,
        selection: Option<&str>,
    ) -> Result<Vec<Image>, Error> {
        let mut archive = DockerArchive::open(members).map_err(|error| self.failed(error))?;
        let selection = selection.map(reference).transpose()?;
        let chosen: Vec<DockerImage> = match (&selection, &self.name) {
            (None, None) if !archive.images().is_empty() => archive.images().to_vec(),
            _ => vec![archive.find(selection.as_ref()).map_err(|error| self.failed(error))?.clone()],
        };
        let mut images = Vec::new();
        for mut image in chosen {
            // Who names one of an image's names wants that one.
            let names = selection
                .as_ref()
                .map_or_else(|| std::mem::take(&mut image.names), |name| vec![name.clone()]);
            let names = self.names(names)?;
            let manifest = self.docker_image(&mut archive, &image)?;
            images.extend(self.publish(&names, manifest.digest, &manifest)?);
        }
        Ok(images)
    }

    /// Brings an image into the store, and makes the manifest that it lacks.
    fn docker_image(
        &self,
        archive: &mut DockerArchive<Members<File>>,
        image: &DockerImage,
    ) -> Result<Descriptor, Error> {
        let (config, config_bytes) = archive.config(image).map_err(|error| self.failed(error))?;
        let platform = config.platform().map_err(|source| {
            Error::new(ErrorKind::Source, ImageFault::Platform { name: self.from.clone(), source })
        })?;
        self.check_platform(platform)?;
        let mut layers = Vec::new();
        for (path, diff_id) in image.layers.iter().zip(&config.rootfs.diff_ids) {
            layers.push(match self.known(diff_id) {
                Some(layer) => layer,
                None => {
                    let input = archive.layer(path).map_err(|error| self.failed(error))?;
                    self.keep_or_pack(*diff_id, input)?
                }
            });
        }
        self.manifest(&config_bytes, layers)
    }

    /// Puts a config and a new manifest into the store.
    pub(super) fn manifest(&self, config: &[u8], layers: Vec<Descriptor>) -> Result<Descriptor, Error> {
        let manifest = Manifest {
            dialect: Dialect::Oci,
            config: Descriptor::of(MediaType::Config(Dialect::Oci), config),
            layers,
            annotations: BTreeMap::new(),
        };
        let bytes = manifest.to_bytes();
        for mut document in [config, &bytes] {
            self.store.put_blob(&mut document)?;
        }
        Ok(Descriptor::of(manifest.media_type(), &bytes))
    }
}
