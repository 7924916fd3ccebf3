//! `hwb build`: a source in, checked wheels and sdists out.

mod bare;
mod cell;
mod epoch;
pub(crate) mod matrix;
mod nested;
mod plan;
mod portability;
mod request;
mod several;
mod workspace;

use std::sync::{Arc, mpsc};
use std::time::Instant;

use hwb_sandbox::Cancel;

pub use self::epoch::EpochOrigin;
pub(crate) use self::nested::NestedBuilder;
pub use self::plan::{
    BackendOrigin, InterpreterReason, PlanReport, PlannedBackend, PlannedInterpreter, PlannedProject, Route,
};
pub use self::portability::ArtifactAudit;
pub use self::request::{
    ArtifactKind, ArtifactReport, BuildReport, BuildRequest, ConfigValue, Environments, HookPath, Isolation,
    Network, Outputs, Placement, Repairs, Requested, Selection,
};

use crate::ambient::Ambient;
use crate::error::Error;
use crate::event::{Event, EventSink};
use crate::history::{self, Record};
use crate::settings::Settings;
use crate::world::{Terms, World};

/// Builds what `request` asks for and writes it to the output folder.
///
/// Nothing appears in the output folder that was not checked; a failed build leaves what was there. Where one of
/// several builds fails, the others go on. The history has a record of it either way.
///
/// # Errors
///
/// [`Error`] with its kind; of several builds, that of the first in the order of the request. What was written all the
/// same is [in it](Error::artifacts).
pub fn build(
    request: &BuildRequest,
    settings: &Settings,
    ambient: &Ambient,
    cancel: &Cancel,
    events: EventSink<'_>,
) -> Result<BuildReport, Error> {
    let call = Call { request, settings, ambient, cancel };
    call.run(events, |world, request| {
        let started = Instant::now();
        let result = matrix::run(world, request);
        let record = Record::of_build(&request.source, ambient.clock, started.elapsed(), &result);
        if let Err(error) = history::append(&world.store, &record) {
            // What was built is no worse for it.
            world.tell(Event::Warning { message: format!("this build is not in the history: {error}") });
        }
        result
    })
}

/// Says what [`build`] would do with the same arguments, and why; no backend runs for it.
///
/// The source is brought, interpreters are found and the requirements that the project names are resolved (which
/// builds those that exist as sdists only). What the backend asks for beyond that is known when it runs.
///
/// # Errors
///
/// [`Error`] with its kind: what would stop the build before its backend runs stops the plan.
pub fn plan(
    request: &BuildRequest,
    settings: &Settings,
    ambient: &Ambient,
    cancel: &Cancel,
    events: EventSink<'_>,
) -> Result<PlanReport, Error> {
    Call { request, settings, ambient, cancel }.run(events, plan::run)
}

/// The arguments of an operation on builds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Call<'a> {
    pub(crate) request: &'a BuildRequest,
    pub(crate) settings: &'a Settings,
    pub(crate) ambient: &'a Ambient,
    pub(crate) cancel: &'a Cancel,
}

impl Call<'_> {
    /// Opens the world for `work`, and passes events on meanwhile.
    pub(crate) fn run<T>(
        self,
        events: EventSink<'_>,
        work: impl FnOnce(&Arc<World>, &BuildRequest) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let Self { request, settings, ambient, cancel } = self;
        let (sender, receiver) = mpsc::channel();
        let BuildRequest { network, timeout, environments, .. } = *request;
        let terms = Terms { network, timeout, environments };
        let request = settled(request, settings);
        std::thread::scope(|scope| {
            // One thread passes events on, so that they keep their order and builds never wait for a terminal.
            scope.spawn(move || receiver.into_iter().for_each(events));
            let world = World::open(settings, ambient, cancel, terms, sender)?;
            work(&world, &request)
        })
    }
}

/// The request with what the settings add to it.
fn settled(request: &BuildRequest, settings: &Settings) -> BuildRequest {
    let mut request = request.clone();
    for (name, value) in &settings.build.env {
        request.env.entry(name.clone()).or_insert_with(|| value.clone());
    }
    request
}
