//! Tar archives: read as they are found in the wild (V7, ustar, GNU, pax), written in one canonical way.

pub(crate) mod header;
mod members;
mod node;
mod read;
mod sparse;
mod write;

pub use self::members::Members;
pub use self::node::{Node, NodeKind};
pub use self::read::{Device, Entry, EntryKind, Reader, TarError, Time};
pub use self::sparse::{Piece, Sparse};
pub use self::write::{NodeWriter, WriteError, Writer};
