//! Files, variables and arguments merged into settled settings, each with its origin.
//!
//! Weakest first: what is built in; pip's and uv's files, then their variables, for what concerns indexes; then
//! hwb's own: `/etc/hwb/hwb.toml`, the user's `hwb/hwb.toml`, the project's `hwb.toml` or `[tool.hwb]`, `HWB_*`
//! variables, arguments. A single value of a stronger place replaces the weaker one; lists add up, the stronger
//! place first; `build.env` and the tables of `registries` add up by name.
//!
//! - [`key`](self): the settings there are and how their values are written ([`value`](self));
//! - `own`, `uv`, `pip`: where each family of places is and what its names mean here;
//! - `constraints`: files of build constraints;
//! - `settle`: the fold over all that was found.

mod constraints;
mod error;
mod key;
mod own;
mod pip;
mod settle;
mod uv;
mod value;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Serialize, Serializer};

pub use hwb_uv::{Connectivity, Hashes, IndexSettings, Indexes, Keyring, Strategy};

pub use self::constraints::ConstraintsError;
pub use self::error::{SettingsError, TomlError};
pub use self::value::{ValueError, parse_duration};

use self::key::{Assignment, Entry};
use crate::ambient::Ambient;
use crate::build::{Isolation, Network, Repairs};

/// What holds for one command.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where the store is.
    pub cache_dir: PathBuf,
    /// Where distributions come from.
    pub index: IndexSettings,
    /// How builds are run.
    pub build: BuildSettings,
    /// How registries of images are reached.
    pub registries: RegistryChoices,
    /// Every setting that holds with the place that decided it, by key.
    pub origins: Vec<Setting>,
}

/// How builds are run: `[build]` of `hwb.toml`, `[tool.hwb.build]` of `pyproject.toml`.
///
/// `None` means that no place said anything; an argument of the command wins over what is here.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BuildSettings {
    /// Variables that every hook sees besides the documented ones.
    pub env: BTreeMap<String, String>,
    /// Whether hooks reach the network.
    pub network: Option<Network>,
    /// How a build is kept apart from the machine.
    pub isolation: Option<Isolation>,
    /// Whether wheels with native code are repaired.
    pub repair: Option<Repairs>,
    /// How long one hook may take.
    pub timeout: Option<Duration>,
}

/// How registries of images are reached: `[registries]`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RegistryChoices {
    /// Other places for repositories, by how their names begin: `quay.io/pypa` at `mirror.example/quay`.
    pub mirrors: BTreeMap<String, String>,
    /// Hosts that may show any certificate, or speak plain HTTP.
    pub insecure: Vec<String>,
    /// PEM files with the authorities of single hosts.
    pub certificates: BTreeMap<String, PathBuf>,
    /// In requests of so many MiB are blobs sent; `None` for one request each.
    pub upload_chunk: Option<u64>,
}

/// One setting (or one element of a list) that holds.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Setting {
    /// Its name in `hwb.toml`, for example `build.network`.
    pub key: String,
    /// Its value; without credentials.
    pub value: serde_json::Value,
    /// The place that decided it.
    #[schemars(with = "String")]
    pub origin: Origin,
}

/// The place that decided a setting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// Nobody said anything else.
    BuiltIn,
    /// A file.
    File(PathBuf),
    /// An environment variable.
    Variable(String),
    /// An argument, as `--name`.
    Argument(&'static str),
}

/// What the arguments of a command say; `None` and empty where they say nothing.
#[derive(Debug, Clone, Default)]
pub struct Overrides {
    /// `--cache-dir`
    pub cache_dir: Option<PathBuf>,
    /// `--index-url`
    pub index_url: Option<String>,
    /// `--extra-index-url`
    pub extra_index_urls: Vec<String>,
    /// `--find-links`
    pub find_links: Vec<String>,
    /// `--no-index`
    pub indexes: Option<Indexes>,
    /// `--offline`
    pub connectivity: Option<Connectivity>,
    /// `--index-strategy`
    pub strategy: Option<Strategy>,
    /// `--exclude-newer`
    pub exclude_newer: Option<String>,
    /// `--build-constraint`
    pub build_constraint_files: Vec<PathBuf>,
    /// `--require-hashes`
    pub hashes: Option<Hashes>,
    /// `--keyring-provider`
    pub keyring: Option<Keyring>,
}

/// Reads every place that may say something and settles what holds.
///
/// `project` is a directory: the project's own settings are looked for in it and, inside a git checkout, in the
/// directories above it up to the top of the checkout.
///
/// # Errors
///
/// [`SettingsError`] names the file, variable or argument that makes no sense.
pub fn load(
    ambient: &Ambient,
    project: Option<&Path>,
    overrides: &Overrides,
) -> Result<Settings, SettingsError> {
    load_below(Path::new("/etc"), ambient, project, overrides)
}

/// The same with another directory in the place of `/etc`.
fn load_below(
    system: &Path,
    ambient: &Ambient,
    project: Option<&Path>,
    overrides: &Overrides,
) -> Result<Settings, SettingsError> {
    // Components leave `.` out, which nobody wants to read in an origin.
    let project = project.map(|project| ambient.absolute(project).components().collect::<PathBuf>());
    let project = project.as_deref();
    let mut found = vec![default_cache_dir(ambient)].into_iter().flatten().collect::<Vec<_>>();
    found.extend(pip::files(system, ambient)?);
    found.extend(uv::files(system, ambient, project)?);
    found.extend(pip::variables(ambient)?);
    found.extend(uv::variables(ambient)?);
    found.extend(own::files(system, ambient, project)?);
    found.extend(own::variables(ambient)?);
    found.extend(arguments(ambient, overrides));
    settle::settle(read_constraint_files(found)?)
}

fn default_cache_dir(ambient: &Ambient) -> Option<Assignment> {
    let directory = ambient.cache_home()?.join("hwb");
    Some(Assignment { origin: Origin::BuiltIn, entry: Entry::CacheDir(directory) })
}

/// Takes the arguments in; paths among them are seen from the working directory.
fn arguments(ambient: &Ambient, overrides: &Overrides) -> Vec<Assignment> {
    let Overrides {
        cache_dir,
        index_url,
        extra_index_urls,
        find_links,
        indexes,
        connectivity,
        strategy,
        exclude_newer,
        build_constraint_files,
        hashes,
        keyring,
    } = overrides.clone();
    let base = value::Base::cwd(ambient);
    let located = |texts: Vec<String>| texts.iter().map(|text| base.location(text)).collect::<Vec<_>>();
    let listed = |texts: Vec<String>| Some(located(texts)).filter(|texts| !texts.is_empty());
    let constraint_files =
        build_constraint_files.iter().map(|path| ambient.absolute(path)).collect::<Vec<_>>();
    let said = [
        ("--cache-dir", cache_dir.map(|path| Entry::CacheDir(ambient.absolute(&path)))),
        ("--index-url", index_url.map(|url| Entry::IndexUrl(base.location(&url)))),
        ("--extra-index-url", listed(extra_index_urls).map(Entry::ExtraIndexUrls)),
        ("--find-links", listed(find_links).map(Entry::FindLinks)),
        ("--no-index", indexes.map(Entry::Indexes)),
        ("--offline", connectivity.map(Entry::Connectivity)),
        ("--index-strategy", strategy.map(Entry::Strategy)),
        ("--exclude-newer", exclude_newer.map(Entry::ExcludeNewer)),
        ("--build-constraint", Some(Entry::ConstraintFiles(constraint_files))),
        ("--require-hashes", hashes.map(Entry::Hashes)),
        ("--keyring-provider", keyring.map(Entry::Keyring)),
    ];
    said.into_iter()
        .filter_map(|(name, entry)| Some(Assignment { origin: Origin::Argument(name), entry: entry? }))
        .collect()
}

/// Puts the constraints in the place of the files that hold them.
fn read_constraint_files(found: Vec<Assignment>) -> Result<Vec<Assignment>, SettingsError> {
    found
        .into_iter()
        .map(|assignment| {
            let Entry::ConstraintFiles(paths) = assignment.entry else { return Ok(assignment) };
            let mut constraints = Vec::new();
            for path in paths {
                let more = constraints::read(&path)
                    .map_err(|source| SettingsError::Constraints { path: path.clone(), source })?;
                constraints.extend(more);
            }
            Ok(Assignment { origin: assignment.origin, entry: Entry::BuildConstraints(constraints) })
        })
        .collect()
}

/// Reads a settings file; a file that is not there says nothing.
fn read_optional(path: &Path) -> Result<Option<String>, SettingsError> {
    match fs_err::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error)
            if matches!(error.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory) =>
        {
            Ok(None)
        }
        Err(source) => Err(SettingsError::Read { path: path.to_owned(), source }),
    }
}

/// Where the project's settings may stand, nearest first.
fn project_directories(project: &Path) -> Vec<&Path> {
    let mut directories = Vec::new();
    for directory in project.ancestors() {
        directories.push(directory);
        if directory.join(".git").exists() {
            return directories;
        }
    }
    // Outside a checkout nothing says how far up the project reaches: no stranger's file is taken for its own.
    directories.truncate(1);
    directories
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BuiltIn => f.write_str("built in"),
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Variable(name) => f.write_str(name),
            Self::Argument(name) => f.write_str(name),
        }
    }
}

impl Serialize for Origin {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
