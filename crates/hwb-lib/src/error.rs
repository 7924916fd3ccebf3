//! What went wrong, of which kind, and what to try.

use std::error::Error as StdError;
use std::fmt;
use std::path::PathBuf;

use hwb_build::diagnosis::FULL_DISK;
use hwb_build::installed::InstalledError;
use hwb_build::{HookError, ProjectError};
use hwb_interpreter::EnvironmentError;
use hwb_net::git::GitError;
use hwb_sandbox::SandboxError;
use hwb_store::mirror::MirrorError;
use hwb_store::{StoreError, TreeError};
use hwb_uv::{SeamError, SeamErrorKind};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::build::ArtifactReport;

/// The kind of a failure; it decides the exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
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
#[expect(clippy::error_impl_error, reason = "the facade has one error, and callers say `hwb_lib::Error`")]
#[derive(Debug)]
pub struct Error(Box<Inner>);

#[derive(Debug)]
struct Inner {
    kind: ErrorKind,
    cause: Box<dyn StdError + Send + Sync>,
    hints: Vec<String>,
    log: Option<LogExcerpt>,
    artifacts: Vec<ArtifactReport>,
}

/// What a backend printed before it failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct LogExcerpt {
    /// Its last lines, oldest first.
    pub tail: Vec<String>,
    /// The whole log, if it could be kept.
    pub path: Option<PathBuf>,
}

impl Error {
    /// Says of which kind `cause` is. A full disk is the machine's fault, whatever was attempted.
    pub fn new(kind: ErrorKind, cause: impl StdError + Send + Sync + 'static) -> Self {
        let (kind, hints) = if kind != ErrorKind::Interrupted && is_full_disk(&cause) {
            (ErrorKind::Machine, vec![FULL_DISK.to_owned()])
        } else {
            (kind, Vec::new())
        };
        let cause = Box::new(cause);
        Self(Box::new(Inner { kind, cause, hints, log: None, artifacts: Vec::new() }))
    }

    /// Adds something to try, unless it was said.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        let hint = hint.into();
        if !self.0.hints.contains(&hint) {
            self.0.hints.push(hint);
        }
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

    /// What the backend printed before it failed.
    pub fn log(&self) -> Option<&LogExcerpt> {
        self.0.log.as_ref()
    }

    pub(crate) fn with_log(mut self, tail: Vec<String>, path: Option<PathBuf>) -> Self {
        self.0.log = Some(LogExcerpt { tail, path });
        self
    }

    /// What was built and written all the same, in the order of the request.
    pub fn artifacts(&self) -> &[ArtifactReport] {
        &self.0.artifacts
    }

    /// Adds what had been built before.
    #[must_use]
    pub fn after(mut self, mut artifacts: Vec<ArtifactReport>) -> Self {
        artifacts.append(&mut self.0.artifacts);
        self.0.artifacts = artifacts;
        self
    }

    /// Takes out what was built.
    pub(crate) fn take_artifacts(&mut self) -> Vec<ArtifactReport> {
        std::mem::take(&mut self.0.artifacts)
    }

    /// Makes it the cause of `outer`, which has its kind, hints and log.
    pub(crate) fn within<E>(mut self, outer: impl FnOnce(Self) -> E) -> Self
    where
        E: StdError + Send + Sync + 'static,
    {
        let (hints, log) = (std::mem::take(&mut self.0.hints), self.0.log.take());
        let (kind, artifacts) = (self.kind(), self.take_artifacts());
        Self(Box::new(Inner { kind, cause: Box::new(outer(self)), hints, log, artifacts }))
    }

    /// The error of a hook, if it is one.
    pub(crate) fn hook_error(&self) -> Option<&HookError> {
        self.0.cause.downcast_ref()
    }

    /// The messages from what was attempted down to the root cause.
    pub fn chain(&self) -> impl Iterator<Item = String> {
        causes(self.0.cause.as_ref()).map(ToString::to_string).collect::<Vec<_>>().into_iter()
    }
}

/// An error and what is behind it, one after another.
pub(crate) fn causes<'a>(
    error: &'a (dyn StdError + 'static),
) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    std::iter::successors(Some(error), |&error| error.source())
}

/// Whether a disk or a quota is full. Some errors of uv pass for what they wrap, and a backend's is Python's: of these
/// the text remains.
fn is_full_disk(error: &(dyn StdError + 'static)) -> bool {
    use std::io::ErrorKind::{QuotaExceeded, StorageFull};
    causes(error).any(|cause| match cause.downcast_ref::<std::io::Error>() {
        Some(cause) => matches!(cause.kind(), StorageFull | QuotaExceeded),
        None => {
            let text = cause.to_string();
            ["(os error 28)", "(os error 122)", "[Errno 28]", "[Errno 122]"]
                .iter()
                .any(|mark| text.contains(mark))
        }
    })
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

/// Gives each error of a lower package its kind.
macro_rules! kinds {
    ($($error:ty => $kind:expr;)*) => {
        $(impl From<$error> for Error {
            fn from(error: $error) -> Self {
                let kind: fn(&$error) -> ErrorKind = $kind;
                Self::new(kind(&error), error)
            }
        })*
    };
}

kinds! {
    StoreError => |_| ErrorKind::Machine;
    hwb_store::FsError => |_| ErrorKind::Machine;
    hwb_store::SinkError => |_| ErrorKind::Machine;
    TreeError => tree_kind;
    MirrorError => mirror_kind;
    ProjectError => |_| ErrorKind::Source;
    SandboxError => sandbox_kind;
    InstalledError => installed_kind;
    hwb_ident::source::ParseSourceError => |_| ErrorKind::Source;
}

fn tree_kind(error: &TreeError) -> ErrorKind {
    match error {
        TreeError::Read { .. } | TreeError::LinkLeaves { .. } => ErrorKind::Source,
        TreeError::Write { .. } | TreeError::Fs(_) => ErrorKind::Machine,
    }
}

fn mirror_kind(error: &MirrorError) -> ErrorKind {
    match error {
        MirrorError::Store(_) => ErrorKind::Machine,
        MirrorError::Snapshot(error) => tree_kind(error),
    }
}

fn sandbox_kind(error: &SandboxError) -> ErrorKind {
    match error {
        SandboxError::Cancelled { .. } => ErrorKind::Interrupted,
        SandboxError::TimedOut { .. } => ErrorKind::Build,
        SandboxError::Unsupported { .. }
        | SandboxError::Network { .. }
        | SandboxError::Setup { .. }
        | SandboxError::Spawn { .. }
        | SandboxError::Watch { .. } => ErrorKind::Machine,
    }
}

fn installed_kind(error: &InstalledError) -> ErrorKind {
    match error {
        InstalledError::Run { source, .. } => sandbox_kind(source),
        InstalledError::Silent { .. } | InstalledError::Garbled { .. } => ErrorKind::Machine,
    }
}

impl From<HookError> for Error {
    fn from(error: HookError) -> Self {
        match &error {
            HookError::Run { source: SandboxError::TimedOut { .. }, .. } => {
                Self::new(ErrorKind::Build, error)
                    .hint("a hook has the time that `--timeout` gives it: raise it")
            }
            HookError::Run { source, .. } => Self::new(sandbox_kind(source), error),
            _ => Self::new(ErrorKind::Build, error),
        }
    }
}

impl From<SeamError> for Error {
    fn from(error: SeamError) -> Self {
        let kind = match error.kind() {
            SeamErrorKind::Settings => ErrorKind::Configuration,
            SeamErrorKind::Interpreter | SeamErrorKind::Environment => ErrorKind::Machine,
            SeamErrorKind::Resolution => ErrorKind::Resolution,
            SeamErrorKind::Build => ErrorKind::Build,
        };
        let hints = seam_hints(&error);
        hints.into_iter().fold(Self::new(kind, error), Self::hint)
    }
}

impl From<GitError> for Error {
    fn from(error: GitError) -> Self {
        let hint = error.hint();
        let kind = match &error {
            GitError::NoGit(_) | GitError::Disk(_) | GitError::Lock { .. } => ErrorKind::Machine,
            GitError::Unreachable { .. }
            | GitError::Authentication { .. }
            | GitError::Refused { .. }
            | GitError::NotCached { .. } => ErrorKind::Resolution,
            GitError::Run { source, .. } => sandbox_kind(source),
            _ => ErrorKind::Source,
        };
        hint.into_iter().fold(Self::new(kind, error), Self::hint)
    }
}

impl From<EnvironmentError> for Error {
    fn from(error: EnvironmentError) -> Self {
        match error {
            EnvironmentError::Fill(error) => error.into(),
            EnvironmentError::Place(_) | EnvironmentError::Script { .. } => {
                Self::new(ErrorKind::Machine, error)
            }
            EnvironmentError::Compile(ref cause) => Self::new(sandbox_kind(cause), error),
        }
    }
}

const PROXY_PASSWORD: &str = "the proxy asks for a password: put it into `HTTPS_PROXY`";

/// What to try when the index, the proxy or the interpreter is why.
fn seam_hints(error: &SeamError) -> Vec<String> {
    let mut hints = match error {
        SeamError::Resolve { hints, .. } => hints.clone(),
        SeamError::Interpreter { .. } => {
            vec!["`hwb python list` shows the interpreters that can be found".to_owned()]
        }
        SeamError::Hash { .. } => {
            vec!["the digest is of another file: it is wrong, or the file was changed on the server or on the way".to_owned()]
        }
        SeamError::Unhashed(_) => {
            vec![
                "pin it with `==` and `--hash=sha256:…` in a file that `--build-constraint` names".to_owned(),
            ]
        }
        _ => Vec::new(),
    };
    let text = causes(error).map(ToString::to_string).collect::<String>();
    for (mark, hint) in [
        (
            "UnknownIssuer",
            "the server's certificate is not known: name your bundle in `SSL_CERT_FILE`, or trust the system's with `UV_SYSTEM_CERTS=1`",
        ),
        (
            "dns error",
            "the host name cannot be looked up: is there a network, or does a proxy need `HTTPS_PROXY`?",
        ),
        ("client error (407", PROXY_PASSWORD),
        ("proxy authorization required", PROXY_PASSWORD),
        (
            "401 Unauthorized",
            "the server asks for credentials: give them in the URL or netrc, for an index also in `UV_INDEX_<NAME>_USERNAME` and `_PASSWORD`",
        ),
        ("403 Forbidden", "the server refuses access, with these credentials if there are any"),
        ("Connection refused", "nothing answers there: is the URL right?"),
        ("tcp connect error", "the server does not answer: `--offline` uses what is cached"),
    ] {
        if text.contains(mark) {
            hints.push(hint.to_owned());
        }
    }
    hints
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("failed to {0}")]
    struct Attempt(&'static str, #[source] io::Error);

    #[derive(Debug, thiserror::Error)]
    #[error(transparent)]
    struct Wrapped(io::Error);

    #[test]
    fn a_full_disk_is_the_machines_fault() {
        let check = |error: Error, kind: ErrorKind, hints: usize| {
            assert_eq!((error.kind(), error.hints().len()), (kind, hints), "{error:?}");
        };
        let full = || io::Error::from_raw_os_error(28);
        let nested = || io::Error::new(io::ErrorKind::StorageFull, Attempt("write `a`", full()));
        check(Error::new(ErrorKind::Source, Attempt("unpack", full())), ErrorKind::Machine, 1);
        check(Error::new(ErrorKind::Check, Attempt("unpack", nested())), ErrorKind::Machine, 1);
        check(Error::new(ErrorKind::Resolution, Wrapped(full())), ErrorKind::Machine, 1);
        check(Error::new(ErrorKind::Interrupted, Wrapped(full())), ErrorKind::Interrupted, 0);
        let absent = io::Error::from(io::ErrorKind::NotFound);
        check(Error::new(ErrorKind::Source, Attempt("read", absent)), ErrorKind::Source, 0);
        check(Error::new(ErrorKind::Build, Wrapped(full())).hint(FULL_DISK), ErrorKind::Machine, 1);
    }
}
