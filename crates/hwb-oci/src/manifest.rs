//! What an image is made of, and an index of images for several platforms.

use std::collections::BTreeMap;

use hwb_ident::ImagePlatform;
use serde::{Deserialize, Serialize};

use crate::config::ImageConfig;
use crate::descriptor::Descriptor;
use crate::error::ParseError;
use crate::json;
use crate::media::{Dialect, MediaType};

/// What a reference leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Document {
    /// Images for several platforms.
    Index(Index),
    /// One image.
    Manifest(Box<Manifest>),
}

/// Images for several platforms.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Index {
    /// Whose format it is.
    pub dialect: Dialect,
    /// Images, further indexes, and things that are none of both.
    pub manifests: Vec<Descriptor>,
    /// Free remarks.
    pub annotations: BTreeMap<String, String>,
}

/// One image: its config and its layers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    /// Whose format it is.
    pub dialect: Dialect,
    /// How it is run.
    pub config: Descriptor,
    /// What it is made of, lowest first.
    pub layers: Vec<Descriptor>,
    /// Free remarks.
    pub annotations: BTreeMap<String, String>,
}

/// No image of an index is for a platform.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no image for {wanted}, only for {}", list(found))]
pub struct ChooseError {
    /// The platform that was asked for.
    pub wanted: ImagePlatform,
    /// Those that are there.
    pub found: Vec<ImagePlatform>,
}

fn list(platforms: &[ImagePlatform]) -> String {
    if platforms.is_empty() {
        return "none that is named".to_owned();
    }
    platforms.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// A manifest of either kind, as it is written.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Wire {
    schema_version: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    media_type: Option<MediaType>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    config: Option<Descriptor>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    layers: Option<Vec<Descriptor>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    manifests: Option<Vec<Descriptor>>,
    #[serde(default, deserialize_with = "json::or_default", skip_serializing_if = "BTreeMap::is_empty")]
    annotations: BTreeMap<String, String>,
}

impl Document {
    /// Reads a manifest of either kind; `said` is the media type that came with it, from a descriptor or a header.
    ///
    /// # Errors
    ///
    /// [`ParseError`] if it is malformed, is not what was said, could be taken for both kinds, or names what hwb does
    /// not support.
    pub fn parse(bytes: &[u8], said: Option<&MediaType>) -> Result<Self, ParseError> {
        // Before anything else is read: schema 1 has other fields.
        if let Some((media_type, why)) = said.and_then(|said| Some((said, said.refusal()?))) {
            return Err(ParseError::Refused { media_type: media_type.clone(), why });
        }
        let schema: Schema = json::read("manifest", bytes)?;
        if schema.schema_version != 2 {
            return Err(ParseError::Schema(schema.schema_version));
        }
        let wire: Wire = json::read("manifest", bytes)?;
        let is_image = wire.layers.is_some() || wire.config.is_some();
        if is_image && wire.manifests.is_some() {
            return Err(ParseError::Ambiguous);
        }
        match (said, wire.media_type.as_ref()) {
            (Some(said), Some(found)) if said != found => {
                Err(ParseError::Disagree { said: said.clone(), found: found.clone() })
            }
            (Some(media_type), _) | (None, Some(media_type)) => Self::of(media_type.clone(), wire),
            (None, None) if is_image => Self::of(MediaType::Manifest(Dialect::Oci), wire),
            (None, None) => Self::of(MediaType::Index(Dialect::Oci), wire),
        }
    }

    fn of(media_type: MediaType, wire: Wire) -> Result<Self, ParseError> {
        match (media_type, wire) {
            (MediaType::Index(dialect), Wire { manifests: Some(manifests), annotations, .. }) => {
                Ok(Self::Index(Index { dialect, manifests, annotations }))
            }
            (
                MediaType::Manifest(dialect),
                Wire { config: Some(config), layers: Some(layers), annotations, .. },
            ) => {
                let manifest = Manifest { dialect, config, layers, annotations };
                manifest.check()?;
                Ok(Self::Manifest(Box::new(manifest)))
            }
            (media_type, _) => {
                Err(ParseError::MediaType { media_type, place: "a manifest with these fields" })
            }
        }
    }
}

/// Everything that a manifest of either kind names, whatever it is: what must be copied with it. Nothing is checked
/// but that it can be read, as an index may name signatures and other things that are no images.
///
/// # Errors
///
/// [`ParseError`] if it is malformed.
pub fn children(bytes: &[u8]) -> Result<Vec<Descriptor>, ParseError> {
    let wire: Wire = json::read("manifest", bytes)?;
    Ok([wire.config.map(|config| vec![config]), wire.layers, wire.manifests]
        .into_iter()
        .flatten()
        .flatten()
        .collect())
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Schema {
    schema_version: u64,
}

impl Index {
    /// What it is.
    pub const fn media_type(&self) -> MediaType {
        MediaType::Index(self.dialect)
    }

    /// Its canonical bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        json::write(&Wire {
            schema_version: 2,
            media_type: Some(self.media_type()),
            config: None,
            layers: None,
            manifests: Some(self.manifests.clone()),
            annotations: self.annotations.clone(),
        })
    }

    /// The image for a platform: the nearest that runs there, of equally near ones the first. The only image of an
    /// index that names no platform serves too; its config says what it is for.
    ///
    /// # Errors
    ///
    /// [`ChooseError`] with the platforms that are there.
    pub fn choose(&self, wanted: &ImagePlatform) -> Result<&Descriptor, ChooseError> {
        let is_image =
            |found: &&Descriptor| matches!(found.media_type, MediaType::Manifest(_) | MediaType::Index(_));
        let platform = |found: &Descriptor| found.platform.as_ref().and_then(|platform| platform.name().ok());
        let images = || self.manifests.iter().filter(is_image);
        let distance = |found: &Descriptor| platform(found)?.distance_from(wanted);
        let nearest =
            images().filter_map(|found| Some((distance(found)?, found))).min_by_key(|(far, _)| *far);
        if let Some((_, found)) = nearest {
            return Ok(found);
        }
        match *images().collect::<Vec<_>>().as_slice() {
            [only] if only.platform.is_none() => Ok(only),
            _ => {
                // What says neither is no image, but a remark about one.
                let found =
                    images().filter_map(platform).filter(|platform| platform.os() != "unknown").collect();
                Err(ChooseError { wanted: wanted.clone(), found })
            }
        }
    }
}

impl Manifest {
    /// What it is.
    pub const fn media_type(&self) -> MediaType {
        MediaType::Manifest(self.dialect)
    }

    /// Its canonical bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        json::write(&Wire {
            schema_version: 2,
            media_type: Some(self.media_type()),
            config: Some(self.config.clone()),
            layers: Some(self.layers.clone()),
            manifests: None,
            annotations: self.annotations.clone(),
        })
    }

    /// Compares it with its config.
    ///
    /// # Errors
    ///
    /// If that has another number of layers.
    pub fn check_config(&self, config: &ImageConfig) -> Result<(), ParseError> {
        let (layers, diff_ids) = (self.layers.len(), config.rootfs.diff_ids.len());
        if layers == diff_ids { Ok(()) } else { Err(ParseError::Layers { layers, diff_ids }) }
    }

    fn check(&self) -> Result<(), ParseError> {
        let unfit = |found: &Descriptor, place| {
            let media_type = found.media_type.clone();
            match media_type.refusal() {
                Some(why) => ParseError::Refused { media_type, why },
                None => ParseError::MediaType { media_type, place },
            }
        };
        if !matches!(self.config.media_type, MediaType::Config(_)) {
            return Err(unfit(&self.config, "the config of an image that can be run"));
        }
        for layer in &self.layers {
            if !matches!(layer.media_type, MediaType::Layer(..)) {
                return Err(unfit(layer, "a layer"));
            }
            if !layer.urls.is_empty() {
                return Err(ParseError::ForeignLayer(layer.digest));
            }
        }
        Ok(())
    }
}
