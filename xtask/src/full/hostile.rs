//! Hostile archives and wheels: each must be refused in one line, with the right exit code and without a trace.

use std::fmt::Write as _;

use anyhow::{Context as _, bail, ensure};
use hwb_testkit::hostile::{Hostile, Offer, good_tree, hostile};
use hwb_testkit::{CommandContext, Index, tiny_backend_wheel};

use super::Program;
use crate::evidence::Section;
use crate::workspace::Workspace;

/// Offers all of them.
pub(super) fn run(workspace: &Workspace, program: Program) -> anyhow::Result<Section> {
    let hwb = workspace.hwb(program.binary)?;
    let outside = tempfile::tempdir().context("no temporary folder")?;
    let escape = outside.path().join("hwb-escaped");
    let all = hostile(&escape.to_string_lossy());
    control(&hwb)?;
    let mut failures = Vec::new();
    let mut rows = String::new();
    for case in &all {
        let verdict = offer(&hwb, case, outside.path());
        let said = match &verdict {
            Ok(line) => line.clone(),
            Err(error) => format!("FAILED: {error:#}"),
        };
        println!("{:50} {said}", case.what);
        writeln!(rows, "- {}: `{said}`", case.what).expect("writing to a string succeeds");
        if verdict.is_err() {
            failures.push(case.what.to_owned());
        }
    }
    let refused = all.len() - failures.len();
    let body = format!(
        "**{refused} of {} refused** with one line of error, the right exit code and nothing written outside.\n\n{rows}",
        all.len()
    );
    let command = "cargo xtask full hostile".to_owned();
    Ok(Section { part: "hostile", command, body, failed: failures })
}

/// Builds the project that the hostile archives are made of: what is refused later is refused for its fault.
fn control(hwb: &std::path::Path) -> anyhow::Result<()> {
    let context = CommandContext::new(hwb).index(&Index::of([]));
    let tree = good_tree();
    for artifact in [tree.tar_gz("bad-1.0"), tree.zip("bad-1.0")] {
        let path = artifact.write_to(&context.home());
        let outcome = context.command(["build"]).arg(path).run();
        ensure!(outcome.code == Some(0), "the control {} is refused: {outcome}", artifact.name);
    }
    Ok(())
}

/// Offers one and returns the line of error.
fn offer(hwb: &std::path::Path, case: &Hostile, outside: &std::path::Path) -> anyhow::Result<String> {
    let index = Index::of([tiny_backend_wheel()]);
    let context = CommandContext::new(hwb).index(&index);
    let input = tempfile::tempdir().context("no temporary folder")?;
    let path = case.artifact.write_to(input.path());
    let (verb, code) = match case.offer {
        Offer::Source => ("build", 4),
        Offer::Wheel => ("inspect", 6),
    };
    let outcome = context.command([verb]).arg(&path).run();
    let lines: Vec<&str> = outcome.stderr.lines().filter(|line| line.starts_with("error")).collect();
    if outcome.code != Some(code) {
        bail!("exit code {:?} instead of {code}: {}", outcome.code, outcome.stderr.trim());
    }
    if lines.len() != 1 {
        bail!("{} lines of error: {}", lines.len(), outcome.stderr.trim());
    }
    let written: Vec<String> = [outside, &context.work(), &context.home(), &context.temporary()]
        .into_iter()
        .flat_map(CommandContext::files_below)
        .collect();
    if !written.is_empty() {
        bail!("it left {}", written.join(", "));
    }
    // With the causes: a refusal for another reason than the right one must show.
    let whole: Vec<&str> =
        outcome.stderr.lines().map(str::trim).skip_while(|line| !line.starts_with("error")).collect();
    Ok(context.filtered(&whole.join(" / ")).replace(&input.path().to_string_lossy().into_owned(), "[IN]"))
}
