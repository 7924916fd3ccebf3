//! ELF files without their symbol table and debug sections.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use hwb_wheel::elf::{Elf as Head, Kind};

use super::ElfError;
use super::edit::EditError;
use super::image::{Image, SHT_DYNSYM, SHT_STRTAB, SHT_SYMTAB, Section, overlap};
use super::reader::{Segment, start_of_text};

const SHT_RELA: u64 = 4;
const SHT_REL: u64 = 9;
const SHT_GROUP: u64 = 17;
const SHT_SYMTAB_SHNDX: u64 = 18;
/// `SHF_INFO_LINK`: `sh_info` is the number of a section.
const SHF_INFO_LINK: u64 = 0x40;
/// `SHN_ABS`: a symbol that is in no section.
const SHN_ABS: u64 = 0xfff1;
/// How the names of sections begin that only debuggers read.
const DEBUG: [&[u8]; 7] =
    [b".debug", b".zdebug", b".gnu.debuglto_", b".gnu.linkonce.wi.", b".gdb_index", b".line", b".stab"];

/// The file without its symbol table and debug sections; the same bytes, borrowed, if it has none.
///
/// Everything that is loaded, or that a program header speaks of, stays as it is and where it is. Object files are given
/// back whole: without their symbols they are good for nothing. What lies before the last segment leaves zeros behind,
/// so call this before [`edit`](super::edit::edit), which adds a segment at the end.
///
/// # Errors
///
/// If the file is malformed.
pub fn strip(file: &[u8]) -> Result<Cow<'_, [u8]>, EditError> {
    if Head::parse(file).ok_or(ElfError::NotElf)?.kind != Kind::Loadable {
        return Ok(Cow::Borrowed(file));
    }
    let mut image = Image::read(file.to_vec())?;
    let kept = kept(&image)?;
    if kept.len() == image.sections.len() {
        return Ok(Cow::Borrowed(file));
    }
    renumber_symbols(&mut image, &kept)?;
    let dropped = image.sections.iter().enumerate().filter(|(number, _)| !kept.contains_key(number));
    let mut holes = dropped.map(|(_, section)| section.range()).collect::<Vec<_>>();
    holes.push(image.section_table_range());
    holes.extend(names_section(&image).map(Section::range));
    let inside = in_front(&image, &kept);
    image.sections = kept.keys().map(|number| renumbered(&image.sections[*number], &kept)).collect();
    let names_number = usize::try_from(image.section_names).ok().and_then(|number| kept.get(&number));
    image.section_names = *names_number.ok_or(EditError::Malformed("table of section names"))?;
    let old = std::mem::take(&mut image.bytes);
    let cut =
        usize::try_from(inside).ok().and_then(|end| old.get(..end)).ok_or(ElfError::Outside("segment"))?;
    image.bytes = cut.to_vec();
    holes.retain(|hole| !is_in_a_segment(&image.segments, hole));
    for hole in &holes {
        image.blank(hole);
    }
    append_sections(&mut image, &old, inside)?;
    append_names(&mut image, &old)?;
    // Where sections lie over each other, one has the bytes of another now.
    let again = Image::read(image.bytes)?;
    if self::kept(&again)?.len() != again.sections.len() {
        return Err(EditError::Malformed("layout"));
    }
    Ok(Cow::Owned(again.bytes))
}

/// The sections that stay, by their old numbers, with their new ones.
fn kept(image: &Image) -> Result<BTreeMap<usize, u64>, EditError> {
    let is_free = |section: &&Section| {
        section.kind == SHT_STRTAB
            && !section.is_loaded()
            && !is_in_a_segment(&image.segments, &section.range())
    };
    if !image.sections.is_empty() && names_section(image).filter(is_free).is_none() {
        return Err(EditError::Malformed("table of section names"));
    }
    let symbols = image.sections.iter().filter(|section| section.kind == SHT_SYMTAB && !section.is_loaded());
    let symbol_names = symbols.map(|section| section.link).collect::<BTreeSet<_>>();
    let staying = image.sections.iter().enumerate().filter(|(number, section)| {
        let number = *number as u64;
        // Some linkers keep all names in one table.
        let is_first = number == 0 || number == image.section_names;
        is_first
            || section.is_loaded()
            || is_in_a_segment(&image.segments, &section.range())
            || !symbol_names.contains(&number) && !is_for_tools(image, section)
    });
    Ok(staying.zip(0..).map(|((old, _), new)| (old, new)).collect())
}

/// Whether a section is one that only linkers and debuggers read.
fn is_for_tools(image: &Image, section: &Section) -> bool {
    let is_for_linkers =
        matches!(section.kind, SHT_SYMTAB | SHT_SYMTAB_SHNDX | SHT_GROUP | SHT_REL | SHT_RELA);
    is_for_linkers || DEBUG.iter().any(|debug| name(image, section).starts_with(debug))
}

fn names_section(image: &Image) -> Option<&Section> {
    image.sections.get(usize::try_from(image.section_names).ok()?)
}

fn name<'a>(image: &'a Image, section: &Section) -> &'a [u8] {
    let names = names_section(image).and_then(|names| image.slice(&names.range())).unwrap_or_default();
    let rest = usize::try_from(section.name).ok().and_then(|at| names.get(at..));
    start_of_text(rest.unwrap_or_default())
}

fn is_in_a_segment(segments: &[Segment], range: &Range<u64>) -> bool {
    segments.iter().any(|segment| overlap(&segment.range(), range))
}

/// The end of everything that stays where it is.
fn in_front(image: &Image, kept: &BTreeMap<usize, u64>) -> u64 {
    let stay = kept.keys().map(|number| &image.sections[*number]);
    let stay =
        stay.filter(|section| section.is_loaded() || is_in_a_segment(&image.segments, &section.range()));
    let segments = image.segments.iter().map(Segment::range);
    let header = if image.word_width() == 8 { 64 } else { 52 };
    let ends =
        stay.map(Section::range).chain(segments).filter(|range| !range.is_empty()).map(|range| range.end);
    ends.chain([header, image.segment_table_range().end]).max().unwrap_or_default()
}

/// A section that speaks of others by their new numbers.
fn renumbered(section: &Section, kept: &BTreeMap<usize, u64>) -> Section {
    let new =
        |old: u64| usize::try_from(old).ok().and_then(|old| kept.get(&old)).copied().unwrap_or_default();
    let names_a_section = matches!(section.kind, SHT_REL | SHT_RELA) || section.flags & SHF_INFO_LINK != 0;
    let info = if names_a_section { new(section.info) } else { section.info };
    Section { link: new(section.link), info, ..*section }
}

/// Lets dynamic symbols speak of their sections by the new numbers.
fn renumber_symbols(image: &mut Image, kept: &BTreeMap<usize, u64>) -> Result<(), EditError> {
    let (size, section_at) = if image.word_width() == 8 { (24, 6) } else { (16, 14) };
    let tables = image.sections.clone().into_iter().filter(|table| table.kind == SHT_DYNSYM);
    for table in tables {
        for at in (0..table.size / size).map(|number| table.offset + number * size + section_at) {
            let old = image.reader().half(at).map(usize::from).ok_or(EditError::Malformed("symbol table"))?;
            if old < image.sections.len() {
                image.put(at, kept.get(&old).copied().unwrap_or(SHN_ABS), 2)?;
            }
        }
    }
    Ok(())
}

/// Puts the sections behind the last segment that lay there, each where it may be.
fn append_sections(image: &mut Image, old: &[u8], inside: u64) -> Result<(), EditError> {
    let names = usize::try_from(image.section_names).map_err(|_| EditError::TooLarge)?;
    let mut order = (1..image.sections.len()).filter(|number| *number != names).collect::<Vec<_>>();
    order.retain(|number| {
        !image.sections[*number].is_loaded() && image.sections[*number].range().end > inside
    });
    order.sort_by_key(|number| image.sections[*number].offset);
    for number in order {
        let range = image.sections[number].range();
        if is_in_a_segment(&image.segments, &range) {
            continue;
        }
        let bytes = usize::try_from(range.start).ok().zip(usize::try_from(range.end).ok());
        let bytes = bytes.and_then(|(start, end)| old.get(start..end)).unwrap_or_default();
        align(image, image.sections[number].alignment)?;
        image.sections[number].offset = image.length();
        image.bytes.extend_from_slice(bytes);
    }
    Ok(())
}

/// Puts the names of the sections and the table of them at the end.
fn append_names(image: &mut Image, old: &[u8]) -> Result<(), EditError> {
    let malformed = EditError::Malformed("table of section names");
    let names = names_section(image).map(Section::range).and_then(|names| {
        let (start, end) = (usize::try_from(names.start).ok()?, usize::try_from(names.end).ok()?);
        old.get(start..end)
    });
    let used = image.sections.iter().map(|section| section.name).collect();
    let (bytes, places) = names.and_then(|names| only(names, &used)).ok_or(malformed)?;
    for section in &mut image.sections {
        section.name = places.get(&section.name).copied().unwrap_or_default();
    }
    let number = usize::try_from(image.section_names).map_err(|_| EditError::TooLarge)?;
    let section = image.sections.get_mut(number).ok_or(EditError::Malformed("table of section names"))?;
    (section.offset, section.size) = (image.bytes.len() as u64, bytes.len() as u64);
    image.bytes.extend(bytes);
    align(image, image.word_width() as u64)?;
    image.section_table = image.length();
    let end = image.section_table_range().end;
    image.bytes.resize(usize::try_from(end).map_err(|_| EditError::TooLarge)?, 0);
    image.write_tables()
}

/// A table of texts with those that are used, and where they are now by where they were.
fn only(table: &[u8], used: &BTreeSet<u64>) -> Option<(Vec<u8>, BTreeMap<u64, u64>)> {
    let (mut bytes, mut places) = (Vec::new(), BTreeMap::new());
    let mut last = 0..0;
    for at in used {
        let start = usize::try_from(*at).ok()?;
        // Else it is the end of the one before.
        if !last.contains(&start) {
            let length = table.get(start..)?.iter().position(|byte| *byte == 0)?;
            last = start..start + length + 1;
            bytes.extend_from_slice(table.get(last.clone())?);
        }
        places.insert(*at, (bytes.len() - (last.end - start)) as u64);
    }
    Some((bytes, places))
}

fn align(image: &mut Image, alignment: u64) -> Result<(), EditError> {
    // A section that wants more than a page is no section that anybody wrote.
    if alignment > 4096 {
        return Err(EditError::Malformed("section header table"));
    }
    let length = image.bytes.len();
    let alignment = usize::try_from(alignment.max(1)).map_err(|_| EditError::TooLarge)?;
    image.bytes.resize(length.next_multiple_of(alignment), 0);
    Ok(())
}

#[cfg(test)]
mod tests;
