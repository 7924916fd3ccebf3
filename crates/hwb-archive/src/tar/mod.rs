//! Tar archives: read as they are found in the wild (V7, ustar, GNU, pax), written in one canonical way.

pub(crate) mod header;
pub(crate) mod read;
mod write;

pub use self::read::TarError;
pub use self::write::{WriteError, Writer};
