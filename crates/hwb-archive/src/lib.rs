//! Archives, read with distrust and written canonically: bytes in, bytes out, no disk and no clock.
//!
//! In reading order:
//!
//! - [`limits`]: how much an archive may make of itself.
//! - [`format`](mod@format): which kind of archive some bytes are.
//! - [`member`]: what a member may be called, point at and be.
//! - [`unpack`](mod@unpack): every member of a source archive, handed to a [`Sink`] under the rules of PEP 721.
//! - [`zip`]: random access to a zip archive, and the canonical writer of wheels.
//! - [`tar`]: a reader of every tar archive, and the canonical writers of source distributions and of whole trees.
//! - [`compress`]: compressing on several threads, and [`Decoder`], which takes it back.
//!
//! Nothing here trusts a length, an offset or a name that it has not checked; every fault is one error that says
//! what is wrong with which member.

#![forbid(unsafe_code)]

pub mod compress;
pub mod format;
pub mod limits;
pub mod member;
pub mod tar;
pub mod unpack;
pub mod zip;

mod decoder;
mod decompress;
mod layout;

pub use self::compress::{Codec, Compressor};
pub use self::decoder::Decoder;
pub use self::format::{Compression, Format};
pub use self::layout::LayoutError;
pub use self::limits::Limits;
pub use self::member::{Executable, LinkTarget};
pub use self::unpack::{Sink, UnpackError, Unpacked, unpack};
