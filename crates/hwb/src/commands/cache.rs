//! `hwb cache`

use std::process::ExitCode;

use hwb_lib::Error;
use hwb_lib::cache::{self, CacheUsage, Kinds, Removed};

use super::Context;
use crate::arguments::{CacheCommand, Output, Verbosity};
use crate::render::{self, table, text};

/// Shows or clears the cache.
pub(crate) fn run(context: &Context, command: &CacheCommand) -> Result<ExitCode, Error> {
    let settings = context.general_settings()?;
    match command {
        CacheCommand::Dir => {
            let usage = cache::directory(&settings);
            match context.output() {
                Output::Json => render::print_json(&usage),
                Output::Text => render::print(&format!("{}\n", usage.directory.display())),
            }
        }
        CacheCommand::Du => {
            let usage = cache::usage(&settings, &context.ambient)?;
            match context.output() {
                Output::Json => render::print_json(&usage),
                Output::Text => render::print(&usage_lines(&usage)),
            }
        }
        CacheCommand::Prune(arguments) => {
            let kinds = match arguments.kinds.as_slice() {
                [] => Kinds::LeftBehind,
                kinds => Kinds::Named(kinds.to_vec()),
            };
            show_removed(context, &cache::prune(&settings, &context.ambient, &kinds)?);
        }
        CacheCommand::Clean => show_removed(context, &cache::clean(&settings, &context.ambient)?),
    }
    Ok(ExitCode::SUCCESS)
}

fn usage_lines(usage: &CacheUsage) -> String {
    let total = usage.kinds.iter().fold((0, 0), |sum, kind| (sum.0 + kind.bytes, sum.1 + kind.files));
    let row =
        |name: &str, bytes: u64, files: u64| [name.to_owned(), text::size(bytes), format!("{files} files")];
    let mut rows = usage.kinds.iter().map(|kind| row(&kind.kind, kind.bytes, kind.files)).collect::<Vec<_>>();
    rows.push(row("total", total.0, total.1));
    format!("{}\n{}", usage.directory.display(), table::columns(&rows))
}

fn show_removed(context: &Context, removed: &Removed) {
    match context.output() {
        Output::Json => render::print_json(removed),
        Output::Text if context.global.verbosity() == Verbosity::Quiet => {}
        Output::Text => {
            render::print(&format!("Removed {} files ({})\n", removed.files, text::size(removed.bytes)));
            if !removed.in_use.is_empty() {
                render::print(&format!("Left alone, as a build uses it: {}\n", removed.in_use.join(", ")));
            }
        }
    }
}
