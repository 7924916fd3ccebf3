//! The strategy: sessions in one container, and their commands.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use hwb_ident::GuestPath;
use rustix::fs::{CWD, FlockOperation, Mode, OFlags};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::Signal;

use super::group::Group;
use super::holder::Holder;
use super::ids::Ids;
use super::network::{IsolatedNetwork, NetworkProgram};
use super::spec::{ContainerSpec, MissingCwd, Root, User};
use super::wire::{CommandOrder, Order, Owners, StreamOrder};
use crate::cancel::Cancel;
use crate::held::Held;
use crate::helper::{Guarantee, Kind};
use crate::process::{Pipes, Process, Supervision};
use crate::session::{
    Deadline, ExitStatus, Guarantees, OutputSink, Running, Sandbox, SandboxError, Session, Visibility,
};
use crate::spec::{Control, ExecSpec, Network, SessionSpec};

/// Its name in messages.
pub(crate) const NAME: &str = "container";

/// Runs commands in a root of their own.
///
/// Each command has all namespaces of its own, process 1 of which is hwb's; the root is what its commands share, one after
/// the other: a second command over the same changes at once is refused.
#[derive(Debug, Clone)]
pub struct Container {
    holder: Arc<Holder>,
    spec: ContainerSpec,
    network_program: Option<NetworkProgram>,
}

impl Container {
    /// A container of `spec`, whose commands `holder` starts.
    pub fn new(holder: Arc<Holder>, spec: ContainerSpec) -> Self {
        Self { holder, spec, network_program: None }
    }

    /// The same, where `program` connects sessions whose network is isolated; without one they are refused.
    #[must_use]
    pub fn with_network_program(self, program: NetworkProgram) -> Self {
        Self { network_program: Some(program), ..self }
    }

    /// Begins a session.
    ///
    /// # Errors
    ///
    /// [`SandboxError::Unsupported`] for what no container of this machine has, [`SandboxError::Network`] if the network
    /// is not to be had.
    pub fn open(&self, session: &SessionSpec) -> Result<ContainerSession, SandboxError> {
        let unsupported = |guarantee: Guarantee| SandboxError::Unsupported {
            sandbox: NAME,
            demand: guarantee.demand(),
            source: None,
        };
        if let Root::Layers { lowers, .. } = &self.spec.root
            && lowers.len() > Root::MOST_LAYERS
        {
            return Err(unsupported(Guarantee::Layers));
        }
        let network = match (session.network, &self.network_program) {
            (Network::Denied | Network::Host, _) => None,
            (Network::Isolated, None) => return Err(unsupported(Guarantee::IsolatedNetwork)),
            (Network::Isolated, Some(program)) => {
                Some(Arc::new(IsolatedNetwork::start(&self.holder, program)?))
            }
        };
        Ok(ContainerSession { container: self.clone(), session: session.clone(), network })
    }
}

impl Sandbox for Container {
    fn name(&self) -> &'static str {
        NAME
    }

    fn guarantees(&self) -> Guarantees {
        Guarantees { network: Network::Denied, filesystem: Visibility::MountsOnly }
    }

    fn start(&self, spec: &SessionSpec) -> Result<Box<dyn Session>, SandboxError> {
        Ok(Box::new(self.open(spec)?))
    }
}

/// A command of a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContainerCommand {
    /// The program, its arguments, environment and working directory.
    pub exec: ExecSpec,
    /// Who it is.
    pub user: User,
    /// What happens if its working directory is not there.
    pub missing_cwd: MissingCwd,
}

/// Where the streams of a command come from.
#[derive(Debug)]
pub enum Streams {
    /// Pipes, whose other ends the [`Running`] has.
    Piped,
    /// These descriptors: the command has them themselves. They must lead to nothing that is not for it; directories
    /// are refused.
    Given {
        /// Standard input.
        stdin: OwnedFd,
        /// Standard output.
        stdout: OwnedFd,
        /// Standard error.
        stderr: OwnedFd,
    },
    /// A terminal of the container's own, of this size; [`ContainerProcess::terminal`] is its other end.
    Terminal {
        /// Rows.
        rows: u16,
        /// Columns.
        columns: u16,
    },
}

/// A session in a container.
#[derive(Debug)]
pub struct ContainerSession {
    container: Container,
    session: SessionSpec,
    network: Option<Arc<IsolatedNetwork>>,
}

impl ContainerSession {
    /// Starts a command.
    ///
    /// # Errors
    ///
    /// [`SandboxError::Spawn`] if the program cannot be started: its source is of the kind
    /// [`NotFound`](io::ErrorKind::NotFound) if it is not there. [`SandboxError::Setup`] and
    /// [`SandboxError::Unsupported`] if what is around it cannot be made.
    pub fn run(
        &mut self,
        command: &ContainerCommand,
        streams: Streams,
    ) -> Result<ContainerProcess, SandboxError> {
        let program =
            command.exec.argv.first().map(|program| program.display().to_string()).unwrap_or_default();
        let failed = |source: io::Error| SandboxError::Spawn { program: program.clone(), source };
        let ends = Ends::of(streams, command.exec.control).map_err(failed)?;
        let lock = lock(&self.container.spec.root, &program)?;
        let group =
            Group::make(&self.container.spec.limits).and_then(|group| Ok((group.entrances()?, group)));
        let (entrances, group) = group.map_err(|source| SandboxError::Unsupported {
            sandbox: NAME,
            demand: Guarantee::Limits.demand(),
            source: Some(io::Error::other(source)),
        })?;
        let order = Order::Command(Box::new(self.order(command, ends.order)));
        let network = self.network.iter().map(|network| network.namespace());
        let theirs: Vec<BorrowedFd<'_>> = ends
            .theirs
            .iter()
            .map(AsFd::as_fd)
            .chain(network)
            .chain(entrances.iter().map(AsFd::as_fd))
            .collect();
        let (remote, begun) = self.container.holder.begin(&order, &theirs, &program)?;
        let process = Process::new(program.clone(), Held::Remote(remote), ends.ours, Supervision::Container);
        let process = process.map_err(failed)?;
        Ok(ContainerProcess {
            process,
            made: begun.made,
            terminal: begun.descriptor,
            _network: self.network.clone(),
            _group: group,
            _lock: lock,
        })
    }

    fn order(&self, command: &ContainerCommand, streams: StreamOrder) -> CommandOrder {
        let ExecSpec { argv, cwd, env, control: _ } = &command.exec;
        CommandOrder {
            container: self.container.spec.clone(),
            mounts: self.session.mounts.clone(),
            network: self.session.network,
            owners: match self.container.holder.ids() {
                Ids::Same | Ids::Ranges { .. } => Owners::Many,
                Ids::Single => Owners::One,
            },
            streams,
            argv: argv.clone(),
            env: env.iter().map(|(name, value)| (name.clone(), value.clone())).collect(),
            cwd: cwd.clone(),
            missing_cwd: command.missing_cwd,
            user: command.user.clone(),
        }
    }
}

impl Session for ContainerSession {
    /// As root of the container, in a working directory that is there.
    fn start(&mut self, spec: &ExecSpec) -> Result<Box<dyn Running>, SandboxError> {
        let command =
            ContainerCommand { exec: spec.clone(), user: User::ROOT, missing_cwd: MissingCwd::Refuse };
        Ok(Box::new(self.run(&command, Streams::Piped)?))
    }
}

/// Both ends of the streams of a command.
#[derive(Debug)]
struct Ends {
    ours: Pipes,
    theirs: Vec<OwnedFd>,
    order: StreamOrder,
}

impl Ends {
    fn of(streams: Streams, control: Control) -> io::Result<Self> {
        let (mut ours, mut theirs, order) = match streams {
            Streams::Piped => {
                let (stdin, to_stdin) = pipe_with(PipeFlags::CLOEXEC)?;
                let (from_stdout, stdout) = pipe_with(PipeFlags::CLOEXEC)?;
                let (from_stderr, stderr) = pipe_with(PipeFlags::CLOEXEC)?;
                let ours = Pipes {
                    stdin: Some(File::from(to_stdin)),
                    stdout: Some(from_stdout),
                    stderr: Some(from_stderr),
                    answers: None,
                };
                (ours, vec![stdin, stdout, stderr], StreamOrder::Three)
            }
            Streams::Given { stdin, stdout, stderr } => {
                let theirs = vec![stdin, stdout, stderr];
                theirs.iter().try_for_each(refuse_directory)?;
                (Pipes::default(), theirs, StreamOrder::Three)
            }
            Streams::Terminal { rows, columns } => {
                (Pipes::default(), Vec::new(), StreamOrder::Terminal { rows, columns })
            }
        };
        let order = match (control, order) {
            (Control::None, order) => order,
            (Control::Pipe, StreamOrder::Three) => {
                let (answers, end) = pipe_with(PipeFlags::CLOEXEC)?;
                ours.answers = Some(answers);
                theirs.push(end);
                StreamOrder::ThreeAndControl
            }
            // Answers of a command that talks to a person: nobody wants that.
            (Control::Pipe, _) => return Err(io::ErrorKind::InvalidInput.into()),
        };
        Ok(Self { ours, theirs, order })
    }
}

/// Takes what is written for one command: what two overlays would make of it at once, nobody says.
///
/// Not for process 1 of the container: a directory of the host is no thing to have in there.
fn lock(root: &Root, program: &str) -> Result<Option<OwnedFd>, SandboxError> {
    let changes = match root {
        Root::Layers { changes, .. } => changes,
        Root::Directory(_) => return Ok(None),
    };
    let attempt = || -> io::Result<OwnedFd> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = rustix::fs::openat(CWD, changes.as_path(), flags, Mode::empty())?;
        rustix::fs::flock(&directory, FlockOperation::NonBlockingLockExclusive)?;
        Ok(directory)
    };
    let step = format!("take `{changes}` for one command");
    attempt().map(Some).map_err(|source| SandboxError::Setup { step, program: program.to_owned(), source })
}

/// A descriptor of a directory would be a door into the host's files.
fn refuse_directory(descriptor: &OwnedFd) -> io::Result<()> {
    match Kind::of(descriptor)? {
        Kind::Directory => Err(io::ErrorKind::IsADirectory.into()),
        Kind::File => Ok(()),
    }
}

/// A command that runs in a container.
#[derive(Debug)]
pub struct ContainerProcess {
    process: Process,
    made: Vec<GuestPath>,
    terminal: Option<OwnedFd>,
    /// Removed after the process, so after everything in it.
    _group: Group,
    /// Kept as long.
    _lock: Option<OwnedFd>,
    /// The same.
    _network: Option<Arc<IsolatedNetwork>>,
}

impl ContainerProcess {
    /// The directories and files that were made on the root for something to stand on, parents first: what the guest
    /// left of them as they were is no change of its own.
    pub fn made(&self) -> &[GuestPath] {
        &self.made
    }

    /// The outer end of its terminal, if it has one.
    pub fn terminal(&self) -> Option<BorrowedFd<'_>> {
        self.terminal.as_ref().map(OwnedFd::as_fd)
    }

    /// Readable when it may have ended.
    pub(super) fn descriptor(&self) -> &OwnedFd {
        self.process.descriptor()
    }

    pub(super) fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        self.process.signal(signal);
    }
}

impl Running for ContainerProcess {
    fn stdin(&mut self) -> Option<&mut dyn Write> {
        self.process.stdin()
    }

    fn close_stdin(&mut self) {
        self.process.close_stdin();
    }

    fn answer(
        &mut self,
        cancel: &Cancel,
        deadline: Option<Deadline>,
        sink: &mut dyn OutputSink,
    ) -> Result<Option<Vec<u8>>, SandboxError> {
        self.process.answer(cancel, deadline, sink)
    }

    fn wait(
        self: Box<Self>,
        cancel: &Cancel,
        deadline: Option<Deadline>,
        sink: &mut dyn OutputSink,
    ) -> Result<ExitStatus, SandboxError> {
        let Self { process, _group, _lock, _network, .. } = *self;
        Box::new(process).wait(cancel, deadline, sink)
    }
}
