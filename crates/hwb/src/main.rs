//! `hwb`, the command line: arguments to settings, one call of the library, rendering, exit codes.

mod ambient;
mod arguments;
mod commands;
mod error;
mod render;

use std::process::ExitCode;

use clap::Parser as _;

use crate::arguments::{Cli, Command};
use crate::commands::Context;

fn main() -> ExitCode {
    if let Some(arguments) = ambient::helper_arguments() {
        return hwb_lib::helper_main(arguments);
    }
    hwb_lib::give_back_early();
    let cli = Cli::parse();
    cli.global.color.choose();
    let output = cli.global.output();
    match run(cli).and_then(|code| render::finish().map(|()| code)) {
        Ok(code) => code,
        Err(error) => error::report(&error, output),
    }
}

fn run(cli: Cli) -> Result<ExitCode, hwb_lib::Error> {
    let Cli { global, version: _, command } = cli;
    let context = Context::capture(global)?;
    match command {
        None => commands::version::run(&context),
        Some(Command::Build(arguments)) => commands::build::run(&context, *arguments),
        Some(Command::Verify(arguments)) => commands::verify::run(&context, *arguments),
        Some(Command::Inspect(arguments)) => commands::inspect::run(&context, &arguments),
        Some(Command::Audit(arguments)) => commands::audit::run(&context, &arguments),
        Some(Command::Repair(arguments)) => commands::repair::run(&context, &arguments),
        Some(Command::Policies) => commands::policies::run(&context),
        Some(Command::Image(command)) => commands::image::run(&context, command),
        Some(Command::Python(command)) => commands::python::run(&context, &command),
        Some(Command::Doctor) => commands::doctor::run(&context),
        Some(Command::Config(command)) => commands::config::run(&context, command),
        Some(Command::History(arguments)) => commands::history::run(&context, &arguments),
        Some(Command::Cache(command)) => commands::cache::run(&context, &command),
        Some(Command::Completions(arguments)) => commands::completions::run(&arguments),
        Some(Command::Schema(arguments)) => commands::schema::run(&arguments),
    }
}
