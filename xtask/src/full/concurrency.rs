//! Builds side by side in one cache; one of them is killed, and one backend does what it must not.

use std::collections::BTreeMap;
use std::process::Child;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use hwb_testkit::{CommandContext, Index, Project, tiny_backend_wheel};

use super::Program;
use crate::corpus::{file_name, only_wheel};
use crate::evidence::Section;
use crate::fetch::digest;
use crate::workspace::Workspace;

/// The projects; each is built twice at the same time.
const NAMES: [&str; 4] = ["north", "east", "south", "west"];

/// The build that is killed.
const VICTIM: usize = 3;

/// Runs all of it.
pub(super) fn run(workspace: &Workspace, program: Program) -> anyhow::Result<Section> {
    let hwb = workspace.hwb(program.binary)?;
    let index = Index::of([tiny_backend_wheel()]);
    let context = CommandContext::new(hwb).index(&index);
    for name in NAMES {
        let project = Project::new(name, "1.0").option("sleep", 3).option("print", 50);
        project.write_to(&context.work().join(name));
    }
    let alone = build_alone(&context)?;
    let survivors = build_together(&context, &alone)?;
    let left = what_is_left(&context)?;
    stain(&context)?;
    let body = format!(
        "Eight builds of four projects at once in one cache, one killed with SIGKILL half way: **{survivors} of 7 others \
         right**; after the next run {left}. A backend that rewrites its own site-packages did not reach the next \
         build.\n"
    );
    let command = "cargo xtask full concurrency".to_owned();
    Ok(Section { part: "concurrency", command, body, failed: Vec::new() })
}

/// Builds each project by itself and returns the wheels' digests.
fn build_alone(context: &CommandContext) -> anyhow::Result<BTreeMap<&'static str, String>> {
    let mut digests = BTreeMap::new();
    for name in NAMES {
        let out = context.work().join(format!("alone-{name}"));
        let outcome = context.command(["build", name, "-o"]).arg(&out).run();
        ensure!(outcome.code == Some(0), "{name} alone: {outcome}");
        digests.insert(name, digest(&only_wheel(&out)?)?);
    }
    Ok(digests)
}

/// Builds everything twice at once; returns how many of those that lived are right.
fn build_together(context: &CommandContext, alone: &BTreeMap<&str, String>) -> anyhow::Result<usize> {
    let mut running: Vec<(String, Child)> = Vec::new();
    for number in 0..8 {
        let name = NAMES[number % NAMES.len()];
        let out = context.work().join(format!("together-{number}"));
        let mut command = context.command(["build", name, "-o"]).arg(&out).prepare();
        running.push((name.to_owned(), command.spawn().context("hwb did not start")?));
    }
    // The backends sleep for three seconds: this is in the middle of the hook.
    std::thread::sleep(Duration::from_secs(2));
    running[VICTIM].1.kill().context("the victim was gone already")?;
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
        ensure!(alone.get(name.as_str()) == Some(&digest(&wheel)?), "{} has other bytes", file_name(&wheel));
        right += 1;
    }
    Ok(right)
}

/// Builds once more and looks for what the killed build left behind.
fn what_is_left(context: &CommandContext) -> anyhow::Result<&'static str> {
    let outcome = context.run(["build", "north", "-o", "after"]);
    ensure!(outcome.code == Some(0), "the next run: {outcome}");
    let mut left = CommandContext::files_below(&context.temporary());
    left.extend(CommandContext::files_below(&context.cache().join("v1/tmp")));
    if !left.is_empty() {
        bail!("left behind: {}", left.join(", "));
    }
    Ok("nothing was left in the temporary folders")
}

/// Lets a backend rewrite itself where it is installed, and looks at the next build.
fn stain(context: &CommandContext) -> anyhow::Result<()> {
    Project::new("vandal", "1.0").option("misbehave", true).write_to(&context.work().join("vandal"));
    Project::new("witness", "1.0")
        .option("record-environment", true)
        .write_to(&context.work().join("witness"));
    let vandal = context.run(["build", "vandal", "-o", "out-vandal"]);
    println!("the vandal ended with {:?}", vandal.code);
    let outcome = context.run(["build", "witness", "-o", "out-witness"]);
    ensure!(outcome.code == Some(0), "the witness: {outcome}");
    let wheel = fs_err::read(only_wheel(&context.work().join("out-witness"))?)?;
    let seen =
        hwb_testkit::wheel::read_member(&wheel, "tiny_environment.json").context("nothing was recorded")?;
    let seen: serde_json::Value = serde_json::from_slice(&seen)?;
    let files = seen["site_packages"].to_string();
    ensure!(seen["misbehaved"] == false && !files.contains("tiny_stain"), "the next build saw it: {files}");
    Ok(())
}
