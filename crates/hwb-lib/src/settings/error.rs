//! What makes no sense in a settings file or variable.

use std::io;
use std::path::PathBuf;

use super::{ConstraintsError, Origin, ValueError};
use crate::error::{Error, ErrorKind};

/// Why settings cannot be settled.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// A settings file is there and cannot be read.
    #[error("failed to read the settings file {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A settings file is not TOML.
    #[error("{} is not valid TOML", path.display())]
    Toml {
        /// The file.
        path: PathBuf,
        /// Where and why.
        #[source]
        source: TomlError,
    },
    /// A project has two homes for its settings.
    #[error("settings stand both in {} and in `[tool.hwb]` of {}", hwb_toml.display(), pyproject.display())]
    Both {
        /// One.
        hwb_toml: PathBuf,
        /// The other.
        pyproject: PathBuf,
    },
    /// A key that hwb does not know.
    #[error("unknown key `{key}` in {}", path.display())]
    UnknownKey {
        /// The file.
        path: PathBuf,
        /// As it stands there.
        key: String,
        /// The known key that looks most like it.
        nearest: Option<String>,
    },
    /// A value that its key cannot have.
    #[error("`{key}` ({origin}) has a wrong value")]
    Value {
        /// The name of the setting where it was found.
        key: String,
        /// Where it was found.
        origin: Origin,
        /// Why.
        #[source]
        source: ValueError,
    },
    /// A file of build constraints.
    #[error("failed to read the build constraints of {}", path.display())]
    Constraints {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: ConstraintsError,
    },
    /// There is no home directory and no cache directory was named.
    #[error("there is no place for the cache: neither HOME nor XDG_CACHE_HOME is set")]
    NoCacheDir,
}

/// Where and why a text is not TOML, on one line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {message}")]
pub struct TomlError {
    line: usize,
    message: String,
}

impl TomlError {
    /// Keeps what `error` says of `text`.
    pub(super) fn new(text: &str, error: &toml::de::Error) -> Self {
        let start = error.span().map_or(0, |span| span.start);
        let before = text.get(..start).unwrap_or_default();
        let message = error.message().lines().collect::<Vec<_>>().join(", ");
        Self { line: before.matches('\n').count() + 1, message }
    }
}

impl From<SettingsError> for Error {
    fn from(error: SettingsError) -> Self {
        let hint = match &error {
            SettingsError::UnknownKey { nearest, .. } => {
                nearest.as_ref().map(|nearest| format!("did you mean `{nearest}`?"))
            }
            SettingsError::Both { .. } => Some("keep one of the two".to_owned()),
            SettingsError::NoCacheDir => Some("name one with --cache-dir or HWB_CACHE_DIR".to_owned()),
            SettingsError::Read { .. }
            | SettingsError::Toml { .. }
            | SettingsError::Value { .. }
            | SettingsError::Constraints { .. } => None,
        };
        let error = Self::new(ErrorKind::Configuration, error);
        match hint {
            Some(hint) => error.hint(hint),
            None => error,
        }
    }
}
