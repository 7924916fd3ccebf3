//! A command in an image.

use std::fmt::Write as _;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::Path;

use hwb_ident::{GuestPath, HostPath, ImagePlatform, Timestamp};
use hwb_oci::RunConfig;
use hwb_sandbox::container::{
    Capabilities, Console, Container, ContainerCommand, ContainerSpec, Emulator, Limits, LimitsError,
    LostOwners, MissingCwd, NetworkProgram, OldSockets, Place, ProcessLimit, Root, RootAccess, Streams,
};
use hwb_sandbox::signals::Relay;
use hwb_sandbox::{Cancel, Control, ExecSpec, ExitStatus, Network, SandboxError, SessionSpec};
use hwb_snapshot::{Chain, Snapshot, Worker as _};
use hwb_store::{Scratch, Store};

use super::account::{self, Account, AccountError};
use super::catalogue::{Catalogue, Image};
use super::command::CommandChoices;
use super::engine::{Engine, Reaching};
use super::kept::{self, Kept, RunDocument, RunName};
use super::pull::Puller;
use super::{ImageFault, emulation, network, reference, registry, unknown, wanted};
use crate::ambient::Ambient;
use crate::cache;
use crate::error::{Error, ErrorKind};
use crate::event::{Event, EventSink};
use crate::settings::Settings;
use crate::world;

/// What `/dev/shm` holds, as Docker has it.
const SHARED_MEMORY: u64 = 64 << 20;

/// When an image is fetched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PullPolicy {
    /// Whenever it is asked for.
    Always,
    /// If it is not in the store.
    Missing,
    /// Never.
    Never,
}

/// What a container is like.
#[derive(Debug, Clone)]
pub struct ContainerChoices {
    /// Its name; `None` for the image's first digits.
    pub hostname: Option<String>,
    /// What it reaches.
    pub network: Network,
    /// Lines of `/etc/hosts`: names and addresses.
    pub hosts: Vec<(String, String)>,
    /// What stands over its root.
    pub places: Vec<Place>,
    /// Whether it may write to its root.
    pub root_access: RootAccess,
    /// What root may do in it.
    pub capabilities: Capabilities,
    /// What all its processes together may use.
    pub limits: Limits,
    /// What each of its processes may use.
    pub process_limits: Vec<ProcessLimit>,
}

/// What its standard streams are.
#[derive(Debug, Clone, Copy)]
pub enum Streaming<'a> {
    /// These.
    Given {
        /// Its input; `None` if it has none.
        stdin: Option<BorrowedFd<'a>>,
        /// Its output.
        stdout: BorrowedFd<'a>,
        /// Its messages.
        stderr: BorrowedFd<'a>,
    },
    /// A terminal of its own behind this one.
    Terminal(Console<'a>),
}

/// What is to be run.
#[derive(Debug, Clone)]
pub struct RunRequest<'a> {
    /// The image.
    pub image: String,
    /// Under which name its changes are kept; `None` if they are not.
    pub name: Option<RunName>,
    /// For which platform; `None` for this machine's.
    pub platform: Option<String>,
    /// When it is fetched.
    pub pull: PullPolicy,
    /// The command.
    pub command: CommandChoices,
    /// What is around it.
    pub container: ContainerChoices,
    /// Its streams.
    pub streaming: Streaming<'a>,
}

/// Runs a command in an image, and gives how it ended.
///
/// # Errors
///
/// If the image cannot be had, or the command not be started.
pub fn run(
    settings: &Settings,
    ambient: &Ambient,
    cancel: &Cancel,
    request: &RunRequest<'_>,
    events: EventSink<'_>,
) -> Result<RunEnd, Error> {
    let network_program = network::program(ambient, request.container.network)?;
    let store = cache::open(settings)?;
    let find = || {
        // What cannot be swept now is in nobody's way.
        store.sweep(Some(&Reaching { ambient }))?;
        let kept = request.name.as_ref().map(|name| Kept::reserve(&store, name)).transpose()?;
        Ok::<_, Error>((kept, obtain(settings, ambient, cancel, (&store, request), events)?))
    };
    // A process is started for it, and may be given ids: what is there to be read is read meanwhile.
    let (engine, found) = std::thread::scope(|scope| {
        let engine = scope.spawn(|| Engine::start(ambient));
        let found = find();
        (engine.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)), found)
    });
    let ((kept, image), engine) = (found?, engine?);
    engine.warn(events);
    let layers = engine.layers(&store, &image, cancel)?;
    let scratch = store.scratch("run")?;
    let changes = kept::changes(scratch.path());
    hwb_store::fs::create_directory(&changes)?;
    let run = Run {
        request,
        image: &image,
        engine: &engine,
        layers: &layers,
        cancel,
        network_program,
        emulator: emulation::emulator(ambient, engine.holder.ids(), &image.platform),
        ambient,
    };
    let ended = run.go(&changes);
    match (kept, &ended) {
        // What did not start changed nothing.
        (Some(kept), Ok(Ended { end: end @ (RunEnd::Code(_) | RunEnd::Signal(_)), made })) => {
            kept.keep(scratch, &run.document(end, made, ambient.clock))?;
        }
        _ => {
            match (clear(&engine, scratch), &ended) {
                (Err(error), Ok(_)) => {
                    let message = error.chain().collect::<Vec<_>>().join(": ");
                    events(Event::Warning { message });
                }
                // The first failure is the one to tell of.
                (Err(_), Err(_)) | (Ok(()), _) => {}
            }
        }
    }
    ended.map(|ended| ended.end)
}

/// Removes what a run wrote. Some of it may belong to others.
fn clear(engine: &Engine, scratch: Scratch) -> Result<(), Error> {
    engine.worker().clear(scratch.path()).map_err(|source| {
        let path = scratch.path().to_owned();
        Error::new(ErrorKind::Machine, ImageFault::Clear { path, source })
    })?;
    Ok(scratch.close()?)
}

/// A command that ended.
#[derive(Debug)]
struct Ended {
    end: RunEnd,
    /// What was made only to mount something there.
    made: Vec<GuestPath>,
}

/// How a run ended.
#[derive(Debug)]
pub enum RunEnd {
    /// With this code.
    Code(u8),
    /// By this signal.
    Signal(u8),
    /// The command is not there (127) or cannot be run (126), as shells and Docker have it.
    NotStarted {
        /// The exit code for that.
        code: u8,
        /// Why.
        error: Error,
    },
}

impl RunEnd {
    /// The exit code of the whole, as shells have it.
    pub const fn exit_code(&self) -> u8 {
        match self {
            Self::Code(code) | Self::NotStarted { code, .. } => *code,
            Self::Signal(signal) => 128_u8.saturating_add(*signal),
        }
    }
}

/// The image, from the store or from its registry.
fn obtain(
    settings: &Settings,
    ambient: &Ambient,
    cancel: &Cancel,
    (store, request): (&Store, &RunRequest<'_>),
    events: EventSink<'_>,
) -> Result<Image, Error> {
    let wanted: ImagePlatform = wanted(request.platform.as_deref())?;
    let known = Catalogue { store }.find(&request.image, &wanted)?;
    match (known, request.pull) {
        (Some(image), PullPolicy::Missing | PullPolicy::Never) => Ok(image),
        (None, PullPolicy::Never) => Err(unknown(store, &request.image)),
        (None, PullPolicy::Missing) | (_, PullPolicy::Always) => {
            let name = reference(&request.image)?;
            let registry = registry::open(settings, ambient, cancel, events)?;
            Puller { registry, store, events }.pull(&name, &wanted)
        }
    }
}

/// A run of a command.
struct Run<'a> {
    request: &'a RunRequest<'a>,
    image: &'a Image,
    engine: &'a Engine,
    layers: &'a Chain,
    cancel: &'a Cancel,
    /// What connects its network, if that is its own.
    network_program: Option<NetworkProgram>,
    /// What runs its programs, if this machine does not anyway.
    emulator: Option<Emulator>,
    ambient: &'a Ambient,
}

impl Run<'_> {
    fn go(&self, changes: &Path) -> Result<Ended, Error> {
        let config = &self.image.config.config;
        let user = self.request.command.user(config);
        let account = account::find(self.layers, self.engine.form.marks, user).map_err(|source| {
            let kind = match source {
                AccountError::Read { .. } => ErrorKind::Source,
                _ => ErrorKind::Usage,
            };
            self.fault(kind, |name| ImageFault::Account { name, source })
        })?;
        let command = self.command(config, &account)?;
        let mut container = Container::new(self.engine.holder.clone(), self.spec(changes));
        if let Some(program) = &self.network_program {
            container = container.with_network_program(program.clone());
        }
        let session = SessionSpec { mounts: Vec::new(), network: self.request.container.network };
        let mut session = container.open(&session).map_err(network::explain)?;
        let streams = self.streams()?;
        let relay = Relay::install().map_err(stream_fault)?;
        // From here on the command gets the signals; those before were hwb's own.
        world::check(self.cancel)?;
        let process = match session.run(&command, streams) {
            Ok(process) => process,
            Err(SandboxError::Spawn { program, source }) => {
                return Ok(Ended { end: self.not_started(program, source), made: Vec::new() });
            }
            Err(error) => {
                let hint = limits_hint(&error).or_else(|| self.emulator_hint(&error));
                return Err(hint.into_iter().fold(error.into(), Error::hint));
            }
        };
        let console = match self.request.streaming {
            Streaming::Terminal(console) => Some(console),
            Streaming::Given { .. } => None,
        };
        let made = process.made().to_vec();
        let end = match process.attend(&relay, console)? {
            ExitStatus::Code(code) => RunEnd::Code(u8::try_from(code).unwrap_or(u8::MAX)),
            ExitStatus::Signal(signal) => RunEnd::Signal(u8::try_from(signal).unwrap_or(u8::MAX)),
        };
        Ok(Ended { end, made })
    }

    fn document(&self, end: &RunEnd, made: &[GuestPath], began: Timestamp) -> RunDocument {
        let argv = self.request.command.argv(&self.image.config.config);
        RunDocument {
            image: self.image.name.clone(),
            manifest: self.image.descriptor.clone(),
            form: self.engine.form.clone(),
            began,
            command: argv.iter().map(|word| word.to_string_lossy().into_owned()).collect(),
            exit_code: end.exit_code(),
            made: made.to_vec(),
        }
    }

    fn fault(&self, kind: ErrorKind, fault: impl FnOnce(String) -> ImageFault) -> Error {
        Error::new(kind, fault(self.image.name.to_string()))
    }

    fn command(&self, config: &RunConfig, account: &Account) -> Result<ContainerCommand, Error> {
        let choices = &self.request.command;
        let argv = choices.argv(config);
        if argv.is_empty() {
            return Err(self.fault(ErrorKind::Usage, ImageFault::NoCommand));
        }
        let env = choices.environment(config, account, &self.hostname());
        let cwd = GuestPath::new(choices.workdir(config));
        let exec = ExecSpec { argv, cwd, env, control: Control::None };
        Ok(ContainerCommand { exec, user: account.user.clone(), missing_cwd: MissingCwd::Make })
    }

    fn hostname(&self) -> String {
        let chosen = self.request.container.hostname.clone();
        chosen.unwrap_or_else(|| self.image.id().short())
    }

    fn spec(&self, changes: &Path) -> ContainerSpec {
        let ContainerChoices { places, root_access, capabilities, limits, process_limits, .. } =
            &self.request.container;
        let own = |path: &str, contents: String| Place::File {
            guest: GuestPath::new(path),
            contents: contents.into_bytes(),
        };
        let mut all = vec![
            own("/etc/hostname", format!("{}\n", self.hostname())),
            own("/etc/hosts", self.hosts()),
            own("/etc/resolv.conf", self.resolver()),
        ];
        all.extend(places.iter().cloned());
        ContainerSpec {
            root: Root::Layers {
                lowers: self.layers.layers.iter().map(Snapshot::tree).map(HostPath::new).collect(),
                changes: HostPath::new(changes),
            },
            root_access: *root_access,
            places: all,
            hostname: self.hostname(),
            capabilities: *capabilities,
            limits: *limits,
            process_limits: process_limits.clone(),
            shared_memory: SHARED_MEMORY,
            emulator: self.emulator.clone(),
            lost_owners: match self.request.name {
                Some(_) => LostOwners::Recorded,
                // Nothing of it outlives the run.
                None => LostOwners::Forgotten,
            },
            old_sockets: match self.image.platform.architecture() {
                "386" => OldSockets::Made,
                _ => OldSockets::Refused,
            },
        }
    }

    /// The host's where its network is, and nothing but itself where there is none.
    fn hosts(&self) -> String {
        let basic = "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n".to_owned();
        let mut text = match self.request.container.network {
            Network::Host => fs_err::read_to_string("/etc/hosts").unwrap_or(basic),
            Network::Denied | Network::Isolated => basic,
        };
        if !text.ends_with('\n') {
            text.push('\n');
        }
        for (name, address) in &self.request.container.hosts {
            writeln!(text, "{address}\t{name}").expect("writing to a string succeeds");
        }
        text
    }

    fn resolver(&self) -> String {
        let host = fs_err::read_to_string("/etc/resolv.conf").unwrap_or_default();
        network::resolver(self.request.container.network, &host)
    }

    /// What helps where an emulator cannot be registered.
    fn emulator_hint(&self, error: &SandboxError) -> Option<&'static str> {
        let is_refused = self.emulator.is_some() && matches!(error, SandboxError::Unsupported { .. });
        is_refused.then(|| emulation::mend(self.ambient, &self.image.platform))
    }

    /// The end of a command that did not begin.
    fn not_started(&self, program: String, source: io::Error) -> RunEnd {
        let code = if source.kind() == io::ErrorKind::NotFound { 127 } else { 126 };
        let is_unknown = source.raw_os_error() == Some(emulation::UNKNOWN_PROGRAM);
        let mut error = Error::new(ErrorKind::Source, ImageFault::NotStarted { program, source });
        let platform = &self.image.platform;
        if is_unknown && !emulation::is_native(platform) {
            let mend = emulation::mend(self.ambient, platform);
            error = error.hint(format!("it is a program for {platform}: {mend}"));
        }
        RunEnd::NotStarted { code, error }
    }

    fn streams(&self) -> Result<Streams, Error> {
        match self.request.streaming {
            Streaming::Terminal(console) => {
                let (rows, columns) = console.size();
                Ok(Streams::Terminal { rows, columns })
            }
            Streaming::Given { stdin, stdout, stderr } => {
                let own = |stream: BorrowedFd<'_>| stream.try_clone_to_owned().map_err(stream_fault);
                let nothing = || Ok(OwnedFd::from(std::fs::File::open("/dev/null").map_err(stream_fault)?));
                Ok(Streams::Given {
                    stdin: stdin.map_or_else(nothing, own)?,
                    stdout: own(stdout)?,
                    stderr: own(stderr)?,
                })
            }
        }
    }
}

fn stream_fault(source: io::Error) -> Error {
    Error::new(ErrorKind::Machine, ImageFault::Streams(source))
}

/// What helps where limits cannot be set.
fn limits_hint(error: &SandboxError) -> Option<&'static str> {
    let SandboxError::Unsupported { source: Some(source), .. } = error else { return None };
    source.get_ref()?.downcast_ref::<LimitsError>()?.hint()
}
