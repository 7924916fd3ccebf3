//! The disk: the only crate that knows where the cache is and how a tree of files is taken, kept and removed.
//!
//! In reading order:
//!
//! - [`fs`]: single operations that stay whole when the process dies.
//! - [`input`]: a large file of a user, read piece by piece.
//! - [`walk`]: a directory, listed in one order on every machine.
//! - [`tree`]: what a tree of files is, as one digest.
//! - [`snapshot`]: the files that a build starts from, taken out of a working tree.
//! - [`mirror`]: a kept copy of a large working tree, brought up to date by what has changed.
//! - [`git`]: the repository around a source, and what it ignores.
//! - [`sink`]: an unpacked archive on disk.
//! - [`store`]: the cache: scratch space, slots, blobs, records, history, and their removal.
//!
//! Every path that comes in is absolute or relative to nothing but itself: no current directory, no environment, no
//! clock. Errors name the path; a walk never follows a link.

pub mod fs;
pub mod git;
pub mod input;
pub mod mirror;
pub mod sink;
pub mod snapshot;
pub mod store;
pub mod tree;
pub mod walk;

mod links;
mod lock;
mod map;
mod os;
mod transfer;

pub use self::fs::FsError;
pub use self::input::InputFile;
pub use self::map::{Mapped, map_file};
pub use self::mirror::{Mirror, MirrorError};
pub use self::sink::{DiskSink, SinkError};
pub use self::store::{Scratch, Slot, Store, StoreError};
pub use self::tree::{TreeError, tree_digest};
pub use self::walk::{Entry, EntryKind, walk_sorted};
