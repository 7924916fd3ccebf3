//! Debians that debootstrap made, each once.

use std::collections::BTreeSet;
use std::path::PathBuf;

use anyhow::Context as _;

use crate::programs::{capture, program};
use crate::workspace::Workspace;

/// The release whose Python is [`PYTHON`](crate::corpus::PYTHON).
pub(super) const RELEASE: &str = "bookworm";

/// Where they are.
#[derive(Debug)]
pub(super) struct Debians {
    folder: PathBuf,
}

impl Debians {
    /// Below the target folder.
    pub(super) fn new(workspace: &Workspace) -> Self {
        Self { folder: workspace.target.join("full/debian") }
    }

    /// One with some packages and nothing else, from where apt takes its packages on this machine (needs root).
    pub(super) fn with(&self, packages: &BTreeSet<&str>) -> anyhow::Result<PathBuf> {
        let packages: Vec<&str> = packages.iter().copied().collect();
        let root = self.folder.join(packages.join("+"));
        if !root.is_dir() {
            let partial = root.with_extension("partial");
            capture(program("rm").args(["-rf", "--one-file-system"]).arg(&partial))?;
            fs_err::create_dir_all(&self.folder)?;
            println!("debootstrap {RELEASE} with {}", packages.join(", "));
            let mut command = program("debootstrap");
            command.args(["--variant=minbase", &format!("--include={}", packages.join(",")), RELEASE]);
            capture(command.arg(&partial).arg(mirror()?))?;
            fs_err::rename(&partial, &root)?;
        }
        Ok(root)
    }
}

/// Where apt takes its packages from.
fn mirror() -> anyhow::Result<String> {
    let ask = ["indextargets", "--format", "$(REPO_URI)", "Created-By: Packages"];
    let said = capture(program("apt-get").args(ask).arg(format!("Codename: {RELEASE}")))?;
    let first = said.lines().next().with_context(|| format!("apt knows no packages of {RELEASE}"))?;
    Ok(first.to_owned())
}
