//! The layers of images on disk: unpacked into directories that overlayfs can stack, and taken from them again.
//!
//! In reading order:
//!
//! - [`path`]: where something is in a layer.
//! - [`attributes`]: mode, owner, time and extended attributes, and how overlayfs marks what a layer hides.
//! - [`ledger`]: what a layer says and a file system cannot be made to: owners that are not at hand, devices.
//! - [`unpack`](mod@unpack): a layer out of its tar archive, in the form of an overlay.
//! - [`diff`](mod@diff): what a run changed, as a layer.
//! - [`read`]: a file of an image, without a container.
//! - [`work`]: all of this done by another process, inside a user namespace.
//! - [`snapshots`]: chains of layers, unpacked once under their chain id.
//!
//! A layer comes from strangers, and is unpacked by root. So every name is reached from an opened directory, part by
//! part, never through a link that the layer could have made; a link is a text that is stored. What is unpacked lies
//! below a directory that nobody else may enter, as programs in it may be setuid.

#![forbid(unsafe_code)]

pub mod attributes;
pub mod diff;
pub mod ledger;
pub mod path;
pub mod read;
pub mod snapshots;
pub mod unpack;
pub mod work;

mod lowers;
mod tree;

pub use self::attributes::{Marks, Owner, Owners};
pub use self::diff::{Diff, DiffError, Diffed, Upper, diff};
pub use self::ledger::Ledger;
pub use self::path::LayerPath;
pub use self::read::{ReadFileError, read_file};
pub use self::snapshots::{Chain, ChainError, Form, Here, Snapshot, Snapshots, Worker};
pub use self::unpack::{Unpack, UnpackError, Unpacked, flatten, unpack};
