//! The corpus: real source distributions, and what must come of each.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail, ensure};
use clap::ValueEnum;
use serde::Deserialize;

use crate::fetch::Index;
use crate::programs::{capture, program};
use crate::workspace::Workspace;

/// The interpreter that the expectations were recorded with.
pub(crate) const PYTHON: &str = "3.11";

/// `xtask/corpus.toml`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Corpus {
    /// The source distributions, in listed order.
    #[serde(rename = "sdist")]
    pub(crate) rows: Vec<Row>,
}

/// One source distribution.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Row {
    /// The project.
    pub(crate) name: String,
    /// Its exact version.
    pub(crate) version: String,
    /// The name of the file on the index.
    pub(crate) file: String,
    /// The file's digest, in hexadecimal digits.
    pub(crate) sha256: String,
    /// How it is built.
    pub(crate) kind: Kind,
    /// Which tests build it.
    pub(crate) tier: Tier,
    /// What it stands for.
    pub(crate) style: String,
    /// What must happen, where the build is not expected to go through.
    pub(crate) expect: Option<String>,
    /// The module whose import proves the wheel.
    pub(crate) import: Option<String>,
    /// The project that the import needs.
    pub(crate) import_needs: Option<String>,
    /// What proves the wheel where it was repaired.
    pub(crate) smoke: Option<String>,
    /// The Debian packages that a repaired wheel rightly expects to be installed.
    #[serde(default)]
    pub(crate) system: Vec<String>,
    /// The file name of the wheel that the peers made on x86_64.
    pub(crate) wheel: Option<String>,
}

impl Row {
    /// Whether a wheel was made of this row, by its name.
    pub(crate) fn made(&self, wheel: &Path) -> bool {
        let start = format!("{}-{}-", self.name.replace(['-', '.'], "_"), self.version);
        file_name(wheel).to_lowercase().starts_with(&start.to_lowercase())
    }

    /// Where the wheel that hwb builds of it is kept.
    pub(crate) fn kept(&self, workspace: &Workspace) -> PathBuf {
        workspace.target.join("full/wheels").join(format!("{}-{}", self.name, self.version))
    }
}

/// How a source distribution is built.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Kind {
    /// Makes a wheel for any platform.
    Pure,
    /// Makes a wheel for this platform.
    Platform,
    /// Takes minutes.
    Heavy,
    /// Lacks something: the row's `expect` says what must happen.
    Broken,
}

/// The tests that build a row, or need a package.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Tier {
    /// The second tier, which CI runs, and the third.
    System,
    /// The third tier alone.
    Full,
}

impl Tier {
    /// Whether what `tier` needs is needed here.
    pub(crate) fn includes(self, tier: &str) -> bool {
        match self {
            Self::System => tier == "system",
            Self::Full => tier == "system" || tier == "full",
        }
    }
}

impl Corpus {
    /// Reads the corpus of a checkout.
    pub(crate) fn load(root: &Path) -> anyhow::Result<Self> {
        let text = fs_err::read_to_string(root.join("xtask/corpus.toml"))?;
        toml::from_str(&text).context("xtask/corpus.toml is not a corpus")
    }
}

/// What every build of the corpus is given, so that two of them can be compared.
pub(crate) fn build_environment() -> BTreeMap<&'static str, &'static str> {
    BTreeMap::from([
        ("SOURCE_DATE_EPOCH", "1700000000"),
        ("PYTHONHASHSEED", "0"),
        ("TZ", "UTC"),
        ("LC_ALL", "C.UTF-8"),
    ])
}

/// Builds one row with hwb, compares the wheel's name with what is known and imports it.
/// Returns the name of the wheel.
pub(crate) fn smoke(workspace: &Workspace, index: &Index, hwb: &Path, row: &Row) -> anyhow::Result<String> {
    let sdist = index.sdist(row, &workspace.target.join("corpus"))?;
    let out = tempfile::tempdir().context("no temporary folder")?;
    let wheel = build_with_hwb(hwb, index, &sdist, out.path(), &workspace.target.join("corpus-cache"))?;
    let name = file_name(&wheel);
    if let Some(expected) = row.wheel.as_deref().filter(|_| std::env::consts::ARCH == "x86_64") {
        ensure!(name == expected, "the wheel is named {name}, not {expected}");
    }
    check_import(row, &wheel, index, out.path())?;
    Ok(name)
}

/// Builds `sdist` with hwb and returns the wheel's path.
pub(crate) fn build_with_hwb(
    hwb: &Path,
    index: &Index,
    sdist: &Path,
    out: &Path,
    cache: &Path,
) -> anyhow::Result<PathBuf> {
    let mut command = program(hwb);
    command.arg("build").arg(sdist).arg("-o").arg(out).arg("--cache-dir").arg(cache);
    command.args(["--python", PYTHON, "--index-url", &index.url]).envs(build_environment());
    capture(&mut command)?;
    only_wheel(out)
}

/// The one wheel in a folder.
pub(crate) fn only_wheel(folder: &Path) -> anyhow::Result<PathBuf> {
    let mut wheels = files_named(folder, ".whl")?;
    match (wheels.pop(), wheels.len()) {
        (Some(wheel), 0) => Ok(wheel),
        (None, _) => bail!("no wheel in {}", folder.display()),
        (Some(_), more) => bail!("{} wheels in {}", more + 1, folder.display()),
    }
}

/// The files of a folder whose names end in `ending`, sorted.
pub(crate) fn files_named(folder: &Path, ending: &str) -> anyhow::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs_err::read_dir(folder)? {
        let path = entry?.path();
        if file_name(&path).ends_with(ending) {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// The last part of a path, for people.
pub(crate) fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// Installs a wheel into a fresh virtual environment below `folder` and imports what its row names.
pub(crate) fn check_import(row: &Row, wheel: &Path, index: &Index, folder: &Path) -> anyhow::Result<()> {
    let Some(module) = &row.import else { return Ok(()) };
    let python = format!("python{PYTHON}");
    let environment = folder.join("import-environment");
    capture(program(&python).args(["-m", "venv", "--clear", "--without-pip"]).arg(&environment))?;
    let inside = environment.join("bin/python");
    let install = || {
        let mut command = program(&python);
        command.args(["-m", "pip", "--python"]).arg(&inside);
        command.args(["install", "--quiet", "--no-input", "--root-user-action", "ignore"]);
        command
    };
    capture(install().args(["--only-binary", ":all:", "--index-url", &index.url]).arg(wheel))?;
    if let Some(needed) = &row.import_needs {
        capture(install().args(["--only-binary", ":all:", "--index-url", &index.url, needed]))?;
    }
    capture(program(&inside).args(["-I", "-c", &format!("import {module}")]).current_dir(folder))
        .with_context(|| format!("importing {module}"))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::{Corpus, Kind, Tier};
    use crate::tiers::debian_packages;
    use crate::workspace::Workspace;

    #[test]
    fn the_corpus_is_whole() {
        let root = Workspace::locate().unwrap().root;
        let corpus = Corpus::load(&root).unwrap();
        let names: BTreeSet<&str> = corpus.rows.iter().map(|row| row.name.as_str()).collect();
        assert_eq!((names.len(), corpus.rows.len()), (70, 70));
        for row in &corpus.rows {
            assert_eq!(row.sha256.len(), 64, "{}", row.name);
            assert_eq!(row.kind == Kind::Broken, row.expect.is_some(), "{}", row.name);
        }
        let of_ci = corpus.rows.iter().filter(|row| row.tier == Tier::System).count();
        assert!((8..=12).contains(&of_ci), "{of_ci} rows in CI");
    }

    #[test]
    fn the_full_tier_needs_what_the_system_tier_needs() {
        let root = Workspace::locate().unwrap().root;
        let full: BTreeSet<_> = debian_packages(&root, Tier::Full).unwrap().into_iter().collect();
        let system = debian_packages(&root, Tier::System).unwrap();
        assert!(system.len() < full.len() && system.iter().all(|package| full.contains(package)));
    }
}
