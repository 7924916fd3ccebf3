//! `hwb python list`: the interpreters of this machine.

use std::collections::BTreeSet;
use std::path::PathBuf;

use hwb_uv::{Python, discover_all};
use schemars::JsonSchema;
use serde::Serialize;

use crate::cache;
use crate::error::{Error, ErrorKind};
use crate::settings::Settings;

/// An interpreter that can be asked for with `--python`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Interpreter {
    /// `cpython`, `pypy`, …
    pub implementation: String,
    /// For example `3.11.7`.
    pub version: String,
    /// The program.
    pub executable: PathBuf,
    /// The most specific tag of the wheels that it can import.
    pub tag: Option<String>,
    /// Whether it runs without a global lock.
    pub free_threaded: bool,
    /// Whether it belongs to a package manager (PEP 668).
    pub externally_managed: bool,
}

/// Lists every interpreter that can be found, in the order in which they are searched.
///
/// # Errors
///
/// If the search itself fails; to find none is no error.
pub fn list(settings: &Settings) -> Result<Vec<Interpreter>, Error> {
    let store = cache::open(settings)?;
    let pythons = discover_all(&store.uv_cache()).map_err(|error| Error::new(ErrorKind::Machine, error))?;
    // `python`, `python3` and `python3.11` beside each other are one interpreter.
    let mut seen = BTreeSet::new();
    let is_new = |python: &&Python| {
        let path = python.executable();
        seen.insert(fs_err::canonicalize(path).unwrap_or_else(|_| path.to_owned()))
    };
    Ok(pythons.iter().filter(is_new).map(describe).collect())
}

fn describe(python: &Python) -> Interpreter {
    Interpreter {
        implementation: python.implementation().to_owned(),
        version: python.version().to_string(),
        executable: python.executable().to_owned(),
        tag: python.tag(),
        free_threaded: python.is_free_threaded(),
        externally_managed: python.is_externally_managed(),
    }
}
