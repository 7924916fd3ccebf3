//! Taking single files from the package index that this machine is configured with.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use sha2::{Digest as _, Sha256};

use crate::corpus::Row;
use crate::programs::{capture, program};
use crate::workspace::ambient;

/// The program that reads an index page and downloads; Python has the certificates and proxies of the machine.
const SCRIPT: &str = include_str!("../python/fetch.py");

/// A simple index (PEP 503).
#[derive(Debug, Clone)]
pub(crate) struct Index {
    /// Its root, as hwb's and uv's `--index-url` take it.
    pub(crate) url: String,
}

impl Index {
    /// Asks pip which index it would use.
    pub(crate) fn configured() -> anyhow::Result<Self> {
        let asked = || capture(program("python3").args(["-m", "pip", "config", "get", "global.index-url"]));
        let built_in = || {
            let ask = "from pip._internal.models.index import PyPI; print(PyPI.simple_url)";
            capture(program("python3").args(["-c", ask]))
        };
        let url = match ambient("PIP_INDEX_URL") {
            Some(url) => url.to_string_lossy().into_owned(),
            None => asked().or_else(|_| built_in()).context("pip names no index")?,
        };
        Ok(Self { url: url.trim().trim_end_matches('/').to_owned() })
    }

    /// Fetches one small page, to see whether the index answers.
    pub(crate) fn reach(&self) -> anyhow::Result<()> {
        capture(program("python3").args(["-c", SCRIPT, "reach", &self.url])).map(drop)
    }

    /// Brings the sdist of a row into `folder`, its digest checked; one that is there already is used.
    pub(crate) fn sdist(&self, row: &Row, folder: &Path) -> anyhow::Result<PathBuf> {
        self.file(&row.name, &row.file, &row.sha256, folder)
    }

    /// The same for any file of a project.
    pub(crate) fn file(
        &self,
        project: &str,
        file: &str,
        sha256: &str,
        folder: &Path,
    ) -> anyhow::Result<PathBuf> {
        let path = folder.join(file);
        if path.is_file() && digest(&path)? == sha256 {
            return Ok(path);
        }
        fs_err::create_dir_all(folder)?;
        let mut command = program("python3");
        command.args(["-c", SCRIPT, "file", &self.url, project, file, sha256]).arg(&path);
        capture(&mut command).with_context(|| format!("could not fetch {file}"))?;
        Ok(path)
    }
}

/// The SHA-256 of a file, in hexadecimal digits.
pub(crate) fn digest(path: &Path) -> anyhow::Result<String> {
    let digest = Sha256::digest(fs_err::read(path)?);
    Ok(digest.iter().map(|byte| format!("{byte:02x}")).collect())
}
