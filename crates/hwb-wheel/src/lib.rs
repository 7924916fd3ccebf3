//! Wheels and source distributions: read with distrust, checked, written canonically. No disk and no clock.
//!
//! In reading order:
//!
//! - [`metadata`]: `METADATA` and `PKG-INFO`, the core metadata.
//! - [`wheel_file`]: `WHEEL`; [`tags`]: what it and the file name say the wheel runs on.
//! - [`record`]: `RECORD`; [`entry_points`]: `entry_points.txt`.
//! - [`elf`] and [`native`]: native code, told by its first bytes.
//! - [`wheel`]: a wheel, opened; [`check`](mod@check): whether it keeps the rules;
//!   [`canonical`](mod@canonical): the same wheel, every byte of it determined.
//! - [`sdist`]: the same three for source distributions.

#![forbid(unsafe_code)]

pub mod canonical;
pub mod check;
pub mod elf;
pub mod entry_points;
pub mod metadata;
pub mod native;
pub mod record;
pub mod sdist;
pub mod tags;
pub mod wheel;
pub mod wheel_file;

mod base64;
#[cfg(test)]
mod forge;
mod headers;

pub use self::canonical::{Part, WriteError, assemble, canonical};
pub use self::check::{CheckError, Expect, Report, Warning, check};
pub use self::entry_points::EntryPoints;
pub use self::metadata::Metadata;
pub use self::record::Record;
pub use self::sdist::Sdist;
pub use self::tags::TagSet;
pub use self::wheel::{Wheel, WheelError};
pub use self::wheel_file::WheelFile;
