//! `hwb build`

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anstyle::{AnsiColor, Style};
use hwb_lib::build::{self, ArtifactAudit, ArtifactReport, BuildReport, BuildRequest, PlanReport, Requested};
use hwb_lib::schema::ErrorDocument;
use hwb_lib::settings::Settings;
use hwb_lib::{Error, ErrorKind};
use serde::Serialize;

use super::Context;
use crate::arguments::{BuildArguments, Output, Verbosity};
use crate::render::{self, text};

const DONE: Style = AnsiColor::Green.on_default().bold();
const DIM: Style = Style::new().dimmed();
/// So many libraries are named in one line.
const MOST: usize = 4;

#[derive(Debug, thiserror::Error)]
#[error("failed to write the report {}", path.display())]
struct ReportError {
    path: PathBuf,
    source: std::io::Error,
}

/// Builds, or says what would be built; the report is written whatever comes of it.
pub(crate) fn run(context: &Context, mut arguments: BuildArguments) -> Result<ExitCode, Error> {
    let report = arguments.report.take().map(|path| context.ambient.absolute(&path));
    let result = document(context, arguments);
    let written = report.map_or(Ok(()), |path| match &result {
        Ok(document) => write_report(&path, document),
        Err(error) => write_report(&path, &ErrorDocument::from(error)),
    });
    let result = match (result, written) {
        (result, Ok(())) => result,
        (Ok(Document::Build(built)), Err(unwritten)) => Err(unwritten.after(built.artifacts)),
        (Ok(Document::Plan(_)), Err(unwritten)) => Err(unwritten),
        // Why there is no artifact matters more than why there is no report.
        (Err(error), Err(unwritten)) => Err(error.hint(unwritten.chain().collect::<Vec<_>>().join(": "))),
    };
    match &result {
        Ok(document) => show(context, document),
        Err(error) => show_artifacts(context, error.artifacts()),
    }
    result.map(|_| ExitCode::SUCCESS)
}

fn document(context: &Context, mut arguments: BuildArguments) -> Result<Document, Error> {
    let project = arguments.project(&context.ambient);
    let index = std::mem::take(&mut arguments.index);
    let settings = context.settings(Some(&project), index.overrides(None))?;
    let request = arguments.request(&context.ambient, &settings.build)?;
    match request.dry_run {
        Requested::Yes => plan(context, &request, &settings).map(Document::Plan),
        Requested::No => build(context, &request, &settings).map(Document::Build),
    }
}

/// What `--json` prints.
#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Document {
    Plan(PlanReport),
    Build(BuildReport),
}

fn build(context: &Context, request: &BuildRequest, settings: &Settings) -> Result<BuildReport, Error> {
    let cancel = context.cancel()?;
    let progress = context.progress();
    build::build(request, settings, &context.ambient, &cancel, &|event| progress.show(&event))
}

fn plan(context: &Context, request: &BuildRequest, settings: &Settings) -> Result<PlanReport, Error> {
    let cancel = context.cancel()?;
    let progress = context.progress();
    build::plan(request, settings, &context.ambient, &cancel, &|event| progress.show(&event))
}

fn show(context: &Context, document: &Document) {
    match (context.output(), document) {
        (Output::Json, document) => render::print_json(document),
        (Output::Text, Document::Plan(plan)) => {
            render::print(&plan.lines().into_iter().map(|line| line + "\n").collect::<String>());
        }
        (Output::Text, Document::Build(report)) => show_artifacts(context, &report.artifacts),
    }
}

/// What was built, for people; a document has it anyway.
fn show_artifacts(context: &Context, artifacts: &[ArtifactReport]) {
    if context.output() == Output::Text && context.global.verbosity() != Verbosity::Quiet {
        let cwd = &context.ambient.cwd;
        render::print(&artifacts.iter().map(|artifact| line(artifact, cwd)).collect::<String>());
    }
}

/// One artifact in one line, the platform tag that it deserves, and the interpreters that it serves besides its own.
fn line(artifact: &ArtifactReport, cwd: &Path) -> String {
    let path = text::path(&artifact.path, cwd);
    let size = text::size(artifact.size);
    let mut line = format!("{DONE}Built{DONE:#} {path} {DIM}({size}, {}){DIM:#}\n", artifact.sha256);
    // Writing to a String does not fail.
    if let Some(audit) = &artifact.audit {
        let _infallible = writeln!(line, "  {DIM}deserves {}{DIM:#}", deserved(audit));
    }
    if !artifact.serves.is_empty() {
        let _infallible = writeln!(line, "  {DIM}also serves {}{DIM:#}", artifact.serves.join(", "));
    }
    line
}

/// A tag, and why it is no portable one where libraries from outside are the reason.
fn deserved(audit: &ArtifactAudit) -> String {
    let ArtifactAudit { tag, external_libraries, floor: _ } = audit;
    if !tag.starts_with("linux_") || external_libraries.is_empty() {
        return tag.clone();
    }
    let shown = external_libraries.iter().take(MOST).map(|library| text::row(library));
    let mut shown = shown.collect::<Vec<_>>();
    if let Some(more) = external_libraries.len().checked_sub(MOST).filter(|more| *more > 0) {
        shown.push(format!("{more} more"));
    }
    format!("{tag}: needs {}", shown.join(", "))
}

/// Writes a document beside its place and moves it there.
fn write_report(path: &Path, document: &impl Serialize) -> Result<(), Error> {
    let failed = |source| Error::new(ErrorKind::Machine, ReportError { path: path.to_owned(), source });
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".part");
    let part = path.with_file_name(name);
    fs_err::write(&part, render::to_json(document)).map_err(failed)?;
    fs_err::rename(&part, path).map_err(failed)
}
