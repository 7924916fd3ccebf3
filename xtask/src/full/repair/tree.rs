//! A Debian that has Python and nothing else, and what repaired wheels do in it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use serde::Deserialize;
use tempfile::TempDir;

use super::SCRIPT;
use crate::corpus::{PYTHON, Row, file_name, files_named};
use crate::fetch::Index;
use crate::full::debian::Debians;
use crate::programs::{capture, program};
use crate::workspace::Workspace;

/// Enters the tree `$1` with the folder `$2` on its `/mnt`, without a network, and runs a Python script there.
/// What is mounted ends with the namespace.
const ENTER: &str = "mount -t proc proc \"$1/proc\" && mount --bind \"$2\" \"$1/mnt\" && \
                     exec chroot \"$1\" env -i PATH=/usr/bin:/bin HOME=/ LC_ALL=C.UTF-8 \
                     python3 -I -c \"$3\" smoke /mnt";

/// The tree, and others like it that have what some wheels expect of the system.
#[derive(Debug)]
pub(super) struct Tree {
    debians: Debians,
    /// The wheels that the imports of a project need, by that project's name.
    needed: PathBuf,
    index: Index,
}

/// What happened in the tree.
#[derive(Debug, Deserialize)]
pub(crate) struct Smoke {
    /// What is wrong.
    pub(crate) problems: Vec<String>,
    /// The grafted libraries that were also loaded from the system.
    pub(crate) twins: Vec<String>,
    /// How many grafted libraries were loaded from their wheel.
    pub(crate) loaded: usize,
}

impl Smoke {
    /// Reads the last line of what the script said: a library may say something before.
    pub(crate) fn said(text: &str) -> anyhow::Result<Self> {
        let last = text.lines().next_back().unwrap_or_default();
        serde_json::from_str(last).context("the smoke test is not JSON")
    }
}

impl Tree {
    /// Takes trees and what imports need from below the target folder.
    pub(super) fn new(workspace: &Workspace, index: &Index) -> Self {
        let needed = workspace.target.join("full/needed");
        Self { debians: Debians::new(workspace), needed, index: index.clone() }
    }

    /// Unpacks wheels by their RECORD side by side, and imports and uses them in one process (needs root).
    pub(super) fn smoke(&self, wheels: &[(&Row, &Path)]) -> anyhow::Result<Smoke> {
        let system = wheels.iter().flat_map(|(row, _)| row.system.iter().map(String::as_str));
        let root = self.debians.with(&["python3"].into_iter().chain(system).collect())?;
        let folder = self.folder(wheels)?;
        let mut command = program("unshare");
        command.args(["--mount", "--net", "--propagation", "private", "sh", "-c", ENTER, "sh"]);
        let said = capture(command.arg(root).arg(folder.path()).arg(SCRIPT))?;
        Smoke::said(&said)
    }

    /// A folder with the wheels, what they need, and what to do with them.
    fn folder(&self, wheels: &[(&Row, &Path)]) -> anyhow::Result<TempDir> {
        let folder = tempfile::tempdir().context("no temporary folder")?;
        let needs = folder.path().join("needs");
        fs_err::create_dir(&needs)?;
        let mut task = BTreeMap::new();
        for (row, wheel) in wheels {
            let Some(smoke) = &row.smoke else { bail!("{} has no smoke test in the corpus", row.name) };
            let import = row.import.iter().map(|module| format!("import {module}\n"));
            fs_err::copy(wheel, folder.path().join(file_name(wheel)))?;
            task.insert(file_name(wheel), import.chain([smoke.clone()]).collect::<String>());
            for wheel in self.needs(row)? {
                fs_err::copy(&wheel, needs.join(file_name(&wheel)))?;
            }
        }
        fs_err::write(folder.path().join("task.json"), serde_json::to_vec(&task)?)?;
        Ok(folder)
    }

    /// The wheels of the project that an import needs, and of what that needs in turn.
    fn needs(&self, row: &Row) -> anyhow::Result<Vec<PathBuf>> {
        let Some(project) = &row.import_needs else { return Ok(Vec::new()) };
        let folder = self.needed.join(project);
        if !folder.is_dir() {
            let partial = folder.with_extension("partial");
            let mut command = program(format!("python{PYTHON}"));
            command.args(["-m", "pip", "download", "--quiet", "--only-binary", ":all:"]);
            command.args(["--index-url", &self.index.url, "--dest"]).arg(&partial).arg(project);
            capture(&mut command).with_context(|| format!("could not fetch {project}"))?;
            fs_err::rename(&partial, &folder)?;
        }
        files_named(&folder, ".whl")
    }
}
