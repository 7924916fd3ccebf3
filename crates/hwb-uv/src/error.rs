//! What goes wrong at the seam.

use std::error::Error as StdError;
use std::path::PathBuf;

/// Whose fault a failure is; the facade turns it into an exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SeamErrorKind {
    /// Settings that make no sense.
    Settings,
    /// No such interpreter, or one that does not run.
    Interpreter,
    /// Requirements that no set of versions satisfies, or an index that does not answer.
    Resolution,
    /// The environment could not be made.
    Environment,
    /// A project that uv's backend refuses.
    Build,
}

type Cause = Box<dyn StdError + Send + Sync>;

/// A failure at the seam; the causes are uv's own, which read well.
#[derive(Debug, thiserror::Error)]
pub enum SeamError {
    /// A setting that uv cannot take.
    #[error("{what} `{value}` is not valid")]
    Setting {
        /// Which setting.
        what: &'static str,
        /// Its value, without credentials.
        value: String,
        /// Why.
        #[source]
        source: Cause,
    },
    /// The cache directory cannot be used.
    #[error("failed to open the download cache at `{}`", path.display())]
    Cache {
        /// Where it is.
        path: PathBuf,
        /// Why.
        #[source]
        source: Cause,
    },
    /// The threads of the network client cannot be started.
    #[error("failed to start the network client")]
    Client(#[source] Cause),
    /// No interpreter satisfies the request.
    #[error("no Python interpreter for {request}")]
    Interpreter {
        /// What was asked for, in backquotes, and by whom if not by the user.
        request: String,
        /// Why.
        #[source]
        source: Cause,
    },
    /// A requirement that does not parse.
    #[error("`{text}` is not a requirement")]
    Requirement {
        /// As it was given.
        text: String,
        /// Why.
        #[source]
        source: Cause,
    },
    /// The resolver found no solution or could not ask the index.
    #[error("failed to resolve {what}")]
    Resolve {
        /// What was asked for.
        what: String,
        /// Why, in the resolver's words.
        #[source]
        source: Cause,
        /// What uv itself would suggest.
        hints: Vec<String>,
    },
    /// A distribution could not be downloaded, unpacked or built.
    #[error("failed to fetch {what}")]
    Fetch {
        /// Which.
        what: String,
        /// Why.
        #[source]
        source: Cause,
    },
    /// A downloaded file is not the one the index named.
    #[error("`{file}` has the digest {found}, but {expected} was expected")]
    Hash {
        /// Which file.
        file: String,
        /// What was promised.
        expected: String,
        /// What came.
        found: String,
    },
    /// The index offers another file than the constraints demand.
    #[error("the index offers `{what}` with the digest {found}, and the build constraints demand {expected}")]
    Demanded {
        /// Which distribution.
        what: String,
        /// What the constraints say.
        expected: String,
        /// What the index says.
        found: String,
    },
    /// A requirement has no pin with a hash although `--require-hashes` was given.
    #[error("`--require-hashes` is set, and `{0}` has no hash among the build constraints")]
    Unhashed(String),
    /// The index has no sdist that fits.
    #[error("the index has no sdist for `{requirement}`{reason}")]
    NoSdist {
        /// What was asked for.
        requirement: String,
        /// What it has instead, in a clause that starts with `: `, or nothing.
        reason: String,
    },
    /// The environment could not be made.
    #[error("Failed to create venv at `{}`", path.display())]
    Environment {
        /// Where.
        path: PathBuf,
        /// Why.
        #[source]
        source: Cause,
    },
    /// uv's own backend refuses the project.
    #[error("the `uv_build` backend failed to build `{}`", source_tree.display())]
    Direct {
        /// The project.
        source_tree: PathBuf,
        /// Why.
        #[source]
        source: Cause,
    },
}

impl SeamError {
    /// Whose fault it is.
    pub fn kind(&self) -> SeamErrorKind {
        match self {
            Self::Setting { .. } | Self::Unhashed(_) => SeamErrorKind::Settings,
            Self::Interpreter { .. } => SeamErrorKind::Interpreter,
            Self::Requirement { .. }
            | Self::Resolve { .. }
            | Self::Fetch { .. }
            | Self::Hash { .. }
            | Self::Demanded { .. }
            | Self::NoSdist { .. } => SeamErrorKind::Resolution,
            Self::Cache { .. } | Self::Client(_) | Self::Environment { .. } => SeamErrorKind::Environment,
            Self::Direct { .. } => SeamErrorKind::Build,
        }
    }
}

/// Boxes an error of uv.
pub(crate) fn cause(error: impl Into<Cause>) -> Cause {
    error.into()
}
