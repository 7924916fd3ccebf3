//! What is asked of a build, and what it reports.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use hwb_ident::{ArchivePath, PackageName, SourceSpec};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::build::portability::ArtifactAudit;

/// What is asked of `hwb build`, as the arguments say it; settings give the rest.
#[derive(Debug, Clone)]
pub struct BuildRequest {
    /// Where the source is.
    pub source: SourceSpec,
    /// Where in the source the project is; wins over the fragment of the source.
    pub subdirectory: Option<ArchivePath>,
    /// Which members of a uv workspace.
    pub selection: Selection,
    /// What is to come out.
    pub outputs: Outputs,
    /// `-p/--python` as typed, in order; empty means the first that fits the project.
    pub pythons: Vec<String>,
    /// `-C key=value` and `--config-json`, for the backend.
    pub config_settings: BTreeMap<String, ConfigValue>,
    /// `--env NAME=VALUE`, for the hooks.
    pub env: BTreeMap<String, String>,
    /// How the build is kept apart from the machine.
    pub isolation: Isolation,
    /// Whether an environment of an earlier build may serve again.
    pub environments: Environments,
    /// Whether hooks reach the network.
    pub network: Network,
    /// Where the backend runs.
    pub placement: Placement,
    /// Which way a `uv_build` project goes.
    pub hook_path: HookPath,
    /// More build requirements than the project names.
    pub extra_requirements: Vec<String>,
    /// Whether wheels with native code are repaired.
    pub repair: Repairs,
    /// Where artifacts go.
    pub out_dir: PathBuf,
    /// `--clean`: earlier artifacts of the same project leave the output folder.
    pub clean: Requested,
    /// How long one hook may take.
    pub timeout: Option<Duration>,
    /// `--dry-run`: the plan is made and reported, nothing is built.
    pub dry_run: Requested,
}

/// Whether something optional was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Requested {
    /// It was.
    Yes,
    /// It was not.
    #[default]
    No,
}

/// Which projects of the source are built.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Selection {
    /// The one at the root (or in the subdirectory).
    #[default]
    Root,
    /// These members of the uv workspace.
    Packages(Vec<PackageName>),
    /// Every member of the uv workspace.
    All,
}

/// What is to come out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Outputs {
    /// A wheel, straight from the source.
    #[default]
    Wheel,
    /// An sdist.
    Sdist,
    /// An sdist, and the wheel that is built from it.
    SdistAndWheel,
    /// A PEP 660 editable wheel.
    Editable,
}

/// A value of a configuration setting: PEP 517 leaves it to the frontend; ours are what `--config-json` holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum ConfigValue {
    /// Given once.
    One(String),
    /// Given several times, in order.
    Many(Vec<String>),
    /// Any JSON of `--config-json`.
    Json(serde_json::Value),
}

/// How the build is kept apart from the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Isolation {
    /// An environment of its own.
    #[default]
    Venv,
    /// The interpreter as it is.
    None,
}

/// Whether an environment of an earlier build may serve again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Environments {
    /// One of the same content may, behind a layer of this build's own that is forgotten.
    #[default]
    Kept,
    /// Each build makes its own, and removes it.
    Fresh,
}

/// Whether hooks reach the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Network {
    /// As the host does.
    #[default]
    Host,
    /// Not at all.
    None,
}

/// Whether wheels with native code get the libraries that they need, and the platform tag that they deserve then.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Repairs {
    /// Where a portable tag is asked for; without a container none is, and the backend's stays.
    #[default]
    Auto,
    /// Every one, or the build fails.
    Require,
    /// None.
    Never,
}

/// Where the backend runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Placement {
    /// In a snapshot of the source.
    #[default]
    Snapshot,
    /// In the tree itself.
    InPlace,
}

/// Which way a project of the `uv_build` backend goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum HookPath {
    /// In process where the versions fit.
    #[default]
    Direct,
    /// By PEP 517 hooks.
    Pep517,
}

/// What `hwb build` did: the document that `--json` prints.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct BuildReport {
    /// What was built, in the order of the request.
    pub artifacts: Vec<ArtifactReport>,
}

/// Wheel or sdist.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ArtifactKind {
    /// A binary distribution.
    Wheel,
    /// A source distribution.
    Sdist,
}

/// One artifact.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct ArtifactReport {
    /// Wheel or sdist.
    pub kind: ArtifactKind,
    /// Its file name.
    pub file: String,
    /// Where it was written.
    pub path: PathBuf,
    /// Its SHA-256, as `sha256:…`.
    pub sha256: String,
    /// Its size in bytes.
    pub size: u64,
    /// Distribution name, normalised.
    pub name: String,
    /// Version.
    pub version: String,
    /// The interpreter that built it, for example `cpython 3.11.7`; absent if none was needed.
    pub python: Option<String>,
    /// The interpreters of the request that it serves without having been built for them.
    pub serves: Vec<String>,
    /// Digest of the source tree it was built from.
    pub source: String,
    /// Where that came from: a directory, the name of an archive, or a URL without credentials.
    #[serde(default)]
    pub origin: String,
    /// The commit of a git repository.
    #[serde(default)]
    pub commit: Option<String>,
    /// Digest of the archive, if it came in one.
    #[serde(default)]
    pub archive: Option<String>,
    /// `SOURCE_DATE_EPOCH` of the build.
    pub source_date_epoch: u64,
    /// What was in the build environment: `name==version`, sorted.
    pub requirements: Vec<String>,
    /// How portable its native code is; null where it has none, and where that cannot be told.
    #[serde(default)]
    pub audit: Option<ArtifactAudit>,
    /// Names of the variables from outside that can change what is built.
    pub influences: Vec<String>,
    /// Seconds by phase.
    pub phases: BTreeMap<String, f64>,
}
