//! Projects of the `uv_build` backend, built in process as uv itself does.

use std::path::Path;

use crate::client::initialise;
use crate::error::{SeamError, cause};

/// The version of uv that the pinned crates are; `uv_build` is asked for by this number.
pub fn uv_version() -> &'static str {
    uv_version::version()
}

/// What is to be built.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A wheel.
    Wheel,
    /// An editable wheel (PEP 660).
    Editable,
    /// An sdist.
    Sdist,
}

/// Whether the project's backend is `uv_build`, nothing else is required, and the range it names admits the
/// pinned version.
pub fn is_possible(source_tree: &Path) -> bool {
    initialise();
    uv_build_backend::check_direct_build(source_tree, uv_version()).is_ok()
}

/// Builds the project at `source_tree` into `destination`; returns the file name.
///
/// # Errors
///
/// [`SeamError::Direct`] with the backend's reason.
pub fn build(source_tree: &Path, destination: &Path, kind: Kind) -> Result<String, SeamError> {
    initialise();
    let built = match kind {
        Kind::Wheel => uv_build_backend::build_wheel(source_tree, destination, None, uv_version(), false)
            .map(|name| name.to_string()),
        Kind::Editable => {
            uv_build_backend::build_editable(source_tree, destination, None, uv_version(), false)
                .map(|name| name.to_string())
        }
        Kind::Sdist => uv_build_backend::build_source_dist(source_tree, destination, uv_version(), false)
            .map(|name| name.to_string()),
    };
    built.map_err(|error| SeamError::Direct { source_tree: source_tree.to_path_buf(), source: cause(error) })
}
