//! `hwb config`

use std::process::ExitCode;

use anstyle::Style;
use hwb_lib::Error;
use hwb_lib::settings::Setting;

use super::Context;
use crate::arguments::{ConfigCommand, Output};
use crate::render::{self, table};

const DIM: Style = Style::new().dimmed();

/// Lists the settings that hold.
pub(crate) fn run(context: &Context, command: ConfigCommand) -> Result<ExitCode, Error> {
    let ConfigCommand::Show(arguments) = command;
    let project = context.ambient.absolute(&arguments.project);
    let settings = context.settings(Some(&project), arguments.index.overrides(None))?;
    match context.output() {
        Output::Json => render::print_json(&settings.origins),
        Output::Text => {
            render::print(&table::columns(&settings.origins.iter().map(row).collect::<Vec<_>>()));
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn row(setting: &Setting) -> [String; 3] {
    [setting.key.clone(), setting.value.to_string(), format!("{DIM}{}{DIM:#}", setting.origin)]
}
