//! `hwb policies`

use std::process::ExitCode;

use anstyle::Style;
use hwb_lib::Error;
use hwb_lib::audit::{self, PolicyEntry};

use super::Context;
use crate::arguments::Output;
use crate::render::{self, table};

const DIM: Style = Style::new().dimmed();

/// Lists the policies.
pub(crate) fn run(context: &Context) -> Result<ExitCode, Error> {
    let policies = audit::policies();
    match context.output() {
        Output::Json => render::print_json(&policies),
        Output::Text => render::print(&table::columns(&policies.iter().map(row).collect::<Vec<_>>())),
    }
    Ok(ExitCode::SUCCESS)
}

fn row(policy: &PolicyEntry) -> [String; 4] {
    let PolicyEntry { name, aliases, libc, version, architectures } = policy;
    let architectures = format!("{DIM}{}{DIM:#}", architectures.join(" "));
    [name.clone(), aliases.join(" "), format!("{libc} {version}"), architectures]
}
