//! What every build of one command shares.

use std::collections::BTreeMap;
use std::sync::mpsc::Sender;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use hwb_ident::time::ParseTimestampError;
use hwb_ident::{GuestPath, HostPath, PackageName, Timestamp};
use hwb_interpreter::Privacy;
use hwb_sandbox::{Access, Cancel, HostProcess, Mount, Sandbox as _, Session, SessionSpec};
use hwb_store::Store;
use hwb_uv::{IndexSettings, Seam};

use crate::ambient::Ambient;
use crate::build::{Environments, NestedBuilder, Network};
use crate::error::{Error, ErrorKind};
use crate::event::{Cell, Event, Phase};
use crate::settings::Settings;

/// Where a build sees its source, on every machine that lets sessions mount.
pub(crate) const SOURCE: &str = "/hwb/source";
/// Where a build sees the folders that it writes to.
pub(crate) const WORK: &str = "/hwb/work";
/// Where a build sees cargo's home, if it can be mounted.
pub(crate) const CARGO_HOME: &str = "/hwb/cargo";

/// What every build of one command shares; nested builds and other threads hold it too.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) store: Store,
    pub(crate) index: IndexSettings,
    pub(crate) ambient: Ambient,
    pub(crate) cancel: Cancel,
    pub(crate) network: Network,
    pub(crate) timeout: Option<Duration>,
    pub(crate) sandbox: HostProcess,
    /// `SOURCE_DATE_EPOCH` of the user, which wins over what a source says of itself.
    pub(crate) epoch: Option<Timestamp>,
    environments: Environments,
    privacy: OnceLock<Privacy>,
    events: Sender<Event>,
}

/// What a request says of all its builds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Terms {
    pub(crate) network: Network,
    pub(crate) timeout: Option<Duration>,
    pub(crate) environments: Environments,
}

impl World {
    /// Opens the store and sweeps what a killed process left in it.
    pub(crate) fn open(
        settings: &Settings,
        ambient: &Ambient,
        cancel: &Cancel,
        terms: Terms,
        events: Sender<Event>,
    ) -> Result<Arc<Self>, Error> {
        let store = Store::open(&settings.cache_dir)?;
        store.sweep(None)?;
        let Terms { network, timeout, environments } = terms;
        Ok(Arc::new(Self {
            store,
            index: settings.index.clone(),
            ambient: ambient.clone(),
            cancel: cancel.clone(),
            network,
            timeout,
            sandbox: HostProcess::with_helper(&ambient.executable),
            epoch: epoch(ambient)?,
            environments,
            privacy: OnceLock::new(),
            events,
        }))
    }

    /// Asks the kernel beside the first phases of a build that calls hooks: the answer is there when it is needed.
    pub(crate) fn ask_early(self: &Arc<Self>) {
        let asking = Arc::clone(self);
        let _unasked =
            std::thread::Builder::new().name("hwb-probe".to_owned()).spawn(move || asking.privacy());
    }

    /// How builds are kept from changing what others use: by layers where this machine lets sessions mount.
    pub(crate) fn privacy(&self) -> Privacy {
        *self.privacy.get_or_init(|| {
            let shown = HostPath::new(self.store.root());
            let guest = GuestPath::new(self.store.root());
            let layer = Mount { host: shown.clone(), guest, access: Access::Layered };
            let fixed = Mount { host: shown, guest: GuestPath::new(SOURCE), access: Access::ReadWrite };
            match self.sandbox.probe(&self.session_spec(vec![layer, fixed])) {
                Ok(()) => match self.environments {
                    Environments::Kept => Privacy::Kept,
                    Environments::Fresh => Privacy::Fresh,
                },
                Err(_) => Privacy::Copy,
            }
        })
    }

    /// Whether a session can see a directory of the store through an overlay in another: that asks more of its file
    /// system than a layer in memory does.
    pub(crate) fn can_overlay(&self) -> Result<bool, Error> {
        let scratch = self.store.scratch("probe")?;
        let changes = HostPath::new(scratch.path());
        let overlay = Mount {
            host: HostPath::new(self.store.root()),
            guest: GuestPath::new(SOURCE),
            access: Access::Overlaid { changes },
        };
        Ok(self.privacy() != Privacy::Copy && self.sandbox.probe(&self.session_spec(vec![overlay])).is_ok())
    }

    /// A view of the indexes for the calling thread; `chain` names the builds that wait for it.
    pub(crate) fn seam(self: &Arc<Self>, chain: &[PackageName]) -> Result<Seam, Error> {
        let builder = Arc::new(NestedBuilder::new(Arc::clone(self), chain));
        Ok(Seam::open(&self.store.uv_cache(), &self.index, builder, chain)?)
    }

    /// Starts a session that sees `mounts` besides the host's files.
    pub(crate) fn session(&self, mounts: Vec<Mount>) -> Result<Box<dyn Session>, Error> {
        Ok(self.sandbox.start(&self.session_spec(mounts))?)
    }

    fn session_spec(&self, mounts: Vec<Mount>) -> SessionSpec {
        let network = match self.network {
            Network::Host => hwb_sandbox::Network::Host,
            Network::None => hwb_sandbox::Network::Denied,
        };
        SessionSpec { mounts, network }
    }

    /// Says that something happened. Nobody may be listening any more: then nobody misses it.
    pub(crate) fn tell(&self, event: Event) {
        let _nobody = self.events.send(event);
    }

    /// Stops with exit code 130 if the user asked for it.
    pub(crate) fn check_cancelled(&self) -> Result<(), Error> {
        check(&self.cancel)
    }
}

/// Fails if the user asked to stop.
pub(crate) fn check(cancel: &Cancel) -> Result<(), Error> {
    if cancel.is_cancelled() { Err(Error::new(ErrorKind::Interrupted, Interrupted)) } else { Ok(()) }
}

/// The time that the user chose, if he did.
pub(crate) fn epoch(ambient: &Ambient) -> Result<Option<Timestamp>, Error> {
    let parse =
        |text: &str| text.parse().map_err(|error| Error::new(ErrorKind::Configuration, EpochError(error)));
    ambient.var("SOURCE_DATE_EPOCH").map(parse).transpose()
}

/// The user's `SOURCE_DATE_EPOCH` is no time.
#[derive(Debug, thiserror::Error)]
#[error("the variable `SOURCE_DATE_EPOCH` is not a time")]
struct EpochError(#[source] ParseTimestampError);

/// The user stopped the command between two steps.
#[derive(Debug, thiserror::Error)]
#[error("interrupted")]
pub(crate) struct Interrupted;

/// Runs the phases of one build, tells of them and keeps their durations.
#[derive(Debug)]
pub(crate) struct Phases<'a> {
    world: &'a World,
    cell: Cell,
    durations: BTreeMap<Phase, Duration>,
}

impl<'a> Phases<'a> {
    pub(crate) fn new(world: &'a World, cell: Cell) -> Self {
        Self { world, cell, durations: BTreeMap::new() }
    }

    pub(crate) fn cell(&self) -> Cell {
        self.cell
    }

    /// Runs `work` as `phase`; a phase that comes twice adds up.
    pub(crate) fn run<T>(
        &mut self,
        phase: Phase,
        work: impl FnOnce() -> Result<T, Error>,
    ) -> Result<T, Error> {
        self.world.check_cancelled()?;
        self.world.tell(Event::Phase { cell: self.cell, phase });
        let started = Instant::now();
        let result = work();
        let elapsed = started.elapsed();
        *self.durations.entry(phase).or_default() += elapsed;
        self.world.tell(Event::PhaseDone { cell: self.cell, phase, elapsed });
        result
    }

    /// Seconds by the phases' names, for reports and records.
    pub(crate) fn seconds(&self) -> BTreeMap<String, f64> {
        let name = |phase: &Phase| {
            serde_json::to_value(phase).ok().and_then(|name| name.as_str().map(str::to_owned))
        };
        self.durations
            .iter()
            .filter_map(|(phase, elapsed)| Some((name(phase)?, elapsed.as_secs_f64())))
            .collect()
    }
}
