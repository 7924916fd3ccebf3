//! The corpus, built by hwb and by uv in the same surroundings, and the wheels compared.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::time::Instant;

use anyhow::Context as _;
use hwb_testkit::Artifact;
use serde::{Deserialize, Serialize};

use super::Selection;
use crate::corpus::{
    Corpus, Kind, PYTHON, Row, build_environment, build_with_hwb, check_import, file_name, only_wheel,
};
use crate::evidence::Section;
use crate::fetch::Index;
use crate::peers::Peers;
use crate::programs::{capture, program, tail};
use crate::workspace::Workspace;
use crate::{compare, tiers};

/// What became of one row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "kebab-case")]
enum Finding {
    /// Both built it, the wheels are equal, and the import works.
    Equal {
        /// The wheel's name.
        wheel: String,
    },
    /// Both built it and something differs, or the import fails.
    Different {
        /// What differs.
        how: Vec<String>,
    },
    /// uv built it and hwb did not.
    OnlyUv {
        /// The end of what hwb said.
        said: String,
    },
    /// hwb built it and uv did not.
    OnlyHwb {
        /// The end of what uv said.
        said: String,
    },
    /// Neither built it.
    Neither {
        /// The end of what hwb said.
        said: String,
    },
}

impl Finding {
    fn line(&self) -> String {
        match self {
            Self::Equal { wheel } => format!("equal      {wheel}"),
            Self::Different { how } => format!("DIFFERENT  {}", how.join("; ")),
            Self::OnlyUv { said } => format!("HWB FAILED {}", last_line(said)),
            Self::OnlyHwb { said } => format!("only hwb   (uv: {})", last_line(said)),
            Self::Neither { said } => format!("neither    {}", last_line(said)),
        }
    }
}

fn last_line(text: &str) -> &str {
    text.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("nothing was said")
}

/// Builds and compares what is selected; rows that were done before with the same binary are not done again.
pub(super) fn run(workspace: &Workspace, selection: &Selection) -> anyhow::Result<Section> {
    let corpus = Corpus::load(&workspace.root)?;
    let index = Index::configured()?;
    let peers = Peers::install(workspace, &index)?;
    let hwb = workspace.hwb(selection.program.binary.clone())?;
    for package in
        tiers::absent_packages(&tiers::debian_packages(&workspace.root, crate::corpus::Tier::Full)?)
    {
        println!("not installed, so what needs it will fail: {package}");
    }
    // What another binary gave says nothing of this one.
    let digest = Artifact::new("hwb", fs_err::read(&hwb)?).sha256();
    let path = workspace.target.join(format!("full/corpus-{digest}.json"));
    let mut findings = if selection.again { BTreeMap::new() } else { load(&path) };
    for row in corpus.rows.iter().filter(|row| selection.wants(row)) {
        let key = format!("{}-{}", row.name, row.version);
        let known = findings.get(&key).filter(|finding| matches!(finding, Finding::Equal { .. }));
        let (finding, seconds) = match known {
            Some(finding) => (finding.clone(), None),
            None => {
                let start = Instant::now();
                let finding = examine(workspace, &index, (&peers, &hwb), row)?;
                (finding, Some(start.elapsed().as_secs()))
            }
        };
        let time = seconds.map_or_else(|| "known".to_owned(), |seconds| format!("{seconds} s"));
        println!("{key:32} {time:>7}  {}", finding.line());
        findings.insert(key, finding);
        save(&path, &findings)?;
    }
    let body = report(&corpus, &findings, &peers);
    let command = "cargo xtask full corpus".to_owned();
    Ok(Section { part: "corpus", command, body, failed: Vec::new() })
}

fn load(path: &Path) -> BTreeMap<String, Finding> {
    fs_err::read(path).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default()
}

fn save(path: &Path, findings: &BTreeMap<String, Finding>) -> anyhow::Result<()> {
    fs_err::create_dir_all(path.parent().context("the results lie in a folder")?)?;
    fs_err::write(path, serde_json::to_vec_pretty(findings)?)?;
    Ok(())
}

/// Builds one row with both tools and compares.
fn examine(
    workspace: &Workspace,
    index: &Index,
    (peers, hwb): (&Peers, &Path),
    row: &Row,
) -> anyhow::Result<Finding> {
    let sdist = index.sdist(row, &workspace.target.join("corpus"))?;
    // The peer builds in its output folder. Below this checkout its backends would find our repository and our Cargo
    // workspace, and take them for the project's.
    let folder = tempfile::tempdir()?;
    let place = folder.path();
    let (ours, theirs) = (place.join("hwb"), place.join("uv"));
    fs_err::create_dir_all(&ours)?;
    fs_err::create_dir_all(&theirs)?;
    let cache = workspace.target.join("corpus-cache");
    let by_hwb = build_with_hwb(hwb, index, &sdist, &ours, &cache);
    let mut command = program(&peers.uv);
    command.args(["build", "--wheel", "--no-config", "--python", PYTHON, "--default-index", &index.url]);
    command.arg("--out-dir").arg(&theirs).arg(&sdist).envs(build_environment());
    command.env("UV_PYTHON_DOWNLOADS", "never").env("UV_CACHE_DIR", workspace.target.join("peers-cache"));
    let by_uv = capture(&mut command).and_then(|_| only_wheel(&theirs));
    let end = |error: anyhow::Error| tail(&format!("{error:#}"), 12);
    let (by_hwb, by_uv) = match (by_hwb, by_uv) {
        (Ok(by_hwb), Ok(by_uv)) => (by_hwb, by_uv),
        (Ok(_), Err(error)) => return Ok(Finding::OnlyHwb { said: end(error) }),
        (Err(error), Ok(_)) => return Ok(Finding::OnlyUv { said: end(error) }),
        (Err(error), Err(_)) => return Ok(Finding::Neither { said: end(error) }),
    };
    let mut how = compare::wheels(&by_hwb, &by_uv)?;
    if let Err(error) = check_import(row, &by_hwb, index, place) {
        how.push(format!("import: {}", last_line(&format!("{error:#}"))));
    }
    let wheel = file_name(&by_hwb);
    Ok(if how.is_empty() { Finding::Equal { wheel } } else { Finding::Different { how } })
}

/// The findings of all rows that were looked at, in Markdown.
fn report(corpus: &Corpus, findings: &BTreeMap<String, Finding>, peers: &Peers) -> String {
    let mut text = String::new();
    let (mut equal, mut built_by_uv) = (0, 0);
    let mut rows = String::new();
    for row in &corpus.rows {
        let Some(finding) = findings.get(&format!("{}-{}", row.name, row.version)) else { continue };
        let counted = matches!(row.kind, Kind::Pure | Kind::Platform);
        match finding {
            Finding::Equal { .. } if counted => {
                equal += 1;
                built_by_uv += 1;
            }
            Finding::Different { .. } | Finding::OnlyUv { .. } if counted => built_by_uv += 1,
            _ => {}
        }
        if !counted || !matches!(finding, Finding::Equal { .. }) {
            let expected =
                row.expect.as_deref().map(|expect| format!("; expected: {expect}")).unwrap_or_default();
            writeln!(rows, "- {} {} ({}{expected}): {}", row.name, row.version, row.style, finding.line())
                .expect("writing to a string succeeds");
        }
    }
    writeln!(
        text,
        "**{equal} of {built_by_uv} equal** (rows that uv builds; broken and heavy ones not counted). \
         CPython {PYTHON}, {}; the same SOURCE_DATE_EPOCH, PYTHONHASHSEED and TZ for both.\n",
        peers.versions
    )
    .expect("writing to a string succeeds");
    text + &rows
}
