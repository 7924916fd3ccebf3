//! One file for each command.

pub(crate) mod audit;
pub(crate) mod build;
pub(crate) mod cache;
pub(crate) mod completions;
pub(crate) mod config;
pub(crate) mod doctor;
pub(crate) mod history;
pub(crate) mod image;
pub(crate) mod inspect;
pub(crate) mod policies;
pub(crate) mod python;
pub(crate) mod repair;
pub(crate) mod schema;
pub(crate) mod verify;
pub(crate) mod version;

use std::path::Path;

use hwb_lib::settings::{self, Overrides, Settings};
use hwb_lib::{Ambient, Cancel, Error, ErrorKind};

use crate::ambient;
use crate::arguments::{Global, Output};
use crate::render::Progress;

/// What every command is given.
#[derive(Debug)]
pub(crate) struct Context {
    /// The surroundings, as they were at the start.
    pub(crate) ambient: Ambient,
    /// What was typed for every command.
    pub(crate) global: Global,
}

#[derive(Debug, thiserror::Error)]
#[error("failed to prepare for Ctrl-C")]
struct SignalError(#[source] std::io::Error);

impl Context {
    /// Looks around.
    pub(crate) fn capture(global: Global) -> Result<Self, Error> {
        Ok(Self { ambient: ambient::capture()?, global })
    }

    /// What holds for this command in a project.
    pub(crate) fn settings(&self, project: Option<&Path>, overrides: Overrides) -> Result<Settings, Error> {
        let overrides = Overrides { cache_dir: self.global.cache_dir.clone(), ..overrides };
        Ok(settings::load(&self.ambient, project, &overrides)?)
    }

    /// What holds for a command that has nothing to do with a project.
    pub(crate) fn general_settings(&self) -> Result<Settings, Error> {
        self.settings(None, Overrides::default())
    }

    /// What Ctrl-C sets; the second Ctrl-C ends the process.
    pub(crate) fn cancel(&self) -> Result<Cancel, Error> {
        let failed = |error| Error::new(ErrorKind::Machine, SignalError(error));
        let cancel = Cancel::new().map_err(failed)?;
        hwb_lib::signals::install(&cancel).map_err(failed)?;
        Ok(cancel)
    }

    /// Where events go.
    pub(crate) fn progress(&self) -> Progress {
        Progress::start(self.global.verbosity(), &self.ambient)
    }

    /// What stands on standard output.
    pub(crate) fn output(&self) -> Output {
        self.global.output()
    }
}
