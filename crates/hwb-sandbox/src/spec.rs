//! What a session may see and what a command is, as plain values.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;

use hwb_ident::{GuestPath, HostPath};
use serde::{Deserialize, Serialize};

/// Whether the guest may write through a mount, and what becomes of what it writes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Access {
    /// The guest may only read, root or not.
    ReadOnly,
    /// The guest may read and write.
    ReadWrite,
    /// The guest may read and write, and the host's directory stays as it is: what a command writes is kept in memory
    /// and ends with it.
    ///
    /// For directories only. What is mounted below the directory on the host is not seen. The host must not change the
    /// directory while the command runs: which of two states the guest then sees is not defined.
    Layered,
    /// As [`Layered`](Self::Layered), but what is written is kept on disk, and the next command with the same mount finds
    /// it there: for directories whose guests write much.
    Overlaid {
        /// A directory of the host for this mount alone, on a file system with extended attributes. Its directory
        /// [`UPPER`] holds what differs; what the host puts there before the first command is seen too.
        changes: HostPath,
    },
}

/// The directory of [`Access::Overlaid`] that holds what differs.
pub const UPPER: &str = "upper";

/// One directory or file of the host, seen by the guest at a path of its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount {
    /// Where the files are on the host; absolute.
    pub host: HostPath,
    /// Where the guest sees them; absolute.
    pub guest: GuestPath,
    /// What the guest may do there.
    pub access: Access,
}

/// Network policy of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Network {
    /// A loopback that reaches nobody else, and nothing more.
    Denied,
    /// A network of its own that reaches what the host reaches, through a helper of the host such as `pasta`; not what
    /// listens on the host's loopback.
    Isolated,
    /// The host's network.
    Host,
}

/// Everything a session needs before its first command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionSpec {
    /// Mounts, in mount order; a later one may lie below an earlier one. The guest may see a directory where the host
    /// has it.
    pub mounts: Vec<Mount>,
    /// Network policy.
    pub network: Network,
}

/// Whether a command answers on a descriptor of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Control {
    /// It has standard input, output and error only.
    None,
    /// Its descriptor 3 is the writing end of a pipe for answers of one line each, see
    /// [`Running::answer`](crate::Running::answer).
    Pipe,
}

/// One command.
#[derive(Clone, PartialEq, Eq)]
pub struct ExecSpec {
    /// Program and arguments. A program without a slash is looked for in the `PATH` of [`env`](Self::env).
    pub argv: Vec<OsString>,
    /// Working directory; absolute.
    pub cwd: GuestPath,
    /// The complete environment: nothing is inherited.
    pub env: BTreeMap<OsString, OsString>,
    /// Whether it answers on descriptor 3.
    pub control: Control,
}

/// Names the variables without their values: one of them may be a secret.
impl fmt::Debug for ExecSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ExecSpec")
            .field("argv", &self.argv)
            .field("cwd", &self.cwd)
            .field("env", &self.env.keys())
            .field("control", &self.control)
            .finish()
    }
}
