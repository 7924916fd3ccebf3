//! `hwb schema`

use std::process::ExitCode;

use hwb_lib::Error;

use crate::arguments::SchemaArguments;
use crate::render;

/// Prints a JSON schema.
pub(crate) fn run(arguments: &SchemaArguments) -> Result<ExitCode, Error> {
    // The argument is one of the names.
    if let Some(schema) = hwb_lib::schema::schema(&arguments.name) {
        render::print_json(&schema);
    }
    Ok(ExitCode::SUCCESS)
}
