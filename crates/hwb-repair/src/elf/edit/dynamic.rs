//! The dynamic section, as a list.

use std::ops::Range;

use super::EditError;
use crate::elf::image::Image;
use crate::elf::{ElfError, PT_DYNAMIC, file_offset};

pub(super) const NEEDED: u64 = 1;
pub(super) const HASH: u64 = 4;
pub(super) const STRTAB: u64 = 5;
pub(super) const SYMTAB: u64 = 6;
pub(super) const STRSZ: u64 = 10;
pub(super) const SONAME: u64 = 14;
pub(super) const RPATH: u64 = 15;
pub(super) const RUNPATH: u64 = 29;
pub(super) const GNU_HASH: u64 = 0x6fff_fef5;
pub(super) const VERSYM: u64 = 0x6fff_fff0;
pub(super) const VERDEF: u64 = 0x6fff_fffc;
pub(super) const VERNEED: u64 = 0x6fff_fffe;
pub(super) const VERNEEDNUM: u64 = 0x6fff_ffff;
/// The entries whose value is the address of something that can be moved.
pub(super) const MOVABLE: [u64; 7] = [HASH, STRTAB, SYMTAB, GNU_HASH, VERSYM, VERDEF, VERNEED];
/// Other entries whose value is a text: `DT_CONFIG`, `DT_DEPAUDIT`, `DT_AUDIT`, `DT_AUXILIARY` and `DT_FILTER`.
const TEXTS: [u64; 5] = [0x6fff_fefa, 0x6fff_fefb, 0x6fff_fefc, 0x7fff_fffd, 0x7fff_ffff];
/// `DT_MIPS_RLD_MAP_REL`, which counts from where it is.
const RELATIVE: u64 = 0x7000_0035;

/// More entries than this are in no dynamic section.
const MOST_ENTRIES: usize = 4096;

/// The dynamic section.
#[derive(Debug, Clone)]
pub(super) struct Entries {
    /// Tags and values, without the empty entry at the end.
    pub(super) list: Vec<(u64, u64)>,
    /// The bytes of the file that it has.
    pub(super) place: Range<u64>,
}

impl Entries {
    pub(super) fn read(image: &Image) -> Result<Self, EditError> {
        let segment = image.segments.iter().find(|segment| segment.kind == PT_DYNAMIC);
        let segment = segment.ok_or(EditError::NotDynamic)?;
        let reader = image.reader();
        if file_offset(&reader, &image.segments, segment.address) != Some(segment.offset) {
            return Err(EditError::Malformed("dynamic section"));
        }
        let size = reader.word_size() * 2;
        let starts = (0..segment.file_size / size).map(|number| segment.offset + number * size);
        let entries = starts.map(|at| Some((reader.word(at)?, reader.word(at + reader.word_size())?)));
        let list =
            entries.take_while(|entry| entry.is_none_or(|(tag, _)| tag != 0)).collect::<Option<Vec<_>>>();
        let list = list.ok_or(ElfError::Outside("dynamic section"))?;
        if list.len() > MOST_ENTRIES {
            return Err(
                ElfError::TooMany { what: "entries of the dynamic section", most: MOST_ENTRIES }.into()
            );
        }
        if list.iter().any(|(tag, _)| *tag == RELATIVE) {
            return Err(EditError::Unsupported(
                "an entry of its dynamic section that counts from its own place",
            ));
        }
        Ok(Self { list, place: segment.range() })
    }

    pub(super) fn get(&self, tag: u64) -> Option<u64> {
        // As loaders do: the last one counts.
        self.list.iter().rev().find(|(of, _)| *of == tag).map(|(_, value)| *value)
    }

    pub(super) fn set(&mut self, tag: u64, value: u64) {
        for entry in self.list.iter_mut().filter(|(of, _)| *of == tag) {
            entry.1 = value;
        }
    }

    pub(super) fn remove(&mut self, tags: &[u64]) {
        self.list.retain(|(tag, _)| !tags.contains(tag));
    }

    /// The places in the string table that are spoken of.
    pub(super) fn texts(&self) -> impl Iterator<Item = u64> {
        let is_text = |tag: &u64| [NEEDED, SONAME, RPATH, RUNPATH].contains(tag) || TEXTS.contains(tag);
        self.list.iter().filter(move |(tag, _)| is_text(tag)).map(|(_, value)| *value)
    }

    /// Whether the list and the empty entry behind it fit where it was.
    pub(super) fn fits(&self, image: &Image) -> bool {
        self.size(image, 1) <= self.place.end - self.place.start
    }

    /// The list with so many empty entries behind it.
    pub(super) fn encode(&self, image: &Image, spare: usize) -> Result<Vec<u8>, EditError> {
        let width = image.word_width();
        let words = self.list.iter().flat_map(|(tag, value)| [*tag, *value]);
        let mut bytes = words.map(|word| image.number(word, width)).collect::<Result<Vec<_>, _>>()?.concat();
        bytes.resize(bytes.len() + spare * width * 2, 0);
        Ok(bytes)
    }

    /// Writes the list where it was.
    pub(super) fn write(&self, image: &mut Image) -> Result<(), EditError> {
        let bytes = self.encode(image, 0)?;
        image.blank(&self.place.clone());
        image.overwrite(self.place.start, &bytes)
    }

    fn size(&self, image: &Image, spare: usize) -> u64 {
        ((self.list.len() + spare) * image.word_width() * 2) as u64
    }
}
