//! The dynamic symbol table. It says nowhere how long it is, so that is worked out as loaders do.

use super::reader::{Reader, Segment, start_of_text};
use super::{Dynamic, ElfError, file_offset};

/// `EM_S390`, whose 64-bit hash tables have entries of eight bytes.
const S390: u16 = 22;

/// One dynamic symbol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Symbol<'a> {
    /// Its name; whoever wrote it chose the encoding.
    pub name: &'a [u8],
    /// Whether it is here or needed from elsewhere.
    pub definition: Definition,
    /// Whether it must be found.
    pub binding: Binding,
    /// The number of the version that it needs or has.
    pub version: Option<u16>,
}

/// Where a symbol is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Definition {
    /// In this file.
    Here,
    /// In a library (`SHN_UNDEF`).
    Elsewhere,
}

/// Whether a symbol must be found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Binding {
    /// It must.
    Strong,
    /// It may be absent (`STB_WEAK`).
    Weak,
}

/// Where the table is.
#[derive(Debug, Clone, Copy)]
pub(super) struct SymbolTable<'a> {
    reader: Reader<'a>,
    strings: &'a [u8],
    start: u64,
    count: u64,
    versions: Option<u64>,
}

impl<'a> SymbolTable<'a> {
    pub(super) fn locate(
        reader: Reader<'a>,
        segments: &[Segment],
        dynamic: &Dynamic,
        strings: &'a [u8],
    ) -> Result<Option<Self>, ElfError> {
        let Some(address) = dynamic.symbol_table else { return Ok(None) };
        let outside = || ElfError::Outside("symbol table");
        let start = file_offset(&reader, segments, address).ok_or_else(outside)?;
        let by_hash =
            dynamic.hash.and_then(|hash| count_by_hash(&reader, file_offset(&reader, segments, hash)?));
        let by_gnu_hash = || {
            dynamic
                .gnu_hash
                .and_then(|hash| count_by_gnu_hash(&reader, file_offset(&reader, segments, hash)?))
        };
        let by_place = || {
            let others = dynamic.tables.iter().copied().chain(segments.iter().map(|segment| segment.address));
            let next = others.filter(|other| *other > address).min();
            let count = next.map_or(0, |next| (next - address) / entry_size(&reader));
            without_empty(&reader, start, count)
        };
        let count = by_hash.or_else(by_gnu_hash).unwrap_or_else(by_place);
        let size = count.checked_mul(entry_size(&reader)).ok_or_else(outside)?;
        reader.bytes(start, size).ok_or_else(outside)?;
        let versions = dynamic.symbol_versions.and_then(|versions| file_offset(&reader, segments, versions));
        Ok(Some(Self { reader, strings, start, count, versions }))
    }

    /// Where it is in the file, and how many symbols it has.
    pub(super) const fn place(&self) -> (u64, u64) {
        (self.start, self.count)
    }

    pub(super) const fn iter(self) -> Symbols<'a> {
        Symbols { table: Some(self), next: 1 }
    }

    fn get(&self, number: u64) -> Option<Symbol<'a>> {
        let at = self.start + number * entry_size(&self.reader);
        let (info, section) = if self.reader.is_wide() { (4, 6) } else { (12, 14) };
        let name = usize::try_from(self.reader.quad(at)?).ok()?;
        let info = *self.reader.bytes(at + info, 1)?.first()?;
        let version = self.versions.and_then(|versions| self.reader.half(versions.checked_add(number * 2)?));
        Some(Symbol {
            name: start_of_text(self.strings.get(name..).unwrap_or_default()),
            definition: match self.reader.half(at + section)? {
                0 => Definition::Elsewhere,
                _ => Definition::Here,
            },
            binding: if info >> 4 == 2 { Binding::Weak } else { Binding::Strong },
            // The highest bit hides a definition from the linker.
            version: version.map(|version| version & 0x7fff),
        })
    }
}

const fn entry_size(reader: &Reader<'_>) -> u64 {
    if reader.is_wide() { 24 } else { 16 }
}

/// No symbol but the first is all zeros; such bytes are what lies between the table and the next thing.
fn without_empty(reader: &Reader<'_>, start: u64, count: u64) -> u64 {
    let size = entry_size(reader);
    let is_symbol = |number: &u64| {
        let bytes = start.checked_add(number * size).and_then(|at| reader.bytes(at, size));
        bytes.is_none_or(|bytes| bytes.iter().any(|byte| *byte != 0))
    };
    (1..count).rev().find(is_symbol).map_or(count.min(1), |last| last + 1)
}

/// `DT_HASH` has a chain entry for each symbol.
fn count_by_hash(reader: &Reader<'_>, at: u64) -> Option<u64> {
    if reader.is_wide() && reader.head.machine == S390 {
        return reader.word(at.checked_add(8)?);
    }
    reader.quad(at.checked_add(4)?).map(u64::from)
}

/// `DT_GNU_HASH` has the last symbol at the end of the chain of the bucket that begins last; needed symbols alone are
/// in no bucket, and then it does not say.
fn count_by_gnu_hash(reader: &Reader<'_>, at: u64) -> Option<u64> {
    let field = |place: u64| reader.quad(at.checked_add(place)?).map(u64::from);
    let (buckets, first, filter) = (field(0)?, field(4)?, field(8)?);
    let table = at.checked_add(16)?.checked_add(filter.checked_mul(reader.word_size())?)?;
    reader.bytes(table, buckets.checked_mul(4)?)?;
    let last = (0..buckets).filter_map(|bucket| reader.quad(table + bucket * 4)).max().map(u64::from)?;
    let chain = table + buckets * 4;
    let mut symbol = last.checked_sub(first).filter(|_| last > 0)?;
    // The lowest bit ends a chain.
    while reader.quad(chain.checked_add(symbol.checked_mul(4)?)?)? & 1 == 0 {
        symbol += 1;
    }
    first.checked_add(symbol)?.checked_add(1)
}

/// The dynamic symbols of a file, in order, without the empty one that every table begins with.
#[derive(Debug, Clone, Default)]
pub struct Symbols<'a> {
    table: Option<SymbolTable<'a>>,
    next: u64,
}

impl<'a> Iterator for Symbols<'a> {
    type Item = Symbol<'a>;

    fn next(&mut self) -> Option<Self::Item> {
        let table = self.table.as_ref().filter(|table| self.next < table.count)?;
        let symbol = table.get(self.next)?;
        self.next += 1;
        Some(symbol)
    }
}
