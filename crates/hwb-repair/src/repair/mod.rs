//! Wheels that bring along what they need: planned as data, and then written.
//!
//! In reading order:
//!
//! - [`plan`]: what is to be done, without doing it.
//! - `choice`: which policy a wheel is repaired for; `names`, `run_path`: what files are called, and where they look.
//! - [`write`](mod@write): the new wheel; `script`: programs that do not lie among the packages; [`sbom`]: where libraries are from.

mod choice;
mod names;
pub mod plan;
mod run_path;
pub mod sbom;
mod script;
pub mod write;

use crate::audit::{Blocker, Obstacle};
use crate::elf::edit::EditError;
use crate::exceptions::Exceptions;
use crate::wheel::AuditError;

pub use self::plan::{Graft, Plan};
pub use self::sbom::{Package, PackageKind};
pub use self::write::{Finish, Strip, Supplies};

/// How a wheel is to be repaired.
#[derive(Debug, Clone, Default)]
pub struct Request {
    /// For which policy.
    pub platform: Platform,
    /// Which platform tags it gets.
    pub tags: Tags,
    /// What is not taken from the system.
    pub exceptions: Exceptions,
    /// What follows the name of the distribution in the name of the folder of libraries; `.libs` if it is empty.
    pub suffix: String,
}

/// A policy that is asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Platform {
    /// The oldest that is reached with the fewest libraries.
    #[default]
    Auto,
    /// By its name or an older one, with an architecture or without.
    Named(String),
}

/// Which platform tags a repaired wheel gets.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Tags {
    /// Those of the policy, of the oldest policy that it deserves, and those that it had and deserves.
    #[default]
    Deserved,
    /// Those of the policy.
    OnlyAsked,
}

/// Why a wheel is not repaired.
#[derive(Debug, thiserror::Error)]
pub enum RepairError {
    /// Its native code cannot be read.
    #[error(transparent)]
    Audit(#[from] AuditError),
    /// What is asked for is no policy.
    #[error("`{0}` is not the tag of a policy")]
    UnknownTag(String),
    /// There are no policies for what the wheel is.
    #[error("the wheel is for {0}, which no policy covers")]
    NoPolicy(String),
    /// What is asked for is of another machine or C library.
    #[error("`{asked}` is asked for, but the wheel is for {found}")]
    OtherPlatform {
        /// The tag that is asked for.
        asked: String,
        /// For what the wheel is.
        found: String,
    },
    /// Something is in the way that no library mends.
    #[error("the wheel cannot be repaired for {tag}: {}", first(blockers))]
    Blocked {
        /// The tag.
        tag: String,
        /// What is in the way.
        blockers: Vec<Blocker>,
    },
    /// A symbolic link, which installers write as a file.
    #[error("`{0}` is a symbolic link, which a wheel cannot hold")]
    Link(String),
    /// A file that is installed where packages are not.
    #[error(
        "`{0}` needs a library that would be installed elsewhere, and no run path leads there for certain"
    )]
    Unreachable(String),
    /// Native code in `.data/purelib`.
    #[error("`{0}` is native code and is sent to purelib, where it does not belong")]
    Purelib(String),
    /// A file has the name that a new one would have.
    #[error("`{0}` is there already, and would have to be written")]
    Occupied(String),
    /// A library that is not what it was.
    #[error("{0} has changed since it was looked at")]
    Changed(String),
    /// A library cannot be read.
    #[error("failed to read {path}")]
    Library {
        /// Where it is.
        path: String,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// A file cannot be changed.
    #[error("`{path}` cannot be changed")]
    Edit {
        /// The file.
        path: String,
        /// Why not.
        #[source]
        source: EditError,
    },
    /// Its tags are none with the new platform.
    #[error("the wheel cannot have its new tags")]
    Tags(#[from] hwb_wheel::tags::TagError),
    /// A path that no wheel can have.
    #[error("`{path}` cannot be a file of the wheel")]
    Path {
        /// The path.
        path: String,
        /// Why not.
        #[source]
        source: hwb_ident::path::ParseArchivePathError,
    },
    /// A member does not unpack.
    #[error("a file of the wheel does not unpack")]
    Unpack(#[from] hwb_archive::zip::ZipError),
}

/// What is in the way first, and how much more there is.
fn first(blockers: &[Blocker]) -> String {
    let Some((Blocker { file, obstacle, .. }, more)) = blockers.split_first() else { return String::new() };
    let what = match obstacle {
        Obstacle::Version(needed) => format!("{} of {}", needed.version, needed.library),
        Obstacle::Library(library) => format!("`{library}`, of which no file was found that can be loaded"),
        Obstacle::PrivateSymbol { library, symbol } => format!("the private symbol {symbol} of {library}"),
        Obstacle::LibPython(library) => library.clone(),
        Obstacle::Isa(level) => format!("a processor of level {level:?}"),
        Obstacle::PythonSymbol(symbol) => symbol.clone(),
    };
    let more = match more.len() {
        0 => String::new(),
        more => format!(" (and {more} more)"),
    };
    let text = format!("`{file}` needs {what}{more}");
    // Names of foreign files may have line breaks.
    let shown = |letter: char| {
        if letter.is_control() { letter.escape_default().to_string() } else { letter.to_string() }
    };
    text.chars().map(shown).collect()
}
