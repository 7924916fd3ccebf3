//! An interpreter and what it says of itself.

use std::path::{Path, PathBuf};

use hwb_ident::{MarkerEnvironment, Version, VersionSpecifiers};
use uv_cache::Cache;
use uv_python::{
    EnvironmentPreference, Interpreter, PythonInstallation, PythonPreference, PythonRequest, PythonSource,
    find_all_python_installations,
};

use crate::error::{SeamError, cause};

/// An interpreter that was found and asked what it is.
#[derive(Debug, Clone)]
pub struct Python(pub(crate) Interpreter);

impl Python {
    /// The program, as it was found.
    pub fn executable(&self) -> &Path {
        self.0.sys_executable()
    }

    /// The program behind all links and environments.
    pub fn base_executable(&self) -> PathBuf {
        self.0.to_base_python().unwrap_or_else(|_| self.0.real_executable().to_path_buf())
    }

    /// `cpython`, `pypy`, …
    pub fn implementation(&self) -> &str {
        self.0.implementation_name()
    }

    /// The full version, for example `3.11.7`.
    pub fn version(&self) -> &Version {
        self.0.python_version()
    }

    /// Major and minor version.
    pub fn minor(&self) -> (u8, u8) {
        self.0.python_tuple()
    }

    /// What PEP 508 markers are evaluated against.
    pub fn markers(&self) -> &MarkerEnvironment {
        self.0.markers()
    }

    /// The most specific tag of wheels it can import, for example `cp311-cp311-manylinux_2_36_x86_64`.
    pub fn tag(&self) -> Option<String> {
        let tags = self.0.tags().ok()?;
        Some(format!("{}-{}-{}", tags.python_tag()?, tags.abi_tag()?, tags.platform_tag()?))
    }

    /// Whether it can import a wheel of this file name.
    pub fn accepts(&self, wheel: &hwb_ident::WheelFilename) -> bool {
        self.0.tags().is_ok_and(|tags| wheel.is_compatible(tags))
    }

    /// Where it keeps pure packages, if it is used as it is (isolation `none`).
    pub fn site_packages(&self) -> Vec<PathBuf> {
        self.0.site_packages().map(std::borrow::Cow::into_owned).collect()
    }

    /// Whether the interpreter belongs to a package manager (PEP 668).
    pub fn is_externally_managed(&self) -> bool {
        self.0.is_externally_managed().is_some()
    }

    /// Whether it is a free-threaded build.
    pub fn is_free_threaded(&self) -> bool {
        self.0.gil_disabled()
    }

    /// `cpython 3.11.7`, for people and records.
    pub fn describe(&self) -> String {
        let threads = if self.is_free_threaded() { "t" } else { "" };
        format!("{} {}{threads}", self.implementation(), self.version())
    }
}

/// Finds the interpreter that `request` names: a version (`3.11`, `3.13t`), a range (`>=3.9,<3.12`), an
/// implementation (`pypy3.10`), a name on the search path or a file. Without a request: the first one that
/// `requires_python` admits. Answers are cached below `cache` for as long as the file does not change.
///
/// # Errors
///
/// [`SeamError::Interpreter`] if there is none.
pub fn discover(
    request: Option<&str>,
    requires_python: Option<&VersionSpecifiers>,
    cache: &Path,
) -> Result<Python, SeamError> {
    let range = requires_python.map(ToString::to_string).filter(|range| !range.is_empty());
    let shown = match (request, &range) {
        (Some(request), _) => format!("`{request}`"),
        (None, Some(range)) => format!("`{range}`, which the project's `requires-python` asks for"),
        (None, None) => "any version".to_owned(),
    };
    let parsed = request.or(range.as_deref()).map(PythonRequest::parse).unwrap_or_default();
    let place = cache;
    let cache = open_cache(place)?;
    let found = PythonInstallation::find_existing(
        &parsed,
        EnvironmentPreference::OnlySystem,
        PythonPreference::System,
        &cache,
    );
    let installation = found.map_err(|error| match check_room(place) {
        Ok(()) => SeamError::Interpreter { request: shown, source: cause(error) },
        Err(error) => error,
    })?;
    Ok(Python(settle(installation.into_interpreter(), &cache)))
}

/// Lists every interpreter that can be found, in the order of the search.
///
/// # Errors
///
/// [`SeamError::Interpreter`] if the search itself fails.
pub fn discover_all(cache: &Path) -> Result<Vec<Python>, SeamError> {
    let cache = open_cache(cache)?;
    let found = find_all_python_installations(
        &PythonRequest::Any,
        EnvironmentPreference::OnlySystem,
        PythonPreference::System,
        &cache,
    );
    let installations = found.map_err(|error| SeamError::Interpreter {
        request: "any version".to_owned(),
        source: cause(error),
    })?;
    let mut seen = std::collections::BTreeSet::new();
    let pythons = installations
        .into_iter()
        .filter(|installation| !matches!(installation.source(), PythonSource::DiscoveredEnvironment))
        .map(|installation| Python(installation.into_interpreter()))
        .filter(|python| seen.insert(python.base_executable()))
        .collect();
    Ok(pythons)
}

/// The cache of interpreter facts; uv expects its directory to be there.
fn open_cache(path: &Path) -> Result<Cache, SeamError> {
    fs_err::create_dir_all(path)
        .map_err(|error| SeamError::Cache { path: path.to_path_buf(), source: cause(error) })?;
    Ok(Cache::from_path(path))
}

/// Says whether the facts of an interpreter can be written. The search passes over one whose facts cannot, and so ends
/// with none where it is the disk that is at fault.
fn check_room(cache: &Path) -> Result<(), SeamError> {
    let place = cache.join("room");
    let written = fs_err::write(&place, [0; 64 * 1024]);
    // It was never there, or is of no more use.
    let _absent = fs_err::remove_file(&place);
    written.map_err(|error| SeamError::Cache { path: cache.to_path_buf(), source: cause(error) })
}

/// Replaces a shim, which starts something else, by what it starts: facts of a shim cannot be cached.
fn settle(interpreter: Interpreter, cache: &Cache) -> Interpreter {
    match Interpreter::query(interpreter.sys_executable(), cache) {
        Ok(settled) => settled,
        Err(_) => interpreter,
    }
}
