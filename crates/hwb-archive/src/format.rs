//! Which kind of archive some bytes are.

use std::fmt;

use crate::tar::header;

/// How the bytes of a tar archive are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Compression {
    /// Not at all.
    None,
    /// RFC 1952, one or more members.
    Gzip,
    /// The .xz format, one or more streams.
    Xz,
    /// RFC 8878.
    Zstd,
    /// bzip2, one or more streams.
    Bzip2,
}

/// A kind of archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Format {
    /// A zip archive.
    Zip,
    /// A tar archive.
    Tar(Compression),
}

impl Format {
    /// How many leading bytes [`Format::detect`] looks at.
    pub const HEAD: usize = 512;

    /// Tells the format from the first bytes, never from a name; `None` if they start no archive that is read here.
    ///
    /// `head` holds [`Format::HEAD`] bytes, or all there are. A compressed stream is taken to hold a tar archive.
    pub fn detect(head: &[u8]) -> Option<Self> {
        const MAGIC: [(&[u8], Format); 6] = [
            (b"PK\x03\x04", Format::Zip),
            (b"PK\x05\x06", Format::Zip),
            (b"\x1f\x8b", Format::Tar(Compression::Gzip)),
            (b"\xfd7zXZ\0", Format::Tar(Compression::Xz)),
            (b"\x28\xb5\x2f\xfd", Format::Tar(Compression::Zstd)),
            (b"BZh", Format::Tar(Compression::Bzip2)),
        ];
        MAGIC
            .iter()
            .find_map(|(magic, format)| head.starts_with(magic).then_some(*format))
            .or_else(|| header::is_header(head).then_some(Self::Tar(Compression::None)))
    }
}

impl fmt::Display for Compression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "uncompressed",
            Self::Gzip => "gzip",
            Self::Xz => "xz",
            Self::Zstd => "zstd",
            Self::Bzip2 => "bzip2",
        })
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Zip => "zip",
            Self::Tar(Compression::None) => "tar",
            Self::Tar(Compression::Gzip) => "tar.gz",
            Self::Tar(Compression::Xz) => "tar.xz",
            Self::Tar(Compression::Zstd) => "tar.zst",
            Self::Tar(Compression::Bzip2) => "tar.bz2",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn goes_by_the_bytes() {
        let tar = {
            let mut header = ::tar::Header::new_old();
            header.set_path("a").unwrap();
            header.set_size(0);
            header.set_cksum();
            header.as_bytes().to_vec()
        };
        for (head, expect) in [
            (&b"PK\x03\x04rest"[..], Some("zip")),
            (b"\x1f\x8b\x08", Some("tar.gz")),
            (b"\xfd7zXZ\0\0", Some("tar.xz")),
            (b"\x28\xb5\x2f\xfd ", Some("tar.zst")),
            (b"BZh91AY", Some("tar.bz2")),
            (&tar, Some("tar")),
            (b"", None),
            (b"<!doctype html>", None),
            (&[0; 512], None),
            (&[b'a'; 512], None),
        ] {
            assert_eq!(Format::detect(head).map(|format| format.to_string()).as_deref(), expect);
        }
    }
}
