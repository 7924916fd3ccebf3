//! `hwb --version`

use std::process::ExitCode;

use hwb_lib::Error;
use serde::Serialize;

use super::Context;
use crate::arguments::Output;
use crate::render;

#[derive(Debug, Serialize)]
struct Version {
    name: &'static str,
    version: &'static str,
    os: &'static str,
    arch: &'static str,
}

/// Prints which hwb this is.
pub(crate) fn run(context: &Context) -> Result<ExitCode, Error> {
    let version = Version {
        name: "hwb",
        version: env!("CARGO_PKG_VERSION"),
        os: std::env::consts::OS,
        arch: std::env::consts::ARCH,
    };
    match context.output() {
        Output::Json => render::print_json(&version),
        Output::Text => render::print(&format!("{} {}\n", version.name, version.version)),
    }
    Ok(ExitCode::SUCCESS)
}
