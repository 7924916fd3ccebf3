//! `hwb audit`

use std::process::ExitCode;

use anstyle::{AnsiColor, Style};
use hwb_lib::audit::{
    self, AuditOutcome, AuditReport, BlockerKind, BlockerReport, FloorReport, PolicyReport, Requirement,
    Subject, Unmet,
};
use hwb_lib::build::Requested;
use hwb_lib::{Error, ErrorKind};

use super::Context;
use crate::arguments::{AuditArguments, Output, Verbosity};
use crate::error;
use crate::render::{self, table, text};

const TITLE: Style = Style::new().bold();
const BAD: Style = AnsiColor::Red.on_default().bold();
const DIM: Style = Style::new().dimmed();
/// So much is shown of what is in the way of a tag, unless all is asked for.
const MOST: usize = 8;

/// Audits, and compares with what is required.
pub(crate) fn run(context: &Context, arguments: &AuditArguments) -> Result<ExitCode, Error> {
    let requirement = arguments.require.as_deref().map(str::parse::<Requirement>).transpose()?;
    let paths = arguments.paths.iter().map(|path| context.ambient.absolute(path)).collect::<Vec<_>>();
    let sysroot = arguments.sysroot.as_ref().map(|folder| context.ambient.absolute(folder));
    let instructions = if arguments.scan_isa { Requested::Yes } else { Requested::No };
    let outcomes = audit::audit(&paths, sysroot.as_deref(), instructions)?;
    let unmet = |report| requirement.as_ref().and_then(|requirement| requirement.unmet(report));
    let verbosity = context.global.verbosity();
    let mut blocks = Vec::new();
    let mut code = ExitCode::SUCCESS;
    for outcome in &outcomes {
        let AuditOutcome::Report(report) = outcome else { continue };
        blocks.push(match (unmet(report), &arguments.require) {
            (Some(unmet), Some(tag)) => {
                code = ExitCode::from(ErrorKind::Check.exit_code());
                describe(report, verbosity) + &refusal(tag, &unmet, verbosity)
            }
            _ => describe(report, verbosity) + &explain(report, verbosity),
        });
    }
    match context.output() {
        Output::Json => render::print_json(&outcomes),
        Output::Text if verbosity == Verbosity::Quiet => {}
        Output::Text => render::print(&blocks.join("\n")),
    }
    for outcome in &outcomes {
        let AuditOutcome::Failure(failure) = outcome else { continue };
        code = match context.output() {
            // It is in the document.
            Output::Json => ExitCode::from(failure.error.kind().exit_code()),
            Output::Text => error::report(&failure.error, Output::Text),
        };
    }
    Ok(code)
}

fn describe(report: &AuditReport, verbosity: Verbosity) -> String {
    let (Subject::Wheel(name) | Subject::Elf(name)) = &report.subject;
    let mut rows = vec![[label("tag"), report.tag.clone()]];
    if report.symbol_tag != report.tag {
        rows.push([label("by symbols"), report.symbol_tag.clone()]);
    }
    if let Some(FloorReport { libc, version, distributions }) = &report.floor {
        let known = if distributions.is_empty() {
            String::new()
        } else {
            format!(": {} and newer", distributions.join(", "))
        };
        rows.push([label("runs on"), format!("{libc} >= {version}{known}")]);
    }
    for (number, library) in report.external_libraries.iter().enumerate() {
        rows.push([if number == 0 { label("needs") } else { String::new() }, text::row(library)]);
    }
    let shown = if verbosity == Verbosity::Verbose { usize::MAX } else { MOST };
    for (number, note) in report.notes.iter().take(shown).enumerate() {
        let first = if number == 0 { label("note") } else { String::new() };
        rows.push([first, text::row(&format!("{} {}", note.file, note.text))]);
    }
    if let Some(more) = report.notes.len().checked_sub(shown).filter(|more| *more > 0) {
        rows.push([String::new(), format!("{DIM}{more} more; -v shows all{DIM:#}")]);
    }
    format!("{TITLE}{}{TITLE:#}\n\n{}", text::row(name), table::columns(&rows))
}

fn label(text: &str) -> String {
    format!("{DIM}{text}{DIM:#}")
}

/// What is in the way of the tag before the one that is deserved, or of every older one.
fn explain(report: &AuditReport, verbosity: Verbosity) -> String {
    let unreached = report.policies.iter().filter(|policy| !policy.reached).rev();
    let most = if verbosity == Verbosity::Verbose { usize::MAX } else { 1 };
    unreached.take(most).map(|policy| unreached_policy(policy, verbosity)).collect()
}

fn unreached_policy(policy: &PolicyReport, verbosity: Verbosity) -> String {
    format!("\n{TITLE}{}{TITLE:#} is not reached:\n{}", policy.tag, blockers(&policy.blockers, verbosity))
}

fn refusal(tag: &str, unmet: &Unmet<'_>, verbosity: Verbosity) -> String {
    match unmet {
        Unmet::OtherPlatform => {
            format!("\n{BAD}{tag}{BAD:#} is required, and is for another machine or C library\n")
        }
        Unmet::UnknownLibc => {
            format!("\n{BAD}{tag}{BAD:#} is required, and nothing says for which C library this is\n")
        }
        Unmet::Purelib(file) => {
            let file = text::row(file);
            format!("\n{BAD}{tag}{BAD:#} is required, and {file} is native code that goes to purelib\n")
        }
        Unmet::Blocked(found) => {
            format!("\n{BAD}{tag}{BAD:#} is required, and not reached:\n{}", blockers(found, verbosity))
        }
    }
}

/// One line for each, and what would help below those that the same would help.
pub(super) fn blockers(blockers: &[BlockerReport], verbosity: Verbosity) -> String {
    let shown = if verbosity == Verbosity::Verbose { blockers.len() } else { MOST.min(blockers.len()) };
    let mut lines = String::new();
    for (number, blocker) in blockers[..shown].iter().enumerate() {
        lines.push_str(&format!("  {}\n", text::row(&line(blocker))));
        let next = blockers[..shown].get(number + 1);
        if next.is_none_or(|next| next.remedy != blocker.remedy) {
            lines.push_str(&format!("    {DIM}{}{DIM:#}\n", text::row(&blocker.remedy)));
        }
    }
    if blockers.len() > shown {
        lines.push_str(&format!("  {DIM}and {} more; -v shows all{DIM:#}\n", blockers.len() - shown));
    }
    lines
}

fn line(blocker: &BlockerReport) -> String {
    let BlockerReport { kind, file, library, version, symbols, chain, remedy: _ } = blocker;
    let library = library.as_deref().unwrap_or_default();
    let through = match chain.as_slice() {
        [] | [_] => String::new(),
        [above @ .., _] => {
            let above = above.iter().rev().map(String::as_str).collect::<Vec<_>>();
            format!(" (loaded by {})", above.join(", by "))
        }
    };
    let what = match kind {
        BlockerKind::Version => {
            let examples = symbols.join(", ");
            let of = if examples.is_empty() { examples } else { format!(" ({examples})") };
            format!("{} of {library}{of}", version.as_deref().unwrap_or_default())
        }
        BlockerKind::Library => format!("{library}, which is not part of every system"),
        BlockerKind::PrivateSymbol => {
            format!("{} of {library}, which not every build has", symbols.join(", "))
        }
        BlockerKind::Libpython => format!("{library}, which not every Python has"),
        BlockerKind::X86_64V2 => "a machine of x86-64-v2".to_owned(),
        BlockerKind::X86_64V3 => "a machine of x86-64-v3".to_owned(),
        BlockerKind::X86_64V4 => "a machine of x86-64-v4".to_owned(),
        BlockerKind::PythonSymbol => format!("{}, which not every Python has", symbols.join(", ")),
    };
    format!("{file} needs {what}{through}")
}
