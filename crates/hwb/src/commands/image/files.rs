//! `hwb image import` and `export`

use std::io::IsTerminal as _;

use hwb_lib::image::{self, ExportReport, ExportTarget, ExportedImage, ImageReport};
use hwb_lib::{Error, ErrorKind};

use super::{Context, show, show_all};
use crate::arguments::{ExportArguments, ImportArguments, Output};

#[derive(Debug, thiserror::Error)]
enum StreamError {
    #[error("an archive is nothing for a terminal")]
    Terminal,
    #[error("an archive and a JSON document cannot both be written to standard output")]
    Json,
}

pub(super) fn import(context: &Context, arguments: ImportArguments) -> Result<(), Error> {
    let settings = context.general_settings()?;
    let progress = context.progress();
    let told = |event| progress.show(&event);
    let mut input = std::io::stdin().lock();
    let images = image::import(&settings, &context.ambient, &arguments.request(), &mut input, &told)?;
    drop(progress);
    show_all(context, &images, |ImageReport { name, digest, .. }| line(name, digest));
    Ok(())
}

pub(super) fn export(context: &Context, arguments: &ExportArguments) -> Result<(), Error> {
    let settings = context.general_settings()?;
    let request = arguments.request();
    let write = |target| image::export(&settings, &context.ambient, &request, target);
    if arguments.output.as_os_str() != "-" {
        let report = write(ExportTarget::Path(arguments.output.clone()))?;
        show(context, &report, lines);
        return Ok(());
    }
    let mut output = std::io::stdout().lock();
    let refuse = |error| Err(Error::new(ErrorKind::Usage, error));
    match context.output() {
        Output::Json => refuse(StreamError::Json),
        Output::Text if output.is_terminal() => {
            refuse(StreamError::Terminal).map_err(|error| error.hint("name a file with `-o`"))
        }
        Output::Text => write(ExportTarget::Stream(&mut output)).map(drop),
    }
}

fn lines(report: &ExportReport) -> String {
    let named = |ExportedImage { name, digest }: &ExportedImage| {
        name.as_ref().map_or_else(|| format!("{digest}\n"), |name| line(name, digest))
    };
    report.images.iter().map(named).collect()
}

/// What an image is called, with its digest.
pub(super) fn line(name: &str, digest: &str) -> String {
    if name.contains('@') { format!("{name}\n") } else { format!("{name}@{digest}\n") }
}
