//! Hostile archives and wheels: each must be refused in one line, with the right exit code and without a trace.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context as _, ensure};
use hwb_testkit::hostile::{Hostile, good_tree, handing_over, hostile};
use hwb_testkit::{CommandContext, Index, Wheel};

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
        writeln!(rows, "- {}: `` {said} ``", case.what).expect("writing to a string succeeds");
        if verdict.is_err() {
            failures.push(case.what.to_owned());
        }
    }
    let refused = all.len() - failures.len();
    let body = format!(
        "**{refused} of {} refused** with one line of error, the right exit code, an empty output folder \
         and nothing written outside. Wheels are offered as what a backend made.\n\n{rows}",
        all.len()
    );
    let command = "cargo xtask full hostile".to_owned();
    Ok(Section { part: "hostile", command, body, failed: failures })
}

/// Builds what the hostile archives and wheels are made of: what is refused later is refused for its fault.
fn control(hwb: &Path) -> anyhow::Result<()> {
    let context = CommandContext::new(hwb).index(&Index::of([]));
    let tree = good_tree();
    let sources = [tree.tar_gz("bad-1.0"), tree.zip("bad-1.0")].map(|file| file.write_to(&context.home()));
    let project = context.home().join("good");
    handing_over(&Wheel::new("good", "1.0").file("good.py", "").build()).write_to(&project);
    for source in sources.into_iter().chain([project]) {
        let outcome = context.command(["build"]).arg(&source).run();
        ensure!(outcome.code == Some(0), "the control {} is refused: {outcome}", source.display());
    }
    Ok(())
}

/// Offers one and returns the line of error, with its causes: a refusal for another reason than the right one must show.
fn offer(hwb: &Path, case: &Hostile, outside: &Path) -> anyhow::Result<String> {
    let context = CommandContext::new(hwb).index(&Index::of([]));
    let input = tempfile::tempdir().context("no temporary folder")?;
    let outcome = context.command(["build", "--quiet"]).arg(case.write_to(input.path())).run();
    let said = outcome.stderr.lines().map(str::trim).collect::<Vec<_>>().join(" / ");
    let said = [(input.path(), "[INPUT]"), (outside, "[OUTSIDE]")]
        .into_iter()
        .fold(said, |said, (folder, name)| said.replace(&folder.to_string_lossy().into_owned(), name));
    let said = context.filtered(&said);
    ensure!(case.offer.is_refusal(&outcome), "no refusal, but exit code {:?}: {said}", outcome.code);
    let mut left = remains(&context);
    for folder in [outside, &context.work(), &context.home(), &context.temporary()] {
        left.extend(CommandContext::files_below(folder));
    }
    ensure!(left.is_empty(), "it left {}", left.join(", "));
    Ok(said)
}

/// What should not lie in the cache: a tree that was half unpacked, or what climbed out of one.
fn remains(context: &CommandContext) -> Vec<String> {
    let mut found = CommandContext::files_below(&context.cache());
    let slots = ["v1/tmp/", "v1/sources/"];
    found.retain(|name| slots.iter().any(|slot| name.starts_with(slot)) || name.contains("escaped"));
    found
}
