//! Streams that unpack themselves and give back what they were made of.

use std::fmt;
use std::io::{self, BufRead, Read};

/// Unpacks a stream of one or more gzip members or zstd frames, or passes it through.
///
/// Nothing but further members or frames may follow the first.
pub enum Decoder<R: BufRead> {
    /// Not compressed.
    None(R),
    /// RFC 1952.
    Gzip(Box<flate2::bufread::MultiGzDecoder<R>>),
    /// RFC 8878.
    Zstd(Box<zstd::stream::read::Decoder<'static, R>>),
}

impl<R: BufRead> Decoder<R> {
    /// Opens a gzip stream.
    pub fn gzip(input: R) -> Self {
        Self::Gzip(Box::new(flate2::bufread::MultiGzDecoder::new(input)))
    }

    /// Opens a zstd stream.
    ///
    /// # Errors
    ///
    /// If there is no memory for it.
    pub fn zstd(input: R) -> io::Result<Self> {
        Ok(Self::Zstd(Box::new(zstd::stream::read::Decoder::with_buffer(input)?)))
    }

    /// What it reads from.
    pub fn into_inner(self) -> R {
        match self {
            Self::None(input) => input,
            Self::Gzip(decoder) => decoder.into_inner(),
            Self::Zstd(decoder) => decoder.finish(),
        }
    }
}

impl<R: BufRead> Read for Decoder<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::None(input) => input.read(buffer),
            Self::Gzip(decoder) => decoder.read(buffer),
            Self::Zstd(decoder) => decoder.read(buffer),
        }
    }
}

impl<R: BufRead> fmt::Debug for Decoder<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None(_) => "Decoder::None",
            Self::Gzip(_) => "Decoder::Gzip",
            Self::Zstd(_) => "Decoder::Zstd",
        })
    }
}
