//! `hwb doctor`

use std::process::ExitCode;

use anstyle::{AnsiColor, Style};
use hwb_lib::Error;
use hwb_lib::doctor::{self, Area, Finding, State};

use super::Context;
use crate::arguments::Output;
use crate::render::{self, table, text};

const TITLE: Style = Style::new().bold();
const GOOD: Style = AnsiColor::Green.on_default();
const BAD: Style = AnsiColor::Red.on_default();
const DIM: Style = Style::new().dimmed();

/// Shows what this machine can do.
pub(crate) fn run(context: &Context) -> Result<ExitCode, Error> {
    let findings = doctor::examine(&context.general_settings()?, &context.ambient);
    match context.output() {
        Output::Json => render::print_json(&findings),
        Output::Text => render::print(&blocks(&findings)),
    }
    Ok(ExitCode::SUCCESS)
}

/// A block for each area, in which something stands.
fn blocks(findings: &[Finding]) -> String {
    let areas = [
        (Area::Builds, "Builds"),
        (Area::Containers, "Containers"),
        (Area::Emulation, "Other processors"),
        (Area::Store, "Cache"),
    ];
    let block = |(area, title): (Area, &str)| {
        let rows: Vec<[String; 3]> =
            findings.iter().filter(|finding| finding.area == area).flat_map(rows).collect();
        (!rows.is_empty()).then(|| format!("{TITLE}{title}{TITLE:#}\n{}", table::columns(&rows)))
    };
    areas.into_iter().filter_map(block).collect::<Vec<_>>().join("\n")
}

/// What was found, and below it what would mend it.
fn rows(finding: &Finding) -> Vec<[String; 3]> {
    let Finding { area: _, what, state, detail, mend } = finding;
    let mark = match state {
        State::Ready => format!("{GOOD}yes{GOOD:#}"),
        State::Missing => format!("{BAD}no{BAD:#}"),
        State::Optional => format!("{DIM}no{DIM:#}"),
    };
    let mend =
        mend.iter().map(|mend| [String::new(), String::new(), format!("{DIM}{}{DIM:#}", text::row(mend))]);
    std::iter::once([mark, text::row(what), text::row(detail)]).chain(mend).collect()
}
