//! `hwb verify`

use std::io::Write as _;
use std::process::ExitCode;

use anstyle::{AnsiColor, Style};
use hwb_lib::verify::{self, Verdict, VerifyReport, VerifyRequest};
use hwb_lib::{Error, ErrorKind};

use super::Context;
use crate::arguments::{Output, Verbosity, VerifyArguments};
use crate::render::{self, text};

const SAME: Style = AnsiColor::Green.on_default().bold();
const OTHER: Style = AnsiColor::Red.on_default().bold();
const DIM: Style = Style::new().dimmed();

/// Builds again and compares.
pub(crate) fn run(context: &Context, mut arguments: VerifyArguments) -> Result<ExitCode, Error> {
    let project = arguments.project(&context.ambient);
    let index = std::mem::take(&mut arguments.index);
    let settings = context.settings(Some(&project), index.overrides(None))?;
    let wheel = context.ambient.absolute(&arguments.wheel);
    let shown = text::path(&wheel, &context.ambient.cwd);
    let build = arguments.request(&context.ambient, &settings.build)?;
    let request = VerifyRequest { wheel, build };
    let cancel = context.cancel()?;
    let report = {
        let progress = context.progress();
        verify::verify(&request, &settings, &context.ambient, &cancel, &|event| progress.show(&event))?
    };
    match context.output() {
        Output::Json => render::print_json(&report),
        Output::Text if context.global.verbosity() != Verbosity::Quiet => {
            render::print(&lines(&shown, &report));
        }
        // Whoever wants silence is still told why there is an exit code.
        Output::Text if report.verdict == Verdict::Different => {
            let _closed = anstream::stderr().write_all(verdict(&shown, report.verdict).as_bytes());
        }
        Output::Text => {}
    }
    Ok(match report.verdict {
        Verdict::Identical => ExitCode::SUCCESS,
        Verdict::Different => ExitCode::from(ErrorKind::Check.exit_code()),
    })
}

fn lines(wheel: &str, report: &VerifyReport) -> String {
    let mut lines = verdict(wheel, report.verdict);
    for member in &report.members {
        let of = member.path.as_ref().map_or_else(String::new, |path| format!("{}: ", text::row(path)));
        lines.push_str(&format!("  {of}{}\n", text::row(&member.what.to_string())));
        if let Some(cause) = &member.cause {
            lines.push_str(&format!("    {DIM}likely cause: {}{DIM:#}\n", text::row(&cause.to_string())));
        }
    }
    lines
}

fn verdict(wheel: &str, verdict: Verdict) -> String {
    match verdict {
        Verdict::Identical => format!("{SAME}Identical{SAME:#} {wheel}\n"),
        Verdict::Different => format!("{OTHER}Different{OTHER:#} {wheel}\n"),
    }
}
