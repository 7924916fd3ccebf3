//! Room for one more program header, without moving the table.
//!
//! The table stays where it is as long as it can: `strip` of binutils before 2.44 and of LLVM before 19 corrupts files
//! whose table is not at the start. What lies behind it goes elsewhere instead, if nothing but one entry of the dynamic
//! section or one program header says where it is.

use std::ops::Range;

use super::dynamic::{Entries, MOVABLE};
use super::layout::{PT_GNU_PROPERTY, PT_NOTE, PT_NULL, PT_PHDR, Part};
use crate::elf::image::{Image, Section, lies_in, overlap};
use crate::elf::{PT_INTERP, PT_LOAD, file_offset};

const SHT_NOTE: u64 = 7;
/// Hash tables, strings, symbols and versions: what an entry of the dynamic section points to.
const TABLES: [u64; 7] = [3, 5, 11, 0x6fff_fff6, 0x6fff_fffd, 0x6fff_fffe, 0x6fff_ffff];
/// How often what has been found leads to more: parts that lie over each other are nothing a linker writes.
const MOST_STEPS: usize = 16;
/// Nothing that is moved wants to lie at multiples of more.
const MOST_ALIGNED: u64 = 4096;

/// Where there is room for the table with one more entry.
#[derive(Debug, Clone)]
pub(super) enum Room {
    /// Where it is, once these parts have gone.
    Here(Vec<Part>),
    /// Nowhere near.
    Elsewhere,
}

/// Finds the room; these bytes go elsewhere in any case.
pub(super) fn find(image: &Image, entries: &Entries, leaving: &[Range<u64>]) -> Room {
    if image.segments.iter().any(|segment| segment.kind == PT_NULL) {
        return Room::Here(Vec::new());
    }
    evicted(image, entries, leaving).map_or(Room::Elsewhere, Room::Here)
}

fn evicted(image: &Image, entries: &Entries, leaving: &[Range<u64>]) -> Option<Vec<Part>> {
    let table = image.segment_table_range();
    let wanted = table.end..table.end + image.segment_size();
    let whole = table.start..wanted.end;
    let mut loads = image.segments.iter().filter(|segment| segment.kind == PT_LOAD);
    let is_unknown = image.sections.is_empty() || overlap(&image.section_table_range(), &wanted);
    if is_unknown || !loads.any(|segment| lies_in(&whole, &segment.range())) {
        return None;
    }
    let mut parts: Vec<Part> = Vec::new();
    loop {
        let gone = leaving.iter().chain(parts.iter().map(|part| &part.from)).collect::<Vec<_>>();
        let mut occupants = occupants(image).filter(|range| overlap(range, &wanted));
        let Some(next) = occupants.find(|range| !gone.iter().any(|gone| lies_in(range, gone))) else {
            // What nobody speaks of may be anything, unless it is nothing.
            let is_gone = |at: u64| gone.iter().any(|gone| gone.contains(&at));
            let is_free = |at: u64| is_gone(at) || image.slice(&(at..at + 1)) == Some(&[0]);
            return wanted.clone().all(is_free).then_some(parts);
        };
        let block = block(image, entries, next)?;
        if gone.iter().any(|gone| overlap(gone, &block.from)) {
            return None;
        }
        parts.push(block);
    }
}

/// What the headers speak of, but for segments that hold others.
fn occupants(image: &Image) -> impl Iterator<Item = Range<u64>> {
    let sections = image.sections.iter().map(Section::range);
    let small = image.segments.iter().filter(|segment| !matches!(segment.kind, PT_LOAD | PT_PHDR));
    sections.chain(small.map(|segment| segment.range()))
}

/// A range, and everything that has a byte in common with it: notes that one program header speaks of stay together.
fn block(image: &Image, entries: &Entries, mut range: Range<u64>) -> Option<Part> {
    let mut alignment = 1;
    for _ in 0..MOST_STEPS {
        let old = range.clone();
        for section in image.sections.iter().filter(|section| overlap(&section.range(), &old)) {
            if !is_movable(image, entries, section) {
                return None;
            }
            range = join(&range, &section.range());
            alignment = alignment.max(section.alignment);
        }
        let small = image.segments.iter().filter(|segment| !matches!(segment.kind, PT_LOAD | PT_PHDR));
        for segment in small.filter(|segment| overlap(&segment.range(), &old)) {
            if !matches!(segment.kind, PT_NOTE | PT_GNU_PROPERTY | PT_INTERP) {
                return None;
            }
            range = join(&range, &segment.range());
            alignment = alignment.max(segment.alignment);
        }
        if range == old {
            let bytes = image.slice(&range)?.to_vec();
            let is_usual = alignment.is_power_of_two() && alignment <= MOST_ALIGNED;
            return is_usual.then_some(Part { from: range, bytes, alignment });
        }
    }
    None
}

fn join(one: &Range<u64>, other: &Range<u64>) -> Range<u64> {
    one.start.min(other.start)..one.end.max(other.end)
}

fn is_movable(image: &Image, entries: &Entries, section: &Section) -> bool {
    let is_interpreter = || {
        image.segments.iter().any(|segment| segment.kind == PT_INTERP && segment.range() == section.range())
    };
    let is_pointed_to = || {
        let mut known = entries.list.iter().filter(|(tag, _)| MOVABLE.contains(tag));
        TABLES.contains(&section.kind) && known.any(|(_, address)| *address == section.address)
    };
    let is_in_place = file_offset(&image.reader(), &image.segments, section.address) == Some(section.offset);
    section.is_loaded() && is_in_place && (section.kind == SHT_NOTE || is_interpreter() || is_pointed_to())
}
