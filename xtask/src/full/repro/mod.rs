//! The same source twice, in surroundings that differ in everything, from two empty caches.
//!
//! - [`stage`]: the two surroundings, and builds in them.
//! - [`control`]: proves that the hooks of the two really see what is said to differ.

use std::fmt::Write as _;
use std::path::Path;
use std::time::Instant;

use serde::{Deserialize, Serialize};

use super::Selection;
use super::findings::Findings;
use crate::corpus::{Corpus, Kind, Row, file_name};
use crate::evidence::Section;
use crate::fetch::{Index, digest};
use crate::programs::tail;
use crate::tiers;
use crate::workspace::Workspace;

mod control;
mod stage;

use self::stage::{Stage, Surroundings};

/// What became of one row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "kebab-case")]
enum Finding {
    /// Both wheels are the same bytes.
    Same {
        /// The wheel's name.
        wheel: String,
    },
    /// They are not.
    Different {
        /// The first wheel's name.
        wheel: String,
        /// What `hwb verify` says of the first in the second surroundings.
        verify: Vec<String>,
    },
    /// It was built in the first surroundings, but not in the second.
    BuiltOnce {
        /// The end of what hwb said.
        said: String,
    },
    /// It was not even built in the first.
    NotBuilt {
        /// The end of what hwb said.
        said: String,
    },
}

impl Finding {
    fn line(&self) -> String {
        match self {
            Self::Same { wheel } => format!("same bytes  {wheel}"),
            Self::Different { wheel, verify } => format!("DIFFERENT   {wheel}: {}", verify.join("; ")),
            Self::BuiltOnce { said } => format!("BUILT ONCE  {}", said.replace('\n', " / ")),
            Self::NotBuilt { said } => format!("not built   {}", said.replace('\n', " / ")),
        }
    }
}

/// How every try of one row ended, with one binary.
type Tries = Vec<Finding>;

/// Builds what is selected twice and compares the bytes; rows that were the same with this binary are not done again.
pub(super) fn run(workspace: &Workspace, selection: &Selection) -> anyhow::Result<Section> {
    let corpus = Corpus::load(&workspace.root)?;
    let index = Index::configured()?;
    let hwb = workspace.hwb(selection.program.binary.clone())?;
    for package in
        tiers::absent_packages(&tiers::debian_packages(&workspace.root, crate::corpus::Tier::Full)?)
    {
        println!("not installed, so what needs it will fail: {package}");
    }
    let stage = Stage::open(&hwb, &index)?;
    let seen = control::prove(&stage)?;
    println!("control: {seen}");
    let mut findings: Findings<Tries> = Findings::open(workspace, "repro", stage.binary(), selection)?;
    let wanted = |row: &&Row| row.kind != Kind::Broken && selection.wants(row);
    for row in corpus.rows.iter().filter(wanted) {
        let mut tries = findings.of(row).cloned().unwrap_or_default();
        if let Some(finding @ Finding::Same { .. }) = tries.last() {
            println!("{:32}   known  {}", row.name, finding.line());
            continue;
        }
        let start = Instant::now();
        let finding = twice(&stage, &index.sdist(row, &workspace.target.join("corpus"))?)?;
        println!("{:32} {:>5} s  {}", row.name, start.elapsed().as_secs(), finding.line());
        if matches!(finding, Finding::Different { .. }) {
            let kept = workspace.target.join("full/different").join(&row.name);
            stage.keep(&kept.join(tries.len().to_string()))?;
        }
        tries.push(finding);
        findings.note(row, tries)?;
    }
    Ok(report(&corpus, &findings, &seen))
}

/// Builds a source in both surroundings.
fn twice(stage: &Stage, sdist: &Path) -> anyhow::Result<Finding> {
    let end = |error: anyhow::Error| tail(&format!("{error:#}"), 6);
    let source = stage.bring(sdist)?;
    let first = match stage.build(Surroundings::Usual, &source) {
        Ok(wheel) => wheel,
        Err(error) => return Ok(Finding::NotBuilt { said: end(error) }),
    };
    let second = match stage.build(Surroundings::Hostile, &source) {
        Ok(wheel) => wheel,
        Err(error) => return Ok(Finding::BuiltOnce { said: end(error) }),
    };
    let wheel = file_name(&first);
    if wheel == file_name(&second) && digest(&first)? == digest(&second)? {
        return Ok(Finding::Same { wheel });
    }
    let verify = stage.verify(&first, &source).unwrap_or_else(|error| vec![end(error)]);
    Ok(Finding::Different { wheel, verify })
}

/// How many of one kind of wheels were built, and how many of these were the same.
#[derive(Debug, Default)]
struct Count {
    same: usize,
    built: usize,
}

impl Count {
    fn add(&mut self, finding: &Finding) {
        self.built += 1;
        self.same += usize::from(matches!(finding, Finding::Same { .. }));
    }
}

/// The try that a row is counted by: one that gave other bytes is not undone by a later one that did not.
fn decisive(tries: &Tries) -> Option<&Finding> {
    tries.iter().find(|finding| matches!(finding, Finding::Different { .. })).or(tries.last())
}

/// The findings of all rows that were looked at. What must be so: every pure wheel the same, and 95 % of the others.
fn report(corpus: &Corpus, findings: &Findings<Tries>, seen: &str) -> Section {
    let (mut pure, mut compiled) = (Count::default(), Count::default());
    let (mut rows, mut failed) = (String::new(), Vec::new());
    for row in &corpus.rows {
        let Some((tries, finding)) = findings.of(row).and_then(|tries| Some((tries, decisive(tries)?)))
        else {
            continue;
        };
        match finding {
            Finding::Same { wheel } | Finding::Different { wheel, .. } if wheel.ends_with("-any.whl") => {
                pure.add(finding);
            }
            Finding::Same { .. } | Finding::Different { .. } => compiled.add(finding),
            Finding::BuiltOnce { .. } => failed.push(row.name.clone()),
            Finding::NotBuilt { .. } => {}
        }
        if tries.iter().any(|finding| !matches!(finding, Finding::Same { .. })) {
            let lines: Vec<String> = tries.iter().map(Finding::line).collect();
            writeln!(rows, "- {} {} ({}): {}", row.name, row.version, row.style, lines.join("; then "))
                .expect("writing to a string succeeds");
        }
    }
    if pure.same < pure.built {
        failed.push("pure wheels".to_owned());
    }
    if compiled.same * 100 < compiled.built * 95 {
        failed.push("compiled wheels".to_owned());
    }
    let body = format!(
        "**{} of {} pure wheels and {} of {} compiled ones are byte-identical** when built twice from two empty \
         caches. The first build is root's; the second is of an ordinary user with another home, its cache on \
         disorderfs, the clock moved by faketime (but not that of rustc, which does not start with it), and another umask, time zone, locale and hash seed. \
         What the hooks of a control saw: {seen}.\n\n{rows}",
        pure.same, pure.built, compiled.same, compiled.built
    );
    Section { part: "repro", command: "cargo xtask full repro".to_owned(), body, failed }
}
