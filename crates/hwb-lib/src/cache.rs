//! `hwb cache`: where the store is, how much it holds, and its removal.

use std::collections::BTreeMap;
use std::path::PathBuf;

use hwb_store::store::{Pruned, Usage};
use hwb_store::{Store, StoreError};
use schemars::JsonSchema;
use serde::Serialize;

use crate::ambient::Ambient;
use crate::error::{Error, ErrorKind};
use crate::image::Reaching;
use crate::settings::Settings;

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
    /// By kind, sorted.
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
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Removed {
    /// Bytes on disk.
    pub bytes: u64,
    /// Files and links.
    pub files: u64,
    /// The kinds that running builds hold; they were left alone.
    pub in_use: Vec<String>,
}

/// What is to be removed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kinds {
    /// What builds that were killed left behind.
    LeftBehind,
    /// Everything of these kinds.
    Named(Vec<String>),
}

#[derive(Debug, thiserror::Error)]
enum CacheError {
    #[error("failed to open the cache {}", directory.display())]
    Open { directory: PathBuf, source: StoreError },
    #[error("failed to measure the cache {}", directory.display())]
    Measure { directory: PathBuf, source: StoreError },
    #[error("failed to clear the cache {}", directory.display())]
    Remove { directory: PathBuf, source: StoreError },
    #[error("the cache holds nothing of the kind `{0}`")]
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
    let kinds = measure(settings, &store, &Reaching { ambient })?;
    let kinds = kinds.into_iter().map(|(kind, Usage { bytes, files })| KindUsage { kind, bytes, files });
    Ok(CacheUsage { directory: settings.cache_dir.clone(), kinds: kinds.collect() })
}

/// Removes some of the cache.
///
/// # Errors
///
/// If a kind is not there, or something cannot be removed.
pub fn prune(settings: &Settings, ambient: &Ambient, kinds: &Kinds) -> Result<Removed, Error> {
    let store = open(settings)?;
    let reach = Reaching { ambient };
    let there = measure(settings, &store, &reach)?;
    match kinds {
        Kinds::LeftBehind => {
            let swept = store.sweep(Some(&reach)).map_err(|source| remove_failed(settings, source))?;
            if let Some(failure) = swept.failures.into_iter().next() {
                return Err(remove_failed(settings, failure));
            }
            let (before, after) = (total(&there), total(&measure(settings, &store, &reach)?));
            Ok(Removed {
                bytes: before.bytes.saturating_sub(after.bytes),
                files: before.files.saturating_sub(after.files),
                in_use: Vec::new(),
            })
        }
        Kinds::Named(names) => {
            if let Some(unknown) = names.iter().find(|name| !there.contains_key(*name)) {
                let known = there.keys().cloned().collect::<Vec<_>>().join(", ");
                let error = Error::new(ErrorKind::Usage, CacheError::UnknownKind(unknown.clone()));
                return Err(if known.is_empty() { error } else { error.hint(format!("it holds {known}")) });
            }
            let names = names.iter().map(String::as_str).collect::<Vec<_>>();
            store.prune(&names, Some(&reach)).map(removed).map_err(|source| remove_failed(settings, source))
        }
    }
}

/// Removes everything that no running build holds.
///
/// # Errors
///
/// If something cannot be removed.
pub fn clean(settings: &Settings, ambient: &Ambient) -> Result<Removed, Error> {
    let cleaned = open(settings)?.clean(Some(&Reaching { ambient }));
    cleaned.map(removed).map_err(|source| remove_failed(settings, source))
}

/// Opens the store that the settings name.
pub(crate) fn open(settings: &Settings) -> Result<Store, Error> {
    Store::open(&settings.cache_dir).map_err(|source| {
        let directory = settings.cache_dir.clone();
        Error::new(ErrorKind::Machine, CacheError::Open { directory, source })
            .hint("name another place with --cache-dir or HWB_CACHE_DIR")
    })
}

fn measure(
    settings: &Settings,
    store: &Store,
    reach: &Reaching<'_>,
) -> Result<BTreeMap<String, Usage>, Error> {
    store.usage(Some(reach)).map_err(|source| {
        let directory = settings.cache_dir.clone();
        Error::new(ErrorKind::Machine, CacheError::Measure { directory, source })
    })
}

fn remove_failed(settings: &Settings, source: StoreError) -> Error {
    let directory = settings.cache_dir.clone();
    Error::new(ErrorKind::Machine, CacheError::Remove { directory, source })
}

fn total(kinds: &BTreeMap<String, Usage>) -> Usage {
    kinds.values().fold(Usage::default(), |sum, usage| Usage {
        bytes: sum.bytes + usage.bytes,
        files: sum.files + usage.files,
    })
}

fn removed(pruned: Pruned) -> Removed {
    let Pruned { removed: Usage { bytes, files }, in_use } = pruned;
    Removed { bytes, files, in_use }
}
