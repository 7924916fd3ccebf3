//! Writing a zip archive of which every byte follows from its members.

use std::io::{self, BufRead as _, Write};

use hwb_ident::{ArchivePath, Timestamp};
use libdeflater::{CompressionLvl, Compressor};

use crate::member::Executable;
use crate::zip::source::Source;
use crate::zip::{Method, crc, wire};

/// Writes a canonical zip archive: files only, Unix modes 0644 and 0755, one time, no comment, no extra fields but
/// zip64 where a number needs it. Nothing is gone back to, so any output will do.
///
/// Members are written in the order in which they come: sort them, and write none twice.
#[derive(Debug)]
pub struct Writer<W: Write> {
    out: W,
    time: u16,
    date: u16,
    offset: u64,
    central: Vec<u8>,
    entries: u64,
}

/// Why a member was not written.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The output does not take it.
    #[error("cannot write member `{0}`")]
    Write(ArchivePath, #[source] io::Error),
    /// Its packed bytes are not to be had.
    #[error("cannot read the packed bytes of member `{0}`")]
    Read(ArchivePath, #[source] io::Error),
    /// A zip archive cannot hold a name as long as this.
    #[error("member `{0}` has a name that is too long for a zip archive")]
    Name(ArchivePath),
    /// The end of the archive cannot be written.
    #[error("cannot finish the archive")]
    Finish(#[source] io::Error),
}

/// The contents of a member, packed already.
#[derive(Debug, Clone)]
pub struct Packed<'a> {
    /// How they are packed.
    pub method: Method,
    /// The CRC-32 of the contents.
    pub crc32: u32,
    /// Bytes unpacked.
    pub size: u64,
    /// The packed bytes.
    pub raw: Raw<'a>,
}

/// The packed bytes of a member.
#[derive(Debug, Clone)]
pub enum Raw<'a> {
    /// Packed here.
    Own(Vec<u8>),
    /// Where they have been all along; they are read when they are written.
    Kept(Source<'a>),
}

impl Raw<'_> {
    /// How many there are.
    pub const fn length(&self) -> u64 {
        match self {
            Self::Own(bytes) => bytes.len() as u64,
            Self::Kept(source) => source.length(),
        }
    }

    fn source(&self) -> Source<'_> {
        match self {
            Self::Own(bytes) => bytes.into(),
            Self::Kept(source) => *source,
        }
    }
}

/// How hard deflate tries: 0 – 9, as in zlib.
#[derive(Debug, Clone, Copy)]
pub struct Level(CompressionLvl);

impl Level {
    /// A level; `None` if there is none of that number.
    pub fn new(level: i32) -> Option<Self> {
        // There are three more, of another kind and much slower.
        CompressionLvl::new(level).ok().filter(|_| level <= 9).map(Self)
    }
}

impl Default for Level {
    /// 5, which takes four fifths of the time of 6 for half a hundredth more bytes, and still packs tighter than zlib does
    /// at 6. It is fixed: another level would be other bytes.
    fn default() -> Self {
        Self(CompressionLvl::new(5).unwrap_or_default())
    }
}

impl Packed<'_> {
    /// Packs contents; what does not get smaller is stored.
    pub fn deflate(contents: &[u8], level: Level) -> Self {
        let (crc32, size) = (crc::of(contents), contents.len() as u64);
        let mut compressor = Compressor::new(level.0);
        let mut raw = vec![0; contents.len()];
        match compressor.deflate_compress(contents, &mut raw) {
            Ok(length) if length < contents.len() => {
                raw.truncate(length);
                raw.shrink_to_fit();
                Self { method: Method::Deflate, crc32, size, raw: Raw::Own(raw) }
            }
            // What has no room in as many bytes does not get smaller.
            Ok(_) | Err(_) => {
                raw.copy_from_slice(contents);
                Self { method: Method::Stored, crc32, size, raw: Raw::Own(raw) }
            }
        }
    }
}

impl<W: Write> Writer<W> {
    /// Starts an archive in which every member has this time, as far as a zip archive can hold it: from 1980 to 2107,
    /// in even seconds.
    pub fn new(out: W, time: Timestamp) -> Self {
        let (time, date) = dos_time(time);
        Self { out, time, date, offset: 0, central: Vec::new(), entries: 0 }
    }

    /// Writes a member that is packed already; its packed bytes are taken as they are.
    ///
    /// # Errors
    ///
    /// If its bytes cannot be read, the output fails or the name is too long.
    pub fn raw(
        &mut self,
        path: &ArchivePath,
        executable: Executable,
        packed: &Packed<'_>,
    ) -> Result<(), WriteError> {
        let local = self.headers(path, executable, packed)?;
        let write = |error| WriteError::Write(path.clone(), error);
        self.out.write_all(&local).map_err(write)?;
        let mut raw = packed.raw.source().open();
        loop {
            let piece = raw.fill_buf().map_err(|error| WriteError::Read(path.clone(), error))?;
            if piece.is_empty() {
                break;
            }
            self.out.write_all(piece).map_err(write)?;
            let count = piece.len();
            raw.consume(count);
        }
        self.offset += local.len() as u64 + packed.raw.length();
        self.entries += 1;
        Ok(())
    }

    /// Writes a member as it is.
    ///
    /// # Errors
    ///
    /// If the output fails or the name is too long.
    pub fn store(
        &mut self,
        path: &ArchivePath,
        executable: Executable,
        contents: &[u8],
    ) -> Result<(), WriteError> {
        let (crc32, size) = (crc::of(contents), contents.len() as u64);
        let raw = Raw::Kept(contents.into());
        self.raw(path, executable, &Packed { method: Method::Stored, crc32, size, raw })
    }

    /// Packs a member and writes it; what does not get smaller is stored.
    ///
    /// # Errors
    ///
    /// If the output fails or the name is too long.
    pub fn deflate(
        &mut self,
        path: &ArchivePath,
        executable: Executable,
        contents: &[u8],
    ) -> Result<(), WriteError> {
        self.raw(path, executable, &Packed::deflate(contents, Level::default()))
    }

    /// Writes the central directory and ends the archive.
    ///
    /// # Errors
    ///
    /// If the output fails.
    pub fn finish(mut self) -> Result<W, WriteError> {
        let mut end = std::mem::take(&mut self.central);
        let size = end.len() as u64;
        let short = (short16(self.entries), short32(size), short32(self.offset));
        if short.0 == u16::MAX || short.1 == u32::MAX || short.2 == u32::MAX {
            let record = self.offset + size;
            let mut put = |bytes: &[u8]| end.extend_from_slice(bytes);
            put(&wire::END64.to_le_bytes());
            put(&(wire::END64_LENGTH - 12).to_le_bytes());
            put(&MADE_BY_UNIX_45);
            put(&45_u16.to_le_bytes());
            put(&[0; 8]);
            for number in [self.entries, self.entries, size, self.offset] {
                put(&number.to_le_bytes());
            }
            put(&wire::LOCATOR64.to_le_bytes());
            put(&[0; 4]);
            put(&record.to_le_bytes());
            put(&1_u32.to_le_bytes());
        }
        let mut put = |bytes: &[u8]| end.extend_from_slice(bytes);
        put(&wire::END.to_le_bytes());
        put(&[0; 4]);
        put(&short.0.to_le_bytes());
        put(&short.0.to_le_bytes());
        put(&short.1.to_le_bytes());
        put(&short.2.to_le_bytes());
        put(&[0; 2]);
        self.out.write_all(&end).and_then(|()| self.out.flush()).map_err(WriteError::Finish)?;
        Ok(self.out)
    }

    /// Makes the local header, and appends the central one.
    fn headers(
        &mut self,
        path: &ArchivePath,
        executable: Executable,
        packed: &Packed<'_>,
    ) -> Result<Vec<u8>, WriteError> {
        let name = path.as_str();
        let name_length = u16::try_from(name.len()).map_err(|_| WriteError::Name(path.clone()))?;
        let compressed_size = packed.raw.length();
        let is_large = packed.size >= u64::from(u32::MAX) || compressed_size >= u64::from(u32::MAX);
        let mut extra = Vec::new();
        if is_large {
            // A local header has both or none (APPNOTE 4.5.3), so the central one does too.
            extra.extend_from_slice(&packed.size.to_le_bytes());
            extra.extend_from_slice(&compressed_size.to_le_bytes());
        }
        let sizes =
            if is_large { (u32::MAX, u32::MAX) } else { (short32(compressed_size), short32(packed.size)) };
        let offset = short32(self.offset);
        let is_far = offset == u32::MAX;
        let version: u16 = if is_large || is_far { 45 } else { 20 };
        let flags = if name.is_ascii() { 0 } else { wire::FLAG_UTF8 };
        let mut shared = Vec::new();
        for number in [version, flags, packed.method.number(), self.time, self.date] {
            shared.extend_from_slice(&number.to_le_bytes());
        }
        for number in [packed.crc32, sizes.0, sizes.1] {
            shared.extend_from_slice(&number.to_le_bytes());
        }
        shared.extend_from_slice(&name_length.to_le_bytes());

        let mut local = wire::LOCAL.to_le_bytes().to_vec();
        local.extend_from_slice(&shared);
        let field = zip64_field(&extra);
        local.extend_from_slice(&field_length(&field).to_le_bytes());
        local.extend_from_slice(name.as_bytes());
        local.extend_from_slice(&field);

        if is_far {
            extra.extend_from_slice(&self.offset.to_le_bytes());
        }
        let field = zip64_field(&extra);
        let mode = 0o100_000 | executable.permissions();
        let central = &mut self.central;
        central.extend_from_slice(&wire::CENTRAL.to_le_bytes());
        central.extend_from_slice(if version == 45 { &MADE_BY_UNIX_45 } else { &MADE_BY_UNIX_20 });
        central.extend_from_slice(&shared);
        central.extend_from_slice(&field_length(&field).to_le_bytes());
        // No comment, first disk, no internal attributes.
        central.extend_from_slice(&[0; 6]);
        central.extend_from_slice(&(mode << 16).to_le_bytes());
        central.extend_from_slice(&offset.to_le_bytes());
        central.extend_from_slice(name.as_bytes());
        central.extend_from_slice(&field);
        Ok(local)
    }
}

const MADE_BY_UNIX_20: [u8; 2] = [20, 3];
const MADE_BY_UNIX_45: [u8; 2] = [45, 3];

fn zip64_field(numbers: &[u8]) -> Vec<u8> {
    if numbers.is_empty() {
        return Vec::new();
    }
    let mut field = vec![1, 0];
    field.extend_from_slice(&field_length(numbers).to_le_bytes());
    field.extend_from_slice(numbers);
    field
}

/// The length of at most four numbers and their header.
fn field_length(field: &[u8]) -> u16 {
    u16::try_from(field.len()).unwrap_or(0)
}

fn short16(number: u64) -> u16 {
    u16::try_from(number).unwrap_or(u16::MAX)
}

fn short32(number: u64) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

/// A time and a date as MS-DOS had them.
fn dos_time(time: Timestamp) -> (u16, u16) {
    /// 2107-12-31T23:59:58Z.
    const LAST: Timestamp = Timestamp::from_seconds(4_354_819_198);
    let civil = time.clamp(Timestamp::ZIP_EPOCH, LAST).civil();
    let time = civil.hour << 11 | civil.minute << 5 | civil.second >> 1;
    let date = (civil.year - 1980) << 9 | civil.month << 5 | civil.day;
    (short16(time), short16(date))
}
