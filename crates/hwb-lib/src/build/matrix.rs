//! All builds of one request: each output, each interpreter, side by side where nothing is gained by waiting.

use std::path::{Path, PathBuf};
use std::str::FromStr as _;
use std::sync::Arc;

use hwb_build::{Artifact, read_project};
use hwb_ident::{Requirement, WheelFilename};
use hwb_uv::Python;
use serde_json::Value;

use crate::artifact::{self, Finished, Promise};
use crate::build::cell::{self, Built, Inputs, Order};
use crate::build::request::{
    ArtifactReport, BuildReport, BuildRequest, ConfigValue, Outputs, Placement, Requested,
};
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
    let inputs = inputs(request)?;
    let out_dir = world.ambient.absolute(&request.out_dir);
    let mut first = Phases::new(world, Cell(0));
    world.tell(Event::Started { cell: Cell(0), title: request.source.to_string() });
    let exclude = [out_dir.clone()];
    let placement = match request.outputs {
        Outputs::Editable => Placement::InPlace,
        _ => request.placement,
    };
    let how = Acquisition { subdirectory: request.subdirectory.as_ref(), placement, exclude: &exclude };
    let tree = first.run(Phase::Source, || source::acquire(world, &request.source, &how))?;
    let job = Job { world, request, inputs: &inputs, out_dir: &out_dir };
    let artifacts = job.all(tree, first)?;
    if request.clean == Requested::Yes {
        artifact::clean(&out_dir, &artifacts)?;
    }
    Ok(BuildReport { artifacts })
}

fn inputs(request: &BuildRequest) -> Result<Inputs, Error> {
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

/// What all builds of a request share.
#[derive(Clone, Copy)]
struct Job<'a> {
    world: &'a Arc<World>,
    request: &'a BuildRequest,
    inputs: &'a Inputs,
    out_dir: &'a Path,
}

/// The interpreter of a build, if it needed one.
type By<'a> = Option<&'a Python>;

impl Job<'_> {
    fn all(&self, tree: Tree, mut first: Phases<'_>) -> Result<Vec<ArtifactReport>, Error> {
        let world = self.world;
        match self.request.outputs {
            Outputs::Wheel | Outputs::Editable => self.wheels(&tree, first),
            Outputs::Sdist => {
                let (report, _) = self.sdist(&tree, &mut first)?;
                world.tell(Event::Finished { cell: Cell(0), outcome: Outcome::Built });
                Ok(vec![report])
            }
            Outputs::SdistAndWheel => {
                let (report, sdist) = self.sdist(&tree, &mut first)?;
                let unpacked =
                    first.run(Phase::Source, || source::acquire_sdist(world, &sdist.bytes, &sdist.file))?;
                let mut reports = vec![report];
                reports.extend(self.wheels(&unpacked, first)?);
                Ok(reports)
            }
        }
    }

    fn sdist(&self, tree: &Tree, phases: &mut Phases<'_>) -> Result<(ArtifactReport, Finished), Error> {
        let world = self.world;
        let (built, python) = if cell::is_direct(tree, self.inputs) {
            (cell::build_direct(world, tree, Artifact::Sdist, phases)?, None)
        } else {
            let request = self.request.pythons.first().map(String::as_str);
            let python = cell::find_python(world, tree, request, phases)?;
            let order = Order { artifact: Artifact::Sdist, inputs: self.inputs };
            (cell::build(world, tree, &python, order, phases)?, Some(python))
        };
        let promise = promise(tree)?;
        let finished = phases.run(Phase::Check, || {
            artifact::finish_sdist(built.directory(), &built.file, &promise, tree.epoch)
        })?;
        let report =
            self.publish(Provenance { tree, built: &built, python: python.as_ref() }, &finished, phases)?;
        Ok((report, finished))
    }

    /// The wheels for all interpreters. The first is built alone: what it yields may serve others.
    fn wheels(&self, tree: &Tree, mut first: Phases<'_>) -> Result<Vec<ArtifactReport>, Error> {
        let world = self.world;
        let artifact = match self.request.outputs {
            Outputs::Editable => Artifact::Editable,
            Outputs::Wheel | Outputs::Sdist | Outputs::SdistAndWheel => Artifact::Wheel,
        };
        if cell::is_direct(tree, self.inputs) {
            let built = cell::build_direct(world, tree, artifact, &mut first)?;
            let report = self.finish(tree, &built, None, &mut first)?;
            world.tell(Event::Finished { cell: Cell(0), outcome: Outcome::Built });
            return Ok(vec![report]);
        }
        let requests: Vec<Option<&str>> = match self.request.pythons.as_slice() {
            [] => vec![None],
            pythons => pythons.iter().map(|python| Some(python.as_str())).collect(),
        };
        let mut pythons = requests
            .into_iter()
            .map(|request| cell::find_python(world, tree, request, &mut first))
            .collect::<Result<Vec<_>, _>>()?;
        let order = Order { artifact, inputs: self.inputs };
        // The oldest first: a wheel of the stable ABI serves newer interpreters, never older ones.
        let oldest = (0..pythons.len()).min_by_key(|&index| pythons[index].version().clone());
        let oldest = pythons.remove(oldest.unwrap_or(0));
        // Backends write into their tree: where several builds start from it, each has a copy.
        let copy = match pythons.as_slice() {
            [] => None,
            _ => Some(first.run(Phase::Source, || source::acquire_copy(world, tree))?),
        };
        let own = copy.as_ref().unwrap_or(tree);
        let built = cell::build(world, own, &oldest, order, &mut first)?;
        let mut report = self.finish(own, &built, Some(&oldest), &mut first)?;
        world.tell(Event::Finished { cell: Cell(0), outcome: Outcome::Built });
        let wheel = report.file.parse::<WheelFilename>().ok();
        let (served, left): (Vec<_>, Vec<_>) =
            pythons.into_iter().partition(|python| wheel.as_ref().is_some_and(|wheel| serves(wheel, python)));
        for python in served {
            let message = format!("`{}` serves {} as well", report.file, python.describe());
            world.tell(Event::Note { message });
            report.serves.push(python.describe());
        }
        let mut reports = vec![report];
        reports.extend(self.side_by_side(tree, &left, order)?);
        Ok(reports)
    }

    /// One thread for each interpreter that is left, as many at a time as there are processors.
    fn side_by_side(
        &self,
        tree: &Tree,
        pythons: &[Python],
        order: Order<'_>,
    ) -> Result<Vec<ArtifactReport>, Error> {
        let width = std::thread::available_parallelism().map_or(1, usize::from);
        let mut reports = Vec::new();
        let mut number = 1;
        for batch in pythons.chunks(width) {
            let results: Vec<_> = std::thread::scope(|scope| {
                let threads: Vec<_> = batch
                    .iter()
                    .enumerate()
                    .map(|(index, python)| {
                        let cell = Cell(number + index);
                        scope.spawn(move || self.one_of_many(tree, python, order, cell))
                    })
                    .collect();
                threads.into_iter().map(|thread| thread.join().expect("a build does not panic")).collect()
            });
            number += batch.len();
            for result in results {
                reports.push(result?);
            }
        }
        Ok(reports)
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
        let mut phases = Phases::new(world, cell);
        let result = phases.run(Phase::Source, || source::acquire_copy(world, tree)).and_then(|copy| {
            let built = cell::build(world, &copy, python, order, &mut phases)?;
            self.finish(&copy, &built, Some(python), &mut phases)
        });
        let outcome = if result.is_ok() { Outcome::Built } else { Outcome::Failed };
        world.tell(Event::Finished { cell, outcome });
        result
    }

    fn finish(
        &self,
        tree: &Tree,
        built: &Built,
        python: By<'_>,
        phases: &mut Phases<'_>,
    ) -> Result<ArtifactReport, Error> {
        let promise = promise(tree)?;
        let finished = phases.run(Phase::Check, || {
            artifact::finish_wheel(built.directory(), &built.file, &promise, tree.epoch)
        })?;
        self.publish(Provenance { tree, built, python }, &finished, phases)
    }

    fn publish(
        &self,
        provenance: Provenance<'_>,
        finished: &Finished,
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
            source_date_epoch: tree.epoch.seconds(),
            requirements: built.requirements.clone(),
            influences: built.influences.clone(),
            phases: phases.seconds(),
        };
        Ok(report)
    }
}

/// What an artifact was made from.
struct Provenance<'a> {
    tree: &'a Tree,
    built: &'a Built,
    python: By<'a>,
}

/// What the project says statically of what comes out.
fn promise(tree: &Tree) -> Result<Promise, Error> {
    let project = read_project(&tree.project)?;
    Ok(Promise { name: project.name, version: project.version })
}

/// Whether a wheel was built for more than one version and `python` can import it.
fn serves(wheel: &WheelFilename, python: &Python) -> bool {
    let is_for_several =
        wheel.abi_tags().iter().all(|abi| matches!(abi.to_string().as_str(), "abi3" | "abi3t" | "none"));
    is_for_several && python.accepts(wheel)
}
