//! Making a blob of a layer.

use std::io::{self, Write};

use hwb_archive::{Codec, Compressor};
use hwb_ident::{Digest, Hasher};

use crate::descriptor::Descriptor;
use crate::media::{Dialect, LayerCompression, MediaType};

/// Takes the tar archive of a layer, compresses it on several threads, and names it on the way.
///
/// The bytes follow from the archive and the codec, and from nothing else.
#[derive(Debug)]
pub struct LayerWriter<W: Write> {
    compression: LayerCompression,
    diff_id: Hasher,
    unpacked: u64,
    out: Compressor<Measured<W>>,
}

/// What a layer is called, and how large it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LayerBlob {
    /// The digest of the tar archive.
    pub diff_id: Digest,
    /// The digest of the blob.
    pub digest: Digest,
    /// Bytes of the blob.
    pub size: u64,
    /// Bytes of the tar archive.
    pub unpacked: u64,
    /// What lies between both.
    pub compression: LayerCompression,
}

#[derive(Debug)]
struct Measured<W> {
    out: W,
    digest: Option<Hasher>,
    size: u64,
}

impl LayerBlob {
    /// How a manifest names it.
    pub const fn descriptor(&self, dialect: Dialect) -> Descriptor {
        Descriptor::new(MediaType::Layer(dialect, self.compression), self.digest, self.size)
    }
}

impl<W: Write> LayerWriter<W> {
    /// Starts a blob that up to `threads` threads compress.
    pub fn new(out: W, codec: Codec, threads: usize) -> Self {
        let compression = codec.into();
        // The same bytes have the same digest: once is enough.
        let digest = (compression != LayerCompression::None).then(Hasher::new);
        let out = Compressor::new(Measured { out, digest, size: 0 }, codec, threads);
        Self { compression, diff_id: Hasher::new(), unpacked: 0, out }
    }

    /// Ends the blob.
    ///
    /// # Errors
    ///
    /// If the output fails.
    pub fn finish(self) -> io::Result<(W, LayerBlob)> {
        let Self { compression, diff_id, unpacked, out } = self;
        let Measured { out, digest, size } = out.finish()?;
        let diff_id = diff_id.finish();
        let digest = digest.map_or(diff_id, Hasher::finish);
        Ok((out, LayerBlob { diff_id, digest, size, unpacked, compression }))
    }
}

impl From<Codec> for LayerCompression {
    fn from(codec: Codec) -> Self {
        match codec {
            Codec::None => Self::None,
            Codec::Gzip(_) => Self::Gzip,
            Codec::Zstd(_) => Self::Zstd,
        }
    }
}

impl<W: Write> Write for LayerWriter<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.out.write(bytes)?;
        self.diff_id.update(&bytes[..count]);
        self.unpacked += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

impl<W: Write> Write for Measured<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.out.write(bytes)?;
        if let Some(digest) = &mut self.digest {
            digest.update(&bytes[..count]);
        }
        self.size += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}
