//! Where the bytes of an archive are: in memory, or somewhere that they are fetched from as they are needed.

use std::borrow::Cow;
use std::io::{self, BufRead, BufReader, Read};
use std::ops::Range;
use std::{cmp, fmt};

/// Bytes that do not change, and that can be fetched from any place, by several threads at once.
pub trait ReadAt: fmt::Debug + Sync {
    /// How many there are.
    fn length(&self) -> u64;

    /// Fills `buffer` with those that start at `offset`.
    ///
    /// # Errors
    ///
    /// If they cannot be read, or there are not as many.
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()>;
}

/// A stretch of bytes.
#[derive(Debug, Clone, Copy)]
pub enum Source<'a> {
    /// In memory.
    Memory(&'a [u8]),
    /// Somewhere else.
    Place {
        /// Where they are fetched from.
        place: &'a dyn ReadAt,
        /// Where they start there.
        start: u64,
        /// How many they are.
        length: u64,
    },
}

impl<'a> From<&'a [u8]> for Source<'a> {
    fn from(bytes: &'a [u8]) -> Self {
        Self::Memory(bytes)
    }
}

impl<'a> From<&'a Vec<u8>> for Source<'a> {
    fn from(bytes: &'a Vec<u8>) -> Self {
        Self::Memory(bytes)
    }
}

impl<'a> Source<'a> {
    /// All bytes of a place.
    pub fn of(place: &'a dyn ReadAt) -> Self {
        Self::Place { place, start: 0, length: place.length() }
    }

    /// How many bytes there are.
    pub const fn length(self) -> u64 {
        match self {
            Self::Memory(bytes) => bytes.len() as u64,
            Self::Place { length, .. } => length,
        }
    }

    /// All of them, in memory.
    ///
    /// # Errors
    ///
    /// If they cannot be read.
    pub fn bytes(self) -> io::Result<Cow<'a, [u8]>> {
        match self {
            Self::Memory(bytes) => Ok(bytes.into()),
            Self::Place { place, start, length } => {
                let length = usize::try_from(length).map_err(|_| io::ErrorKind::FileTooLarge)?;
                let mut bytes = Vec::new();
                // What says that it is large may be so without having a byte.
                bytes.try_reserve_exact(length).map_err(|_| io::ErrorKind::OutOfMemory)?;
                bytes.resize(length, 0);
                place.read_exact_at(&mut bytes, start)?;
                Ok(bytes.into())
            }
        }
    }

    /// Reads them from the first to the last.
    pub fn reader(self) -> impl BufRead + 'a {
        self.open()
    }

    pub(super) fn open(self) -> SourceReader<'a> {
        /// As much is fetched at once.
        const PIECE: u64 = 1 << 16;
        match self {
            Self::Memory(bytes) => SourceReader::Memory(bytes),
            Self::Place { place, start, length } => {
                let capacity = usize::try_from(length.min(PIECE)).unwrap_or(0);
                let rest = Rest { place, start, length };
                SourceReader::Place(BufReader::with_capacity(capacity, rest))
            }
        }
    }

    /// Some of them; `None` if not all of these are there.
    pub(super) fn slice(self, range: Range<u64>) -> Option<Self> {
        let count = range.end.checked_sub(range.start)?;
        if range.end > self.length() {
            return None;
        }
        Some(match self {
            Self::Memory(bytes) => {
                Self::Memory(&bytes[usize::try_from(range.start).ok()?..usize::try_from(range.end).ok()?])
            }
            Self::Place { place, start, .. } => {
                Self::Place { place, start: start.checked_add(range.start)?, length: count }
            }
        })
    }

    /// The first of them, at most `count`.
    pub(super) fn first(self, count: u64) -> Self {
        self.slice(0..count.min(self.length())).unwrap_or(self)
    }
}

/// Reads a [`Source`].
#[derive(Debug)]
pub(super) enum SourceReader<'a> {
    /// In memory.
    Memory(&'a [u8]),
    /// Somewhere else.
    Place(BufReader<Rest<'a>>),
}

/// What is left to be read of the bytes of a place.
#[derive(Debug)]
pub(super) struct Rest<'a> {
    place: &'a dyn ReadAt,
    start: u64,
    length: u64,
}

impl Read for Rest<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = cmp::min(usize::try_from(self.length).unwrap_or(usize::MAX), buffer.len());
        self.place.read_exact_at(&mut buffer[..count], self.start)?;
        self.start += count as u64;
        self.length -= count as u64;
        Ok(count)
    }
}

impl Read for SourceReader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Memory(rest) => rest.read(buffer),
            Self::Place(rest) => rest.read(buffer),
        }
    }
}

impl BufRead for SourceReader<'_> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        match self {
            Self::Memory(rest) => rest.fill_buf(),
            Self::Place(rest) => rest.fill_buf(),
        }
    }

    fn consume(&mut self, count: usize) {
        match self {
            Self::Memory(rest) => rest.consume(count),
            Self::Place(rest) => rest.consume(count),
        }
    }
}
