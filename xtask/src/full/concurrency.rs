//! Builds side by side in one cache; one of them is killed, and one backend does what it must not.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::Child;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use hwb_testkit::wheel::read_member;
use hwb_testkit::{CommandContext, Index, Project, tiny_backend_wheel};

use super::Program;
use crate::corpus::{file_name, only_wheel};
use crate::evidence::Section;
use crate::fetch::digest;
use crate::workspace::Workspace;

/// The projects; each is built twice at the same time.
const NAMES: [&str; 4] = ["north", "east", "south", "west"];

/// How many builds run at once.
const BUILDS: usize = 8;

/// The build that is killed.
const VICTIM: usize = 3;

/// What the backends say last before they sleep in the middle of the hook.
const HALF_WAY: &str = "build_wheel: line 50";

/// How long the processes of a killed build may take to end.
const GRACE: Duration = Duration::from_secs(5);

/// Runs all of it.
pub(super) fn run(workspace: &Workspace, program: Program) -> anyhow::Result<Section> {
    let hwb = workspace.hwb(program.binary)?;
    let index = Index::of([tiny_backend_wheel()]);
    let alone = {
        let elsewhere = projects(&hwb, &index);
        build_alone(&elsewhere, "alone", &NAMES)?
    };
    let context = projects(&hwb, &index);
    let survivors = build_together(&context, &alone)?;
    check_store(&context, &alone)?;
    stain(&context)?;
    let body = format!(
        "Eight builds of four projects at once in one cache, which is empty before, and one killed with SIGKILL in the \
         middle of its hook: **{survivors} of 7 others right**, with the bytes of builds alone in another cache. Every \
         process of the killed build ended with it. After the next run nothing was left in the temporary folders and \
         slots, no claim was held, every environment was complete, and all four projects were built right from the same \
         cache.\n\n\
         A backend that rewrites its own site-packages, and was seen to, did not reach the next build, be its \
         environment a kept one or a fresh one.\n"
    );
    let command = "cargo xtask full concurrency".to_owned();
    Ok(Section { part: "concurrency", command, body, failed: Vec::new() })
}

/// The projects, with a cache of their own.
fn projects(hwb: &Path, index: &Index) -> CommandContext {
    let context = CommandContext::new(hwb).index(index);
    for name in NAMES {
        let project = Project::new(name, "1.0").option("sleep", 3).option("print", 50);
        project.write_to(&context.work().join(name));
    }
    context
}

/// Builds projects one after the other and returns the wheels' digests.
fn build_alone<'a>(
    context: &CommandContext,
    out: &str,
    names: &[&'a str],
) -> anyhow::Result<BTreeMap<&'a str, String>> {
    let mut digests = BTreeMap::new();
    for name in names {
        let out = context.work().join(format!("{out}-{name}"));
        let outcome = context.command(["build", name, "-o"]).arg(&out).run();
        ensure!(outcome.code == Some(0), "{name} alone: {outcome}");
        digests.insert(*name, digest(&only_wheel(&out)?)?);
    }
    Ok(digests)
}

/// Builds everything twice at once; returns how many of those that lived are right.
fn build_together(context: &CommandContext, alone: &BTreeMap<&str, String>) -> anyhow::Result<usize> {
    let mut running: Vec<(&str, Child)> = Vec::new();
    for number in 0..BUILDS {
        let name = NAMES[number % NAMES.len()];
        let out = context.work().join(format!("together-{number}"));
        let mut command = context.command(["build", name, "--verbose", "-o"]).arg(&out).prepare();
        running.push((name, command.spawn().context("hwb did not start")?));
    }
    kill_half_way(&mut running[VICTIM].1)?;
    ensure!(processes_of(context)? >= BUILDS - 1, "the processes of the builds are not known by their home");
    let mut right = 0;
    for (number, (name, child)) in running.into_iter().enumerate() {
        let output = child.wait_with_output().context("hwb was lost")?;
        if number == VICTIM {
            ensure!(!output.status.success(), "the victim ended before it was killed");
            continue;
        }
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(output.status.success(), "build {number} of {name}: {said}");
        let wheel = only_wheel(&context.work().join(format!("together-{number}")))?;
        ensure!(alone.get(name) == Some(&digest(&wheel)?), "{} has other bytes", file_name(&wheel));
        right += 1;
    }
    let end = Instant::now() + GRACE;
    while processes_of(context)? > 0 {
        ensure!(Instant::now() < end, "{} processes of the killed build go on", processes_of(context)?);
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(right)
}

/// Waits until the backend of a build is in the middle of its hook, and kills hwb.
fn kill_half_way(victim: &mut Child) -> anyhow::Result<()> {
    let said = victim.stderr.take().context("the victim has a standard error")?;
    let mut lines = BufReader::new(said).lines().map_while(Result::ok);
    let reached = lines.any(|line| line.contains(HALF_WAY));
    ensure!(reached, "the victim ended before it was killed");
    victim.kill().context("the victim was gone already")
}

/// How many processes have the home folder of these builds in their environment.
fn processes_of(context: &CommandContext) -> anyhow::Result<usize> {
    let home = context.home().to_string_lossy().into_owned();
    let has_home = |process: &Path| {
        let environment = fs_err::read(process.join("environ")).unwrap_or_default();
        String::from_utf8_lossy(&environment).contains(&home)
    };
    let mut found = 0;
    for entry in fs_err::read_dir("/proc")? {
        found += usize::from(has_home(&entry?.path()));
    }
    Ok(found)
}

/// Builds once more, looks for what the killed build left behind, and builds everything from what there is.
fn check_store(context: &CommandContext, alone: &BTreeMap<&str, String>) -> anyhow::Result<()> {
    let outcome = context.run(["build", "north", "-o", "after"]);
    ensure!(outcome.code == Some(0), "the next run: {outcome}");
    let store = context.cache().join("v1");
    let mut left = CommandContext::files_below(&context.temporary());
    for area in ["tmp", "sources", "fresh", "copies"] {
        left.extend(CommandContext::files_below(&store.join(area)));
    }
    // The store's own lock stays.
    left.extend(CommandContext::files_below(&store.join("locks")).into_iter().filter(|name| name != "store"));
    ensure!(left.is_empty(), "left behind: {}", left.join(", "));
    for entry in fs_err::read_dir(store.join("environments"))? {
        let entry = entry?.path();
        let marker = entry.with_extension("complete");
        ensure!(marker.is_file(), "{} is not complete", file_name(&entry));
    }
    ensure!(build_alone(context, "again", &NAMES)? == *alone, "the same cache gives other bytes");
    Ok(())
}

/// Lets a backend rewrite itself where it is installed, and looks at the next builds.
fn stain(context: &CommandContext) -> anyhow::Result<()> {
    let recording = |name: &str| Project::new(name, "1.0").option("record-environment", true);
    recording("vandal").option("misbehave", true).write_to(&context.work().join("vandal"));
    recording("witness").write_to(&context.work().join("witness"));
    let sees_stain = |name: &str, flags: &[&str]| -> anyhow::Result<bool> {
        let out = format!("out-{name}");
        let outcome = context.run([&["build", name, "-o", &out][..], flags].concat());
        ensure!(outcome.code == Some(0), "{name}: {outcome}");
        let wheel = fs_err::read(only_wheel(&context.work().join(&out))?)?;
        let seen = read_member(&wheel, "tiny_environment.json").context("nothing was recorded")?;
        let seen: serde_json::Value = serde_json::from_slice(&seen)?;
        Ok(seen["misbehaved"] != false || seen["site_packages"].to_string().contains("tiny_stain"))
    };
    for flags in [&[][..], &["--fresh-environment"]] {
        ensure!(sees_stain("vandal", flags)?, "the vandal did no harm to itself {flags:?}");
        for next in [&[][..], &["--fresh-environment"]] {
            ensure!(
                !sees_stain("witness", next)?,
                "the next build {next:?} saw what the vandal did {flags:?}"
            );
        }
    }
    Ok(())
}
