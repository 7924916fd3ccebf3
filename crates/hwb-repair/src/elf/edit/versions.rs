//! The versions that are needed of libraries (`.gnu.version_r`), and which symbol needs which (`.gnu.version`).

use std::collections::BTreeSet;
use std::ops::Range;

use super::EditError;
use super::dynamic::{self, Entries};
use crate::elf::file_offset;
use crate::elf::image::Image;

pub(super) const SHT_VERNEED: u64 = 0x6fff_fffe;
/// Bytes of an entry, for a library as for a version.
const SIZE: u64 = 16;
/// The index of what needs no version (`VER_NDX_GLOBAL`).
const GLOBAL: u64 = 1;

/// What is needed of all libraries.
#[derive(Debug, Clone)]
pub(super) struct VersionNeeds {
    list: Vec<Need>,
    /// The bytes of the file that it has.
    place: Range<u64>,
}

/// What is needed of one library.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Need {
    revision: u64,
    /// Where the name of the library is among the strings.
    pub(super) library: u64,
    versions: Vec<Version>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Version {
    hash: u64,
    flags: u64,
    index: u64,
    name: u64,
}

/// What becomes of the versions of a library.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    Keep,
    Remove,
    /// The library has another name.
    Rename(u64),
}

impl VersionNeeds {
    /// Reads the list, which `Elf::parse` has bounded.
    pub(super) fn read(image: &Image, entries: &Entries) -> Result<Self, EditError> {
        let malformed = EditError::Malformed("list of version needs");
        let Some(address) = entries.get(dynamic::VERNEED) else {
            return Ok(Self { list: Vec::new(), place: 0..0 });
        };
        let start = file_offset(&image.reader(), &image.segments, address).ok_or(malformed)?;
        let (mut at, mut end, mut list) = (start, start, Vec::new());
        for _ in 0..entries.get(dynamic::VERNEEDNUM).unwrap_or_default() {
            let (need, next) =
                Need::read(image, at, &mut end).ok_or(EditError::Malformed("list of version needs"))?;
            list.push(need);
            match next {
                0 => break,
                next => at += next,
            }
        }
        let table = Self { list, place: start..end };
        if table.size() > end - start {
            return Err(EditError::Malformed("list of version needs"));
        }
        Ok(table)
    }

    /// The places in the string table that are spoken of.
    pub(super) fn texts(&self) -> impl Iterator<Item = u64> {
        self.list.iter().flat_map(|need| {
            std::iter::once(need.library).chain(need.versions.iter().map(|version| version.name))
        })
    }

    /// Changes the names of libraries, or takes away what is needed of them; symbols then need no version.
    pub(super) fn change(
        &mut self,
        image: &mut Image,
        entries: &mut Entries,
        decide: impl FnMut(&Need) -> Change,
    ) -> Result<(), EditError> {
        let changes = self.list.iter().map(decide).collect::<Vec<_>>();
        if changes.iter().all(|change| *change == Change::Keep) {
            return Ok(());
        }
        let mut removed = BTreeSet::new();
        let mut kept = Vec::new();
        for (need, change) in self.list.iter().zip(changes) {
            match change {
                Change::Keep => kept.push(need.clone()),
                Change::Rename(library) => kept.push(Need { library, ..need.clone() }),
                Change::Remove => removed.extend(need.versions.iter().map(|version| version.index & 0x7fff)),
            }
        }
        self.list = kept;
        if !removed.is_empty() {
            unversion(image, entries, &removed)?;
        }
        self.write(image, entries)
    }

    fn size(&self) -> u64 {
        self.list.iter().map(|need| SIZE * (1 + need.versions.len() as u64)).sum()
    }

    fn write(&self, image: &mut Image, entries: &mut Entries) -> Result<(), EditError> {
        let mut bytes = Vec::new();
        for (number, need) in self.list.iter().enumerate() {
            bytes.extend(need.encode(image, number + 1 == self.list.len())?);
        }
        image.blank(&self.place);
        image.overwrite(self.place.start, &bytes)?;
        let count = self.list.len() as u64;
        let section = |section: &&mut crate::elf::image::Section| {
            section.kind == SHT_VERNEED && section.offset == self.place.start
        };
        if let Some(section) = image.sections.iter_mut().find(section) {
            section.info = count;
            section.size = bytes.len() as u64;
        }
        entries.set(dynamic::VERNEEDNUM, count);
        if count == 0 {
            entries.remove(&[dynamic::VERNEED, dynamic::VERNEEDNUM]);
            // The loader believes that a file with one of these has one of the others.
            if entries.get(dynamic::VERDEF).is_none() {
                entries.remove(&[dynamic::VERSYM]);
            }
        }
        Ok(())
    }
}

impl Need {
    /// Reads one; says how far it is to the next, and notes the last byte.
    fn read(image: &Image, at: u64, end: &mut u64) -> Option<(Self, u64)> {
        let reader = image.reader();
        let half = |at: u64| reader.half(at).map(u64::from);
        let quad = |at: u64| reader.quad(at).map(u64::from);
        // Entries do not lie in each other.
        let step = |at: u64| quad(at).filter(|step| *step == 0 || *step >= SIZE);
        let (mut versions, mut place) = (Vec::new(), at + step(at + 8)?);
        *end = (*end).max(at + SIZE);
        for _ in 0..half(at + 2)? {
            let (hash, flags) = (quad(place)?, half(place + 4)?);
            versions.push(Version { hash, flags, index: half(place + 6)?, name: quad(place + 8)? });
            *end = (*end).max(place + SIZE);
            match step(place + 12)? {
                0 => break,
                next => place += next,
            }
        }
        Some((Self { revision: half(at)?, library: quad(at + 4)?, versions }, step(at + 12)?))
    }

    /// The entry of the library and those of its versions behind it.
    fn encode(&self, image: &Image, is_last: bool) -> Result<Vec<u8>, EditError> {
        let count = self.versions.len() as u64;
        let next = if is_last { 0 } else { SIZE * (1 + count) };
        let mut fields = vec![(self.revision, 2), (count, 2), (self.library, 4), (SIZE, 4), (next, 4)];
        for (number, version) in self.versions.iter().enumerate() {
            let next = if number + 1 == self.versions.len() { 0 } else { SIZE };
            fields.extend([
                (version.hash, 4),
                (version.flags, 2),
                (version.index, 2),
                (version.name, 4),
                (next, 4),
            ]);
        }
        let numbers = fields.into_iter().map(|(value, width)| image.number(value, width));
        Ok(numbers.collect::<Result<Vec<_>, _>>()?.concat())
    }
}

/// Lets the symbols that need one of these versions need none.
fn unversion(image: &mut Image, entries: &Entries, removed: &BTreeSet<u64>) -> Result<(), EditError> {
    let Some(address) = entries.get(dynamic::VERSYM) else { return Ok(()) };
    let start = file_offset(&image.reader(), &image.segments, address);
    let start = start.ok_or(EditError::Malformed("table of symbol versions"))?;
    for number in 0..super::symbol_count(image)? {
        let at = start + number * 2;
        let version = image.reader().half(at).ok_or(EditError::Malformed("table of symbol versions"))?;
        if removed.contains(&u64::from(version & 0x7fff)) {
            image.put(at, GLOBAL, 2)?;
        }
    }
    Ok(())
}
