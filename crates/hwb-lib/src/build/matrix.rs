//! All builds of one request: each output, each interpreter, side by side where nothing is gained by waiting.

use std::borrow::Cow;
use std::io;
use std::path::{Path, PathBuf};
use std::str::FromStr as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use hwb_build::Artifact;
use hwb_ident::{ArchivePath, PathSource, Requirement, SourceSpec, WheelFilename};
use hwb_repair::AuditError;
use hwb_uv::Python;
use serde_json::Value;

use crate::artifact::{self, ArtifactError, Finished, Promise};
use crate::build::cell::{self, Built, Inputs, Order};
use crate::build::epoch;
use crate::build::portability::{self, ArtifactAudit};
use crate::build::request::{
    ArtifactReport, BuildReport, BuildRequest, ConfigValue, Isolation, Outputs, Placement, Repairs,
    Requested, Selection,
};
use crate::build::several::{self, Part};
use crate::build::workspace::{self, Workspace};
use crate::error::{Error, ErrorKind};
use crate::event::{Cell, Event, Outcome, Phase};
use crate::source::{self, Acquisition, Tree};
use crate::world::{Phases, World};

/// A requirement on the command line that does not parse.
#[derive(Debug, thiserror::Error)]
#[error("`{text}` is not a requirement")]
struct RequirementError {
    text: String,
    #[source]
    source: Box<dyn std::error::Error + Send + Sync>,
}

/// Builds everything.
pub(crate) fn run(world: &Arc<World>, request: &BuildRequest) -> Result<BuildReport, Error> {
    check_out_dir(world, request)?;
    let (tree, first) = begin(world, request, &[])?;
    let report = build_tree(world, request, tree, first)?;
    if request.clean == Requested::Yes {
        let cleaned = artifact::clean(&world.ambient.absolute(&request.out_dir), &report.artifacts);
        return match cleaned {
            Ok(()) => Ok(report),
            Err(error) => Err(error.after(report.artifacts)),
        };
    }
    Ok(report)
}

/// Refuses an output folder that is a file or would be in one, before anything is built for it.
pub(crate) fn check_out_dir(world: &World, request: &BuildRequest) -> Result<(), Error> {
    let directory = world.ambient.absolute(&request.out_dir);
    let standing = directory.ancestors().find(|above| above.exists());
    let Some(file) = standing.filter(|standing| !standing.is_dir()) else { return Ok(()) };
    let message = format!("`{}` is not a directory", file.display());
    let source = io::Error::new(io::ErrorKind::NotADirectory, message);
    Err(Error::new(ErrorKind::Machine, ArtifactError::Output { directory, source }))
}

/// Brings the source of a request, and settles the time that it counts as. The output folder is no part of the
/// source, and `apart` neither.
pub(crate) fn begin<'a>(
    world: &'a Arc<World>,
    request: &BuildRequest,
    apart: &[PathBuf],
) -> Result<(Tree, Phases<'a>), Error> {
    let epoch = epoch::given(world, request)?;
    let mut first = Phases::new(world, Cell(0));
    world.tell(Event::Started { cell: Cell(0), title: request.source.to_string() });
    let mut exclude = vec![world.ambient.absolute(&request.out_dir)];
    exclude.extend_from_slice(apart);
    let placement = match request.outputs {
        Outputs::Editable => Placement::InPlace,
        _ => request.placement,
    };
    let how = Acquisition { subdirectory: request.subdirectory.as_ref(), placement, exclude: &exclude };
    let spec = spec(world, request)?;
    let tree = first.run(Phase::Source, || source::acquire(world, &spec, &how))?;
    let time = epoch.map_or(tree.epoch, |given| given.time);
    Ok((tree.at(time), first))
}

/// The source to take: where members of a workspace are asked for from inside it, all of the workspace.
fn spec<'a>(world: &World, request: &'a BuildRequest) -> Result<Cow<'a, SourceSpec>, Error> {
    let named = Cow::Borrowed(&request.source);
    let SourceSpec::Path(PathSource { path, sha256: None, subdirectory: None }) = &request.source else {
        return Ok(named);
    };
    if request.selection == Selection::Root || request.subdirectory.is_some() {
        return Ok(named);
    }
    let directory: PathBuf = world.ambient.absolute(path).components().collect();
    if !directory.is_dir() {
        return Ok(named);
    }
    let Some(root) = workspace::root_above(&directory)? else { return Ok(named) };
    Ok(Cow::Owned(SourceSpec::Path(PathSource {
        path: root.to_path_buf(),
        sha256: None,
        subdirectory: None,
    })))
}

/// Builds everything that a request wants of a tree.
pub(crate) fn build_tree(
    world: &Arc<World>,
    request: &BuildRequest,
    tree: Tree,
    phases: Phases<'_>,
) -> Result<BuildReport, Error> {
    let inputs = inputs(request)?;
    let out_dir = world.ambient.absolute(&request.out_dir);
    let cells = Cells::after(phases.cell());
    let job = Job { world, request, inputs: &inputs, out_dir: &out_dir, cells: &cells };
    // First, as its messages name the source as its user knows it.
    tree.read_project()?;
    let workspace = Workspace::read(&tree.project)?;
    let members = workspace::select(workspace.as_ref(), &request.selection)?;
    let admit = |tree: &Tree| workspace::admit(workspace.as_ref(), tree, &tree.project).map(drop);
    if let [directory] = members.as_slice() {
        let tree = tree.enter(directory.as_ref())?;
        admit(&tree)?;
        return Ok(BuildReport { artifacts: job.project(tree, phases)? });
    }
    let (mut parts, mut first) = (Vec::<Part>::new(), Some(phases));
    for directory in &members {
        if parts.iter().any(Part::is_interrupted) {
            break;
        }
        let title = directory.as_ref().map_or(".", ArchivePath::as_str);
        let mut phases = first.take().unwrap_or_else(|| {
            let cell = cells.take(1);
            world.tell(Event::Started { cell, title: title.to_owned() });
            Phases::new(world, cell)
        });
        // Backends write into their tree: no member is to see what another left.
        let copy = phases
            .run(Phase::Source, || source::acquire_copy(world, &tree))
            .and_then(|copy| copy.enter(directory.as_ref()))
            .and_then(|copy| admit(&copy).map(|()| copy));
        let result = match copy {
            Ok(copy) => job.project(copy, phases),
            Err(error) => {
                world.tell(Event::Finished { cell: phases.cell(), outcome: Outcome::Failed });
                Err(error)
            }
        };
        parts.push(Part { which: format!("of `{title}`"), result });
    }
    Ok(BuildReport { artifacts: several::together(world, parts)? })
}

/// What the user adds to every build of a request.
pub(crate) fn inputs(request: &BuildRequest) -> Result<Inputs, Error> {
    let settings: serde_json::Map<String, Value> =
        request.config_settings.iter().map(|(key, value)| (key.clone(), config_value(value))).collect();
    let extra_requirements = request
        .extra_requirements
        .iter()
        .map(|text| {
            Requirement::from_str(text).map_err(|error| {
                let source = Box::new(error);
                Error::new(ErrorKind::Usage, RequirementError { text: text.clone(), source })
            })
        })
        .collect::<Result<_, _>>()?;
    Ok(Inputs {
        config_settings: if settings.is_empty() { Value::Null } else { Value::Object(settings) },
        env: request.env.clone(),
        extra_requirements,
        hook_path: request.hook_path,
        isolation: request.isolation,
        chain: Vec::new(),
    })
}

fn config_value(value: &ConfigValue) -> Value {
    match value {
        ConfigValue::One(text) => Value::from(text.as_str()),
        ConfigValue::Many(texts) => Value::from(texts.as_slice()),
        ConfigValue::Json(json) => json.clone(),
    }
}

/// Numbers the builds of a command.
#[derive(Debug)]
struct Cells(AtomicUsize);

impl Cells {
    fn after(Cell(first): Cell) -> Self {
        Self(AtomicUsize::new(first + 1))
    }

    /// Takes `count` numbers in a row; the first of them comes back.
    fn take(&self, count: usize) -> Cell {
        Cell(self.0.fetch_add(count, Ordering::Relaxed))
    }
}

/// What all builds of a request share.
#[derive(Clone, Copy)]
struct Job<'a> {
    world: &'a Arc<World>,
    request: &'a BuildRequest,
    inputs: &'a Inputs,
    out_dir: &'a Path,
    cells: &'a Cells,
}

/// The interpreters that are asked for, at least one; `None` is the first that the project admits.
///
/// Without isolation that is the one of the active virtual environment: its packages are what is to be used.
pub(crate) fn python_requests(world: &World, request: &BuildRequest) -> Vec<Option<String>> {
    if !request.pythons.is_empty() {
        return request.pythons.iter().cloned().map(Some).collect();
    }
    let active = match request.isolation {
        Isolation::None => world.ambient.var("VIRTUAL_ENV").or_else(|| world.ambient.var("CONDA_PREFIX")),
        Isolation::Venv => None,
    };
    vec![active.map(|root| format!("{root}/bin/python"))]
}

/// The interpreter of a build, if it needed one.
type By<'a> = Option<&'a Python>;

impl Job<'_> {
    /// Everything that is wanted of one project.
    fn project(&self, tree: Tree, phases: Phases<'_>) -> Result<Vec<ArtifactReport>, Error> {
        let (world, cell) = (self.world, phases.cell());
        let result = self.outputs(tree, phases);
        let outcome = if result.is_ok() { Outcome::Built } else { Outcome::Failed };
        world.tell(Event::Finished { cell, outcome });
        result
    }

    fn outputs(&self, tree: Tree, mut phases: Phases<'_>) -> Result<Vec<ArtifactReport>, Error> {
        match self.request.outputs {
            Outputs::Wheel | Outputs::Editable => self.wheels(&tree, phases),
            Outputs::Sdist => Ok(vec![self.sdist(&tree, &mut phases)?.0]),
            Outputs::SdistAndWheel => {
                let (report, sdist) = self.sdist(&tree, &mut phases)?;
                let wheels = phases
                    .run(Phase::Source, || source::acquire_sdist(self.world, &sdist.bytes, &sdist.file))
                    .and_then(|unpacked| self.wheels(&unpacked.at(tree.epoch), phases));
                match wheels {
                    Ok(wheels) => Ok(std::iter::once(report).chain(wheels).collect()),
                    Err(error) => Err(error.after(vec![report])),
                }
            }
        }
    }

    fn sdist(&self, tree: &Tree, phases: &mut Phases<'_>) -> Result<(ArtifactReport, Finished), Error> {
        let world = self.world;
        let (built, python) = if cell::is_direct(&tree.project, self.inputs) {
            (cell::build_direct(world, tree, Artifact::Sdist, phases)?, None)
        } else {
            world.ask_early();
            let request = python_requests(world, self.request).swap_remove(0);
            let python = cell::find_python(world, &tree.read_project()?, request.as_deref(), phases)?;
            let order = Order { artifact: Artifact::Sdist, inputs: self.inputs };
            (cell::build(world, tree, &python, order, phases)?, Some(python))
        };
        let promise = promise(tree)?;
        let finished = phases.run(Phase::Check, || {
            artifact::finish_sdist(built.directory(), &built.file, &promise, tree.epoch)
        })?;
        let report = self.publish(
            Provenance { tree, built: &built, python: python.as_ref() },
            &finished,
            None,
            phases,
        )?;
        Ok((report, finished))
    }

    /// The wheels for all interpreters, each of which is found before anything is built.
    fn wheels(&self, tree: &Tree, mut first: Phases<'_>) -> Result<Vec<ArtifactReport>, Error> {
        let world = self.world;
        let artifact = match self.request.outputs {
            Outputs::Editable => Artifact::Editable,
            Outputs::Wheel | Outputs::Sdist | Outputs::SdistAndWheel => Artifact::Wheel,
        };
        if cell::is_direct(&tree.project, self.inputs) {
            let built = cell::build_direct(world, tree, artifact, &mut first)?;
            return Ok(vec![self.finish(tree, &built, None, &mut first)?]);
        }
        world.ask_early();
        let project = tree.read_project()?;
        let requests = python_requests(world, self.request);
        let pythons = requests
            .iter()
            .map(|request| cell::find_python(world, &project, request.as_deref(), &mut first))
            .collect::<Result<Vec<_>, _>>()?;
        let order = Order { artifact, inputs: self.inputs };
        if let [python] = pythons.as_slice() {
            return Ok(vec![self.wheel(tree, python, order, &mut first)?]);
        }
        several::together(world, self.parts(tree, &pythons, order, first))
    }

    /// The wheels for several interpreters, in their order.
    ///
    /// The oldest goes first, alone: a wheel of the stable ABI serves newer interpreters, never older ones.
    fn parts(&self, tree: &Tree, pythons: &[Python], order: Order<'_>, mut first: Phases<'_>) -> Vec<Part> {
        let mut left: Vec<_> = pythons.iter().enumerate().collect();
        // One of several versions is the oldest, and of equal ones the first that was named.
        let oldest = left.iter().map(|(_, python)| python.version()).enumerate().min_by_key(|(_, v)| *v);
        let (index, oldest) = left.remove(oldest.map_or(0, |(index, _)| index));
        let mut result = self.wheel_of_copy(tree, oldest, order, &mut first);
        if let Ok(report) = &mut result {
            left.retain(|(_, python)| !self.is_served(report, oldest, python));
        }
        let mut parts = vec![(index, part(oldest, result))];
        if !parts.iter().any(|(_, part)| part.is_interrupted()) {
            parts.extend(self.side_by_side(tree, &left, order));
        }
        parts.sort_by_key(|(index, _)| *index);
        parts.into_iter().map(|(_, part)| part).collect()
    }

    /// Whether the wheel of `report` need not be built again for `python`; then that is said and noted.
    fn is_served(&self, report: &mut ArtifactReport, builder: &Python, python: &Python) -> bool {
        let is_served =
            report.file.parse::<WheelFilename>().is_ok_and(|wheel| serves(&wheel, builder, python));
        if is_served {
            let message = format!("`{}` serves {} as well", report.file, python.describe());
            self.world.tell(Event::Note { message });
            report.serves.push(python.describe());
        }
        is_served
    }

    /// One thread for each interpreter that is left, as many at a time as there are processors.
    fn side_by_side(
        &self,
        tree: &Tree,
        pythons: &[(usize, &Python)],
        order: Order<'_>,
    ) -> Vec<(usize, Part)> {
        let width = std::thread::available_parallelism().map_or(1, usize::from);
        let mut parts: Vec<(usize, Part)> = Vec::new();
        for batch in pythons.chunks(width) {
            if parts.iter().any(|(_, part)| part.is_interrupted()) {
                break;
            }
            let Cell(number) = self.cells.take(batch.len());
            std::thread::scope(|scope| {
                let threads: Vec<_> = (number..)
                    .zip(batch)
                    .map(|(number, (index, python))| {
                        let build = move || self.one_of_many(tree, python, order, Cell(number));
                        (*index, python, scope.spawn(build))
                    })
                    .collect();
                parts.extend(threads.into_iter().map(|(index, python, thread)| {
                    (index, part(python, thread.join().expect("a build does not panic")))
                }));
            });
        }
        parts
    }

    fn one_of_many(
        &self,
        tree: &Tree,
        python: &Python,
        order: Order<'_>,
        cell: Cell,
    ) -> Result<ArtifactReport, Error> {
        let world = self.world;
        let title = format!("{} for {}", self.request.source, python.describe());
        world.tell(Event::Started { cell, title });
        let result = self.wheel_of_copy(tree, python, order, &mut Phases::new(world, cell));
        let outcome = if result.is_ok() { Outcome::Built } else { Outcome::Failed };
        world.tell(Event::Finished { cell, outcome });
        result
    }

    /// Backends write into their tree: where several builds start from it, each has a copy.
    fn wheel_of_copy(
        &self,
        tree: &Tree,
        python: &Python,
        order: Order<'_>,
        phases: &mut Phases<'_>,
    ) -> Result<ArtifactReport, Error> {
        let copy = phases.run(Phase::Source, || source::acquire_copy(self.world, tree))?;
        self.wheel(&copy, python, order, phases)
    }

    fn wheel(
        &self,
        tree: &Tree,
        python: &Python,
        order: Order<'_>,
        phases: &mut Phases<'_>,
    ) -> Result<ArtifactReport, Error> {
        let built = cell::build(self.world, tree, python, order, phases)?;
        self.finish(tree, &built, Some(python), phases)
    }

    fn finish(
        &self,
        tree: &Tree,
        built: &Built,
        python: By<'_>,
        phases: &mut Phases<'_>,
    ) -> Result<ArtifactReport, Error> {
        let promise = promise(tree)?;
        let (finished, audit) = phases.run(Phase::Check, || {
            let finished = artifact::finish_wheel(built.directory(), &built.file, &promise, tree.epoch)?;
            let finished = match self.request.repair {
                Repairs::Require => portability::repair(&self.world.ambient, finished)?,
                // Only an image has a policy that a wheel could be repaired for without being asked.
                Repairs::Auto | Repairs::Never => finished,
            };
            let audit = portability::audit(&finished);
            Ok((finished, audit))
        })?;
        let audit = audit.unwrap_or_else(|error| {
            self.warn_unaudited(&finished.file, error);
            None
        });
        self.publish(Provenance { tree, built, python }, &finished, audit, phases)
    }

    /// A wheel that cannot be audited is no worse for it.
    fn warn_unaudited(&self, file: &str, error: AuditError) {
        let why = Error::new(ErrorKind::Check, error).chain().collect::<Vec<_>>().join(": ");
        self.world.tell(Event::Warning { message: format!("`{file}` cannot be audited: {why}") });
    }

    fn publish(
        &self,
        provenance: Provenance<'_>,
        finished: &Finished,
        audit: Option<ArtifactAudit>,
        phases: &Phases<'_>,
    ) -> Result<ArtifactReport, Error> {
        let Provenance { tree, built, python } = provenance;
        for message in &finished.warnings {
            let message = format!("`{}`: {message}", finished.file);
            self.world.tell(Event::Warning { message });
        }
        let path: PathBuf = artifact::publish(self.world, finished, self.out_dir)?;
        let report = ArtifactReport {
            kind: finished.kind,
            file: finished.file.clone(),
            path,
            sha256: finished.digest.to_string(),
            size: finished.bytes.len() as u64,
            name: finished.name.to_string(),
            version: finished.version.to_string(),
            python: python.map(Python::describe),
            serves: Vec::new(),
            source: tree.digest.to_string(),
            origin: tree.origin.name.clone(),
            commit: tree.origin.commit.clone(),
            archive: tree.origin.archive.map(|digest| digest.to_string()),
            source_date_epoch: tree.epoch.seconds(),
            requirements: built.requirements.clone(),
            audit,
            influences: built.influences.clone(),
            phases: phases.seconds(),
        };
        Ok(report)
    }
}

/// What came of the build for one of several interpreters.
fn part(python: &Python, result: Result<ArtifactReport, Error>) -> Part {
    Part { which: format!("for {}", python.describe()), result: result.map(|report| vec![report]) }
}

/// What an artifact was made from.
struct Provenance<'a> {
    tree: &'a Tree,
    built: &'a Built,
    python: By<'a>,
}

/// What comes out: as it was asked for, or as the source says statically.
fn promise(tree: &Tree) -> Result<Promise, Error> {
    let Promise { name, version } = tree.origin.promise.clone();
    let project = tree.read_project()?;
    Ok(Promise { name: name.or(project.name), version: version.or(project.version) })
}

/// Whether a wheel that `builder` built need not be built again for `python`: it is for several versions, or both are
/// of the same version and would yield files of the same name.
fn serves(wheel: &WheelFilename, builder: &Python, python: &Python) -> bool {
    let is_for_several =
        wheel.abi_tags().iter().all(|abi| matches!(abi.to_string().as_str(), "abi3" | "abi3t" | "none"));
    let is_same = |left: &Python, right: &Python| {
        (left.minor(), left.implementation(), left.is_free_threaded())
            == (right.minor(), right.implementation(), right.is_free_threaded())
    };
    python.accepts(wheel) && (is_for_several || is_same(builder, python))
}
