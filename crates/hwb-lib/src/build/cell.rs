//! One project, one interpreter: from a source tree to what the backend leaves.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use hwb_build::environment::{HookEnvironment, Ingredients, hook_environment};
use hwb_build::log::Log;
use hwb_build::{Artifact, Hooks, HooksSpec, Project, diagnosis};
use hwb_ident::{GuestPath, HostPath, PackageName, Requirement};
use hwb_interpreter::{ENVIRONMENT, Environment, Privacy, Workshop, make_environment};
use hwb_sandbox::{Access, Mount, Session};
use hwb_store::Scratch;
use hwb_uv::{Python, Seam, SeamError, direct};
use serde_json::Value;

use crate::build::{HookPath, Isolation, Placement};
use crate::error::{Error, ErrorKind};
use crate::event::{Event, Phase};
use crate::source::{Ground, Tree};
use crate::world::{CARGO_HOME, Phases, SOURCE, WORK, World};

/// What the user adds to a build; nested builds have none of it.
#[derive(Debug, Clone)]
pub(crate) struct Inputs {
    /// `config_settings` of every hook; `Null` if there are none.
    pub(crate) config_settings: Value,
    /// Variables of the hooks.
    pub(crate) env: BTreeMap<String, String>,
    /// More build requirements.
    pub(crate) extra_requirements: Vec<Requirement>,
    /// Which way a `uv_build` project goes.
    pub(crate) hook_path: HookPath,
    /// Whether the build has an environment of its own.
    pub(crate) isolation: Isolation,
    /// Builds that wait for this one, outermost first.
    pub(crate) chain: Vec<PackageName>,
}

impl Default for Inputs {
    fn default() -> Self {
        Self {
            config_settings: Value::Null,
            env: BTreeMap::new(),
            extra_requirements: Vec::new(),
            hook_path: HookPath::Direct,
            isolation: Isolation::Venv,
            chain: Vec::new(),
        }
    }
}

/// What a backend left.
#[derive(Debug)]
pub(crate) struct Built {
    /// The file name that the hook returned.
    pub(crate) file: String,
    /// What was in the environment, as `name==version`.
    pub(crate) requirements: Vec<String>,
    /// Variables from outside that can change what is built.
    pub(crate) influences: Vec<String>,
    workplace: Workplace,
}

impl Built {
    /// Where the file is.
    pub(crate) fn directory(&self) -> &Path {
        &self.workplace.output
    }
}

/// Folders of one build: what the backend writes, its temporary files, its log.
#[derive(Debug)]
struct Workplace {
    /// What the backend sees of it.
    work: PathBuf,
    output: PathBuf,
    log: PathBuf,
    _scratch: Scratch,
}

/// The folders of a workplace, below what the backend sees of it.
const OUTPUT: &str = "out";
pub(super) const TEMPORARY: &str = "tmp";

impl Workplace {
    fn make(world: &World) -> Result<Self, Error> {
        let scratch = world.store.scratch("build")?;
        let work = scratch.path().join("work");
        let output = work.join(OUTPUT);
        hwb_store::fs::create_directory(&output)?;
        hwb_store::fs::create_directory(&work.join(TEMPORARY))?;
        let log = scratch.path().join("log");
        Ok(Self { work, output, log, _scratch: scratch })
    }
}

/// Finds the interpreter for a project: the one that was asked for, else the first that the project admits.
pub(crate) fn find_python(
    world: &World,
    project: &Project,
    request: Option<&str>,
    phases: &mut Phases<'_>,
) -> Result<Python, Error> {
    phases.run(Phase::Interpreter, || {
        let range = project.requires_python.as_ref();
        let python = hwb_uv::discover(request, range, &world.store.uv_cache())?;
        if range.is_some_and(|range| !range.contains(&python.version().only_release())) {
            let range = range.map_or_else(String::new, ToString::to_string);
            let message = format!("the project asks for Python {range}, and {} is none", python.describe());
            world.tell(Event::Warning { message });
        }
        Ok(python)
    })
}

/// Builds a wheel.
pub(crate) fn build_wheel(
    world: &Arc<World>,
    tree: &Tree,
    python: &Python,
    inputs: &Inputs,
    phases: &mut Phases<'_>,
) -> Result<Built, Error> {
    build(world, tree, python, Order { artifact: Artifact::Wheel, inputs }, phases)
}

/// What is to be made, and what the user adds to it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Order<'a> {
    pub(crate) artifact: Artifact,
    pub(crate) inputs: &'a Inputs,
}

/// Whether the order can be done in process, without an interpreter.
pub(crate) fn is_direct(project: &Path, inputs: &Inputs) -> bool {
    inputs.hook_path == HookPath::Direct
        && inputs.extra_requirements.is_empty()
        && inputs.config_settings.is_null()
        && direct::is_possible(project)
}

/// Builds in process by the `uv_build` backend.
pub(crate) fn build_direct(
    world: &World,
    tree: &Tree,
    artifact: Artifact,
    phases: &mut Phases<'_>,
) -> Result<Built, Error> {
    let workplace = Workplace::make(world)?;
    let (phase, kind) = match artifact {
        Artifact::Wheel => (Phase::Wheel, direct::Kind::Wheel),
        Artifact::Editable => (Phase::Wheel, direct::Kind::Editable),
        Artifact::Sdist => (Phase::Sdist, direct::Kind::Sdist),
    };
    let file = phases.run(phase, || Ok(direct::build(&tree.project, &workplace.output, kind)?))?;
    let requirements = vec![format!("uv-build=={} (in process)", direct::uv_version())];
    Ok(Built { file, requirements, influences: Vec::new(), workplace })
}

/// Makes what is ordered by the hooks of the project's backend.
pub(crate) fn build(
    world: &Arc<World>,
    tree: &Tree,
    python: &Python,
    order: Order<'_>,
    phases: &mut Phases<'_>,
) -> Result<Built, Error> {
    let project = tree.read_project()?;
    let seam = world.seam(&order.inputs.chain)?;
    let workplace = Workplace::make(world)?;
    let cell = phases.cell();
    let on_line = |line: &str| world.tell(Event::Log { cell, line: line.to_owned() });
    let mut log = Log::create(&workplace.log, &on_line).map_err(hwb_log_error)?;
    let mut site = Site { world, seam: &seam, python, tree, project: &project, order, workplace: &workplace };
    let requirements = first_requirements(&project, order.inputs);
    let result = match order.inputs.isolation {
        Isolation::Venv => site.run(requirements, &mut log, phases),
        Isolation::None => site.run_bare(&requirements, &mut log, phases),
    };
    match result {
        Ok(Made { file, requirements, influences }) => {
            Ok(Built { file, requirements, influences, workplace })
        }
        Err(error) => Err(explain(world, error, &mut log)),
    }
}

/// What must be there before the backend is imported.
pub(crate) fn first_requirements(project: &Project, inputs: &Inputs) -> Vec<Requirement> {
    project.build_system.requires.iter().chain(&inputs.extra_requirements).cloned().collect()
}

/// Where one build happens, with everything that it is given.
pub(super) struct Site<'a> {
    pub(super) world: &'a Arc<World>,
    seam: &'a Seam,
    pub(super) python: &'a Python,
    pub(super) tree: &'a Tree,
    project: &'a Project,
    pub(super) order: Order<'a>,
    workplace: &'a Workplace,
}

/// Where a backend finds things, and what its session mounts for that.
pub(super) struct Stage {
    pub(super) mounts: Vec<Mount>,
    pub(super) top: PathBuf,
    pub(super) project: PathBuf,
    pub(super) work: PathBuf,
    /// Where cargo keeps what it downloads: the path of a crate's source ends up in what is compiled of it.
    pub(super) cargo_home: PathBuf,
}

/// Everything that the hooks of a project are called with.
struct Prepared {
    environment: Environment,
    stage: Stage,
    variables: HookEnvironment,
    session: Box<dyn Session>,
}

impl Prepared {
    fn made(self, file: String) -> Made {
        let pins = self.environment.pins().iter();
        let requirements = pins.map(|pin| format!("{}=={}", pin.name, pin.version)).collect();
        Made { file, requirements, influences: self.variables.influences }
    }
}

/// What came of it.
pub(super) struct Made {
    pub(super) file: String,
    pub(super) requirements: Vec<String>,
    pub(super) influences: Vec<String>,
}

impl Site<'_> {
    /// Two stages: what the project asks for, then what its backend asks for as well.
    fn run(
        &mut self,
        requirements: Vec<Requirement>,
        log: &mut Log<'_>,
        phases: &mut Phases<'_>,
    ) -> Result<Made, Error> {
        let artifact = self.order.artifact;
        let mut prepared = self.prepare(&requirements, phases)?;
        let mut hooks = Hooks::new(self.hooks_spec(&prepared), prepared.session.as_mut(), &self.world.cancel);
        let more = phases.run(Phase::Requirements, || Ok(hooks.requirements(artifact, log)?))?;
        let missing = self.missing(&more, &prepared.environment);
        if missing.is_empty() {
            let file = self.call_backend(hooks, &prepared.stage, log, phases)?;
            return Ok(prepared.made(file));
        }
        hooks.finish(log)?;
        let all: Vec<_> = requirements.into_iter().chain(missing).collect();
        // A copied environment gives its place to the next.
        drop(prepared);
        let mut prepared = self.prepare(&all, phases)?;
        let hooks = Hooks::new(self.hooks_spec(&prepared), prepared.session.as_mut(), &self.world.cancel);
        let file = self.call_backend(hooks, &prepared.stage, log, phases)?;
        Ok(prepared.made(file))
    }

    fn prepare(&self, requirements: &[Requirement], phases: &mut Phases<'_>) -> Result<Prepared, Error> {
        let environment = self.environment(requirements, phases)?;
        let stage = self.stage(environment.mounts())?;
        let variables = self.hook_environment(&environment, &stage);
        let session = self.world.session(stage.mounts.clone())?;
        Ok(Prepared { environment, stage, variables, session })
    }

    fn environment(
        &self,
        requirements: &[Requirement],
        phases: &mut Phases<'_>,
    ) -> Result<Environment, Error> {
        let resolved = phases.run(Phase::Resolve, || {
            self.seam.resolve(self.python, requirements).map_err(|error| self.in_progress(error))
        })?;
        phases.run(Phase::Environment, || {
            let mut session = self.world.session(Vec::new())?;
            let workshop = Workshop {
                store: &self.world.store,
                seam: self.seam,
                session: session.as_mut(),
                cancel: &self.world.cancel,
            };
            Ok(make_environment(workshop, self.python, &resolved, self.world.privacy())?)
        })
    }

    /// Says which builds wait for this one: that may be why nothing can be resolved.
    fn in_progress(&self, error: SeamError) -> Error {
        let chain: Vec<_> = self.order.inputs.chain.iter().map(ToString::to_string).collect();
        if chain.is_empty() {
            return error.into();
        }
        let waiting = InProgress { chain: chain.join(" → "), source: error };
        Error::new(ErrorKind::Resolution, waiting)
    }

    /// What the backend asks for and the environment does not satisfy already.
    fn missing(&self, more: &[Requirement], environment: &Environment) -> Vec<Requirement> {
        let is_satisfied = |requirement: &Requirement| {
            if !requirement.evaluate_markers(self.python.markers(), &[]) {
                return true;
            }
            let pin = environment.pins().iter().find(|pin| pin.name == requirement.name);
            pin.is_some_and(|pin| match &requirement.version_or_url {
                None => requirement.extras.is_empty(),
                Some(hwb_ident::VersionOrUrl::VersionSpecifier(range)) => {
                    requirement.extras.is_empty() && range.contains(&pin.version)
                }
                Some(hwb_ident::VersionOrUrl::Url(_)) => false,
            })
        };
        more.iter().filter(|requirement| !is_satisfied(requirement)).cloned().collect()
    }

    /// What the backend sees at which path; `mounts` is there whatever it is.
    pub(super) fn stage(&self, mut mounts: Vec<Mount>) -> Result<Stage, Error> {
        let tree = self.tree;
        let (work, top) = (self.workplace.work.clone(), tree.top.clone());
        let below = |top: &Path, path: &Path| match path.strip_prefix(&tree.top) {
            Ok(below) => top.join(below),
            Err(_) => path.to_path_buf(),
        };
        let cargo_home = self.cargo_home()?;
        if self.world.privacy() == Privacy::Copy {
            return Ok(Stage { mounts, project: tree.project.clone(), top, work, cargo_home });
        }
        let mut mount = |host: &Path, guest: &str, access| {
            mounts.push(Mount { host: HostPath::new(host), guest: GuestPath::new(guest), access });
            PathBuf::from(guest)
        };
        mount(&work, WORK, Access::ReadWrite);
        let top = match &tree.ground {
            // An incremental build must find the paths that it wrote down last time.
            Ground::InPlace => top,
            Ground::Copy { .. } => mount(&top, SOURCE, Access::ReadWrite),
            Ground::Kept { changes, .. } => {
                let changes = HostPath::new(changes.path());
                mount(&top, SOURCE, Access::Overlaid { changes })
            }
        };
        // So must what cargo compiled then.
        let cargo_home = match tree.placement() {
            Placement::InPlace => cargo_home,
            Placement::Snapshot => mount(&cargo_home, CARGO_HOME, Access::ReadWrite),
        };
        Ok(Stage { mounts, project: below(&top, &tree.project), top, work: PathBuf::from(WORK), cargo_home })
    }

    /// The user's place of cargo if there is one, else one of the store.
    fn cargo_home(&self) -> Result<PathBuf, Error> {
        let ambient = &self.world.ambient;
        let usual = || Some(Path::new(ambient.var("HOME")?).join(".cargo"));
        match ambient.var("CARGO_HOME").map(PathBuf::from).or_else(usual).filter(|home| home.is_dir()) {
            Some(home) => Ok(home),
            None => Ok(self.world.store.directory("cargo")?),
        }
    }

    fn hook_environment(&self, environment: &Environment, stage: &Stage) -> HookEnvironment {
        hook_environment(&Ingredients {
            ambient: &self.world.ambient.env,
            added: &self.order.inputs.env,
            epoch: self.tree.epoch,
            virtual_environment: Some((environment.root(), environment.scripts())),
            cargo_home: Some(&stage.cargo_home),
            temporary: &stage.work.join(TEMPORARY),
            renamed: &[
                (&stage.top, SOURCE),
                (environment.root(), ENVIRONMENT),
                (&stage.work, WORK),
                (&stage.cargo_home, CARGO_HOME),
            ],
        })
    }

    fn hooks_spec(&self, prepared: &Prepared) -> HooksSpec {
        let Prepared { environment, stage, variables, session: _ } = prepared;
        self.spec(environment.python(), stage, variables)
    }

    pub(super) fn spec(&self, python: &Path, stage: &Stage, variables: &HookEnvironment) -> HooksSpec {
        let system = &self.project.build_system;
        HooksSpec {
            python: GuestPath::new(python),
            tree: GuestPath::new(&stage.project),
            backend: system.backend.clone(),
            backend_path: system
                .backend_path
                .iter()
                .map(|path| GuestPath::new(stage.project.join(path)))
                .collect(),
            env: variables.variables.clone(),
            config_settings: self.order.inputs.config_settings.clone(),
            timeout: self.world.timeout,
        }
    }

    pub(super) fn call_backend(
        &self,
        mut hooks: Hooks<'_>,
        stage: &Stage,
        log: &mut Log<'_>,
        phases: &mut Phases<'_>,
    ) -> Result<String, Error> {
        let artifact = self.order.artifact;
        let phase = match artifact {
            Artifact::Wheel | Artifact::Editable => Phase::Wheel,
            Artifact::Sdist => Phase::Sdist,
        };
        let output = GuestPath::new(stage.work.join(OUTPUT));
        let file = phases.run(phase, || Ok(hooks.build(artifact, &output, log)?))?;
        hooks.finish(log)?;
        Ok(file)
    }
}

/// Nothing could be resolved for a build that others wait for.
#[derive(Debug, thiserror::Error)]
#[error("while `{chain}` is being built, none of which can be built once more for itself")]
struct InProgress {
    chain: String,
    #[source]
    source: SeamError,
}

/// The log of a build cannot be written.
#[derive(Debug, thiserror::Error)]
#[error("failed to start the log of the build")]
struct LogError(#[source] std::io::Error);

fn hwb_log_error(error: std::io::Error) -> Error {
    Error::new(ErrorKind::Machine, LogError(error))
}

/// Adds to the error of a hook the end of its log, the place of the whole log, and what to try.
fn explain(world: &World, error: Error, log: &mut Log<'_>) -> Error {
    let Some(failure) = error.hook_error() else { return error };
    let tail = log.tail();
    let hints = diagnosis::diagnose(&tail, failure.missing_module());
    let error = hints.into_iter().fold(error, Error::hint);
    let kept = keep_log(world, log.path());
    error.with_log(tail, kept)
}

/// Copies the log to where it outlives the build.
fn keep_log(world: &World, log: &Path) -> Option<PathBuf> {
    let bytes = fs_err::read(log).ok()?;
    let name = format!("{}-{}.log", world.ambient.clock, hwb_ident::Digest::of(&bytes).short());
    let place = world.store.directory("logs").ok()?.join(name);
    hwb_store::fs::write_atomic(&place, &bytes).ok()?;
    Some(place)
}
