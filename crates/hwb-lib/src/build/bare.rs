//! Isolation `none`: the interpreter as it is, to which nothing is written.

use std::path::Path;

use hwb_build::Hooks;
use hwb_build::environment::{HookEnvironment, Ingredients, hook_environment};
use hwb_build::installed::{Installed, Interview, Lack, list_installed};
use hwb_build::log::Log;
use hwb_ident::{GuestPath, Requirement};

use crate::build::cell::{Made, Site, Stage, TEMPORARY};
use crate::error::{Error, ErrorKind};
use crate::event::Phase;
use crate::world::{CARGO_HOME, Phases, SOURCE, WORK};

/// The interpreter lacks what the build needs.
#[derive(Debug, thiserror::Error)]
#[error("{python} is used as it is (isolation `none`) and lacks {}", list(lacking))]
struct LackError {
    python: String,
    lacking: Vec<Lack>,
}

fn list(lacking: &[Lack]) -> String {
    lacking.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

impl Site<'_> {
    /// One stage: everything must be there already, and all that is not is said at once.
    pub(super) fn run_bare(
        &self,
        requirements: &[Requirement],
        log: &mut Log<'_>,
        phases: &mut Phases<'_>,
    ) -> Result<Made, Error> {
        let stage = self.stage(Vec::new())?;
        let variables = self.bare_variables(&stage);
        let mut session = self.world.session(stage.mounts.clone())?;
        let installed = phases.run(Phase::Environment, || {
            let interview = Interview {
                python: &GuestPath::new(self.python.executable()),
                folder: &GuestPath::new(&stage.project),
                env: &variables.variables,
            };
            Ok(list_installed(interview, session.as_mut(), &self.world.cancel, log)?)
        })?;
        let mut lacking = installed.lacking(requirements, self.python.markers());
        let spec = self.spec(self.python.executable(), &stage, &variables);
        let mut hooks = Hooks::new(spec, session.as_mut(), &self.world.cancel);
        let artifact = self.order.artifact;
        match phases.run(Phase::Requirements, || Ok(hooks.requirements(artifact, log)?)) {
            Ok(more) => lacking.extend(self.lacking_too(&installed, &more, &lacking)),
            // Without all that it needs, the backend may not be able to say what more it needs.
            Err(error) if lacking.is_empty() || error.kind() == ErrorKind::Interrupted => return Err(error),
            Err(_) => {}
        }
        if !lacking.is_empty() {
            return Err(self.refuse(lacking));
        }
        let file = self.call_backend(hooks, &stage, log, phases)?;
        Ok(Made { file, requirements: installed.pins(), influences: variables.influences })
    }

    fn lacking_too(&self, installed: &Installed, more: &[Requirement], known: &[Lack]) -> Vec<Lack> {
        let mut lacking = installed.lacking(more, self.python.markers());
        lacking.retain(|lack| !known.iter().any(|known| known.requirement == lack.requirement));
        lacking
    }

    fn bare_variables(&self, stage: &Stage) -> HookEnvironment {
        let executable = self.python.executable();
        let environment = environment_of(executable);
        hook_environment(&Ingredients {
            ambient: &self.world.ambient.env,
            added: &self.order.inputs.env,
            epoch: self.tree.epoch,
            virtual_environment: environment.zip(executable.parent()),
            cargo_home: Some(&stage.cargo_home),
            temporary: &stage.work.join(TEMPORARY),
            renamed: &[(&stage.top, SOURCE), (&stage.work, WORK), (&stage.cargo_home, CARGO_HOME)],
        })
    }

    fn refuse(&self, lacking: Vec<Lack>) -> Error {
        let python = self.python;
        let names: Vec<_> = lacking.iter().map(|lack| format!("'{}'", lack.requirement)).collect();
        let install = if python.is_externally_managed() {
            format!(
                "or make a virtual environment with {} in it and name its interpreter with `--python`: this one \
                 belongs to the system's package manager (PEP 668)",
                names.join(", ")
            )
        } else {
            format!("or install them: `{} -m pip install {}`", python.executable().display(), names.join(" "))
        };
        let error = LackError { python: python.describe(), lacking };
        Error::new(ErrorKind::Machine, error)
            .hint("build without `-n` (`--isolation venv`): a fresh environment will have them")
            .hint(install)
    }
}

/// The virtual environment that an interpreter belongs to.
fn environment_of(executable: &Path) -> Option<&Path> {
    let root = executable.parent()?.parent()?;
    root.join("pyvenv.cfg").is_file().then_some(root)
}
