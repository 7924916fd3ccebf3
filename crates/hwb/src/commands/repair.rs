//! `hwb repair`

use std::path::Path;
use std::process::ExitCode;

use anstyle::{AnsiColor, Style};
use hwb_lib::repair::{
    self, ChangeReport, Execution, RepairFailure, RepairOutcome, RepairReport, RepairRequest, Strip, Tags,
};
use hwb_lib::{Ambient, Error};

use super::{Context, audit};
use crate::arguments::{Output, RepairArguments, Verbosity};
use crate::error;
use crate::render::{self, table, text};

const TITLE: Style = Style::new().bold();
const GOOD: Style = AnsiColor::Green.on_default().bold();
const DIM: Style = Style::new().dimmed();

/// Repairs wheels.
pub(crate) fn run(context: &Context, arguments: &RepairArguments) -> Result<ExitCode, Error> {
    let request = request(&context.ambient, arguments);
    let outcomes = repair::repair(&context.ambient, &request)?;
    let verbosity = context.global.verbosity();
    let blocks: Vec<String> = outcomes
        .iter()
        .filter_map(|outcome| match outcome {
            RepairOutcome::Report(report) => Some(describe(report, &context.ambient, verbosity)),
            RepairOutcome::Failure(failure) => explain(failure, verbosity),
        })
        .collect();
    match context.output() {
        Output::Json => render::print_json(&outcomes),
        Output::Text if verbosity == Verbosity::Quiet => {}
        Output::Text => render::print(&blocks.join("\n")),
    }
    let mut code = ExitCode::SUCCESS;
    for outcome in &outcomes {
        let RepairOutcome::Failure(RepairFailure { error, .. }) = outcome else { continue };
        code = match context.output() {
            // It is in the document.
            Output::Json => ExitCode::from(error.kind().exit_code()),
            Output::Text => error::report(error, Output::Text),
        };
    }
    Ok(code)
}

fn request(ambient: &Ambient, arguments: &RepairArguments) -> RepairRequest {
    let absolute = |path: &Path| ambient.absolute(path);
    let all = |paths: &[std::path::PathBuf]| paths.iter().map(|path| absolute(path)).collect();
    RepairRequest {
        wheels: all(&arguments.wheels),
        out_dir: absolute(&arguments.out_dir),
        platform: (arguments.plat != "auto").then(|| arguments.plat.clone()),
        platform_tags: if arguments.only_plat { Tags::OnlyAsked } else { Tags::Deserved },
        exclude: arguments.exclude.clone(),
        include: arguments.include.clone(),
        lib_dirs: all(&arguments.lib_dir),
        sysroot: absolute(&arguments.sysroot),
        system_dirs: arguments.ldpaths.as_ref().map(|folders| {
            folders
                .split(':')
                .filter(|folder| !folder.is_empty())
                .map(|folder| absolute(Path::new(folder)))
                .collect()
        }),
        find_links: all(&arguments.find_links),
        suffix: arguments.lib_suffix.clone(),
        strip: if arguments.strip { Strip::Changed } else { Strip::No },
        compression_level: arguments.compression_level,
        execution: if arguments.dry_run { Execution::Planned } else { Execution::Done },
    }
}

fn describe(report: &RepairReport, ambient: &Ambient, verbosity: Verbosity) -> String {
    let RepairReport { wheel, file, path, tag, platforms, grafted, provided, changed, .. } = report;
    let place = path.as_deref().map(|path| path.strip_prefix(&ambient.cwd).unwrap_or(path));
    let (verb, place) = match place {
        Some(place) => ("repaired", place.to_string_lossy().into_owned()),
        None => ("would be", file.clone()),
    };
    let mut rows = vec![[label(verb), format!("{GOOD}{}{GOOD:#}", text::row(&place))]];
    match tag {
        Some(tag) => rows.push([label("tag"), tag.clone()]),
        None => rows.push([label("tag"), "any: it has no native code, and stays as it is".to_owned()]),
    }
    if platforms.len() > 1 {
        rows.push([label("platforms"), platforms.join(", ")]);
    }
    for (number, graft) in grafted.iter().enumerate() {
        let name = graft.path.rsplit('/').next().unwrap_or(&graft.path);
        let from = graft.package.as_deref().unwrap_or(&graft.source);
        let line = format!("{} {DIM}{}{DIM:#}", text::row(name), text::row(from));
        rows.push([first(number, "grafted"), line]);
    }
    for (number, (library, distribution)) in provided.iter().enumerate() {
        rows.push([first(number, "provided"), text::row(&format!("{library} by {distribution}"))]);
    }
    if verbosity == Verbosity::Verbose || path.is_none() {
        let lines = changed.iter().flat_map(changes);
        rows.extend(lines.enumerate().map(|(number, line)| [first(number, "changes"), text::row(&line)]));
    }
    format!("{TITLE}{}{TITLE:#}\n\n{}", text::row(wheel), table::columns(&rows))
}

/// One line for each thing that changes in a file.
fn changes(change: &ChangeReport) -> Vec<String> {
    let ChangeReport { file, moved_to, needed, run_path } = change;
    let moved = moved_to.iter().map(|place| format!("{file} moves to {place}"));
    let needed = needed.iter().map(|(old, new)| match new {
        Some(new) => format!("{file} needs {new} in place of {old}"),
        None => format!("{file} needs {old} no more"),
    });
    let run_path = run_path.iter().map(|path| match path.as_str() {
        "" => format!("{file} loses its run path"),
        path => format!("{file} gets the run path {path}"),
    });
    moved.chain(needed).chain(run_path).collect()
}

/// What is in the way of a wheel that is not repaired, where that is why.
fn explain(failure: &RepairFailure, verbosity: Verbosity) -> Option<String> {
    let RepairFailure { wheel, blockers, .. } = failure;
    let wheel = text::row(wheel);
    let explained = || format!("{TITLE}{wheel}{TITLE:#}\n\n{}", audit::blockers(blockers, verbosity));
    (!blockers.is_empty()).then(explained)
}

fn label(text: &str) -> String {
    format!("{DIM}{text}{DIM:#}")
}

fn first(number: usize, text: &str) -> String {
    if number == 0 { label(text) } else { String::new() }
}
