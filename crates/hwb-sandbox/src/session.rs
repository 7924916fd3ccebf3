//! The traits of an isolation strategy, how a command ends, and what can go wrong.

use std::fmt::Debug;
use std::io::{self, Write};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::cancel::Cancel;
use crate::spec::{ExecSpec, Network, SessionSpec};

/// What a strategy can enforce; compared with what a plan demands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Guarantees {
    /// The strictest network policy.
    pub network: Network,
    /// Whether host files that were not mounted are invisible.
    pub filesystem: Visibility,
}

/// Whether a guest sees host files that were not mounted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Visibility {
    /// Only declared mounts are visible.
    MountsOnly,
    /// The whole file system of the host is visible.
    WholeHost,
}

/// Failure to run a command (not: the command failed).
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// The strategy cannot enforce what was demanded; nothing weaker was started.
    #[error("sandbox `{sandbox}` cannot enforce {demand} on this machine")]
    Unsupported {
        /// Name of the strategy.
        sandbox: &'static str,
        /// The guarantee it lacks.
        demand: &'static str,
        /// What the kernel answered, if it was asked.
        #[source]
        source: Option<io::Error>,
    },
    /// Something of the session could not be made, for example a mount of a directory that is not there.
    #[error("failed to {step} for `{program}`")]
    Setup {
        /// What was attempted, and on what.
        step: String,
        /// The program that was to be started.
        program: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The program that connects a network with the host's did not.
    #[error("`{program}` made no network: {said}")]
    Network {
        /// The program.
        program: String,
        /// What it complained about.
        said: String,
    },
    /// The program could not be started.
    #[error("failed to start `{program}`")]
    Spawn {
        /// The program.
        program: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The program runs, but waiting for it or reading from it failed.
    #[error("failed to {action} `{program}`")]
    Watch {
        /// What was attempted.
        action: &'static str,
        /// The program.
        program: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It was stopped because somebody asked for it.
    #[error("`{program}` was interrupted")]
    Cancelled {
        /// The program.
        program: String,
    },
    /// It was stopped because its time was up.
    #[error("`{program}` was stopped after {} s", limit.as_secs_f64())]
    TimedOut {
        /// The program.
        program: String,
        /// How long it was given.
        limit: Duration,
    },
}

/// When a command is stopped, and how long it was given until then.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deadline {
    /// `None` for a time that the clock does not reach.
    pub(crate) at: Option<Instant>,
    pub(crate) limit: Duration,
}

impl Deadline {
    /// Gives a command `limit` from now on.
    pub fn after(limit: Duration) -> Self {
        Self { at: Instant::now().checked_add(limit), limit }
    }
}

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ExitStatus {
    /// It exited with this code.
    Code(i32),
    /// It was killed by this signal.
    Signal(i32),
}

impl ExitStatus {
    /// Whether it exited with code 0.
    pub fn is_success(self) -> bool {
        self == Self::Code(0)
    }
}

/// The stream a chunk came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// Receives output as it is produced.
///
/// Chunks of one stream arrive in order; a chunk may end in the middle of a line or of a character.
pub trait OutputSink: Send {
    /// Takes one chunk of raw bytes.
    fn write(&mut self, stream: Stream, bytes: &[u8]);
}

/// Output that nobody waits for.
#[derive(Debug)]
pub(crate) struct Nowhere;

impl OutputSink for Nowhere {
    fn write(&mut self, _stream: Stream, _bytes: &[u8]) {}
}

/// An isolation strategy.
///
/// An implementor refuses ([`SandboxError::Unsupported`]) what it cannot enforce, and never starts something weaker.
pub trait Sandbox: Debug + Send + Sync {
    /// Its short name for messages.
    fn name(&self) -> &'static str;

    /// What it can enforce.
    fn guarantees(&self) -> Guarantees;

    /// Starts a session.
    ///
    /// # Errors
    ///
    /// [`SandboxError::Unsupported`] if the strategy cannot enforce `spec`.
    fn start(&self, spec: &SessionSpec) -> Result<Box<dyn Session>, SandboxError>;
}

/// A started sandbox.
pub trait Session: Debug + Send {
    /// Starts one command. A hook runner, a terminal and a plain command are all this.
    ///
    /// # Errors
    ///
    /// [`SandboxError::Spawn`] if the program cannot be started, [`SandboxError::Setup`] and
    /// [`SandboxError::Unsupported`] if what is around it cannot be made.
    fn start(&mut self, spec: &ExecSpec) -> Result<Box<dyn Running>, SandboxError>;
}

/// A command that was started.
///
/// Dropping it kills the command and everything the command started.
pub trait Running: Debug + Send {
    /// Where bytes for its standard input go; `None` once closed. Writing blocks while the command does not read.
    fn stdin(&mut self) -> Option<&mut dyn Write>;

    /// Closes its standard input.
    fn close_stdin(&mut self);

    /// Waits for one line on the control pipe, passing output on meanwhile, all that was written before the line included;
    /// the line comes without its newline.
    ///
    /// `None` if the command ended or closed its control pipe without another answer, or has none.
    ///
    /// # Errors
    ///
    /// [`SandboxError::Cancelled`] and [`SandboxError::TimedOut`] after the command was stopped for that reason.
    fn answer(
        &mut self,
        cancel: &Cancel,
        deadline: Option<Deadline>,
        sink: &mut dyn OutputSink,
    ) -> Result<Option<Vec<u8>>, SandboxError>;

    /// Closes standard input and waits for the end of the command, passing its output on; then ends what it left
    /// behind. Answers that nobody waited for are dropped.
    ///
    /// # Errors
    ///
    /// [`SandboxError::Cancelled`] and [`SandboxError::TimedOut`] after the command was stopped for that reason.
    fn wait(
        self: Box<Self>,
        cancel: &Cancel,
        deadline: Option<Deadline>,
        sink: &mut dyn OutputSink,
    ) -> Result<ExitStatus, SandboxError>;
}
