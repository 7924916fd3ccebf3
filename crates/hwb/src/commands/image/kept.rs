//! Runs that were kept: `hwb image ls --runs`, and `hwb image commit`.

use hwb_lib::Error;
use hwb_lib::image::{self, CommitRequest, LayerCompression, RunReport};

use super::DIM;
use super::files::line;
use crate::arguments::{CommitArguments, Compression, Output};
use crate::commands::Context;
use crate::render::{self, table, text};

/// Lists the runs that were kept.
pub(super) fn list(context: &Context) -> Result<(), Error> {
    let runs = image::runs(&context.general_settings()?)?;
    let heading = ["RUN", "IMAGE", "CREATED", "EXIT", "COMMAND"];
    let row = |run: &RunReport| {
        [
            run.name.clone(),
            text::row(&run.image),
            run.created.clone(),
            run.exit_code.to_string(),
            text::row(&run.command.join(" ")),
        ]
    };
    match context.output() {
        Output::Json => render::print_json(&runs),
        Output::Text => {
            let heading = heading.map(|word| format!("{DIM}{word}{DIM:#}"));
            let rows: Vec<[String; 5]> = std::iter::once(heading).chain(runs.iter().map(row)).collect();
            render::print(&table::columns(&rows));
        }
    }
    Ok(())
}

/// Makes an image of what a run changed.
pub(super) fn commit(context: &Context, arguments: CommitArguments) -> Result<(), Error> {
    let settings = context.general_settings()?;
    let request = CommitRequest {
        run: arguments.run,
        image: arguments.image,
        message: arguments.message,
        author: arguments.author,
        changes: arguments.change,
        compression: match arguments.compression {
            Compression::Gzip => LayerCompression::Gzip,
            Compression::Zstd => LayerCompression::Zstd,
            Compression::None => LayerCompression::None,
        },
        level: arguments.compression_level,
    };
    let cancel = context.cancel()?;
    let progress = context.progress();
    let told = |event| progress.show(&event);
    let report = image::commit(&settings, &context.ambient, &cancel, &request, &told)?;
    match context.output() {
        Output::Json => render::print_json(&report),
        Output::Text => render::print(&line(&report.name, &report.digest)),
    }
    Ok(())
}
