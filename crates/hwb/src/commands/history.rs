//! `hwb history`

use std::process::ExitCode;
use std::time::Duration;

use anstyle::{AnsiColor, Style};
use hwb_lib::Error;
use hwb_lib::build::ArtifactReport;
use hwb_lib::history::{self, Record, RecordResult};

use super::Context;
use crate::arguments::{HistoryArguments, Output};
use crate::render::{self, table, text};

const BUILT: Style = AnsiColor::Green.on_default();
const FAILED: Style = AnsiColor::Red.on_default();

/// Lists earlier builds, newest first.
pub(crate) fn run(context: &Context, arguments: &HistoryArguments) -> Result<ExitCode, Error> {
    let records = history::list(&context.general_settings()?, arguments.limit)?;
    match context.output() {
        Output::Json => render::print_json(&records),
        Output::Text => render::print(&table::columns(&records.iter().map(row).collect::<Vec<_>>())),
    }
    Ok(ExitCode::SUCCESS)
}

fn row(record: &Record) -> [String; 5] {
    let (result, what) = match &record.result {
        RecordResult::Built { artifacts } => (format!("{BUILT}built{BUILT:#} "), files(artifacts)),
        RecordResult::Failed { kind: _, message, causes: _, artifacts } => {
            let what = match artifacts.as_slice() {
                [] => text::row(message),
                artifacts => format!("{}; built {}", text::row(message), files(artifacts)),
            };
            (format!("{FAILED}failed{FAILED:#}"), what)
        }
    };
    // A clock that goes backwards or a hand in the file makes no duration.
    let seconds = Duration::try_from_secs_f64(record.seconds).unwrap_or_default();
    [text::time(record.started), text::elapsed(seconds), result, text::row(&record.source), what]
}

fn files(artifacts: &[ArtifactReport]) -> String {
    artifacts.iter().map(|artifact| artifact.file.as_str()).collect::<Vec<_>>().join(", ")
}
