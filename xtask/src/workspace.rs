//! Where the checkout and its build products are.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context as _;

use crate::programs;

/// The checkout, and where cargo puts what it builds.
#[derive(Debug, Clone)]
pub(crate) struct Workspace {
    /// The folder of the workspace's `Cargo.toml`.
    pub(crate) root: PathBuf,
    /// Cargo's target folder.
    pub(crate) target: PathBuf,
}

impl Workspace {
    /// Finds the workspace that this program was built from.
    pub(crate) fn locate() -> anyhow::Result<Self> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"))
            .parent()
            .context("the xtask package lies in no workspace")?
            .to_owned();
        let target = match ambient("CARGO_TARGET_DIR") {
            Some(folder) => std::path::absolute(&folder)
                .with_context(|| format!("CARGO_TARGET_DIR={} is no path", folder.display()))?,
            None => root.join("target"),
        };
        Ok(Self { root, target })
    }

    /// Starts a cargo command in the workspace.
    pub(crate) fn cargo<'a>(&self, arguments: impl IntoIterator<Item = &'a str>) -> Command {
        let mut command = programs::program(ambient("CARGO").unwrap_or_else(|| "cargo".into()));
        command.current_dir(&self.root).args(arguments);
        // Snapshots are compared, never rewritten, and the root need not be searched for.
        command.env("INSTA_UPDATE", "no").env("INSTA_WORKSPACE_ROOT", &self.root);
        command
    }

    /// Builds the release binary of hwb, or takes the one that was named.
    pub(crate) fn hwb(&self, named: Option<PathBuf>) -> anyhow::Result<PathBuf> {
        if let Some(binary) = named {
            return std::path::absolute(&binary).with_context(|| format!("no path: {}", binary.display()));
        }
        programs::run(&mut self.cargo(["build", "--release", "--locked", "--package", "hwb"]))?;
        Ok(self.target.join("release").join("hwb"))
    }
}

/// The value of an environment variable that is set and not empty.
#[expect(
    clippy::disallowed_methods,
    reason = "a task runs in the developer's environment and looks at it here"
)]
pub(crate) fn ambient(name: &str) -> Option<OsString> {
    std::env::var_os(name).filter(|value| !value.is_empty())
}
