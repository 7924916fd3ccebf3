//! `hwb image import` and `export`

use std::path::PathBuf;

use clap::Args;
use hwb_lib::image::{ExportFormat, ExportRequest, ImportRequest};

use super::registry::PlatformArguments;

const IMPORT_EXAMPLES: &str = "\
Examples:
  hwb image import app.tar                        What `hwb image export` or `docker save` wrote
  hwb image import oci-layout:build/app:1 app:1   One image of a layout in a directory
  docker save app:1 | hwb image import -
  hwb image import rootfs.tar.zst base:1 --change 'CMD [\"/bin/sh\"]' --platform linux/arm64

A source is a path, or - for standard input. What it is is found out; these say it:
  oci-layout:DIR[:NAME]        An OCI image layout
  oci-archive:FILE[:NAME]      A tar archive of one
  docker-archive:FILE[:NAME]   What `docker save` writes
  tar:FILE                     A root file system";

const EXPORT_EXAMPLES: &str = "\
Examples:
  hwb image export app:1 -o app.tar
  hwb image export app:1 base:1 -o images/               An image layout in a directory
  hwb image export app:1 -o - --format docker-archive | docker load";

/// `hwb image import`
#[derive(Debug, Args)]
#[command(after_help = IMPORT_EXAMPLES)]
pub(crate) struct ImportArguments {
    /// Where the image is
    #[arg(value_name = "SOURCE")]
    source: String,
    /// What it is to be called, in place of the names that it has there
    #[arg(value_name = "NAME")]
    name: Option<String>,
    #[command(flatten)]
    platforms: PlatformArguments,
    /// How a root file system is to be run, as an instruction of a Dockerfile; repeatable
    #[arg(short, long = "change", value_name = "INSTRUCTION", help_heading = "Root file systems")]
    changes: Vec<String>,
    /// A remark for the history of a root file system
    #[arg(short, long, value_name = "TEXT", help_heading = "Root file systems")]
    message: Option<String>,
}

/// `hwb image export`
#[derive(Debug, Args)]
#[command(after_help = EXPORT_EXAMPLES)]
pub(crate) struct ExportArguments {
    /// The images
    #[arg(value_name = "IMAGE", required = true)]
    images: Vec<String>,
    /// A file, a directory, or - for standard output
    #[arg(short, long, value_name = "PATH")]
    pub(crate) output: PathBuf,
    /// oci-archive, oci-layout or docker-archive; without it a directory becomes a layout, a file an archive of one
    #[arg(long, value_name = "FORMAT", value_parser = clap::builder::ValueParser::new(str::parse::<ExportFormat>))]
    format: Option<ExportFormat>,
    #[command(flatten)]
    platforms: PlatformArguments,
}

impl ImportArguments {
    /// What is meant by it.
    pub(crate) fn request(self) -> ImportRequest {
        let Self { source, name, platforms, changes, message } = self;
        ImportRequest { source, name, platforms: platforms.choice(), changes, message }
    }
}

impl ExportArguments {
    /// What is meant by it.
    pub(crate) fn request(&self) -> ExportRequest {
        let Self { images, output: _, format, platforms } = self;
        ExportRequest { images: images.clone(), platforms: platforms.choice(), format: *format }
    }
}
