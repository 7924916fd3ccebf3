//! What a container is, as plain values.

use hwb_ident::{GuestPath, HostPath};
use serde::{Deserialize, Serialize};

use super::capability::Capabilities;
use super::emulator::Emulator;
use crate::spec::Mount;

/// A container before its first command; [`SessionSpec`](crate::SessionSpec) has the rest, which other strategies know
/// too.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerSpec {
    /// Where its files come from.
    pub root: Root,
    /// Whether the guest may write to the root outside of [`places`](Self::places).
    pub root_access: RootAccess,
    /// What stands over the root, in this order; the session's own mounts come after it.
    pub places: Vec<Place>,
    /// Its name.
    pub hostname: String,
    /// What root may do in it; [`Capabilities::usual`] for its network.
    pub capabilities: Capabilities,
    /// What all its processes together may use.
    pub limits: Limits,
    /// What each of its processes may use.
    pub process_limits: Vec<ProcessLimit>,
    /// How much fits into `/dev/shm`, in bytes.
    pub shared_memory: u64,
    /// What runs programs of another machine, registered for the containers of the holder alone; not with
    /// [`Ids::Same`](super::Ids::Same), which has the machine's register only. `None` for whatever the machine runs.
    pub emulator: Option<Emulator>,
    /// What becomes of owners that cannot be had, with [`Ids::Single`](super::Ids::Single).
    pub lost_owners: LostOwners,
    /// What becomes of sockets that 32-bit programs want by the old call.
    pub old_sockets: OldSockets,
}

/// What `socketcall` does, the only way to a socket that an old C library of 32-bit x86 knows. Which family it asks for
/// lies behind a pointer, where the filter of calls cannot look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum OldSockets {
    /// It makes none.
    Refused,
    /// It makes them, of every family: for images of such programs.
    Made,
}

/// What becomes of the owner that a command gives a file where there is one id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum LostOwners {
    /// It is forgotten.
    Forgotten,
    /// It is written to the attribute [`OWNER_ATTRIBUTE`] of the file or directory, for whoever makes a layer of it.
    /// Links and special files have no such attributes; theirs are forgotten.
    Recorded,
}

/// The extended attribute that holds an owner that could not be had, as `user:group` in decimal.
pub const OWNER_ATTRIBUTE: &str = "user.hwb.owner";

/// Where the files of a container come from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Root {
    /// Layers of an image; what is written is kept apart from them.
    Layers {
        /// The layers in the form of overlayfs, the topmost first; at most [`Root::MOST_LAYERS`].
        lowers: Vec<HostPath>,
        /// A directory for this container alone, on a file system that an overlay can write to. Its directory
        /// [`UPPER`](crate::UPPER) holds what differs.
        changes: HostPath,
    },
    /// A directory that holds everything and is written to; for machines without overlays.
    Directory(HostPath),
}

impl Root {
    /// The kernel stacks no more.
    pub const MOST_LAYERS: usize = 500;
}

/// Whether the guest may write to its root.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum RootAccess {
    /// It may not, root or not.
    ReadOnly,
    /// It may.
    ReadWrite,
}

/// Something that stands over the root of a container.
///
/// A missing directory or file to stand on is made in the root, and [reported](super::ContainerProcess::made).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Place {
    /// A directory or file of the host, to read or to write.
    Host(Mount),
    /// A file system in memory, which ends with the command.
    Memory {
        /// Where.
        guest: GuestPath,
        /// How much fits, in bytes; `None` for the kernel's own bound.
        size: Option<u64>,
        /// Its mode, such as `0o1777`.
        mode: u32,
    },
    /// A file with these contents, mode 0644; what the guest writes ends with the command.
    File {
        /// Where.
        guest: GuestPath,
        /// What stands in it.
        contents: Vec<u8>,
    },
}

/// What all processes of a container together may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Limits {
    /// Memory in bytes; swap is no way around it.
    pub memory: Option<u64>,
    /// Processors, in thousandths.
    pub cpu_thousandths: Option<u64>,
    /// Processes and threads.
    pub pids: Option<u64>,
}

/// One limit of setrlimit(2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessLimit {
    /// Of what.
    pub resource: Resource,
    /// What is enforced; `None` for no limit.
    pub soft: Option<u64>,
    /// How far it may be raised; `None` for no limit.
    pub hard: Option<u64>,
}

macro_rules! resources {
    ($($(#[$doc:meta])* $variant:ident $text:literal $kernel:ident),* $(,)?) => {
        /// What a process may use.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
        pub enum Resource {
            $($(#[$doc])* $variant,)*
        }

        impl std::str::FromStr for Resource {
            type Err = ParseResourceError;

            /// The name that shells and `--ulimit` use.
            fn from_str(text: &str) -> Result<Self, Self::Err> {
                match text {
                    $($text => Ok(Self::$variant),)*
                    _ => Err(ParseResourceError(text.to_owned())),
                }
            }
        }

        impl Resource {
            pub(crate) fn to_kernel(self) -> rustix::process::Resource {
                match self {
                    $(Self::$variant => rustix::process::Resource::$kernel,)*
                }
            }
        }
    };
}

resources! {
    /// Size of a core file.
    Core "core" Core,
    /// Processor time in seconds.
    Cpu "cpu" Cpu,
    /// Size of the data segment.
    Data "data" Data,
    /// Size of a file.
    FileSize "fsize" Fsize,
    /// Locks.
    Locks "locks" Locks,
    /// Memory that is held in place.
    LockedMemory "memlock" Memlock,
    /// Bytes in message queues.
    MessageQueues "msgqueue" Msgqueue,
    /// How nice it must be.
    Nice "nice" Nice,
    /// Open descriptors.
    OpenFiles "nofile" Nofile,
    /// Processes of the user.
    Processes "nproc" Nproc,
    /// Resident memory.
    ResidentMemory "rss" Rss,
    /// Real-time priority.
    RealTimePriority "rtprio" Rtprio,
    /// Real-time processor time in microseconds.
    RealTime "rttime" Rttime,
    /// Signals on their way.
    PendingSignals "sigpending" Sigpending,
    /// Size of the stack.
    Stack "stack" Stack,
    /// Address space.
    AddressSpace "as" As,
}

/// No limit has this name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no resource of a process")]
pub struct ParseResourceError(String);

/// Who a command is.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct User {
    /// Its user id.
    pub uid: u32,
    /// Its group id.
    pub gid: u32,
    /// The other groups it belongs to.
    pub groups: Vec<u32>,
}

impl User {
    /// Root of the container.
    pub const ROOT: Self = Self { uid: 0, gid: 0, groups: Vec::new() };
}

/// What happens if the working directory of a command is not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum MissingCwd {
    /// The command is not started.
    Refuse,
    /// It is made, as root's.
    Make,
}
