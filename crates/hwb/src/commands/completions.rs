//! `hwb completions`

use std::process::ExitCode;

use clap::CommandFactory as _;
use hwb_lib::Error;

use crate::arguments::{Cli, CompletionsArguments};
use crate::render;

/// Prints the script of a shell.
pub(crate) fn run(arguments: &CompletionsArguments) -> Result<ExitCode, Error> {
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut Cli::command(), "hwb", &mut script);
    render::print(&String::from_utf8_lossy(&script));
    Ok(ExitCode::SUCCESS)
}
