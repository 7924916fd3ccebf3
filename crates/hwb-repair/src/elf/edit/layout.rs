//! A new segment at the end of a file, and what moves there.

use std::ops::Range;

use super::EditError;
use super::dynamic::{self, Entries};
use super::room::{self, Room};
use super::strings::Strings;
use crate::elf::image::{Image, SHT_DYNSYM, SHT_SYMTAB, Section, lies_in, overlap};
use crate::elf::reader::Segment;
use crate::elf::{PT_DYNAMIC, PT_INTERP, PT_LOAD, file_offset};

pub(super) const PT_NULL: u32 = 0;
pub(super) const PT_NOTE: u32 = 4;
pub(super) const PT_PHDR: u32 = 6;
pub(super) const PT_GNU_PROPERTY: u32 = 0x6474_e553;
const PF_X: u32 = 1;
const PF_W: u32 = 2;
const PF_R: u32 = 4;
/// The smallest page of any machine.
const PAGE: u64 = 4096;
/// The largest page of any machine.
const LARGEST_PAGE: u64 = 1 << 30;
/// Where a new segment begins, for everything that it holds.
const ALIGNMENT: u64 = 16;
/// Empty entries behind a dynamic section that was moved, for the next ones who add to it.
const SPARE: usize = 5;

/// Bytes of the file that get another place.
#[derive(Debug, Clone)]
pub(super) struct Part {
    /// Where they were.
    pub(super) from: Range<u64>,
    /// What they are from now on; perhaps more than they were.
    pub(super) bytes: Vec<u8>,
    /// What the old and the new place must be equal modulo.
    pub(super) alignment: u64,
}

/// A part that has got its place.
#[derive(Debug, Clone)]
struct Moved {
    from: Range<u64>,
    to: Range<u64>,
}

/// Puts the strings and other parts, and the dynamic section if it is too long for its place, in a segment at the end
/// of the file: a new one, or the one that an earlier edit made.
///
/// Where there is no room for another program header, the table of them goes there too, and old versions of `strip`
/// corrupt such a file. Programs are refused then, as old kernels look for their table at the start.
pub(super) fn place(
    image: &mut Image,
    entries: &mut Entries,
    strings: Strings,
    mut parts: Vec<Part>,
) -> Result<(), EditError> {
    entries.set(dynamic::STRSZ, strings.bytes.len() as u64);
    let moves_entries = !entries.fits(image);
    if moves_entries {
        let bytes = entries.encode(image, SPARE)?;
        parts.push(Part { from: entries.place.clone(), bytes, alignment: ALIGNMENT });
    }
    let last = Part { from: strings.place.clone(), bytes: strings.bytes.clone(), alignment: 1 };
    let number = match last_segment(image, &strings.place) {
        Some(number) => {
            let end = usize::try_from(strings.place.start).map_err(|_| EditError::TooLarge)?;
            image.bytes.truncate(end);
            number
        }
        None => {
            let leaving = parts.iter().chain([&last]).map(|part| part.from.clone()).collect::<Vec<_>>();
            let room = room::find(image, entries, &leaving);
            let number = append_segment(image, matches!(room, Room::Elsewhere))?;
            if let Room::Here(evicted) = room {
                parts.splice(0..0, evicted);
            }
            number
        }
    };
    for part in &parts {
        image.blank(&part.from);
    }
    if strings.is_a_section(image) {
        image.blank(&last.from);
    }
    parts.push(last);
    let moved = parts.iter().map(|part| append(image, part)).collect::<Result<Vec<_>, _>>()?;
    let segment = &mut image.segments[number];
    segment.file_size = image.bytes.len() as u64 - segment.offset;
    segment.memory_size = segment.file_size;
    segment.flags |= if moves_entries { PF_W } else { 0 };
    let segment = *segment;
    // The first byte behind it has an address as well.
    let end = segment.address.checked_add(segment.memory_size).ok_or(EditError::TooLarge)?;
    image.number(end, image.word_width())?;
    follow(image, entries, &moved, segment)?;
    entries.write(image)?;
    image.write_tables()
}

/// The segment that ends with the strings and the file, so that it can grow.
fn last_segment(image: &Image, strings: &Range<u64>) -> Option<usize> {
    let loads = image.segments.iter().enumerate().filter(|(_, segment)| segment.kind == PT_LOAD);
    let (number, segment) = loads.max_by_key(|(_, segment)| segment.address)?;
    let is_last = strings.end == image.length()
        && lies_in(strings, &segment.range())
        && segment.file_size == segment.memory_size
        && segment.flags & PF_X == 0;
    let others = image.segments.iter().enumerate().filter(|(other, _)| *other != number);
    let mut others = others
        .map(|(_, segment)| segment.range())
        .chain(image.sections.iter().map(Section::range).filter(|range| range != strings));
    let tables = [image.segment_table_range(), image.section_table_range()];
    let is_alone =
        !others.any(|range| overlap(&range, strings)) && !tables.iter().any(|range| overlap(range, strings));
    (is_last && is_alone).then_some(number)
}

/// Adds an empty segment behind all others, and its program header; perhaps the table of them moves into it.
fn append_segment(image: &mut Image, moves_table: bool) -> Result<usize, EditError> {
    if moves_table && image.segments.iter().any(|segment| segment.kind == PT_INTERP) {
        return Err(EditError::NoRoom);
    }
    let loads = || image.segments.iter().enumerate().filter(|(_, segment)| segment.kind == PT_LOAD);
    let alignment = loads().map(|(_, segment)| segment.alignment).max().unwrap_or_default().max(PAGE);
    let end = loads().map(|(_, segment)| segment.address.saturating_add(segment.memory_size)).max();
    let (last, _) = loads().next_back().ok_or(EditError::Malformed("program header table"))?;
    if !alignment.is_power_of_two() || alignment > LARGEST_PAGE {
        return Err(EditError::Malformed("program header table"));
    }
    let offset = image.length().next_multiple_of(ALIGNMENT);
    let page = end.and_then(|end| end.checked_next_multiple_of(alignment)).ok_or(EditError::TooLarge)?;
    let address = page.checked_add(offset % alignment).ok_or(EditError::TooLarge)?;
    let old_table = image.segment_table_range();
    let segment = Segment {
        kind: PT_LOAD,
        flags: PF_R,
        offset,
        address,
        physical: address,
        file_size: 0,
        memory_size: 0,
        alignment,
    };
    image.segments.insert(last + 1, segment);
    // Nothing that a program header speaks of begins where the segment does: `llvm-strip` would take it for what holds
    // the segment, and align the segment to no page.
    image.bytes.resize(usize::try_from(offset + ALIGNMENT).map_err(|_| EditError::TooLarge)?, 0);
    if moves_table {
        image.blank(&old_table);
        image.segment_table = offset;
        let end = image.segment_table_range().end;
        image.bytes.resize(usize::try_from(end).map_err(|_| EditError::TooLarge)?, 0);
    }
    let null = image.segments.iter().position(|segment| segment.kind == PT_NULL);
    let number = match null {
        Some(null) if !moves_table => {
            image.segments.remove(null);
            if null <= last { last } else { last + 1 }
        }
        _ => last + 1,
    };
    let table = image.segment_table_range();
    let is_of_the_table =
        |segment: &&mut Segment| segment.kind == PT_PHDR && segment.offset == old_table.start;
    for header in image.segments.iter_mut().filter(is_of_the_table) {
        header.file_size = table.end - table.start;
        header.memory_size = header.file_size;
        if moves_table {
            (header.offset, header.address, header.physical) = (offset, address, address);
        }
    }
    Ok(number)
}

/// Puts a part at the end of the file.
fn append(image: &mut Image, part: &Part) -> Result<Moved, EditError> {
    let apart = part.from.start.wrapping_sub(image.length()) % part.alignment;
    let start = image.length() + apart;
    image.bytes.resize(usize::try_from(start).map_err(|_| EditError::TooLarge)?, 0);
    image.bytes.extend_from_slice(&part.bytes);
    Ok(Moved { from: part.from.clone(), to: start..image.length() })
}

/// Lets everything that says where a part is say where it is now: the segment that holds all of them.
fn follow(
    image: &mut Image,
    entries: &mut Entries,
    moved: &[Moved],
    segment: Segment,
) -> Result<(), EditError> {
    let address =
        |offset: u64| segment.address.checked_add(offset - segment.offset).ok_or(EditError::TooLarge);
    for (_, value) in entries.list.iter_mut().filter(|(tag, _)| dynamic::MOVABLE.contains(tag)) {
        let Some(offset) = file_offset(&image.reader(), &image.segments, *value) else { continue };
        if let Some(part) = moved.iter().find(|part| part.from.contains(&offset)) {
            *value = address(part.to.start + (offset - part.from.start))?;
        }
    }
    for header in &mut image.segments {
        let is_small = matches!(header.kind, PT_DYNAMIC | PT_INTERP | PT_NOTE | PT_GNU_PROPERTY);
        if let (true, Some(place)) = (is_small, new_place(&header.range(), moved)) {
            (header.offset, header.address) = (place.start, address(place.start)?);
            header.physical = header.address;
            header.file_size = place.end - place.start;
            header.memory_size = header.file_size;
        }
    }
    let mut shifts = vec![0; image.sections.len()];
    for (section, shift) in image.sections.iter_mut().zip(&mut shifts) {
        if let Some(place) = new_place(&section.range(), moved) {
            let address = address(place.start)?;
            *shift = address.wrapping_sub(section.address);
            (section.offset, section.address, section.size) = (place.start, address, place.end - place.start);
        }
    }
    entries.place = new_place(&entries.place, moved).unwrap_or_else(|| entries.place.clone());
    shift_symbols(image, &shifts)
}

/// Where a range is now; if it is all of a part, it is as long as that.
fn new_place(range: &Range<u64>, moved: &[Moved]) -> Option<Range<u64>> {
    let part = moved.iter().find(|part| lies_in(range, &part.from))?;
    if *range == part.from {
        return Some(part.to.clone());
    }
    let start = part.to.start + (range.start - part.from.start);
    Some(start..start + (range.end - range.start))
}

/// Lets the symbols of sections that were moved say where those are: of the sections themselves, and `_DYNAMIC`.
fn shift_symbols(image: &mut Image, shifts: &[u64]) -> Result<(), EditError> {
    let word = image.word_width();
    let (size, value_at, section_at) = if word == 8 { (24, 8, 6) } else { (16, 4, 14) };
    let largest = if word == 8 { u64::MAX } else { u64::from(u32::MAX) };
    let tables =
        image.sections.clone().into_iter().filter(|table| matches!(table.kind, SHT_SYMTAB | SHT_DYNSYM));
    for table in tables {
        for at in (0..table.size / size).map(|number| table.offset + number * size) {
            let reader = image.reader();
            let (Some(section), Some(value)) = (reader.half(at + section_at), reader.word(at + value_at))
            else {
                return Err(EditError::Malformed("symbol table"));
            };
            if let Some(shift) = shifts.get(usize::from(section)).filter(|shift| **shift != 0) {
                image.put(at + value_at, value.wrapping_add(*shift) & largest, word)?;
            }
        }
    }
    Ok(())
}
