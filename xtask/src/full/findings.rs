//! What became of the rows of the corpus, kept from one run to the next.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::Selection;
use crate::corpus::Row;
use crate::fetch::digest;
use crate::workspace::Workspace;

/// The findings of one part with one binary: what another binary gave says nothing of this one.
#[derive(Debug)]
pub(super) struct Findings<F> {
    path: PathBuf,
    rows: BTreeMap<String, F>,
}

impl<F: Serialize + DeserializeOwned> Findings<F> {
    /// Reads what an earlier run of `part` left, unless it is to be forgotten.
    pub(super) fn open(
        workspace: &Workspace,
        part: &str,
        hwb: &Path,
        selection: &Selection,
    ) -> anyhow::Result<Self> {
        let path = workspace.target.join(format!("full/{part}-{}.json", digest(hwb)?));
        let earlier = || serde_json::from_slice(&fs_err::read(&path).ok()?).ok();
        let rows = if selection.again { None } else { earlier() }.unwrap_or_default();
        Ok(Self { path, rows })
    }

    /// What became of a row.
    pub(super) fn of(&self, row: &Row) -> Option<&F> {
        self.rows.get(&key(row))
    }

    /// Notes what became of a row, on disk as well.
    pub(super) fn note(&mut self, row: &Row, finding: F) -> anyhow::Result<()> {
        self.rows.insert(key(row), finding);
        fs_err::create_dir_all(self.path.parent().context("the findings lie in a folder")?)?;
        Ok(fs_err::write(&self.path, serde_json::to_vec_pretty(&self.rows)?)?)
    }
}

fn key(row: &Row) -> String {
    format!("{}-{}", row.name, row.version)
}
