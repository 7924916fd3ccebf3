//! A virtual environment with what a build needs: made, handed out, and removed when it is dropped.

use std::path::Path;

use hwb_ident::{Digest, Hasher};
use hwb_store::{Slot, Store, StoreError};
use hwb_uv::{Filled, Links, Pin, Python, Resolved, Seam, SeamError};

/// An environment of one build alone.
#[derive(Debug)]
pub struct Environment {
    filled: Filled,
    pins: Vec<Pin>,
    _slot: Slot,
}

impl Environment {
    /// Its directory.
    pub fn root(&self) -> &Path {
        &self.filled.root
    }

    /// Its interpreter.
    pub fn python(&self) -> &Path {
        &self.filled.python
    }

    /// Where its programs are.
    pub fn scripts(&self) -> &Path {
        &self.filled.scripts
    }

    /// Where its packages are.
    pub fn site_packages(&self) -> &Path {
        &self.filled.site_packages
    }

    /// What is installed in it, by name.
    pub fn pins(&self) -> &[Pin] {
        &self.pins
    }
}

/// Why there is no environment.
#[derive(Debug, thiserror::Error)]
pub enum EnvironmentError {
    /// There is no place for it.
    #[error("Failed to create venv: no place for it in the cache")]
    Place(#[source] StoreError),
    /// It could not be filled.
    #[error(transparent)]
    Fill(#[from] SeamError),
}

/// Makes a virtual environment of `python` with everything of `resolved` in it. Its path is the same for the same
/// contents, unless another build holds it at the moment.
///
/// # Errors
///
/// [`EnvironmentError`]
pub fn make_environment(
    store: &Store,
    seam: &Seam,
    python: &Python,
    resolved: &Resolved,
) -> Result<Environment, EnvironmentError> {
    let slot =
        store.slot("environments", &contents(python, resolved.pins())).map_err(EnvironmentError::Place)?;
    let filled = seam.fill(python, resolved, slot.path(), Links::Private)?;
    Ok(Environment { filled, pins: resolved.pins().to_vec(), _slot: slot })
}

/// What tells one environment from another: the interpreter, and every pin with its hashes.
fn contents(python: &Python, pins: &[Pin]) -> Digest {
    let mut hasher = Hasher::new();
    hasher.field(python.base_executable().as_os_str().as_encoded_bytes());
    hasher.field(python.describe().as_bytes());
    for pin in pins {
        hasher.field(pin.name.as_ref().as_bytes());
        hasher.field(pin.version.to_string().as_bytes());
        for hash in &pin.hashes {
            hasher.field(hash.as_bytes());
        }
    }
    hasher.finish()
}
