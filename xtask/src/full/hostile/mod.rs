//! Hostile archives and wheels: each must be refused in one line, with the right exit code and without a trace.
//!
//! - [`malformed`](mod@malformed): wheels with malformed ELF files.
//! - [`surgery`]: what is wrong with these.
//! - [`image`]: how they are changed.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context as _, bail, ensure};
use hwb_testkit::hostile::{Hostile, good_tree, handing_over, hostile};
use hwb_testkit::{CommandContext, Index, Wheel};

use super::Program;
use crate::evidence::Section;
use crate::workspace::Workspace;

mod image;
mod malformed;
mod surgery;

use self::malformed::{Malformed, Verb};

/// Offers all of them.
pub(super) fn run(workspace: &Workspace, program: Program) -> anyhow::Result<Section> {
    let hwb = workspace.hwb(program.binary)?;
    let (archives, elf) = (archives(&hwb)?, malformed(&hwb)?);
    let body = format!(
        "**{} of {} archives and wheels refused** with one line of error, the right exit code, an empty output folder \
         and nothing written outside. Wheels are offered as what a backend made.\n\n{}\n\
         **{} of {} malformed ELF files handled** by `hwb audit` and by `hwb repair`, as a member of a wheel or as a \
         library to graft, with at most 512 MB of memory: refused with exit code 6, one line of error that names the \
         file, and an empty output folder; where the fault is of no matter, a report and a wheel are right too.\n\n{}",
        archives.right(),
        archives.all,
        archives.rows,
        elf.right(),
        elf.all,
        elf.rows
    );
    let command = "cargo xtask full hostile".to_owned();
    let failed = archives.failed.into_iter().chain(elf.failed).collect();
    Ok(Section { part: "hostile", command, body, failed })
}

/// What came of the cases of one kind.
#[derive(Debug, Default)]
struct Tally {
    all: usize,
    rows: String,
    failed: Vec<String>,
}

impl Tally {
    fn take(&mut self, what: &str, verdict: anyhow::Result<String>) {
        self.all += 1;
        let said = verdict.unwrap_or_else(|error| {
            self.failed.push(what.to_owned());
            format!("FAILED: {error:#}")
        });
        println!("{what:50} {said}");
        writeln!(self.rows, "- {what}: `` {said} ``").expect("writing to a string succeeds");
    }

    fn right(&self) -> usize {
        self.all - self.failed.len()
    }
}

/// Archives and wheels, for `hwb build`.
fn archives(hwb: &Path) -> anyhow::Result<Tally> {
    let outside = tempfile::tempdir().context("no temporary folder")?;
    let escape = outside.path().join("hwb-escaped");
    control(hwb)?;
    let mut tally = Tally::default();
    for case in &hostile(&escape.to_string_lossy()) {
        tally.take(case.what, offer(hwb, case, outside.path()));
    }
    Ok(tally)
}

/// Malformed ELF files, for `hwb audit` and `hwb repair`; nothing is said of the good one.
fn malformed(hwb: &Path) -> anyhow::Result<Tally> {
    let (good, all) = malformed::all()?;
    for verb in [Verb::Audit, Verb::Repair] {
        let said = malformed::offer(hwb, &good, verb).context("the control")?;
        ensure!(said.is_none(), "the control is refused: {said:?}");
    }
    let mut tally = Tally::default();
    for case in &all {
        tally.take(&case.what, both(hwb, case));
    }
    Ok(tally)
}

/// Audits and repairs one, and returns what was said by both.
fn both(hwb: &Path, case: &Malformed) -> anyhow::Result<String> {
    let offer = |verb: Verb| malformed::offer(hwb, case, verb).with_context(|| format!("{verb:?}"));
    match (offer(Verb::Audit)?, offer(Verb::Repair)?) {
        (None, None) => Ok("nothing is in the way".to_owned()),
        (None, Some(repair)) => Ok(format!("not repaired: {repair}")),
        (Some(audit), Some(repair)) if audit == repair => Ok(audit),
        (Some(audit), Some(repair)) => Ok(format!("{audit}; not repaired: {repair}")),
        (Some(audit), None) => bail!("it is repaired, though the audit says: {audit}"),
    }
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
