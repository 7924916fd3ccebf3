//! Which system calls a command in a container may make: Docker's default profile, as a program for the kernel.
//!
//! The kernel is a surface: most of the ways out of a container began with a call that no build needs. The profile
//! allows what programs use and answers the rest with `EPERM`, whatever capabilities would say. Four answers differ:
//!
//! - a call newer than the table does not exist (`ENOSYS`), so that a C library falls back to the older one;
//! - so does `clone3`, whose flags a filter cannot see; `clone` may make no namespaces;
//! - nor does the part of `socketcall` that makes a socket, whose family a filter cannot see: a 64-bit program could make
//!   this 32-bit call too, and pass by what is said of `socket`. [`OldSockets::Made`] has it, for 32-bit programs;
//! - with [`Owners::Forged`] and [`Owners::Recorded`], calls that change owners succeed and do nothing.
//!
//! Arguments are compared as the kernel will see them, in 32 bits: a family of sockets does not become another one by
//! what stands above them.
//!
//! Programs of the machine's 32-bit sister run as well, under a table of their own. Other calling conventions (x32) and
//! machines without a table are refused.

mod program;
mod table;

pub(crate) use self::program::{Instruction, program};
pub(crate) use self::table::Architecture;

use crate::container::{Capabilities, OldSockets};

/// What happens to calls that give a file or the process to somebody else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Owners {
    /// The kernel decides.
    Real,
    /// They do nothing, and say that they did it: there is one id only.
    Forged,
    /// The same, and of files it is asked what to answer.
    Recorded,
}

/// What decides about calls beside the profile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Policy {
    /// Some calls are allowed to those who have a capability.
    pub(crate) capabilities: Capabilities,
    pub(crate) owners: Owners,
    pub(crate) old_sockets: OldSockets,
}

/// What is answered to a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    /// It is made.
    Allow,
    /// It is not made, and the caller is told this number; 0 for success.
    Errno(u16),
    /// Whoever listens answers.
    Ask,
    /// Made if it makes no namespaces.
    Clone,
    /// Made for the personalities that are harmless.
    Personality,
    /// Made but for the families that reach past namespaces.
    Socket,
    /// Made for sockets that are there already, and for pairs, which none of these families has.
    SocketCall,
}
