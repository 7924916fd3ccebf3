//! A pointer to bytes by their digest.

use std::collections::BTreeMap;

use hwb_ident::platform::ParseImagePlatformError;
use hwb_ident::{Digest, ImagePlatform};
use serde::{Deserialize, Serialize};

use crate::json;
use crate::media::MediaType;

/// Names bytes by what they are, their digest and their size.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    /// What the bytes are.
    pub media_type: MediaType,
    /// Their digest.
    #[serde(deserialize_with = "json::digest")]
    pub digest: Digest,
    /// How many they are.
    pub size: u64,
    /// Where else they are said to lie; hwb looks nowhere but where the image is.
    #[serde(default, deserialize_with = "json::or_default", skip_serializing_if = "Vec::is_empty")]
    pub urls: Vec<String>,
    /// Free remarks.
    #[serde(default, deserialize_with = "json::or_default", skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// The bytes themselves, in base 64. Kept, and never believed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<String>,
    /// What the image is for; in an index only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<Platform>,
    /// What it is for those who know it; for images never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
}

impl Descriptor {
    /// Describes `bytes`.
    pub fn of(media_type: MediaType, bytes: &[u8]) -> Self {
        Self::new(media_type, Digest::of(bytes), bytes.len() as u64)
    }

    /// Describes bytes of which this is known.
    pub const fn new(media_type: MediaType, digest: Digest, size: u64) -> Self {
        Self {
            media_type,
            digest,
            size,
            urls: Vec::new(),
            annotations: BTreeMap::new(),
            data: None,
            platform: None,
            artifact_type: None,
        }
    }
}

/// What machines an image is for, with everything that an index may say of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Platform {
    /// The processor, in Go's words.
    pub architecture: String,
    /// The operating system, in Go's words.
    pub os: String,
    /// Which build of it; Windows needs that.
    #[serde(default, rename = "os.version", skip_serializing_if = "Option::is_none")]
    pub os_version: Option<String>,
    /// What it must be able to do.
    #[serde(
        default,
        rename = "os.features",
        deserialize_with = "json::or_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub os_features: Vec<String>,
    /// Which of its kind the processor is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
}

impl Platform {
    /// Its name, in which other words for the same are told apart no more.
    ///
    /// # Errors
    ///
    /// If a field is empty or is no word.
    pub fn name(&self) -> Result<ImagePlatform, ParseImagePlatformError> {
        ImagePlatform::new(&self.os, &self.architecture, self.variant.as_deref())
    }
}

impl From<&ImagePlatform> for Platform {
    fn from(platform: &ImagePlatform) -> Self {
        Self {
            architecture: platform.architecture().to_owned(),
            os: platform.os().to_owned(),
            os_version: None,
            os_features: Vec::new(),
            variant: platform.variant().map(str::to_owned),
        }
    }
}
