//! The string table of the dynamic section.

use std::collections::BTreeSet;
use std::ops::Range;

use super::EditError;
use super::dynamic::{self, Entries};
use crate::elf::image::{Image, SHT_STRTAB};
use crate::elf::{ElfError, file_offset};

/// The table, and where it was.
#[derive(Debug, Clone)]
pub(super) struct Strings {
    pub(super) bytes: Vec<u8>,
    /// The bytes of the file that it has.
    pub(super) place: Range<u64>,
}

impl Strings {
    pub(super) fn read(image: &Image, entries: &Entries) -> Result<Self, EditError> {
        let outside = || EditError::Read(ElfError::Outside("string table"));
        let address = entries.get(dynamic::STRTAB).ok_or_else(outside)?;
        let size = entries.get(dynamic::STRSZ).ok_or_else(outside)?;
        let start = file_offset(&image.reader(), &image.segments, address).ok_or_else(outside)?;
        let place = start..start.checked_add(size).ok_or_else(outside)?;
        let bytes = image.slice(&place).ok_or_else(outside)?.to_vec();
        Ok(Self { bytes, place })
    }

    /// The text at a place.
    pub(super) fn get(&self, at: u64) -> Option<&[u8]> {
        let rest = self.bytes.get(usize::try_from(at).ok()?..)?;
        rest.split(|byte| *byte == 0).next()
    }

    /// Where a text is, which is added if it is not there, not even as the end of another.
    pub(super) fn place(&mut self, text: &str) -> u64 {
        let mut at = 0;
        for piece in self.bytes.split_inclusive(|byte| *byte == 0) {
            at += piece.len();
            if piece.strip_suffix(&[0]).is_some_and(|piece| piece.ends_with(text.as_bytes())) {
                return (at - 1 - text.len()) as u64;
            }
        }
        // What ends without a zero must not go on in the new text.
        if self.bytes.last().is_some_and(|byte| *byte != 0) {
            self.bytes.push(0);
        }
        let at = self.bytes.len() as u64;
        self.bytes.extend_from_slice(text.as_bytes());
        self.bytes.push(0);
        at
    }

    /// Whether the table is longer than it was.
    pub(super) const fn has_grown(&self) -> bool {
        self.bytes.len() as u64 > self.place.end - self.place.start
    }

    /// Makes a text unreadable, but for what others share with it.
    pub(super) fn blank(&mut self, at: u64, used: &BTreeSet<u64>) {
        let Some(length) = self.get(at).map(<[u8]>::len) else { return };
        let Ok(start) = usize::try_from(at) else { return };
        let before = self.bytes[..start].iter().rev().take_while(|byte| **byte != 0).count();
        let end = start + length;
        // The first text that reaches into these bytes; linkers keep a text that another ends with only once.
        let shared = used.range((start - before) as u64..=end as u64).next();
        let shared = shared.and_then(|at| usize::try_from(*at).ok()).unwrap_or(end);
        if shared > start {
            self.bytes[start..shared].fill(0);
        }
    }

    /// Whether the section headers know the table as it is, so that nothing else lies in its bytes.
    pub(super) fn is_a_section(&self, image: &Image) -> bool {
        image.sections.iter().any(|section| section.kind == SHT_STRTAB && section.range() == self.place)
    }
}
