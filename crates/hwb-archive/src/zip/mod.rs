//! Zip archives (PKWARE APPNOTE 6.3.10): a reader that believes nothing, and a canonical writer.

mod crc;
mod parse;
mod read;
mod source;
mod wire;
mod write;

use std::fmt;

use hwb_ident::{ArchivePath, Timestamp};

pub use self::parse::ZipError;
pub use self::read::Archive;
pub use self::source::{ReadAt, Source};
pub use self::write::{Level, Packed, Raw, WriteError, Writer};

/// How the contents of a member are packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Method {
    /// Method 0: as they are.
    Stored,
    /// Method 8, RFC 1951.
    Deflate,
    /// Method 12.
    Bzip2,
    /// Method 93, RFC 8878.
    Zstd,
}

/// What a member is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum MemberKind {
    /// A file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link; its contents are its target, not yet looked at.
    Symlink,
}

/// A member, as the central directory and its own header agree on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Where it goes.
    pub path: ArchivePath,
    /// What it is.
    pub kind: MemberKind,
    /// How it is packed.
    pub method: Method,
    /// The CRC-32 that its contents must have.
    pub crc32: u32,
    /// Bytes in the archive.
    pub compressed_size: u64,
    /// Bytes unpacked.
    pub size: u64,
    /// The Unix mode, file type included, where one was recorded.
    pub unix_mode: Option<u32>,
    /// When it was last changed; a DOS time is taken as UTC.
    pub modified: Option<Timestamp>,
    /// Where its packed bytes start.
    data: u64,
}

impl Method {
    const fn from_number(number: u16) -> Option<Self> {
        Some(match number {
            0 => Self::Stored,
            8 => Self::Deflate,
            12 => Self::Bzip2,
            93 => Self::Zstd,
            _ => return None,
        })
    }

    const fn number(self) -> u16 {
        match self {
            Self::Stored => 0,
            Self::Deflate => 8,
            Self::Bzip2 => 12,
            Self::Zstd => 93,
        }
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Stored => "stored",
            Self::Deflate => "deflate",
            Self::Bzip2 => "bzip2",
            Self::Zstd => "zstd",
        })
    }
}
