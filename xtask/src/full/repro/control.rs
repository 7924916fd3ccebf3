//! A wheel that must differ: what its backend saw is in it.

use std::path::Path;

use anyhow::{Context as _, ensure};
use hwb_testkit::Project;
use hwb_testkit::wheel::read_member;
use serde::Deserialize;

use super::stage::{Stage, Surroundings};

/// The member that the backend writes down what it sees in.
const RECORD: &str = "tiny_machine.json";

/// The least that the second clock is ahead of the first, in seconds.
const DAYS: f64 = 2.0 * 86_400.0;

/// What the backend saw.
#[derive(Debug, Deserialize)]
struct Machine {
    clock: f64,
    clock_of_programs: f64,
    user: u32,
    /// Where the source is, and where the packages of the environment are.
    folders: [String; 2],
    /// The names below each of these, as they were listed.
    orders: [Vec<String>; 2],
}

/// Builds the control in both surroundings and says what its backend saw.
///
/// # Errors
///
/// Something that should differ is the same to the hooks: no wheel of the corpus would prove anything then.
pub(super) fn prove(stage: &Stage) -> anyhow::Result<String> {
    let project = Project::new("control", "1.0").backend_in_tree().build_requires("setuptools");
    let project = project.option("record-machine", true);
    let project = (0..40).fold(project, |project, number| project.file(&format!("many/{number}.txt"), "x"));
    let folder = tempfile::tempdir().context("no temporary folder")?;
    let source = stage.bring(&project.sdist().write_to(folder.path()))?;
    let build = |surroundings| stage.build(surroundings, &source).context("the control is not built");
    let (wheel, other) = (build(Surroundings::Usual)?, build(Surroundings::Hostile)?);
    let said = stage.verify(&wheel, &source)?.join("; ");
    ensure!(said.contains(RECORD), "`hwb verify` does not name what differs: {said}");
    let (first, second) = (read(&wheel)?, read(&other)?);
    let ahead = second.clock - first.clock;
    ensure!(ahead > DAYS, "the clock of the hooks is not moved: {ahead} s");
    let ahead = second.clock_of_programs - first.clock_of_programs;
    ensure!(ahead > DAYS, "the clock of what the hooks start is not moved: {ahead} s");
    ensure!(first.user != second.user, "both hooks are of the user {}", first.user);
    for (number, what) in ["source", "environment"].into_iter().enumerate() {
        let (first, second) = (&first.orders[number], &second.orders[number]);
        ensure!(sorted(first) == sorted(second), "the hooks see other files in the {what}");
        ensure!(first != second, "the hooks see the {what} in the same order");
    }
    let [source, environment] = first.orders.each_ref().map(Vec::len);
    Ok(format!(
        "a clock {:.1} days ahead, in programs that they started too; the users {} and {}; {source} files of the source \
         and {environment} of the environment in another order. They lay at {} for the first and at {} for the second",
        ahead / 86_400.0,
        first.user,
        second.user,
        shown(&first.folders),
        shown(&second.folders),
    ))
}

fn shown([source, environment]: &[String; 2]) -> String {
    format!("`{source}` and `{environment}`")
}

fn read(wheel: &Path) -> anyhow::Result<Machine> {
    let seen = read_member(&fs_err::read(wheel)?, RECORD).context("nothing was recorded")?;
    serde_json::from_slice(&seen).context("the record is not what the backend writes")
}

fn sorted(names: &[String]) -> Vec<&str> {
    let mut names: Vec<&str> = names.iter().map(String::as_str).collect();
    names.sort_unstable();
    names
}
