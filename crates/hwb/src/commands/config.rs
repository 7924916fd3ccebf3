//! `hwb config`

use std::path::PathBuf;
use std::process::ExitCode;

use anstyle::Style;
use hwb_lib::settings::Setting;
use hwb_lib::{Error, ErrorKind};

use super::Context;
use crate::arguments::{ConfigCommand, Output};
use crate::render::{self, table, text};

const DIM: Style = Style::new().dimmed();

#[derive(Debug, thiserror::Error)]
#[error("`{}` is not a directory, so there are no settings of a project", .0.display())]
struct ProjectError(PathBuf);

/// Lists the settings that hold.
pub(crate) fn run(context: &Context, command: ConfigCommand) -> Result<ExitCode, Error> {
    let ConfigCommand::Show(arguments) = command;
    let project = context.ambient.absolute(&arguments.project);
    if !project.is_dir() {
        return Err(Error::new(ErrorKind::Source, ProjectError(project)));
    }
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
    let origin = text::row(&setting.origin.to_string());
    [setting.key.clone(), text::row(&setting.value.to_string()), format!("{DIM}{origin}{DIM:#}")]
}
