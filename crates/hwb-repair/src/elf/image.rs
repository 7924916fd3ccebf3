//! An ELF file that is changed: its bytes, and its two tables of headers.

use std::ops::Range;

use hwb_wheel::elf::{Elf as Head, Order};

use super::edit::EditError;
use super::reader::{Reader, Segment};
use super::{ElfError, PT_LOAD};

pub(super) const SHT_NULL: u64 = 0;
pub(super) const SHT_SYMTAB: u64 = 2;
pub(super) const SHT_STRTAB: u64 = 3;
pub(super) const SHT_NOBITS: u64 = 8;
pub(super) const SHT_DYNSYM: u64 = 11;
pub(super) const SHF_ALLOC: u64 = 2;

/// Bytes that a file is likely to grow by, besides a part of what it has.
const ROOM: usize = 1 << 16;
/// More segments than this are in no file.
const MOST_SEGMENTS: usize = 1024;

/// The file.
#[derive(Debug, Clone)]
pub(super) struct Image {
    pub(super) head: Head,
    pub(super) bytes: Vec<u8>,
    pub(super) segments: Vec<Segment>,
    pub(super) sections: Vec<Section>,
    /// `e_phoff`
    pub(super) segment_table: u64,
    /// `e_shoff`
    pub(super) section_table: u64,
    /// `e_shstrndx`
    pub(super) section_names: u64,
}

/// One entry of the section header table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Section {
    pub(super) name: u64,
    pub(super) kind: u64,
    pub(super) flags: u64,
    pub(super) address: u64,
    pub(super) offset: u64,
    pub(super) size: u64,
    pub(super) link: u64,
    pub(super) info: u64,
    pub(super) alignment: u64,
    pub(super) entry_size: u64,
}

impl Section {
    /// The bytes of the file that it has.
    pub(super) const fn range(&self) -> Range<u64> {
        let size = if self.has_bytes() { self.size } else { 0 };
        self.offset..self.offset.saturating_add(size)
    }

    const fn has_bytes(&self) -> bool {
        self.size > 0 && !matches!(self.kind, SHT_NULL | SHT_NOBITS)
    }

    pub(super) const fn is_loaded(&self) -> bool {
        self.flags & SHF_ALLOC != 0
    }
}

impl Segment {
    /// The bytes of the file that it has.
    pub(super) const fn range(&self) -> Range<u64> {
        self.offset..self.offset.saturating_add(self.file_size)
    }
}

/// Whether the first lies in the second; what is empty lies nowhere.
pub(super) const fn lies_in(inner: &Range<u64>, outer: &Range<u64>) -> bool {
    inner.start < inner.end && outer.start <= inner.start && inner.end <= outer.end
}

/// Whether both have a byte in common.
pub(super) const fn overlap(one: &Range<u64>, other: &Range<u64>) -> bool {
    one.start < one.end && other.start < other.end && one.start < other.end && other.start < one.end
}

impl Image {
    /// Reads a file; everything that its tables name must lie in it.
    pub(super) fn read(mut file: Vec<u8>) -> Result<Self, EditError> {
        let tables = Self::tables(&file)?;
        // Room for what is added, lest the file be in memory twice while it grows.
        file.reserve_exact(file.len() / 4 + ROOM);
        Ok(Self { bytes: file, ..tables })
    }

    /// Reads both tables alone, as [`Image::read`] does, without the bytes.
    pub(super) fn tables(file: &[u8]) -> Result<Self, EditError> {
        let head = Head::parse(file).ok_or(ElfError::NotElf)?;
        let reader = Reader { file, head };
        let segments = reader.segments()?;
        if segments.len() > MOST_SEGMENTS {
            return Err(ElfError::TooMany { what: "program headers", most: MOST_SEGMENTS }.into());
        }
        let field = |wide, narrow| if reader.is_wide() { wide } else { narrow };
        let outside = ElfError::Outside("header");
        let segment_table = reader.word(field(32, 28)).ok_or(outside)?;
        let half =
            |wide, narrow| reader.half(field(wide, narrow)).map(u64::from).ok_or(ElfError::Outside("header"));
        if !segments.is_empty() && half(54, 42)? != segment_size(&reader) {
            return Err(ElfError::Headers.into());
        }
        let mut image = Self {
            head,
            bytes: Vec::new(),
            segments,
            sections: Vec::new(),
            segment_table,
            section_table: reader.word(field(40, 32)).ok_or(ElfError::Outside("header"))?,
            section_names: half(62, 50)?,
        };
        let (size, count) = (half(58, 46)?, half(60, 48)?);
        // A table without entries has their number in its first one, which no linked file needs.
        if image.section_table != 0 && (count == 0 || size != section_size(&reader)) {
            return Err(EditError::Malformed("section header table"));
        }
        if image.section_table != 0 {
            image.sections = read_sections(&reader, image.section_table, count)?;
        }
        image.check(file.len() as u64)?;
        Ok(image)
    }

    fn check(&self, length: u64) -> Result<(), EditError> {
        for segment in &self.segments {
            let end = segment.offset.checked_add(segment.file_size);
            if segment.file_size > 0 && end.is_none_or(|end| end > length) {
                return Err(ElfError::Outside("segment").into());
            }
            let end = segment.address.checked_add(segment.memory_size);
            if segment.kind == PT_LOAD && (end.is_none() || segment.memory_size < segment.file_size) {
                return Err(ElfError::Headers.into());
            }
        }
        for section in self.sections.iter().filter(|section| section.has_bytes()) {
            let end = section.offset.checked_add(section.size);
            if end.is_none_or(|end| end > length) {
                return Err(ElfError::Outside("section").into());
            }
        }
        Ok(())
    }

    pub(super) fn reader(&self) -> Reader<'_> {
        Reader { file: &self.bytes, head: self.head }
    }

    pub(super) const fn length(&self) -> u64 {
        self.bytes.len() as u64
    }

    /// Bytes of a program header.
    pub(super) fn segment_size(&self) -> u64 {
        segment_size(&self.reader())
    }

    /// Where the program header table is.
    pub(super) fn segment_table_range(&self) -> Range<u64> {
        self.segment_table..self.segment_table + self.segment_size() * self.segments.len() as u64
    }

    /// Where the section header table is.
    pub(super) fn section_table_range(&self) -> Range<u64> {
        self.section_table..self.section_table + section_size(&self.reader()) * self.sections.len() as u64
    }

    /// A number as the file writes them.
    pub(super) fn number(&self, value: u64, width: usize) -> Result<Vec<u8>, EditError> {
        if width < 8 && value >> (8 * width) != 0 {
            return Err(EditError::TooLarge);
        }
        Ok(match self.head.order {
            Order::Little => value.to_le_bytes()[..width].to_vec(),
            Order::Big => value.to_be_bytes()[8 - width..].to_vec(),
        })
    }

    /// Bytes of an address.
    pub(super) fn word_width(&self) -> usize {
        if self.reader().is_wide() { 8 } else { 4 }
    }

    /// Writes over bytes that are there.
    pub(super) fn overwrite(&mut self, at: u64, bytes: &[u8]) -> Result<(), EditError> {
        let place = usize::try_from(at).ok().and_then(|at| self.bytes.get_mut(at..)?.get_mut(..bytes.len()));
        place.ok_or(ElfError::Outside("change"))?.copy_from_slice(bytes);
        Ok(())
    }

    pub(super) fn put(&mut self, at: u64, value: u64, width: usize) -> Result<(), EditError> {
        let number = self.number(value, width)?;
        self.overwrite(at, &number)
    }

    /// Puts zeros in place of bytes, as far as there are any.
    pub(super) fn blank(&mut self, range: &Range<u64>) {
        let end = range.end.min(self.length());
        let (Ok(start), Ok(end)) = (usize::try_from(range.start), usize::try_from(end)) else { return };
        if let Some(bytes) = self.bytes.get_mut(start..end) {
            bytes.fill(0);
        }
    }

    pub(super) fn slice(&self, range: &Range<u64>) -> Option<&[u8]> {
        self.reader().bytes(range.start, range.end.checked_sub(range.start)?)
    }

    /// Writes both tables where they are to be, and says so in the header.
    pub(super) fn write_tables(&mut self) -> Result<(), EditError> {
        let mut table = Vec::new();
        for segment in self.segments.clone() {
            table.extend(self.segment_bytes(&segment)?);
        }
        self.overwrite(self.segment_table, &table)?;
        let mut table = Vec::new();
        for section in self.sections.clone() {
            table.extend(self.section_bytes(&section)?);
        }
        self.overwrite(self.section_table, &table)?;
        let wide = self.reader().is_wide();
        let places = if wide { [32, 40, 56, 60, 62] } else { [28, 32, 44, 48, 50] };
        let (segments, sections) = (self.segments.len() as u64, self.sections.len() as u64);
        if segments >= 0xffff {
            return Err(EditError::TooLarge);
        }
        self.put(places[0], self.segment_table, self.word_width())?;
        self.put(places[1], self.section_table, self.word_width())?;
        self.put(places[2], segments, 2)?;
        self.put(places[3], sections, 2)?;
        self.put(places[4], self.section_names, 2)
    }

    fn segment_bytes(&self, segment: &Segment) -> Result<Vec<u8>, EditError> {
        let word = self.word_width();
        let (kind, flags) = ((u64::from(segment.kind), 4), (u64::from(segment.flags), 4));
        let place =
            [segment.offset, segment.address, segment.physical, segment.file_size, segment.memory_size];
        let [offset, address, physical, file_size, memory_size] = place.map(|value| (value, word));
        let alignment = (segment.alignment, word);
        if word == 8 {
            self.fields(&[kind, flags, offset, address, physical, file_size, memory_size, alignment])
        } else {
            self.fields(&[kind, offset, address, physical, file_size, memory_size, flags, alignment])
        }
    }

    fn section_bytes(&self, section: &Section) -> Result<Vec<u8>, EditError> {
        let word = self.word_width();
        self.fields(&[
            (section.name, 4),
            (section.kind, 4),
            (section.flags, word),
            (section.address, word),
            (section.offset, word),
            (section.size, word),
            (section.link, 4),
            (section.info, 4),
            (section.alignment, word),
            (section.entry_size, word),
        ])
    }

    fn fields(&self, fields: &[(u64, usize)]) -> Result<Vec<u8>, EditError> {
        let numbers = fields.iter().map(|(value, width)| self.number(*value, *width));
        Ok(numbers.collect::<Result<Vec<_>, _>>()?.concat())
    }
}

const fn segment_size(reader: &Reader<'_>) -> u64 {
    if reader.is_wide() { 56 } else { 32 }
}

const fn section_size(reader: &Reader<'_>) -> u64 {
    if reader.is_wide() { 64 } else { 40 }
}

fn read_sections(reader: &Reader<'_>, table: u64, count: u64) -> Result<Vec<Section>, EditError> {
    let size = section_size(reader);
    let outside = ElfError::Outside("section header table");
    let read = |at: u64| {
        let word = |place: u64| reader.word(at + 8 + place * reader.word_size());
        let quad = |place: u64| reader.quad(at + place).map(u64::from);
        let behind = 8 + 4 * reader.word_size();
        Some(Section {
            name: quad(0)?,
            kind: quad(4)?,
            flags: word(0)?,
            address: word(1)?,
            offset: word(2)?,
            size: word(3)?,
            link: quad(behind)?,
            info: quad(behind + 4)?,
            alignment: reader.word(at + behind + 8)?,
            entry_size: reader.word(at + behind + 8 + reader.word_size())?,
        })
    };
    // Before anything is added to it, the place of the whole table is known to be in the file.
    reader.bytes(table, size * count).ok_or(outside.clone())?;
    let sections = (0..count).map(|number| read(table + number * size)).collect::<Option<Vec<_>>>();
    sections.ok_or_else(|| outside.into())
}
