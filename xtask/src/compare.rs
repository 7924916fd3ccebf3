//! Comparing two wheels of one source by what matters, with Python's own zip reader and `readelf`.

use std::path::Path;

use anyhow::Context as _;

use crate::programs::{capture, program};

/// The program that compares; it knows nothing of hwb.
const SCRIPT: &str = include_str!("../python/compare.py");

/// What differs between two wheels, one line each; nothing where they are equal.
///
/// Compared are the file names, METADATA, WHEEL without its Generator, the list of members, members that are not
/// native byte by byte, and of native ones the NEEDED libraries and the exported symbols.
pub(crate) fn wheels(left: &Path, right: &Path) -> anyhow::Result<Vec<String>> {
    let said = capture(program("python3").args(["-I", "-c", SCRIPT]).arg(left).arg(right))?;
    serde_json::from_str(&said).context("the comparison is not JSON")
}
