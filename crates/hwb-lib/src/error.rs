//! What went wrong, of which kind, and what to try.

use std::error::Error as StdError;
use std::fmt;

use serde::Serialize;

/// The kind of a failure; it decides the exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorKind {
    /// A build or a hook failed.
    Build,
    /// The arguments make no sense.
    Usage,
    /// A settings file or variable makes no sense.
    Configuration,
    /// The source cannot be had or is not what it should be.
    Source,
    /// Requirements cannot be resolved or fetched.
    Resolution,
    /// An artifact fails its check, audit, repair or verification.
    Check,
    /// This machine lacks something: an interpreter, a right, a program.
    Machine,
    /// A defect of hwb.
    Internal,
    /// The user stopped it.
    Interrupted,
}

impl ErrorKind {
    /// The exit code of the command.
    pub const fn exit_code(self) -> u8 {
        match self {
            Self::Build => 1,
            Self::Usage => 2,
            Self::Configuration => 3,
            Self::Source => 4,
            Self::Resolution => 5,
            Self::Check => 6,
            Self::Machine => 7,
            Self::Internal => 70,
            Self::Interrupted => 130,
        }
    }
}

/// A failure with its kind and remedies; its causes are its [`source`](StdError::source) chain.
#[derive(Debug)]
pub struct Error(Box<Inner>);

#[derive(Debug)]
struct Inner {
    kind: ErrorKind,
    cause: Box<dyn StdError + Send + Sync>,
    hints: Vec<String>,
}

impl Error {
    /// Says of which kind `cause` is.
    pub fn new(kind: ErrorKind, cause: impl StdError + Send + Sync + 'static) -> Self {
        Self(Box::new(Inner { kind, cause: Box::new(cause), hints: Vec::new() }))
    }

    /// Adds something to try.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.0.hints.push(hint.into());
        self
    }

    /// Of which kind it is.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// What to try, most helpful first.
    pub fn hints(&self) -> &[String] {
        &self.0.hints
    }

    /// The messages from what was attempted down to the root cause.
    pub fn chain(&self) -> impl Iterator<Item = String> {
        let mut next: Option<&(dyn StdError + 'static)> = Some(self.0.cause.as_ref());
        let mut messages = Vec::new();
        while let Some(error) = next {
            messages.push(error.to_string());
            next = error.source();
        }
        messages.into_iter()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0.cause, f)
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.cause.source()
    }
}
