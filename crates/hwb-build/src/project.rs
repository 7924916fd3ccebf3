//! `pyproject.toml` as far as a build needs it (PEP 517, 518, 621), and what counts without one.

use std::path::{Path, PathBuf};
use std::str::FromStr as _;

use hwb_ident::{PackageName, Requirement, Version, VersionSpecifiers};
use serde::Deserialize;

/// What a source tree says about its build.
#[derive(Debug, Clone)]
pub struct Project {
    /// How it is built.
    pub build_system: BuildSystem,
    /// `project.name`, where it is static.
    pub name: Option<PackageName>,
    /// `project.version`, where it is static.
    pub version: Option<Version>,
    /// `project.requires-python`.
    pub requires_python: Option<VersionSpecifiers>,
}

/// The `[build-system]` table, with its defaults filled in.
#[derive(Debug, Clone)]
pub struct BuildSystem {
    /// What must be installed before the backend is imported.
    pub requires: Vec<Requirement>,
    /// `module` or `module:object`.
    pub backend: String,
    /// In-tree directories from which the backend is imported, relative to the tree, proven to stay inside.
    pub backend_path: Vec<PathBuf>,
    /// Who chose the backend.
    pub origin: Origin,
}

/// Who chose the backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// `build-backend`.
    Declared,
    /// Nobody did: PEP 517 says setuptools, with the project's own `setup.py`.
    Legacy,
}

/// Why a source tree cannot be built.
#[derive(Debug, thiserror::Error)]
pub enum ProjectError {
    /// There is nothing to build.
    #[error("`{}` holds no Python project: neither `pyproject.toml` nor `setup.py` is there", tree.display())]
    Nothing {
        /// The tree.
        tree: PathBuf,
    },
    /// A file of the project cannot be read.
    #[error("failed to read the project's build settings")]
    Read(#[source] std::io::Error),
    /// Not TOML, or a table of the wrong shape.
    #[error("`{}` is not a valid `pyproject.toml`", path.display())]
    Toml {
        /// Which file.
        path: PathBuf,
        /// Where and why.
        #[source]
        source: Box<toml::de::Error>,
    },
    /// `[build-system]` has no `requires`.
    #[error("`[build-system]` in `{}` has no `requires`, which PEP 518 demands", path.display())]
    NoRequires {
        /// Which file.
        path: PathBuf,
    },
    /// A value that does not parse.
    #[error("`{key}` in `{}` has `{value}`, which is not valid", path.display())]
    Value {
        /// Which file.
        path: PathBuf,
        /// Which key.
        key: &'static str,
        /// Its value.
        value: String,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// `build-backend` is not `module:object`.
    #[error("`build-backend` in `{}` is `{value}`, not a module with an optional `:object`", path.display())]
    Backend {
        /// Which file.
        path: PathBuf,
        /// Its value.
        value: String,
    },
    /// `backend-path` without `build-backend`.
    #[error("`{}` has a `backend-path` but no `build-backend`", path.display())]
    PathWithoutBackend {
        /// Which file.
        path: PathBuf,
    },
    /// `backend-path` leads out of the tree.
    #[error("`backend-path` in `{}` has `{value}`, which is not a directory inside the project", path.display())]
    BackendPath {
        /// Which file.
        path: PathBuf,
        /// Its value.
        value: String,
    },
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct PyprojectToml {
    build_system: Option<BuildSystemTable>,
    project: Option<ProjectTable>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct BuildSystemTable {
    requires: Option<Vec<String>>,
    build_backend: Option<String>,
    backend_path: Option<Vec<String>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct ProjectTable {
    name: Option<String>,
    version: Option<String>,
    requires_python: Option<String>,
}

/// What PEP 517 prescribes for a project that names no backend.
const LEGACY_BACKEND: &str = "setuptools.build_meta:__legacy__";
const LEGACY_REQUIRES: &str = "setuptools>=40.8.0";

/// Reads what the project at `tree` says about its build. Messages name it `shown`, as its user knows it.
///
/// # Errors
///
/// [`ProjectError`], each naming the file and the value.
pub fn read_project(tree: &Path, shown: &Path) -> Result<Project, ProjectError> {
    let path = shown.join("pyproject.toml");
    let text = match fs_err::read_to_string(tree.join("pyproject.toml")) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let has_setup = ["setup.py", "setup.cfg"].iter().any(|name| tree.join(name).is_file());
            if !has_setup {
                return Err(ProjectError::Nothing { tree: shown.to_path_buf() });
            }
            String::new()
        }
        Err(error) => return Err(ProjectError::Read(error)),
    };
    let parsed: PyprojectToml = toml::from_str(&text)
        .map_err(|source| ProjectError::Toml { path: path.clone(), source: Box::new(source) })?;
    let PyprojectToml { build_system, project } = parsed;
    let build_system = settle_build_system(build_system, tree, &path)?;
    let ProjectTable { name, version, requires_python } =
        project.unwrap_or(ProjectTable { name: None, version: None, requires_python: None });
    Ok(Project {
        build_system,
        name: parse(name, "project.name", &path)?,
        version: parse(version, "project.version", &path)?,
        requires_python: parse(requires_python, "project.requires-python", &path)?,
    })
}

fn parse<T>(text: Option<String>, key: &'static str, path: &Path) -> Result<Option<T>, ProjectError>
where
    T: std::str::FromStr,
    T::Err: std::error::Error + Send + Sync + 'static,
{
    let Some(value) = text else { return Ok(None) };
    match T::from_str(&value) {
        Ok(parsed) => Ok(Some(parsed)),
        Err(error) => {
            Err(ProjectError::Value { path: path.to_path_buf(), key, value, source: Box::new(error) })
        }
    }
}

fn settle_build_system(
    table: Option<BuildSystemTable>,
    tree: &Path,
    path: &Path,
) -> Result<BuildSystem, ProjectError> {
    let Some(BuildSystemTable { requires, build_backend, backend_path }) = table else {
        return Ok(BuildSystem {
            requires: vec![requirement(LEGACY_REQUIRES, path)?],
            backend: LEGACY_BACKEND.to_owned(),
            backend_path: Vec::new(),
            origin: Origin::Legacy,
        });
    };
    let requires = requires.ok_or_else(|| ProjectError::NoRequires { path: path.to_path_buf() })?;
    let requires = requires.iter().map(|text| requirement(text, path)).collect::<Result<_, _>>()?;
    let (backend, origin) = match build_backend {
        Some(backend) if is_object_reference(&backend) => (backend, Origin::Declared),
        Some(value) => return Err(ProjectError::Backend { path: path.to_path_buf(), value }),
        None if backend_path.is_some() => {
            return Err(ProjectError::PathWithoutBackend { path: path.to_path_buf() });
        }
        None => (LEGACY_BACKEND.to_owned(), Origin::Legacy),
    };
    let backend_path = backend_path
        .unwrap_or_default()
        .into_iter()
        .map(|value| {
            inside(tree, &value).ok_or(ProjectError::BackendPath { path: path.to_path_buf(), value })
        })
        .collect::<Result<_, _>>()?;
    Ok(BuildSystem { requires, backend, backend_path, origin })
}

fn requirement(text: &str, path: &Path) -> Result<Requirement, ProjectError> {
    Requirement::from_str(text).map_err(|error| ProjectError::Value {
        path: path.to_path_buf(),
        key: "build-system.requires",
        value: text.to_owned(),
        source: Box::new(error),
    })
}

/// `a.b` or `a.b:c.d`, each part an identifier.
fn is_object_reference(text: &str) -> bool {
    let is_dotted = |text: &str| {
        text.split('.').all(|part| {
            let mut characters = part.chars();
            characters.next().is_some_and(|first| first == '_' || first.is_alphabetic())
                && characters.all(|rest| rest == '_' || rest.is_alphanumeric())
        })
    };
    match text.split_once(':') {
        Some((module, object)) => is_dotted(module) && is_dotted(object),
        None => is_dotted(text),
    }
}

/// The part of `value` below `tree`, all links followed; `None` if it leads elsewhere or is no directory.
fn inside(tree: &Path, value: &str) -> Option<PathBuf> {
    let given = Path::new(value);
    if given.is_absolute() {
        return None;
    }
    let root = fs_err::canonicalize(tree).ok()?;
    let found = fs_err::canonicalize(root.join(given)).ok()?;
    (found.is_dir()).then_some(())?;
    found.strip_prefix(&root).ok().map(Path::to_path_buf)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(pyproject: &str, expect: &str) {
        let tree = tempfile::tempdir().unwrap();
        fs_err::create_dir(tree.path().join("backends")).unwrap();
        fs_err::os::unix::fs::symlink("/", tree.path().join("root")).unwrap();
        fs_err::write(tree.path().join("pyproject.toml"), pyproject).unwrap();
        let found = match read_project(tree.path(), tree.path()) {
            Ok(Project { build_system, name, version, requires_python }) => {
                let requires: Vec<_> = build_system.requires.iter().map(ToString::to_string).collect();
                let mut text = format!("{} {requires:?}", build_system.backend);
                for path in build_system.backend_path {
                    text += &format!(" in {}", path.display());
                }
                for part in [
                    name.map(|name| name.to_string()),
                    version.map(|version| version.to_string()),
                    requires_python.map(|range| range.to_string()),
                ] {
                    text += &part.map_or_else(String::new, |part| format!(" {part}"));
                }
                text
            }
            Err(error) => {
                format!("error: {}", error.to_string().replace(&*tree.path().to_string_lossy(), ""))
            }
        };
        assert_eq!(found, expect, "{pyproject}");
    }

    #[test]
    fn fills_in_what_is_not_said() {
        check("", r#"setuptools.build_meta:__legacy__ ["setuptools>=40.8.0"]"#);
        check("[build-system]\nrequires = ['a>1', 'b']", r#"setuptools.build_meta:__legacy__ ["a>1", "b"]"#);
        check("[tool.x]\ny = 1", r#"setuptools.build_meta:__legacy__ ["setuptools>=40.8.0"]"#);
    }

    #[test]
    fn reads_what_is_said() {
        check(
            "[build-system]\nrequires = []\nbuild-backend = 'b.c:d'\nbackend-path = ['backends', '.']\n\
             [project]\nname = 'A.b'\nversion = '1.0'\nrequires-python = '>=3.8'\ndynamic = ['readme']",
            "b.c:d [] in backends in  a-b 1.0 >=3.8",
        );
    }

    #[test]
    fn says_what_is_wrong() {
        check(
            "[build-system]\nbuild-backend = 'a'",
            "error: `[build-system]` in `/pyproject.toml` has no `requires`, which PEP 518 demands",
        );
        check("[build-system", "error: `/pyproject.toml` is not a valid `pyproject.toml`");
        check(
            "[build-system]\nrequires = ['a b']",
            "error: `build-system.requires` in `/pyproject.toml` has `a b`, which is not valid",
        );
        check(
            "[build-system]\nrequires = []\nbuild-backend = 'a b'",
            "error: `build-backend` in `/pyproject.toml` is `a b`, not a module with an optional `:object`",
        );
        for escape in ["..", "/", "root", "gone", "pyproject.toml"] {
            check(
                &format!("[build-system]\nrequires = []\nbuild-backend = 'a'\nbackend-path = ['{escape}']"),
                &format!(
                    "error: `backend-path` in `/pyproject.toml` has `{escape}`, \
                     which is not a directory inside the project"
                ),
            );
        }
    }

    #[test]
    fn needs_a_project() {
        let tree = tempfile::tempdir().unwrap();
        assert!(matches!(read_project(tree.path(), tree.path()), Err(ProjectError::Nothing { .. })));
        fs_err::write(tree.path().join("setup.py"), "").unwrap();
        assert_eq!(read_project(tree.path(), tree.path()).unwrap().build_system.origin, Origin::Legacy);
    }
}
