//! `hwb cache`: where the store is, how much it holds, and its removal.
//!
//! [`prune()`] looks at what there is, `plan` decides what goes.

mod plan;
mod prune;

use std::path::PathBuf;

use hwb_store::store::{Cleaned, Usage};
use hwb_store::{Store, StoreError};
use schemars::JsonSchema;
use serde::Serialize;

use crate::ambient::Ambient;
use crate::error::{Error, ErrorKind};
use crate::image::Reaching;
use crate::settings::Settings;

pub use self::prune::{PruneRequest, Scope, prune};

/// Parts of images and other downloads, as they came.
const BLOBS: &str = "blobs";
/// Small documents, such as the names of images.
const RECORDS: &str = "records";
/// Unpacked layers.
const SNAPSHOTS: &str = "snapshots";

/// Where the cache is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct CacheDirectory {
    /// The directory; it need not be there yet.
    pub directory: PathBuf,
}

/// How much the cache holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct CacheUsage {
    /// The directory.
    pub directory: PathBuf,
    /// By kind, sorted; together they are the whole directory.
    pub kinds: Vec<KindUsage>,
}

/// How much there is of one kind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct KindUsage {
    /// The kind, for example `uv`.
    pub kind: String,
    /// Bytes on disk.
    pub bytes: u64,
    /// Files and links.
    pub files: u64,
}

/// What was removed from the cache.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Removed {
    /// Bytes on disk.
    pub bytes: u64,
    /// Files and links.
    pub files: u64,
    /// Names of images that are gone.
    pub images: Vec<String>,
    /// The kinds that running commands use; they were left alone.
    pub in_use: Vec<String>,
    /// Bytes that the cache still has, if it was asked to come down to a size.
    pub left: Option<u64>,
}

#[derive(Debug, thiserror::Error)]
enum CacheError {
    #[error("failed to open the cache {}", directory.display())]
    Open { directory: PathBuf, source: StoreError },
    #[error("failed to measure the cache {}", directory.display())]
    Measure { directory: PathBuf, source: StoreError },
    #[error("failed to clear the cache {}", directory.display())]
    Remove { directory: PathBuf, source: StoreError },
    #[error("the cache has no kind `{0}`")]
    UnknownKind(String),
}

/// Where the cache is.
pub fn directory(settings: &Settings) -> CacheDirectory {
    CacheDirectory { directory: settings.cache_dir.clone() }
}

/// Measures the cache.
///
/// # Errors
///
/// If it cannot be read.
pub fn usage(settings: &Settings, ambient: &Ambient) -> Result<CacheUsage, Error> {
    let store = open(settings)?;
    let kinds = store.usage(Some(&Reaching { ambient })).map_err(|source| {
        let directory = settings.cache_dir.clone();
        Error::new(ErrorKind::Machine, CacheError::Measure { directory, source })
    })?;
    let kinds = kinds.into_iter().map(|(kind, Usage { bytes, files, .. })| KindUsage { kind, bytes, files });
    Ok(CacheUsage { directory: settings.cache_dir.clone(), kinds: kinds.collect() })
}

/// Removes everything that no running build holds.
///
/// # Errors
///
/// If something cannot be removed.
pub fn clean(settings: &Settings, ambient: &Ambient) -> Result<Removed, Error> {
    let cleaned = open(settings)?.clean(Some(&Reaching { ambient }));
    let Cleaned { removed: Usage { bytes, files, .. }, in_use } =
        cleaned.map_err(|source| remove_failed(settings, source))?;
    Ok(Removed { bytes, files, in_use, ..Removed::default() })
}

/// Opens the store that the settings name.
pub(crate) fn open(settings: &Settings) -> Result<Store, Error> {
    Store::open(&settings.cache_dir).map_err(|source| {
        let directory = settings.cache_dir.clone();
        Error::new(ErrorKind::Machine, CacheError::Open { directory, source })
            .hint("name another place with --cache-dir or HWB_CACHE_DIR")
    })
}

fn remove_failed(settings: &Settings, source: StoreError) -> Error {
    let directory = settings.cache_dir.clone();
    Error::new(ErrorKind::Machine, CacheError::Remove { directory, source })
}
