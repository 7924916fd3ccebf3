//! What a face captures of the world, once.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use hwb_ident::Timestamp;

/// Everything that hwb takes from its surroundings; no package below looks around by itself.
#[derive(Debug, Clone)]
pub struct Ambient {
    /// The environment; variables that are not UTF-8 are left out.
    pub env: BTreeMap<String, String>,
    /// The working directory, absolute.
    pub cwd: PathBuf,
    /// The home directory.
    pub home: Option<PathBuf>,
    /// When the command started; records bear it, artifacts never do.
    pub clock: Timestamp,
    /// The hwb binary: it starts itself under a hidden first argument to enter namespaces.
    pub executable: PathBuf,
}

impl Ambient {
    /// The value of a variable that is set and not empty.
    pub fn var(&self, name: &str) -> Option<&str> {
        self.env.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// `path` as it is seen from the working directory.
    pub fn absolute(&self, path: &Path) -> PathBuf {
        // Going through the components drops every `.`.
        self.cwd.join(path).components().collect()
    }

    /// Where the user's settings are: `$XDG_CONFIG_HOME`, else `~/.config`.
    pub fn config_home(&self) -> Option<PathBuf> {
        self.xdg("XDG_CONFIG_HOME", ".config")
    }

    /// Where caches are: `$XDG_CACHE_HOME`, else `~/.cache`.
    pub fn cache_home(&self) -> Option<PathBuf> {
        self.xdg("XDG_CACHE_HOME", ".cache")
    }

    fn xdg(&self, variable: &str, below_home: &str) -> Option<PathBuf> {
        let chosen = self.var(variable).map(PathBuf::from).filter(|path| path.is_absolute());
        chosen.or_else(|| self.home.as_ref().map(|home| home.join(below_home)))
    }
}
