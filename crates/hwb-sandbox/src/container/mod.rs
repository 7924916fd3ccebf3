//! The strategies that run a command in a root of its own, made of the layers of a container image.
//!
//! A command that is not trusted meets several walls, and each is there for when another one has a hole:
//!
//! - *Namespaces*: it sees no process, mount, host name, message queue or, if wanted, network but its own. As an ordinary
//!   user also ids: root of the container is nobody outside.
//! - *The root*: after `pivot_root` the host's file system is not there any more, under no path. Mount points are looked
//!   up only then, so that no link of an image can lead one out. Devices on the root do not open; `/dev` has six.
//! - *`/proc` and `/sys`*: what is not divided by namespaces is covered or read-only.
//! - *Capabilities and `no_new_privs`*: fourteen capabilities, and no program that gives more.
//! - *The filter of system calls*, see `seccomp`: Docker's default profile.
//! - *The holder*: what starts the command has no environment, passes no descriptor on, cannot be looked into
//!   (`PR_SET_DUMPABLE`), and as root runs from a read-only view of its binary.
//! - *The end*: process 1 of the container is ours. With it, everything in the container ends; and it ends with hwb.
//!
//! Everything is made in the same order for every command, and what the kernel refuses is an error: no wall is left out.
//!
//! [`Holder`] is the process in which the ids are; it starts each command, and [works](Holder::work) of the caller's own
//! on files whose owners only it can name. [`Container`] is the strategy for one root.

mod attend;
mod capability;
mod emulator;
mod group;
mod holder;
mod ids;
mod keeper;
pub(crate) mod network;
mod spec;
mod strategy;
pub(crate) mod wire;

pub use self::attend::Console;
pub use self::capability::{Capabilities, Capability, ParseCapabilityError};
pub use self::emulator::{ElfMachine, ElfOrder, ElfWidth, Emulator};
pub use self::group::{LimitsError, can_limit};
pub use self::holder::{Holder, WorkProcess};
pub use self::ids::{IdRange, Ids, IdsAnswer, IdsError, Person, available, candidates};
pub use self::network::{
    FORWARDING_RESOLVER, IsolatedNetwork, NetworkProgram, NetworkProgramKind, probe_tap_device,
};
pub use self::spec::{
    ContainerSpec, Limits, LostOwners, MissingCwd, OWNER_ATTRIBUTE, OldSockets, ParseResourceError, Place,
    ProcessLimit, Resource, Root, RootAccess, User,
};
pub use self::strategy::{Container, ContainerCommand, ContainerProcess, ContainerSession, Streams};
