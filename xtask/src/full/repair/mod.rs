//! `hwb repair` on the wheels of the corpus that link libraries from outside.
//!
//! Each is repaired by hwb and by auditwheel, which must choose the same tag and graft the same libraries; hwb does it
//! on two hosts, and repairs what it repaired. What came of it runs where none of these libraries is installed.
//!
//! - [`hosts`]: the two hosts.
//! - [`tree`]: the system in which the wheels run.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail, ensure};

use super::RepairOptions;
use super::audit::{self, Said, wheels_below};
use crate::corpus::{Corpus, Kind, PYTHON, Row, build_with_hwb, file_name, only_wheel};
use crate::evidence::Section;
use crate::fetch::{Index, digest};
use crate::peers::Peers;
use crate::programs::{capture, empty, program, tail};
use crate::workspace::Workspace;

mod hosts;
mod tree;

use self::hosts::{Host, Hosts};
pub(super) use self::tree::Smoke;
use self::tree::Tree;

/// The program that looks at repaired wheels; it knows nothing of hwb.
pub(super) const SCRIPT: &str = include_str!("../../../python/repaired.py");

/// What every wheel is examined with.
#[derive(Debug)]
struct Setting {
    peers: Peers,
    auditwheel: PathBuf,
    hosts: Hosts,
    tree: Tree,
    /// Where what was repaired is kept.
    kept: PathBuf,
}

/// A wheel of the corpus.
#[derive(Debug)]
struct Subject {
    row: Row,
    wheel: PathBuf,
}

/// What came of one.
#[derive(Debug)]
struct Outcome {
    subject: Subject,
    /// What hwb made of it.
    repaired: Option<PathBuf>,
    /// How many libraries were grafted.
    grafted: usize,
    /// How large the repaired wheel is beside auditwheel's.
    ratio: f64,
    /// What is not as it must be.
    faults: Vec<String>,
}

/// Repairs and runs all that are asked for.
pub(super) fn run(workspace: &Workspace, options: &RepairOptions) -> anyhow::Result<Section> {
    let index = Index::configured()?;
    let peers = Peers::install(workspace, &index)?;
    let hwb = workspace.hwb(options.program.binary.clone())?;
    let setting = Setting {
        auditwheel: peers.auditwheel(&index)?,
        peers,
        hosts: Hosts::open(&hwb)?,
        tree: Tree::new(workspace, &index),
        kept: empty(&workspace.target.join("full/repaired"))?,
    };
    let mut outcomes = Vec::new();
    let (subjects, absent) = subjects(workspace, &index, &hwb, options)?;
    for subject in subjects {
        match audit::by_hwb(&hwb, &subject.wheel)? {
            Said::Verdict { external, .. } if external.is_empty() => {
                println!("{:24} links nothing from outside", subject.row.name);
            }
            Said::Verdict { .. } => outcomes.push(examine(&setting, subject)),
            Said::Refused(why) => bail!("{} is not audited: {why}", subject.wheel.display()),
        }
    }
    ensure!(!outcomes.is_empty(), "none of the wheels links libraries from outside");
    let together = together(&setting.tree, &outcomes);
    let mut section = report(&outcomes, together)?;
    if !absent.is_empty() {
        writeln!(section.body, "\nThere is no wheel of {}.", absent.join(", "))
            .expect("writing to a string succeeds");
    }
    if !options.only.is_empty() {
        section.command = format!("{} --only {}", section.command, options.only.join(","));
    }
    Ok(section)
}

/// Repairs a wheel, and looks at what came of it from all sides.
fn examine(setting: &Setting, subject: Subject) -> Outcome {
    let mut outcome = Outcome { subject, repaired: None, grafted: 0, ratio: f64::NAN, faults: Vec::new() };
    let checks = [
        (repair as Check, "repair"),
        (elsewhere, "second host"),
        (again, "once more"),
        (beside, "auditwheel"),
        (smoke, "smoke"),
    ];
    for (check, name) in checks {
        if let Err(error) = check(setting, &mut outcome) {
            outcome.faults.push(format!("{name}: {}", tail(&format!("{error:#}"), 4).replace('\n', " / ")));
        }
        if outcome.repaired.is_none() {
            break;
        }
    }
    println!("{:24} {}", outcome.subject.row.name, outcome.verdict());
    outcome
}

/// A look from one side: the error is what is wrong.
type Check = fn(&Setting, &mut Outcome) -> anyhow::Result<()>;

fn repair(setting: &Setting, outcome: &mut Outcome) -> anyhow::Result<()> {
    let repaired = setting.hosts.repair(Host::First, &outcome.subject.wheel)?;
    let kept = setting.kept.join(file_name(&repaired));
    fs_err::copy(&repaired, &kept)?;
    outcome.repaired = Some(kept);
    Ok(())
}

fn elsewhere(setting: &Setting, outcome: &mut Outcome) -> anyhow::Result<()> {
    same(outcome.repaired()?, &setting.hosts.repair(Host::Second, &outcome.subject.wheel)?)
}

fn again(setting: &Setting, outcome: &mut Outcome) -> anyhow::Result<()> {
    let repaired = outcome.repaired()?;
    same(repaired, &setting.hosts.repair(Host::First, repaired)?)
}

/// Whether two wheels have the same name and the same bytes.
fn same(left: &Path, right: &Path) -> anyhow::Result<()> {
    let (expected, found) = (file_name(left), file_name(right));
    ensure!(expected == found, "{found} instead of {expected}");
    ensure!(digest(left)? == digest(right)?, "other bytes");
    Ok(())
}

/// auditwheel chooses the same tags and grafts the same libraries, and finds the repaired wheel worth its tags.
fn beside(setting: &Setting, outcome: &mut Outcome) -> anyhow::Result<()> {
    let out = tempfile::tempdir().context("no temporary folder")?;
    let mut command = setting.peers.command(&setting.auditwheel);
    command.args(["repair", "--plat", "auto", "-w"]).arg(out.path()).arg(&outcome.subject.wheel);
    capture(&mut command)?;
    let (ours, theirs) = (outcome.repaired()?.to_owned(), only_wheel(out.path())?);
    let size = |wheel: &Path| anyhow::Ok(u32::try_from(fs_err::metadata(wheel)?.len())?);
    outcome.ratio = f64::from(size(&ours)?) / f64::from(size(&theirs)?);
    let (grafted, expected) = (grafted(&ours)?, grafted(&theirs)?);
    outcome.grafted = grafted.len();
    ensure!(platforms(&ours) == platforms(&theirs), "it chooses {}", platforms(&theirs).join(", "));
    ensure!(grafted == expected, "it grafts {}, and hwb {}", expected.join(" "), grafted.join(" "));
    match audit::by_auditwheel(&setting.auditwheel, &ours)? {
        Said::Verdict { tag, .. } => {
            ensure!(platforms(&ours).contains(&tag), "it finds that the repaired wheel deserves {tag}");
        }
        Said::Refused(why) => bail!("it refuses the repaired wheel: {why}"),
    }
    Ok(())
}

fn smoke(setting: &Setting, outcome: &mut Outcome) -> anyhow::Result<()> {
    let row = &outcome.subject.row;
    let smoke = setting.tree.smoke(&[(row, outcome.repaired()?)])?;
    // A library of the system that the wheel rightly needs brings its own dependencies along.
    let twins = if row.system.is_empty() { smoke.twins.as_slice() } else { &[] };
    ensure!(twins.is_empty(), "loaded from the system: {}", twins.join(", "));
    ensure!(smoke.problems.is_empty(), "{}", smoke.problems.join("; "));
    ensure!(smoke.loaded > 0, "no grafted library is loaded");
    Ok(())
}

/// All of them in one process; how many grafted libraries it held at once.
fn together(tree: &Tree, outcomes: &[Outcome]) -> anyhow::Result<usize> {
    let wheels =
        outcomes.iter().filter_map(|outcome| Some((&outcome.subject.row, outcome.repaired.as_deref()?)));
    let smoke = tree.smoke(&wheels.collect::<Vec<_>>())?;
    ensure!(smoke.problems.is_empty(), "{}", smoke.problems.join("; "));
    Ok(smoke.loaded)
}

/// The names of the grafted libraries, without what the repair put into them.
fn grafted(wheel: &Path) -> anyhow::Result<Vec<String>> {
    let said = capture(program("python3").args(["-I", "-c", SCRIPT, "list"]).arg(wheel))?;
    serde_json::from_str(&said).context("the list is not JSON")
}

/// The platforms that a wheel's name claims, sorted.
fn platforms(wheel: &Path) -> Vec<String> {
    let name = file_name(wheel);
    let set = name.trim_end_matches(".whl").rsplit('-').next().unwrap_or_default();
    let mut platforms: Vec<_> = set.split('.').map(str::to_owned).collect();
    platforms.sort();
    platforms
}

impl Outcome {
    fn repaired(&self) -> anyhow::Result<&Path> {
        self.repaired.as_deref().context("it is not repaired")
    }

    fn verdict(&self) -> String {
        if self.faults.is_empty() { "right".to_owned() } else { format!("WRONG: {}", self.faults.join("; ")) }
    }
}

fn report(outcomes: &[Outcome], together: anyhow::Result<usize>) -> anyhow::Result<Section> {
    let (mut rows, mut failed) = (String::new(), Vec::new());
    for outcome in outcomes {
        let Subject { row, wheel } = &outcome.subject;
        let tags = outcome.repaired.as_deref().map(platforms).unwrap_or_default().join(", ");
        let (name, verdict) = (file_name(wheel), outcome.verdict());
        writeln!(rows, "| {name} | {tags} | {} | {:.3} | {verdict} |", outcome.grafted, outcome.ratio)
            .expect("writing to a string succeeds");
        if !outcome.faults.is_empty() {
            failed.push(row.name.clone());
        }
    }
    let right = outcomes.len() - failed.len();
    let together = match together {
        Ok(loaded) => format!("All of them work in one process, which then holds {loaded} grafted libraries"),
        Err(error) => {
            failed.push("all in one process".to_owned());
            format!("NOT in one process: {}", tail(&format!("{error:#}"), 4).replace('\n', " / "))
        }
    };
    let system: Vec<_> = outcomes
        .iter()
        .map(|outcome| &outcome.subject.row)
        .filter(|row| !row.system.is_empty())
        .map(|row| format!("{} for {}", row.system.join(" and "), row.name))
        .collect();
    let system = match system.as_slice() {
        [] => String::new(),
        some => format!(" (but {}: every tag expects their libraries of the system)", some.join(", ")),
    };
    let libc = capture(program("getconf").arg("GNU_LIBC_VERSION"))?;
    let body = format!(
        "**{right} of {} right**: wheels of the corpus that link libraries from outside, as hwb builds them with \
         CPython {PYTHON}, repaired with `--plat auto` on a host with {}. Right means all of this: auditwheel 6.8.2 \
         beside it chooses the same tags, grafts the same libraries, and finds that what hwb made deserves them; \
         another user with another directory, clock, time zone, locale and umask gets the same bytes, and so does a \
         repair of the repaired wheel; in a bookworm that debootstrap made, with python3 and nothing else{system}, \
         the wheel is unpacked by its RECORD, its import and a smoke test work, and /proc/self/maps shows each grafted \
         library in the wheel's own folder. {together}.\n\n\
         | wheel | tags | grafted | size / auditwheel's | |\n| --- | --- | --- | --- | --- |\n{rows}",
        outcomes.len(),
        libc.trim(),
    );
    Ok(Section { part: "repair", command: "cargo xtask full repair".to_owned(), body, failed })
}

/// The wheels to look at: those below a folder, or those of the corpus, which are built by hwb where `full corpus` left
/// none; and the rows of which there is none.
fn subjects(
    workspace: &Workspace,
    index: &Index,
    hwb: &Path,
    options: &RepairOptions,
) -> anyhow::Result<(Vec<Subject>, Vec<String>)> {
    let wanted = |row: &Row| {
        row.kind == Kind::Platform && (options.only.is_empty() || options.only.contains(&row.name))
    };
    let given = options.wheels.as_deref().map(wheels_below).transpose()?;
    let (mut found, mut absent) = (Vec::new(), Vec::new());
    for row in Corpus::load(&workspace.root)?.rows.into_iter().filter(wanted) {
        let wheel = match &given {
            Some(given) => given.iter().find(|wheel| row.made(wheel)).cloned(),
            None => {
                let wheel = kept(workspace, index, hwb, &row);
                let say =
                    |error| println!("{:24} is not built: {}", row.name, tail(&format!("{error:#}"), 1));
                wheel.map_err(say).ok()
            }
        };
        match wheel {
            Some(wheel) if file_name(&wheel).ends_with("-any.whl") => {}
            Some(wheel) => found.push(Subject { row, wheel }),
            None => absent.push(row.name),
        }
    }
    Ok((found, absent))
}

/// The wheel of a row as hwb built it once.
pub(super) fn kept(workspace: &Workspace, index: &Index, hwb: &Path, row: &Row) -> anyhow::Result<PathBuf> {
    let folder = row.kept(workspace);
    if let Ok(wheel) = only_wheel(&folder) {
        return Ok(wheel);
    }
    let sdist = index.sdist(row, &workspace.target.join("corpus"))?;
    build_with_hwb(hwb, index, &sdist, &folder, &workspace.target.join("corpus-cache"))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::platforms;

    #[test]
    fn platforms_are_read_from_a_name() {
        let check =
            |name: &str, expected: &[&str]| assert_eq!(platforms(Path::new(name)), expected, "{name}");
        check("a/a-1-cp311-cp311-linux_x86_64.whl", &["linux_x86_64"]);
        check(
            "a-1-cp311-abi3-manylinux_2_17_x86_64.manylinux2014_x86_64.whl",
            &["manylinux2014_x86_64", "manylinux_2_17_x86_64"],
        );
    }
}
