//! How an image is run, and how it came about.

use std::collections::BTreeMap;

use hwb_ident::platform::ParseImagePlatformError;
use hwb_ident::{Digest, ImagePlatform, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::error::ParseError;
use crate::json;

/// The config of an image: the OCI specification's, and what Docker adds.
///
/// Fields that hwb does not know are kept, so that a foreign config that is changed in one place stays the same in
/// all others.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct ImageConfig {
    /// When it was made, in RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
    /// Who made it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub author: Option<String>,
    /// The processor, in Go's words.
    pub architecture: String,
    /// Which of its kind.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
    /// The operating system, in Go's words.
    pub os: String,
    /// Which build of it.
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
    /// How it is run.
    #[serde(default, deserialize_with = "json::or_default", skip_serializing_if = "RunConfig::is_empty")]
    pub config: RunConfig,
    /// What its root is made of.
    pub rootfs: RootFs,
    /// How each layer came about, lowest first.
    #[serde(default, deserialize_with = "json::or_default", skip_serializing_if = "Vec::is_empty")]
    pub history: Vec<History>,
    /// What else there is.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

/// How an image is run unless a user says otherwise.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct RunConfig {
    /// `user`, `uid`, `user:group` or `uid:gid`; empty is root.
    #[serde(deserialize_with = "json::or_default", skip_serializing_if = "String::is_empty")]
    pub user: String,
    /// `80/tcp`
    #[serde(deserialize_with = "json::or_default", skip_serializing_if = "BTreeMap::is_empty")]
    pub exposed_ports: BTreeMap<String, Empty>,
    /// `NAME=value`
    #[serde(deserialize_with = "json::or_default", skip_serializing_if = "Vec::is_empty")]
    pub env: Vec<String>,
    /// What is always run.
    #[serde(deserialize_with = "json::or_default", skip_serializing_if = "Vec::is_empty")]
    pub entrypoint: Vec<String>,
    /// Its arguments, or without an entrypoint the command.
    #[serde(deserialize_with = "json::or_default", skip_serializing_if = "Vec::is_empty")]
    pub cmd: Vec<String>,
    /// Paths that are meant to outlive a run.
    #[serde(deserialize_with = "json::or_default", skip_serializing_if = "BTreeMap::is_empty")]
    pub volumes: BTreeMap<String, Empty>,
    /// Where it is run; empty is the root.
    #[serde(deserialize_with = "json::or_default", skip_serializing_if = "String::is_empty")]
    pub working_dir: String,
    /// Free remarks.
    #[serde(deserialize_with = "json::or_default", skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// `SIGTERM`, or a number.
    #[serde(deserialize_with = "json::or_default", skip_serializing_if = "String::is_empty")]
    pub stop_signal: String,
    /// Seconds between that and SIGKILL. Docker's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stop_timeout: Option<i64>,
    /// Whether the command is one string, as Windows has it. Docker's.
    #[serde(deserialize_with = "json::or_default", skip_serializing_if = "json::is_false")]
    pub args_escaped: bool,
    /// How its health is asked. Docker's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub healthcheck: Option<Healthcheck>,
    /// Instructions for builds that start from it. Docker's.
    #[serde(deserialize_with = "json::or_default", skip_serializing_if = "Vec::is_empty")]
    pub on_build: Vec<String>,
    /// What runs commands that are one string. Docker's.
    #[serde(deserialize_with = "json::or_default", skip_serializing_if = "Vec::is_empty")]
    pub shell: Vec<String>,
    /// What else there is.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

/// `{}`: the value in a set that is written as a map.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Empty {}

/// How the health of a container is asked; times are nanoseconds.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Healthcheck {
    /// `NONE`, or `CMD` and a command, or `CMD-SHELL` and one string.
    #[serde(deserialize_with = "json::or_default", skip_serializing_if = "Vec::is_empty")]
    pub test: Vec<String>,
    /// Between two checks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interval: Option<i64>,
    /// For one check.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<i64>,
    /// In which failures do not count.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start_period: Option<i64>,
    /// Between two checks in that time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start_interval: Option<i64>,
    /// Failures in a row that count.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retries: Option<i64>,
    /// What else there is.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

/// What the root of an image is made of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RootFs {
    /// Always `layers`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The digest of each layer as a tar archive, lowest first.
    #[serde(deserialize_with = "json::digests")]
    pub diff_ids: Vec<Digest>,
}

impl Default for RootFs {
    fn default() -> Self {
        Self { kind: "layers".to_owned(), diff_ids: Vec::new() }
    }
}

/// How a layer came about.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct History {
    /// When, in RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
    /// By whom.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub author: Option<String>,
    /// By which command.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created_by: Option<String>,
    /// A remark.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
    /// Whether it made no layer.
    #[serde(deserialize_with = "json::or_default", skip_serializing_if = "json::is_false")]
    pub empty_layer: bool,
    /// What else there is.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

impl ImageConfig {
    /// The config of an image without layers.
    pub fn new(platform: &ImagePlatform, created: Timestamp) -> Self {
        Self {
            created: Some(created.rfc3339()),
            architecture: platform.architecture().to_owned(),
            variant: platform.variant().map(str::to_owned),
            os: platform.os().to_owned(),
            ..Self::default()
        }
    }

    /// Reads a config.
    ///
    /// # Errors
    ///
    /// [`ParseError`] if it is malformed, or its root is not made of layers.
    pub fn parse(bytes: &[u8]) -> Result<Self, ParseError> {
        let config: Self = json::read("config", bytes)?;
        if config.rootfs.kind != "layers" {
            return Err(ParseError::RootFs(config.rootfs.kind));
        }
        Ok(config)
    }

    /// Its canonical bytes. Their digest is the identifier of the image.
    pub fn to_bytes(&self) -> Vec<u8> {
        json::write(self)
    }

    /// Puts a layer on top. The image is as old as that.
    pub fn append_layer(&mut self, diff_id: Digest, history: History) {
        self.rootfs.diff_ids.push(diff_id);
        self.append(History { empty_layer: false, ..history });
    }

    /// Notes what was done without a layer.
    pub fn append_empty(&mut self, history: History) {
        self.append(History { empty_layer: true, ..history });
    }

    fn append(&mut self, history: History) {
        if history.created.is_some() {
            self.created.clone_from(&history.created);
        }
        self.history.push(history);
    }

    /// What the image is for.
    ///
    /// # Errors
    ///
    /// If a field is empty or is no word.
    pub fn platform(&self) -> Result<ImagePlatform, ParseImagePlatformError> {
        ImagePlatform::new(&self.os, &self.architecture, self.variant.as_deref())
    }
}

impl History {
    /// What a command did at that time.
    pub fn new(created: Timestamp, created_by: impl Into<String>) -> Self {
        Self { created: Some(created.rfc3339()), created_by: Some(created_by.into()), ..Self::default() }
    }
}

impl RunConfig {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}
