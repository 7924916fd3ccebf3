//! Streams that unpack themselves, no further than allowed.

use std::io::{self, BufRead, Read};

use crate::format::Compression;

/// Memory that one xz stream may ask for, in KiB: twice what its highest preset needs.
const XZ_MEMORY_KIB: u32 = 160 << 10;

/// The stream grew beyond what it may.
#[derive(Debug, thiserror::Error)]
#[error("more than {0} bytes come out of it")]
pub(crate) struct Overflow(pub(crate) u64);

/// Opens a compressed stream; it fails with [`Overflow`] after `most` bytes.
pub(crate) fn open<'a, R: BufRead + 'a>(
    input: R,
    compression: Compression,
    most: u64,
) -> io::Result<Box<dyn Read + 'a>> {
    fn capped<'a>(inner: impl Read + 'a, most: u64) -> Box<dyn Read + 'a> {
        Box::new(Capped { inner, left: most, most })
    }
    Ok(match compression {
        Compression::None => capped(input, most),
        Compression::Gzip => capped(Gzip::Inside(Box::new(flate2::bufread::GzDecoder::new(input))), most),
        Compression::Xz => capped(lzma_rust2::XzReader::new_mem_limit(input, true, XZ_MEMORY_KIB), most),
        Compression::Zstd => capped(zstd::stream::read::Decoder::with_buffer(input)?, most),
        Compression::Bzip2 => capped(bzip2::bufread::MultiBzDecoder::new(input), most),
    })
}

struct Capped<R> {
    inner: R,
    left: u64,
    most: u64,
}

impl<R: Read> Read for Capped<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        match self.left.checked_sub(count as u64) {
            Some(left) => self.left = left,
            None => return Err(io::Error::other(Overflow(self.most))),
        }
        Ok(count)
    }
}

/// Gzip members one after the other. What follows the last and is no member is ignored: tape padding, mostly.
enum Gzip<R> {
    Inside(Box<flate2::bufread::GzDecoder<R>>),
    Done,
}

impl<R: BufRead> Read for Gzip<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let Self::Inside(decoder) = self else {
                return Ok(0);
            };
            let count = decoder.read(buffer)?;
            if count > 0 || buffer.is_empty() {
                return Ok(count);
            }
            let Self::Inside(decoder) = std::mem::replace(self, Self::Done) else {
                return Ok(0);
            };
            let mut rest = decoder.into_inner();
            let next = rest.fill_buf()?;
            if next.starts_with(b"\x1f\x8b") || next == b"\x1f" {
                *self = Self::Inside(Box::new(flate2::bufread::GzDecoder::new(rest)));
            }
        }
    }
}
