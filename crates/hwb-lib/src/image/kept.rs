//! Runs whose changes are kept under a name.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use hwb_ident::{GuestPath, ImageReference, Timestamp};
use hwb_oci::Descriptor;
use hwb_sandbox::UPPER;
use hwb_snapshot::Form;
use hwb_store::store::Named;
use hwb_store::{Scratch, Store, fs};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::ImageFault;
use super::engine::Reaching;
use crate::ambient::Ambient;
use crate::cache;
use crate::error::{Error, ErrorKind};
use crate::settings::Settings;

/// Where the store keeps them.
const AREA: &str = "runs";
/// In a run: what it wrote.
const CHANGES: &str = "changes";
/// In a run: what it was.
const DOCUMENT: &str = "run.json";

/// What a run is called whose changes are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunName(String);

/// A text that is not the name of a run.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a run is called by at most 100 of `a-z A-Z 0-9 _ . -`, the first a letter or a digit")]
pub struct ParseRunNameError;

impl FromStr for RunName {
    type Err = ParseRunNameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let is_fine = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
        let begins = text.bytes().next().is_some_and(|first| first.is_ascii_alphanumeric());
        let is_name = begins && text.len() <= 100 && text.bytes().all(is_fine);
        is_name.then(|| Self(text.to_owned())).ok_or(ParseRunNameError)
    }
}

impl fmt::Display for RunName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What is known of a run that was kept.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct RunDocument {
    pub(super) image: ImageReference,
    /// Names its manifest: the image may be called otherwise by now.
    pub(super) manifest: Descriptor,
    /// How the layers below were unpacked.
    pub(super) form: Form,
    pub(super) began: Timestamp,
    pub(super) command: Vec<String>,
    pub(super) exit_code: u8,
    /// What was made only to mount something there.
    pub(super) made: Vec<GuestPath>,
}

/// A run that was kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct RunReport {
    /// What it is called.
    pub name: String,
    /// The whole name of its image.
    pub image: String,
    /// What was run.
    pub command: Vec<String>,
    /// How that ended.
    pub exit_code: u8,
    /// When it began, in RFC 3339.
    pub created: String,
}

/// The name of a run, which nobody else uses meanwhile.
#[derive(Debug)]
pub(super) struct Kept<'a> {
    name: &'a RunName,
    place: Named<'a>,
}

impl<'a> Kept<'a> {
    /// Takes a name for a new run.
    pub(super) fn reserve(store: &'a Store, name: &'a RunName) -> Result<Self, Error> {
        let kept = Self::hold(store, name)?;
        if kept.place.is_there() {
            return Err(Error::new(ErrorKind::Usage, ImageFault::RunThere(name.to_string()))
                .hint(format!("`hwb image rm --run {name}` removes it")));
        }
        Ok(kept)
    }

    /// Takes a run that is there.
    pub(super) fn take(store: &'a Store, name: &'a RunName) -> Result<Self, Error> {
        let kept = Self::hold(store, name)?;
        if !kept.place.is_there() {
            return Err(Error::new(ErrorKind::Source, ImageFault::NoRun(name.to_string()))
                .hint("`hwb image ls --runs` lists what is there"));
        }
        Ok(kept)
    }

    fn hold(store: &'a Store, name: &'a RunName) -> Result<Self, Error> {
        let place = store.named(AREA, &name.0)?;
        let in_use = || Error::new(ErrorKind::Usage, ImageFault::RunInUse(name.to_string()));
        Ok(Self { name, place: place.ok_or_else(in_use)? })
    }

    /// Keeps what a run left in a scratch directory.
    pub(super) fn keep(&self, scratch: Scratch, document: &RunDocument) -> Result<(), Error> {
        let text = serde_json::to_vec(document);
        let text = text.map_err(|source| malformed(&self.name.0, ErrorKind::Internal, source))?;
        fs::write_atomic(&scratch.path().join(DOCUMENT), &text)?;
        Ok(self.place.put(scratch)?)
    }

    pub(super) fn document(&self) -> Result<RunDocument, Error> {
        read(&self.name.0, self.place.path())
    }

    /// What it wrote, as overlayfs keeps it.
    pub(super) fn upper(&self) -> PathBuf {
        changes(self.place.path()).join(UPPER)
    }
}

fn read(name: &str, run: &Path) -> Result<RunDocument, Error> {
    let document = serde_json::from_slice(&fs::read(&run.join(DOCUMENT))?);
    document.map_err(|source| malformed(name, ErrorKind::Source, source))
}

fn malformed(name: &str, kind: ErrorKind, source: serde_json::Error) -> Error {
    Error::new(kind, ImageFault::RunDocument { name: name.to_owned(), source })
        .hint(format!("`hwb image rm --run {name}` removes it"))
}

/// Where a run writes that is or will be kept in a directory.
pub(super) fn changes(run: &Path) -> PathBuf {
    run.join(CHANGES)
}

/// Every run that was kept, by name.
///
/// # Errors
///
/// If the store cannot be read.
pub fn runs(settings: &Settings) -> Result<Vec<RunReport>, Error> {
    let store = cache::open(settings)?;
    let mut reports = Vec::new();
    for (name, path) in store.names(AREA)? {
        let RunDocument { image, began, command, exit_code, .. } = match read(&name, &path) {
            Ok(document) => document,
            // Somebody has just removed it.
            Err(_) if !path.is_dir() => continue,
            Err(error) => return Err(error),
        };
        let (image, created) = (image.to_string(), began.rfc3339());
        reports.push(RunReport { name, image, command, exit_code, created });
    }
    Ok(reports)
}

/// The images that were run, and their manifests; of a run that cannot be understood nothing is known.
pub(super) fn bases(store: &Store) -> Result<Vec<(ImageReference, Descriptor)>, Error> {
    let runs = store.names(AREA)?.into_iter();
    let documents = runs.filter_map(|(name, path)| read(&name, &path).ok());
    Ok(documents.map(|run| (run.image, run.manifest)).collect())
}

/// Removes runs, and says which.
///
/// # Errors
///
/// If there is no such run, somebody is using it, or it cannot be removed. Those before it are gone.
pub fn remove_runs(settings: &Settings, ambient: &Ambient, names: &[RunName]) -> Result<Vec<String>, Error> {
    let store = cache::open(settings)?;
    let remove = |name: &RunName| {
        Kept::take(&store, name)?.place.remove(Some(&Reaching { ambient }))?;
        Ok(name.to_string())
    };
    names.iter().map(remove).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_plain() {
        for name in ["a", "7", "my-run_1.x", &"n".repeat(100)] {
            assert_eq!(name.parse::<RunName>().map(|name| name.to_string()).as_deref(), Ok(name));
        }
        for wrong in ["", ".", "..", ".a", "-a", "_a", "a/b", "a,b", "a+b", "ä", "a b", &"n".repeat(101)] {
            assert_eq!(wrong.parse::<RunName>(), Err(ParseRunNameError), "{wrong}");
        }
    }
}
