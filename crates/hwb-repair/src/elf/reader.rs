//! Numbers, tables and texts at places of a file that may not be there.

use hwb_wheel::elf::{Class, Elf as Head, Order};

use super::ElfError;

/// Names of symbols are looked at no further.
const LONGEST_SYMBOL: usize = 512;

/// A text of the string table: what it is, and how long one is that is believed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Text {
    what: &'static str,
    longest: usize,
}

impl Text {
    pub(super) const INTERPRETER: Self = Self { what: "interpreter", longest: 4096 };
    /// As long as a path may be: some systems need libraries by theirs.
    pub(super) const LIBRARY: Self = Self { what: "needed library", longest: 4096 };
    pub(super) const NAME: Self = Self { what: "name", longest: 4096 };
    /// Large package trees have long ones.
    pub(super) const RUN_PATH: Self = Self { what: "run path", longest: 1 << 16 };
    pub(super) const VERSION: Self = Self { what: "needed version", longest: 256 };

    /// Whether it could be read again, once it is written.
    pub(super) fn can_hold(self, text: &str) -> bool {
        text.len() < self.longest && !text.contains('\0')
    }

    /// Reads the text at a place of a table.
    pub(super) fn read(self, table: &[u8], at: u64) -> Result<&str, ElfError> {
        let Self { what, longest } = self;
        let rest = usize::try_from(at).ok().and_then(|at| table.get(at..)).ok_or(ElfError::Outside(what))?;
        let rest = &rest[..rest.len().min(longest)];
        let end = rest.iter().position(|byte| *byte == 0).ok_or(ElfError::Endless(what))?;
        std::str::from_utf8(&rest[..end]).map_err(|_| ElfError::Encoding(what))
    }
}

/// Reads numbers as the file's own head says that they are written.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reader<'a> {
    pub(super) file: &'a [u8],
    pub(super) head: Head,
}

/// One entry of the program header table.
#[derive(Debug, Clone, Copy)]
pub(super) struct Segment {
    pub(super) kind: u32,
    pub(super) flags: u32,
    pub(super) offset: u64,
    pub(super) address: u64,
    pub(super) physical: u64,
    pub(super) file_size: u64,
    pub(super) memory_size: u64,
    pub(super) alignment: u64,
}

impl<'a> Reader<'a> {
    pub(super) const fn is_wide(&self) -> bool {
        matches!(self.head.class, Class::Bits64)
    }

    /// Bytes of an address.
    pub(super) const fn word_size(&self) -> u64 {
        if self.is_wide() { 8 } else { 4 }
    }

    pub(super) fn bytes(&self, at: u64, length: u64) -> Option<&'a [u8]> {
        let (at, length) = (usize::try_from(at).ok()?, usize::try_from(length).ok()?);
        self.file.get(at..)?.get(..length)
    }

    fn number(&self, at: u64, width: u64) -> Option<u64> {
        let bytes = self.bytes(at, width)?;
        let add = |value: u64, byte: &u8| (value << 8) | u64::from(*byte);
        Some(match self.head.order {
            Order::Little => bytes.iter().rev().fold(0, add),
            Order::Big => bytes.iter().fold(0, add),
        })
    }

    pub(super) fn half(&self, at: u64) -> Option<u16> {
        u16::try_from(self.number(at, 2)?).ok()
    }

    /// A number of four bytes.
    pub(super) fn quad(&self, at: u64) -> Option<u32> {
        u32::try_from(self.number(at, 4)?).ok()
    }

    /// A number as wide as an address.
    pub(super) fn word(&self, at: u64) -> Option<u64> {
        self.number(at, self.word_size())
    }

    /// The program header table.
    pub(super) fn segments(&self) -> Result<Vec<Segment>, ElfError> {
        let fault = || ElfError::Outside("program header table");
        let (table, size, count) = if self.is_wide() {
            (self.word(32), self.half(54), self.half(56))
        } else {
            (self.word(28), self.half(42), self.half(44))
        };
        let (Some(table), Some(size), Some(count)) = (table, size, count) else {
            return Err(ElfError::Outside("header"));
        };
        if count == 0 {
            return Ok(Vec::new());
        }
        // PN_XNUM stands for more of them than any linker writes.
        if count == u16::MAX || u64::from(size) < if self.is_wide() { 56 } else { 32 } {
            return Err(ElfError::Headers);
        }
        let end = u64::from(size) * u64::from(count);
        self.bytes(table, end).ok_or_else(fault)?;
        let starts = (0..u64::from(count)).map(|number| table + number * u64::from(size));
        starts.map(|at| self.segment(at).ok_or_else(fault)).collect()
    }

    fn segment(&self, at: u64) -> Option<Segment> {
        let word = |place: u64| self.word(at + place);
        let quad = |place: u64| self.quad(at + place);
        Some(if self.is_wide() {
            Segment {
                kind: quad(0)?,
                flags: quad(4)?,
                offset: word(8)?,
                address: word(16)?,
                physical: word(24)?,
                file_size: word(32)?,
                memory_size: word(40)?,
                alignment: word(48)?,
            }
        } else {
            Segment {
                kind: quad(0)?,
                flags: quad(24)?,
                offset: word(4)?,
                address: word(8)?,
                physical: word(12)?,
                file_size: word(16)?,
                memory_size: word(20)?,
                alignment: word(28)?,
            }
        })
    }
}

/// The text that begins `bytes` and ends with a zero; the longest start of it that is looked at, if it is longer.
pub(super) fn start_of_text(bytes: &[u8]) -> &[u8] {
    let bytes = &bytes[..bytes.len().min(LONGEST_SYMBOL)];
    bytes.iter().position(|byte| *byte == 0).map_or(bytes, |end| &bytes[..end])
}
