//! `hwb build --dry-run`: what would be done, with the reasons.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use hwb_build::Project;
use hwb_build::environment::{Ingredients, hook_environment};
use hwb_build::project::Origin;
use hwb_ident::{SourceSpec, Timestamp};
use hwb_uv::{PinForm, Python, direct};
use schemars::JsonSchema;
use serde::Serialize;

use crate::build::cell::{self, Inputs};
use crate::build::epoch::{self, EpochOrigin};
use crate::build::matrix;
use crate::build::request::{BuildRequest, Isolation, Network, Outputs, Placement};
use crate::build::workspace::{self, Workspace};
use crate::error::Error;
use crate::event::Phase;
use crate::source::Tree;
use crate::world::{Phases, World};

/// What `hwb build` would do: the document that `--dry-run --json` prints.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct PlanReport {
    /// The source, for people: a directory, a URL without credentials, a commit.
    pub source: String,
    /// The digest of exactly what would be built.
    pub digest: String,
    /// Where the backend would run.
    pub placement: Placement,
    /// What would come out.
    pub outputs: Outputs,
    /// Where it would go.
    pub out_dir: PathBuf,
    /// How the build would be kept apart from the machine.
    pub isolation: Isolation,
    /// The network that the backend would see.
    pub network: Network,
    /// `SOURCE_DATE_EPOCH`, in seconds since 1970.
    pub source_date_epoch: u64,
    /// Who chose that.
    pub epoch_origin: EpochOrigin,
    /// Names of the variables from outside that can change what is built.
    pub influences: Vec<String>,
    /// Every project that would be built, in order.
    pub projects: Vec<PlannedProject>,
}

/// One project.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct PlannedProject {
    /// Where in the source it is; absent if that is its root.
    pub directory: Option<String>,
    /// Its name, where the project states it.
    pub name: Option<String>,
    /// Its version, where the project states it; else the backend finds it out.
    pub version: Option<String>,
    /// Its backend.
    pub backend: PlannedBackend,
    /// What must be installed before the backend is imported, as it is written.
    pub requires: Vec<String>,
    /// One for each interpreter; a wheel of the first may turn out to serve the others.
    pub interpreters: Vec<PlannedInterpreter>,
}

/// The backend of a project.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct PlannedBackend {
    /// `module` or `module:object`.
    pub name: String,
    /// Who chose it.
    pub chosen_by: BackendOrigin,
    /// The directories of the project that it is imported from.
    pub path: Vec<PathBuf>,
}

/// Who chose a backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum BackendOrigin {
    /// `build-backend` in `pyproject.toml`.
    Declared,
    /// Nobody did: PEP 517 says setuptools, with the project's own `setup.py`.
    Legacy,
}

/// How a project is built for one interpreter.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct PlannedInterpreter {
    /// For example `cpython 3.11.7`; absent if none is needed.
    pub python: Option<String>,
    /// The program.
    pub executable: Option<PathBuf>,
    /// Why it is this one.
    pub reason: InterpreterReason,
    /// How the backend is called.
    pub route: Route,
    /// What would be installed before the backend is asked for more: `name==version`, sorted; absent if nothing is
    /// installed, as the interpreter is used as it is or none is needed.
    pub requirements: Option<Vec<String>>,
    /// Which of these exist as sdists only, and are built first.
    pub built_first: Vec<String>,
}

/// Why an interpreter was chosen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(tag = "because", rename_all = "snake_case")]
pub enum InterpreterReason {
    /// It was asked for.
    Requested {
        /// As it was typed.
        request: String,
    },
    /// It is the one of the active virtual environment, and there is no isolation.
    Active,
    /// It is the first that the project admits.
    RequiresPython {
        /// `requires-python`
        range: String,
    },
    /// It is the first that was found.
    First,
    /// The backend is built into hwb.
    NotNeeded,
}

/// How a backend is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Route {
    /// `uv_build` of a version that hwb has inside.
    InProcess,
    /// Its PEP 517 hooks.
    Hooks,
}

/// Makes the plan.
pub(crate) fn run(world: &Arc<World>, request: &BuildRequest) -> Result<PlanReport, Error> {
    matrix::check_out_dir(world, request)?;
    let given = epoch::given(world, request)?;
    let (tree, mut phases) = matrix::begin(world, request, &[])?;
    let inputs = matrix::inputs(request)?;
    let workspace = Workspace::read(&tree.project)?;
    let mut projects = Vec::new();
    for directory in workspace::select(workspace.as_ref(), &request.selection)? {
        let place = directory.as_ref().map_or_else(|| tree.project.clone(), |path| path.below(&tree.project));
        let project = workspace::admit(workspace.as_ref(), &tree, &place)?;
        let planned = Planned { world, request, inputs: &inputs, place: &place, project: &project };
        let directory = directory.map(|directory| directory.to_string());
        projects.push(planned.project(directory, &mut phases)?);
    }
    let is_archive = || match &request.source {
        SourceSpec::Path(source) => !world.ambient.absolute(&source.path).is_dir(),
        _ => false,
    };
    let Tree { digest, epoch, origin, .. } = &tree;
    Ok(PlanReport {
        source: origin.name.clone(),
        digest: digest.to_string(),
        placement: tree.placement(),
        outputs: request.outputs,
        out_dir: world.ambient.absolute(&request.out_dir),
        isolation: request.isolation,
        network: request.network,
        source_date_epoch: epoch.seconds(),
        epoch_origin: given
            .map_or_else(|| EpochOrigin::of_source(&request.source, is_archive), |given| given.origin),
        influences: influences(world, &inputs.env, *epoch),
        projects,
    })
}

/// The names of the variables that would reach the hooks and can change what they make.
fn influences(world: &World, added: &BTreeMap<String, String>, epoch: Timestamp) -> Vec<String> {
    let ingredients = Ingredients {
        ambient: &world.ambient.env,
        added,
        epoch,
        virtual_environment: None,
        cargo_home: None,
        temporary: Path::new(""),
        renamed: &[],
    };
    hook_environment(&ingredients).influences
}

/// One project on its way into the plan.
struct Planned<'a> {
    world: &'a Arc<World>,
    request: &'a BuildRequest,
    inputs: &'a Inputs,
    place: &'a Path,
    project: &'a Project,
}

impl Planned<'_> {
    fn project(&self, directory: Option<String>, phases: &mut Phases<'_>) -> Result<PlannedProject, Error> {
        let Project { build_system, name, version, requires_python: _ } = self.project;
        let interpreters = if cell::is_direct(self.place, self.inputs) {
            vec![PlannedInterpreter {
                python: None,
                executable: None,
                reason: InterpreterReason::NotNeeded,
                route: Route::InProcess,
                requirements: None,
                built_first: Vec::new(),
            }]
        } else {
            let requests = matrix::python_requests(self.world, self.request);
            requests.into_iter().map(|request| self.interpreter(request, phases)).collect::<Result<_, _>>()?
        };
        let requires = cell::first_requirements(self.project, self.inputs);
        Ok(PlannedProject {
            directory,
            name: name.as_ref().map(ToString::to_string),
            version: version.as_ref().map(ToString::to_string),
            backend: PlannedBackend {
                name: build_system.backend.clone(),
                chosen_by: match build_system.origin {
                    Origin::Declared => BackendOrigin::Declared,
                    Origin::Legacy => BackendOrigin::Legacy,
                },
                path: build_system.backend_path.clone(),
            },
            requires: requires.iter().map(ToString::to_string).collect(),
            interpreters,
        })
    }

    fn interpreter(
        &self,
        request: Option<String>,
        phases: &mut Phases<'_>,
    ) -> Result<PlannedInterpreter, Error> {
        let python = cell::find_python(self.world, self.project, request.as_deref(), phases)?;
        let (mut requirements, mut built_first) = (None, Vec::new());
        if self.request.isolation == Isolation::Venv {
            let wanted = cell::first_requirements(self.project, self.inputs);
            let seam = self.world.seam(&self.inputs.chain)?;
            let resolved = phases.run(Phase::Resolve, || Ok(seam.resolve(&python, &wanted)?))?;
            let pin = |pin: &hwb_uv::Pin| format!("{}=={}", pin.name, pin.version);
            requirements = Some(resolved.pins().iter().map(pin).collect());
            let sdists = resolved.pins().iter().filter(|pin| pin.form == PinForm::Sdist);
            built_first = sdists.map(pin).collect();
        }
        Ok(PlannedInterpreter {
            python: Some(Python::describe(&python)),
            executable: Some(python.executable().to_path_buf()),
            reason: self.reason(request),
            route: Route::Hooks,
            requirements,
            built_first,
        })
    }

    fn reason(&self, request: Option<String>) -> InterpreterReason {
        match (request, &self.project.requires_python) {
            (Some(_), _) if self.request.pythons.is_empty() => InterpreterReason::Active,
            (Some(request), _) => InterpreterReason::Requested { request },
            (None, Some(range)) => InterpreterReason::RequiresPython { range: range.to_string() },
            (None, None) => InterpreterReason::First,
        }
    }
}

impl fmt::Display for InterpreterReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Requested { request } => write!(f, "asked for as `{request}`"),
            Self::Active => f.write_str("of the active virtual environment"),
            Self::RequiresPython { range } => {
                write!(f, "the first that `requires-python = \"{range}\"` admits")
            }
            Self::First => f.write_str("the first that was found"),
            Self::NotNeeded => f.write_str("no interpreter is needed"),
        }
    }
}

impl PlanReport {
    /// The plan for people, one fact in a line.
    pub fn lines(&self) -> Vec<String> {
        let mut lines = Lines(Vec::new());
        lines.add("source", &self.source);
        lines.add("digest", &self.digest);
        let place = match self.placement {
            Placement::Snapshot => "in a snapshot of it",
            Placement::InPlace => "in the source itself",
        };
        lines.add("built", place);
        let outputs = match self.outputs {
            Outputs::Wheel => "a wheel, straight from the source",
            Outputs::Sdist => "an sdist",
            Outputs::SdistAndWheel => "an sdist, and a wheel from it",
            Outputs::Editable => "an editable wheel",
        };
        lines.add("output", &format!("{outputs}, to {}", self.out_dir.display()));
        let isolation = match self.isolation {
            Isolation::Venv => "venv: an environment of its own",
            Isolation::None => "none: the interpreter as it is",
        };
        lines.add("isolation", isolation);
        let network = match self.network {
            Network::Host => "as the host has it",
            Network::None => "none for the backend",
        };
        lines.add("network", network);
        let epoch = Timestamp::from_seconds(self.source_date_epoch);
        let reason = self.epoch_origin.reason();
        lines.add("time", &format!("{} ({epoch}): {reason}", epoch.rfc3339()));
        match self.influences.as_slice() {
            [] => lines.add("variables", "none that can change what is built"),
            names => lines.add("variables", &format!("{} can change what is built", names.join(", "))),
        }
        for project in &self.projects {
            project.add_to(&mut lines);
        }
        lines.0
    }
}

impl PlannedProject {
    fn add_to(&self, lines: &mut Lines) {
        let name = self.name.as_deref().unwrap_or("(the backend says the name)");
        let version = self.version.as_deref().unwrap_or("(the backend says the version)");
        let place = self.directory.as_ref().map_or_else(String::new, |path| format!(", in {path}"));
        lines.add("project", &format!("{name} {version}{place}"));
        let backend = &self.backend;
        let chosen = match backend.chosen_by {
            BackendOrigin::Declared => "`build-backend` says so",
            BackendOrigin::Legacy => "nothing else is said, and PEP 517 says setuptools then",
        };
        lines.add("  backend", &format!("{}: {chosen}", backend.name));
        if !backend.path.is_empty() {
            let paths: Vec<_> = backend.path.iter().map(|path| path.display().to_string()).collect();
            lines.add("  from", &paths.join(", "));
        }
        lines.add("  requires", &or_nothing(&self.requires));
        for interpreter in &self.interpreters {
            interpreter.add_to(lines);
        }
    }
}

impl PlannedInterpreter {
    fn add_to(&self, lines: &mut Lines) {
        match (&self.python, &self.executable) {
            (Some(python), Some(executable)) => {
                lines.add("  python", &format!("{python} at {}: {}", executable.display(), self.reason));
            }
            _ => lines.add("  python", &self.reason.to_string()),
        }
        match self.route {
            Route::InProcess => {
                let version = direct::uv_version();
                lines.add("    route", &format!("in process: `uv_build` {version} is part of hwb"));
            }
            Route::Hooks => lines.add("    route", "the hooks of the backend (PEP 517)"),
        }
        if let Some(requirements) = &self.requirements {
            lines.add("    installs", &or_nothing(requirements));
        }
        if !self.built_first.is_empty() {
            lines.add("    builds first", &self.built_first.join(", "));
        }
        match (self.route, &self.requirements) {
            (Route::InProcess, _) => {}
            (Route::Hooks, Some(_)) => lines.add("    then", "what the backend asks for besides"),
            (Route::Hooks, None) => {
                lines.add("    installs", "nothing: what is missing, the backend's wishes too, is an error");
            }
        }
    }
}

fn or_nothing(texts: &[String]) -> String {
    if texts.is_empty() { "nothing".to_owned() } else { texts.join(", ") }
}

/// Facts, their names in one column.
struct Lines(Vec<String>);

impl Lines {
    fn add(&mut self, name: &str, fact: &str) {
        self.0.push(format!("{name:<16}{fact}"));
    }
}
