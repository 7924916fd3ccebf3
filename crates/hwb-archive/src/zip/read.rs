//! Members and their contents.

use std::io::{self, BufRead as _, Read as _};

use crate::limits::Limits;
use crate::zip::parse::{self, ZipError};
use crate::zip::source::{Source, SourceReader};
use crate::zip::{Member, Method};

/// A zip archive whose structure has been found sound: the two headers of each member agree, no two share bytes,
/// no byte belongs to nothing, no path is there twice or lies below a file or a link.
#[derive(Debug)]
pub struct Archive<'a> {
    source: Source<'a>,
    members: Vec<Member>,
}

impl<'a> Archive<'a> {
    /// Reads the structure of an archive; contents are checked when they are read.
    ///
    /// # Errors
    ///
    /// The first fault that is found.
    pub fn parse(source: impl Into<Source<'a>>, limits: &Limits) -> Result<Self, ZipError> {
        let source = source.into();
        Ok(Self { source, members: parse::members(source, limits)? })
    }

    /// All members, in the order of the central directory.
    pub fn members(&self) -> &[Member] {
        &self.members
    }

    /// The packed bytes of one of this archive's members; none, of a member of another.
    pub fn raw(&self, member: &Member) -> Source<'a> {
        let end = member.data.saturating_add(member.compressed_size);
        self.source.slice(member.data..end).unwrap_or(Source::Memory(&[]))
    }

    /// Unpacks the contents of a member.
    ///
    /// # Errors
    ///
    /// If they do not unpack, or are not of the size and checksum that the header says.
    pub fn read(&self, member: &Member) -> Result<Vec<u8>, ZipError> {
        // No method gets more than this out of so few bytes but by a lie about the size, or zstd's runs.
        let likely = member.compressed_size.saturating_mul(1_040).saturating_add(64).min(member.size);
        let mut unpacked = Vec::with_capacity(usize::try_from(likely).unwrap_or(0));
        let mut contents = self.contents(member)?;
        loop {
            let start = unpacked.len();
            unpacked
                .resize(start.saturating_add(1 << 18).min(usize::try_from(member.size).unwrap_or(start)), 0);
            let count = contents.fill(&mut unpacked[start..])?;
            unpacked.truncate(start + count);
            if count == 0 {
                return Ok(unpacked);
            }
        }
    }

    /// Unpacks the contents of a member, and hands them to `take` piece by piece. They are right only if this is.
    ///
    /// # Errors
    ///
    /// As [`Archive::read`].
    pub fn pieces(&self, member: &Member, mut take: impl FnMut(&[u8])) -> Result<(), ZipError> {
        /// As much is in memory at once.
        const PIECE: u64 = 1 << 16;
        let mut piece = vec![0; usize::try_from(member.size.clamp(1, PIECE)).unwrap_or(1)];
        let mut contents = self.contents(member)?;
        loop {
            match contents.fill(&mut piece)? {
                0 => return Ok(()),
                count => take(&piece[..count]),
            }
        }
    }

    /// Unpacks the first bytes of a member, as many as there are and `start` has room for, and says how many. What
    /// follows is not looked at.
    ///
    /// # Errors
    ///
    /// If they do not unpack.
    pub fn start(&self, member: &Member, start: &mut [u8]) -> Result<usize, ZipError> {
        let mut contents = self.contents(member)?;
        let mut filled = 0;
        while filled < start.len() {
            match contents.fill(&mut start[filled..])? {
                0 => break,
                count => filled += count,
            }
        }
        Ok(filled)
    }

    /// Starts to unpack the contents of a member.
    ///
    /// # Errors
    ///
    /// If no decoder is to be had.
    pub(crate) fn contents<'m>(&self, member: &'m Member) -> Result<Contents<'m>, ZipError>
    where
        'a: 'm,
    {
        let raw = self.raw(member).open();
        let decoder = match member.method {
            Method::Stored => Decoder::Stored(raw),
            Method::Deflate => Decoder::Deflate(flate2::bufread::DeflateDecoder::new(raw)),
            Method::Bzip2 => Decoder::Bzip2(bzip2::bufread::BzDecoder::new(raw)),
            Method::Zstd => Decoder::Zstd(Box::new(
                zstd::stream::read::Decoder::with_buffer(raw)
                    .map_err(|source| unpack_error(member, source))?,
            )),
        };
        Ok(Contents { member, decoder, crc: flate2::Crc::new(), left: member.size })
    }
}

/// The contents of a member as they unpack; complete only when [`Contents::fill`] has given 0.
pub(crate) struct Contents<'a> {
    member: &'a Member,
    decoder: Decoder<'a>,
    crc: flate2::Crc,
    left: u64,
}

enum Decoder<'a> {
    Stored(SourceReader<'a>),
    Deflate(flate2::bufread::DeflateDecoder<SourceReader<'a>>),
    Bzip2(bzip2::bufread::BzDecoder<SourceReader<'a>>),
    Zstd(Box<zstd::stream::read::Decoder<'a, SourceReader<'a>>>),
}

impl Decoder<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Stored(rest) => rest.read(buffer),
            Self::Deflate(decoder) => decoder.read(buffer),
            Self::Bzip2(decoder) => decoder.read(buffer),
            Self::Zstd(decoder) => decoder.read(buffer),
        }
    }

    /// Tells whether all packed bytes were used.
    fn is_used_up(&mut self) -> io::Result<bool> {
        let rest = match self {
            Self::Stored(rest) => rest,
            Self::Deflate(decoder) => decoder.get_mut(),
            Self::Bzip2(decoder) => decoder.get_mut(),
            Self::Zstd(decoder) => decoder.get_mut(),
        };
        Ok(rest.fill_buf()?.is_empty())
    }
}

fn unpack_error(member: &Member, source: io::Error) -> ZipError {
    ZipError::Unpack { path: member.path.clone(), method: member.method, source }
}

impl Contents<'_> {
    /// Unpacks some bytes; 0 once everything was read and is right.
    pub(crate) fn fill(&mut self, buffer: &mut [u8]) -> Result<usize, ZipError> {
        let wanted = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        if self.left > 0 && wanted == 0 {
            return Ok(0);
        }
        let fault = |source| unpack_error(self.member, source);
        let wrong_size = || ZipError::Size { path: self.member.path.clone(), size: self.member.size };
        if self.left > 0 {
            let count = self.decoder.read(&mut buffer[..wanted]).map_err(fault)?;
            if count == 0 {
                return Err(wrong_size());
            }
            self.crc.update(&buffer[..count]);
            self.left -= count as u64;
            return Ok(count);
        }
        if self.decoder.read(&mut [0]).map_err(fault)? > 0 || !self.decoder.is_used_up().map_err(fault)? {
            return Err(wrong_size());
        }
        let (expected, found) = (self.member.crc32, self.crc.sum());
        if found != expected {
            return Err(ZipError::Checksum { path: self.member.path.clone(), expected, found });
        }
        Ok(0)
    }
}

#[cfg(test)]
mod tests {
    use hwb_ident::Timestamp;

    use super::*;
    use crate::member::Executable;
    use crate::zip::Writer;

    #[test]
    fn starts_of_members() {
        let long = "start and the rest ".repeat(9_000);
        let mut writer = Writer::new(Vec::new(), Timestamp::ZIP_EPOCH);
        for (path, contents) in [("empty", ""), ("long", long.as_str()), ("short", "sta")] {
            writer.deflate(&path.parse().unwrap(), Executable::No, contents.as_bytes()).unwrap();
        }
        let bytes = writer.finish().unwrap();
        let archive = Archive::parse(&bytes, &Limits::default()).unwrap();
        let starts = archive.members().iter().map(|member| {
            let mut start = [0; 5];
            let count = archive.start(member, &mut start).unwrap();
            String::from_utf8(start[..count].to_vec()).unwrap()
        });
        assert_eq!(starts.collect::<Vec<_>>(), ["", "start", "sta"]);
    }
}
