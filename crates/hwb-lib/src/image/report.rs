//! What is said of an image.

use hwb_oci::ImageConfig;
use schemars::JsonSchema;
use serde::Serialize;

use super::catalogue::Image;

/// An image in the store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct ImageReport {
    /// Its whole name.
    pub name: String,
    /// The digest of its config.
    pub id: String,
    /// The digest of its manifest.
    pub digest: String,
    /// What it is for: `linux/amd64`.
    pub platform: String,
    /// When it was made, in RFC 3339, if it says so.
    pub created: Option<String>,
    /// Bytes of its layers as a registry has them.
    pub size: u64,
}

/// What an image is made of, and how it is run.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct ImageDetails {
    /// The image.
    #[serde(flatten)]
    pub image: ImageReport,
    /// Its layers, lowest first.
    pub layers: Vec<LayerReport>,
    /// Its config as the OCI specification has it.
    pub config: serde_json::Value,
}

/// A layer of an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct LayerReport {
    /// Its digest as it is packed.
    pub digest: String,
    /// Its digest as a tar archive.
    pub diff_id: String,
    /// How it is packed: a media type.
    pub media_type: String,
    /// Bytes as it is packed.
    pub size: u64,
}

/// A step in which an image came about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct StepReport {
    /// When, in RFC 3339, if it says so.
    pub created: Option<String>,
    /// By which command, if it says so.
    pub created_by: Option<String>,
    /// Bytes of the layer that it made as it is packed; `None` if it made none.
    pub size: Option<u64>,
    /// A remark.
    pub comment: Option<String>,
}

impl ImageReport {
    pub(super) fn of(image: &Image) -> Self {
        Self {
            name: image.name.to_string(),
            id: image.id().to_string(),
            digest: image.descriptor.digest.to_string(),
            platform: image.platform.to_string(),
            created: image.config.created.clone(),
            size: image.manifest.layers.iter().map(|layer| layer.size).sum(),
        }
    }
}

impl ImageDetails {
    pub(super) fn of(image: &Image) -> Self {
        let diff_ids = &image.config.rootfs.diff_ids;
        let layers = image.manifest.layers.iter().zip(diff_ids).map(|(layer, diff_id)| LayerReport {
            digest: layer.digest.to_string(),
            diff_id: diff_id.to_string(),
            media_type: layer.media_type.as_str().to_owned(),
            size: layer.size,
        });
        Self { image: ImageReport::of(image), layers: layers.collect(), config: document(&image.config) }
    }
}

fn document(config: &ImageConfig) -> serde_json::Value {
    serde_json::to_value(config).unwrap_or_default()
}

impl StepReport {
    /// The newest first.
    pub(super) fn of(image: &Image) -> Vec<Self> {
        let mut layers = image.manifest.layers.iter();
        let mut steps: Vec<Self> = image
            .config
            .history
            .iter()
            .map(|step| Self {
                created: step.created.clone(),
                created_by: step.created_by.clone(),
                size: if step.empty_layer { None } else { layers.next().map(|layer| layer.size) },
                comment: step.comment.clone(),
            })
            .collect();
        // What the history does not speak of is there all the same.
        let silent = |size| Self { created: None, created_by: None, size: Some(size), comment: None };
        steps.extend(layers.map(|layer| silent(layer.size)));
        steps.reverse();
        steps
    }
}
