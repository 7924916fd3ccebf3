//! `hwb image commit`

use clap::{Args, ValueEnum};
use hwb_lib::image::{Change, RunName};

pub(super) const EXAMPLES: &str = "\
Examples:
  hwb image run --name build debian:12 apt-get install -y make
  hwb image commit build tools:1 -m 'with make'
  hwb image commit build tools:1 -c 'CMD [\"make\"]' -c 'ENV LANG=C.UTF-8'

How the image is run stays as it was, whatever the run was told, but for --change.
With SOURCE_DATE_EPOCH the same changes make the same image.";

/// How a layer is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Compression {
    /// As every tool understands it
    Gzip,
    /// Smaller and faster
    Zstd,
    /// Not at all
    None,
}

/// `hwb image commit`
#[derive(Debug, Args)]
pub(crate) struct CommitArguments {
    /// The run, as `hwb image run --name` called it
    #[arg(value_name = "RUN")]
    pub(crate) run: RunName,
    /// What the image will be called
    #[arg(value_name = "IMAGE")]
    pub(crate) image: String,
    /// A remark for the image's history
    #[arg(short, long, value_name = "TEXT")]
    pub(crate) message: Option<String>,
    /// Who made it
    #[arg(short, long, value_name = "NAME")]
    pub(crate) author: Option<String>,
    /// Change how it is run: CMD, ENTRYPOINT, ENV, EXPOSE, LABEL, ONBUILD, STOPSIGNAL, USER, VOLUME or WORKDIR, as a
    /// Dockerfile has them
    #[arg(short, long, value_name = "INSTRUCTION")]
    pub(crate) change: Vec<Change>,
    /// How its layer is compressed
    #[arg(long, value_name = "CODEC", default_value = "gzip")]
    pub(crate) compression: Compression,
    /// How hard: 1 to 12 for gzip, 1 to 22 for zstd
    #[arg(long, value_name = "NUMBER")]
    pub(crate) compression_level: Option<u8>,
}
