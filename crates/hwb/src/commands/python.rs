//! `hwb python`

use std::process::ExitCode;

use anstyle::Style;
use hwb_lib::Error;
use hwb_lib::python::{self, Interpreter};

use super::Context;
use crate::arguments::{Output, PythonCommand};
use crate::render::{self, table};

const DIM: Style = Style::new().dimmed();

/// Lists the interpreters.
pub(crate) fn run(context: &Context, command: &PythonCommand) -> Result<ExitCode, Error> {
    let PythonCommand::List = command;
    let interpreters = python::list(&context.general_settings()?)?;
    match context.output() {
        Output::Json => render::print_json(&interpreters),
        Output::Text => {
            render::print(&table::columns(&interpreters.iter().map(row).collect::<Vec<_>>()));
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn row(interpreter: &Interpreter) -> [String; 4] {
    let threads = if interpreter.free_threaded { "t" } else { "" };
    let version = format!("{}{threads}", interpreter.version);
    let path = interpreter.executable.display();
    let managed = if interpreter.externally_managed { " (externally managed)" } else { "" };
    let tag = interpreter.tag.clone().unwrap_or_default();
    [interpreter.implementation.clone(), version, tag, format!("{path}{DIM}{managed}{DIM:#}")]
}
