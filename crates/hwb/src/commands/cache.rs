//! `hwb cache`

use std::process::ExitCode;

use hwb_lib::Error;
use hwb_lib::cache::{self, CacheUsage, PruneRequest, Removed, Scope};

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
            let request = PruneRequest {
                kinds: arguments.kinds.clone(),
                older_than: arguments.older_than,
                keep_size: arguments.keep_size,
                scope: if arguments.all { Scope::All } else { Scope::Unneeded },
            };
            let removed = cache::prune(&settings, &context.ambient, &request)?;
            show_removed(context, &removed);
            if let Some(left) = removed.left.filter(|left| request.keep_size.is_some_and(|keep| *left > keep))
            {
                show_left(context, left, request.scope);
            }
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
            for image in &removed.images {
                render::print(&format!("Removed the name {image}\n"));
            }
            if !removed.in_use.is_empty() {
                render::print(&format!(
                    "Left alone, as another hwb is running: {}\n",
                    removed.in_use.join(", ")
                ));
            }
        }
    }
}

/// Says that what could go did not suffice.
fn show_left(context: &Context, left: u64, scope: Scope) {
    let more = match scope {
        Scope::Unneeded => "; --all removes what images need too",
        Scope::All => "",
    };
    if context.output() == Output::Text && context.global.verbosity() != Verbosity::Quiet {
        render::print(&format!("The cache still has {}{more}\n", text::size(left)));
    }
}
