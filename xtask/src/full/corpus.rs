//! The corpus, built by hwb and by uv in the same surroundings, and the wheels compared.

use std::fmt::Write as _;
use std::path::Path;
use std::time::Instant;

use serde::{Deserialize, Serialize};

use super::Selection;
use super::findings::Findings;
use crate::corpus::{
    Corpus, Kind, PYTHON, Row, build_environment, build_with_hwb, check_import, file_name, files_named,
    only_wheel,
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
    /// As `Equal`, but for what differs between two builds of uv itself.
    UvVaries {
        /// What differs.
        how: Vec<String>,
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
            Self::UvVaries { how } => {
                format!("equal, but for what two builds of uv differ in: {}", how.join("; "))
            }
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
    let mut findings = Findings::open(workspace, "corpus", &hwb, selection)?;
    for row in corpus.rows.iter().filter(|row| selection.wants(row)) {
        let name = format!("{}-{}", row.name, row.version);
        if let Some(finding @ Finding::Equal { .. }) = findings.of(row) {
            println!("{name:32}   known  {}", finding.line());
            continue;
        }
        let start = Instant::now();
        let finding = examine(workspace, &index, (&peers, &hwb), row)?;
        println!("{name:32} {:>5} s  {}", start.elapsed().as_secs(), finding.line());
        findings.note(row, finding)?;
    }
    Ok(report(&corpus, &findings, &peers))
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
    let [ours, theirs, elsewhere] = ["hwb", "uv", "uv-once-more"].map(|name| place.join(name));
    for folder in [&ours, &theirs, &elsewhere] {
        fs_err::create_dir_all(folder)?;
    }
    let cache = workspace.target.join("corpus-cache");
    let by_hwb = build_with_hwb(hwb, index, &sdist, &ours, &cache);
    let uv_builds = |out: &Path| {
        let mut command = program(&peers.uv);
        command.args(["build", "--wheel", "--no-config", "--python", PYTHON, "--default-index", &index.url]);
        command.arg("--out-dir").arg(out).arg(&sdist).envs(build_environment());
        command.env("UV_PYTHON_DOWNLOADS", "never").env("UV_CACHE_DIR", workspace.target.join("peers-cache"));
        capture(&mut command).and_then(|_| only_wheel(out))
    };
    let by_uv = uv_builds(&theirs);
    let end = |error: anyhow::Error| tail(&format!("{error:#}"), 12);
    let (by_hwb, by_uv) = match (by_hwb, by_uv) {
        (Ok(by_hwb), Ok(by_uv)) => (by_hwb, by_uv),
        (Ok(_), Err(error)) => return Ok(Finding::OnlyHwb { said: end(error) }),
        (Err(error), Ok(_)) => return Ok(Finding::OnlyUv { said: end(error) }),
        (Err(error), Err(_)) => return Ok(Finding::Neither { said: end(error) }),
    };
    keep(&by_hwb, &row.kept(workspace))?;
    let mut how = compare::wheels(&by_hwb, &by_uv)?;
    let again = if how.is_empty() { Vec::new() } else { compare::wheels(&uv_builds(&elsewhere)?, &by_uv)? };
    if !how.is_empty() && how.iter().all(|line| again.contains(line)) {
        check_import(row, &by_hwb, index, place)?;
        return Ok(Finding::UvVaries { how });
    }
    if let Err(error) = check_import(row, &by_hwb, index, place) {
        how.push(format!("import: {}", last_line(&format!("{error:#}"))));
    }
    let wheel = file_name(&by_hwb);
    Ok(if how.is_empty() { Finding::Equal { wheel } } else { Finding::Different { how } })
}

/// Puts a wheel where `full repair` finds it.
fn keep(wheel: &Path, folder: &Path) -> anyhow::Result<()> {
    fs_err::create_dir_all(folder)?;
    for earlier in files_named(folder, ".whl")? {
        fs_err::remove_file(earlier)?;
    }
    fs_err::copy(wheel, folder.join(file_name(wheel))).map(drop).map_err(Into::into)
}

/// The findings of all rows that were looked at. What uv builds must be equal.
fn report(corpus: &Corpus, findings: &Findings<Finding>, peers: &Peers) -> Section {
    let (mut text, mut failed) = (String::new(), Vec::new());
    let (mut equal, mut built_by_uv) = (0, 0);
    let mut rows = String::new();
    for row in &corpus.rows {
        let Some(finding) = findings.of(row) else { continue };
        let counted = matches!(row.kind, Kind::Pure | Kind::Platform);
        match finding {
            Finding::Equal { .. } | Finding::UvVaries { .. } if counted => {
                equal += 1;
                built_by_uv += 1;
            }
            Finding::Different { .. } | Finding::OnlyUv { .. } if counted => {
                built_by_uv += 1;
                failed.push(row.name.clone());
            }
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
    Section { part: "corpus", command: "cargo xtask full corpus".to_owned(), body: text + &rows, failed }
}
