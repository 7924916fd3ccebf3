//! What is said while a command goes on; the terminal is one consumer, event lines are another.

use std::time::Duration;

use serde::Serialize;

/// One cell of a matrix: which of the builds of one command an event speaks of, from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct Cell(pub usize);

/// The phases of one build, in their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// The source is fetched, unpacked or copied, and its digest taken.
    Source,
    /// An interpreter is found.
    Interpreter,
    /// Build requirements are resolved.
    Resolve,
    /// The environment is made and filled.
    Environment,
    /// The backend is asked for more requirements.
    Requirements,
    /// The backend makes an sdist.
    Sdist,
    /// The backend makes a wheel.
    Wheel,
    /// The artifact is checked and written.
    Check,
}

impl Phase {
    /// What is happening, for a line of progress.
    pub fn label(self) -> &'static str {
        match self {
            Self::Source => "preparing source",
            Self::Interpreter => "finding interpreter",
            Self::Resolve => "resolving build requirements",
            Self::Environment => "making environment",
            Self::Requirements => "asking backend",
            Self::Sdist => "building sdist",
            Self::Wheel => "building wheel",
            Self::Check => "checking and writing",
        }
    }
}

/// Something that happened.
#[derive(Debug, Clone, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// One build of the command begins.
    Started {
        /// Which.
        cell: Cell,
        /// What is built and for which interpreter, for people.
        title: String,
    },
    /// A phase begins.
    Phase {
        /// Of which build.
        cell: Cell,
        /// Which.
        phase: Phase,
    },
    /// A phase is over.
    PhaseDone {
        /// Of which build.
        cell: Cell,
        /// Which.
        phase: Phase,
        /// How long it took, in seconds.
        #[serde(serialize_with = "as_seconds")]
        elapsed: Duration,
    },
    /// A line that the backend printed.
    Log {
        /// Of which build.
        cell: Cell,
        /// Without its line end; invalid UTF-8 replaced.
        line: String,
    },
    /// Something is there that was fetched.
    Fetched {
        /// What, for people.
        what: String,
        /// How many bytes it has.
        bytes: u64,
    },
    /// Something was sent to where it was not.
    Sent {
        /// What, for people.
        what: String,
        /// How many bytes it has.
        bytes: u64,
    },
    /// Something worth knowing that changes nothing.
    Note {
        /// For people.
        message: String,
    },
    /// Something is odd, and the artifact stands all the same.
    Warning {
        /// For people.
        message: String,
    },
    /// A build is over.
    Finished {
        /// Which.
        cell: Cell,
        /// Whether it yielded its artifacts.
        outcome: Outcome,
    },
}

/// How a build ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// With its artifacts.
    Built,
    /// With an error, which the command returns.
    Failed,
}

fn as_seconds<S: serde::Serializer>(elapsed: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(elapsed.as_secs_f64())
}

/// Receives events, from any thread.
pub type EventSink<'a> = &'a (dyn Fn(Event) + Sync);
