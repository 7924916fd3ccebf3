//! Layers: what an image changes of the one below it, as a tar archive.
//!
//! - [`LayerTar`] says what a layer changes, in one order.
//! - [`LayerWriter`] makes a blob of it, and its names, in one pass.
//! - [`LayerReader`] takes a blob apart again and holds it against its names.

mod read;
mod tar;
mod write;

pub use self::read::{Expected, LayerError, LayerReader};
pub use self::tar::{LayerTar, LayerTarError, OPAQUE, WHITEOUT};
pub use self::write::{LayerBlob, LayerWriter};
