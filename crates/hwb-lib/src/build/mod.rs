//! `hwb build`: a source in, checked wheels and sdists out.

mod cell;
mod matrix;
mod nested;
mod request;

use std::sync::mpsc;
use std::time::Instant;

use hwb_sandbox::Cancel;

pub(crate) use self::nested::NestedBuilder;
pub use self::request::{
    ArtifactKind, ArtifactReport, BuildReport, BuildRequest, ConfigValue, HookPath, Isolation, Network,
    Outputs, Placement, Requested, Selection,
};

use crate::ambient::Ambient;
use crate::error::Error;
use crate::event::{Event, EventSink};
use crate::history::{self, Record};
use crate::settings::Settings;
use crate::world::World;

/// Builds what `request` asks for and writes it to the output folder.
///
/// Nothing appears in the output folder that was not checked; a failed build leaves what was there.
///
/// # Errors
///
/// [`Error`] with its kind; of several builds, that of the first in the order of the request.
pub fn build(
    request: &BuildRequest,
    settings: &Settings,
    ambient: &Ambient,
    cancel: &Cancel,
    events: EventSink<'_>,
) -> Result<BuildReport, Error> {
    let (sender, receiver) = mpsc::channel();
    let limits = (request.network, request.timeout);
    std::thread::scope(|scope| {
        // One thread passes events on, so that they keep their order and builds never wait for a terminal.
        scope.spawn(move || receiver.into_iter().for_each(events));
        let world = World::open(settings, ambient, cancel, limits, sender)?;
        let started = Instant::now();
        let result = matrix::run(&world, request);
        let record = Record::of_build(&request.source, ambient.clock, started.elapsed(), &result);
        if let Err(error) = history::append(&world.store, &record) {
            // What was built is no worse for it.
            world.tell(Event::Warning { message: format!("this build is not in the history: {error}") });
        }
        result
    })
}
