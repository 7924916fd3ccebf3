//! ELF files (System V ABI), read with distrust: what they need, and what they say of themselves.
//!
//! Everything is found as the dynamic loader finds it, by program headers; section headers are looked at by
//! [`sections()`] and [`scan()`] alone, and kept right by [`edit`](mod@edit) and [`strip`](mod@strip), which change
//! files. Each offset is checked against the file, and each count is bounded by its size.

pub mod edit;
mod image;
mod property;
mod reader;
mod scan;
mod sections;
pub mod strip;
mod symbols;

use hwb_wheel::elf::Elf as Head;

use self::reader::{Reader, Segment, Text};
pub use self::scan::{Instructions, Question, Scan, scan};
pub use self::sections::sections;
use self::symbols::SymbolTable;
pub use self::symbols::{Binding, Definition, Symbol, Symbols};

/// More libraries than this are needed by no file.
const MOST_NEEDED: usize = 1024;
/// More versions than this are needed by no file.
const MOST_VERSIONS: usize = 4096;

/// `EM_X86_64`.
const X86_64: u16 = 62;

const PT_LOAD: u32 = 1;
const PT_DYNAMIC: u32 = 2;
const PT_INTERP: u32 = 3;
const PT_GNU_STACK: u32 = 0x6474_e551;

/// An ELF file, as much of it as decides where it runs.
#[derive(Debug, Clone)]
pub struct Elf<'a> {
    /// For which machine it is.
    pub head: Head,
    /// `e_flags`, whose meaning depends on the machine.
    pub flags: u32,
    /// The dynamic loader that it asks for (`PT_INTERP`): it is a program, or can be run as one.
    pub interpreter: Option<&'a str>,
    /// The libraries that it needs (`DT_NEEDED`), in order.
    pub needed: Vec<&'a str>,
    /// The name that others need it by (`DT_SONAME`).
    pub soname: Option<&'a str>,
    /// Where it and what it loads looks for libraries (`DT_RPATH`).
    pub rpath: Option<&'a str>,
    /// Where it looks for libraries (`DT_RUNPATH`); `DT_RPATH` does not count then.
    pub runpath: Option<&'a str>,
    /// Whether its code is changed while it is loaded.
    pub text_relocations: TextRelocations,
    /// What it says of the stack.
    pub stack: Stack,
    /// The level of x86-64 that it says it needs.
    pub isa: Isa,
    /// The symbol versions that it needs (`.gnu.version_r`), by library.
    pub versions: Vec<VersionNeed<'a>>,
    symbols: Option<SymbolTable<'a>>,
}

/// What a file needs of the versions of one library.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VersionNeed<'a> {
    /// The library, as `DT_NEEDED` has it.
    pub library: &'a str,
    /// The versions.
    pub versions: Vec<VersionName<'a>>,
}

/// One version of a library.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VersionName<'a> {
    /// For example `GLIBC_2.17`.
    pub name: &'a str,
    /// The number by which symbols refer to it.
    pub index: u16,
}

/// Whether code is changed while it is loaded (`DT_TEXTREL`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TextRelocations {
    /// It is not.
    Absent,
    /// It is, which hardened systems refuse.
    Present,
}

/// What a file says of the stack (`PT_GNU_STACK`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stack {
    /// It need not be executable.
    Plain,
    /// It must be executable, which glibc 2.41 refuses for libraries that are opened at run time.
    Executable,
    /// Nothing.
    Unstated,
}

/// A level of x86-64 (`GNU_PROPERTY_X86_ISA_1_NEEDED`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Isa {
    /// Every machine, as far as the file says.
    Baseline,
    /// x86-64-v2
    V2,
    /// x86-64-v3
    V3,
    /// x86-64-v4
    V4,
}

/// What every ELF file begins with.
pub const MAGIC: &[u8] = b"\x7fELF";

/// What is wrong with an ELF file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ElfError {
    /// It does not begin as an ELF file does.
    #[error("it is no ELF file")]
    NotElf,
    /// It begins as one, and goes on as none does.
    #[error("its identification is malformed")]
    Identification,
    /// Something lies where the file has no bytes.
    #[error("its {0} lies outside the file")]
    Outside(&'static str),
    /// The program headers are of no size or number that a linker writes.
    #[error("its program headers are malformed")]
    Headers,
    /// A text does not end.
    #[error("its {0} does not end")]
    Endless(&'static str),
    /// A text is not UTF-8.
    #[error("its {0} is not UTF-8")]
    Encoding(&'static str),
    /// More of something than any file has.
    #[error("it has more than {most} {what}")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// How many are read.
        most: usize,
    },
    /// The list of versions does not hold together.
    #[error("its version needs are malformed")]
    Versions,
}

impl ElfError {
    /// What is wrong with a file whose head cannot be read.
    fn of_head(file: &[u8]) -> Self {
        if file.starts_with(MAGIC) { Self::Identification } else { Self::NotElf }
    }
}

impl<'a> Elf<'a> {
    /// Reads a file.
    ///
    /// # Errors
    ///
    /// If it is no ELF file, or what it says of itself contradicts itself or the file's length.
    pub fn parse(file: &'a [u8]) -> Result<Self, ElfError> {
        let head = Head::parse(file).ok_or_else(|| ElfError::of_head(file))?;
        let reader = Reader { file, head };
        let segments = reader.segments()?;
        let flags = reader.quad(if reader.is_wide() { 48 } else { 36 }).ok_or(ElfError::Outside("header"))?;
        let dynamic = Dynamic::read(&reader, &segments)?;
        let strings = dynamic.strings(&reader, &segments)?;
        let named = |at: Option<u64>, text: Text| at.map(|at| text.read(strings, at)).transpose();
        let needed = dynamic.needed.iter().map(|at| Text::LIBRARY.read(strings, *at));
        Ok(Self {
            head,
            flags,
            interpreter: interpreter(&reader, &segments)?,
            needed: needed.collect::<Result<_, _>>()?,
            soname: named(dynamic.soname, Text::NAME)?,
            rpath: named(dynamic.rpath, Text::RUN_PATH)?,
            runpath: named(dynamic.runpath, Text::RUN_PATH)?,
            text_relocations: dynamic.text_relocations,
            stack: stack(&segments),
            isa: property::isa(&reader, &segments),
            versions: version_needs(&reader, &segments, &dynamic, strings)?,
            symbols: SymbolTable::locate(reader, &segments, &dynamic, strings)?,
        })
    }

    /// Its dynamic symbols.
    pub fn symbols(&self) -> Symbols<'a> {
        self.symbols.map_or_else(Symbols::default, SymbolTable::iter)
    }
}

/// What the dynamic section says, as it is written there.
#[derive(Debug)]
struct Dynamic {
    needed: Vec<u64>,
    soname: Option<u64>,
    rpath: Option<u64>,
    runpath: Option<u64>,
    string_table: Option<u64>,
    string_size: u64,
    symbol_table: Option<u64>,
    hash: Option<u64>,
    gnu_hash: Option<u64>,
    symbol_versions: Option<u64>,
    version_needs: Option<u64>,
    version_need_count: u64,
    text_relocations: TextRelocations,
    /// Where something else than the symbol table begins.
    tables: Vec<u64>,
}

impl Dynamic {
    fn read(reader: &Reader<'_>, segments: &[Segment]) -> Result<Self, ElfError> {
        let mut dynamic = Self {
            needed: Vec::new(),
            soname: None,
            rpath: None,
            runpath: None,
            string_table: None,
            string_size: 0,
            symbol_table: None,
            hash: None,
            gnu_hash: None,
            symbol_versions: None,
            version_needs: None,
            version_need_count: 0,
            text_relocations: TextRelocations::Absent,
            tables: Vec::new(),
        };
        let Some(segment) = segments.iter().find(|segment| segment.kind == PT_DYNAMIC) else {
            return Ok(dynamic);
        };
        let size = reader.word_size() * 2;
        reader.bytes(segment.offset, segment.file_size).ok_or(ElfError::Outside("dynamic section"))?;
        for number in 0..segment.file_size / size {
            let at = segment.offset + number * size;
            let (Some(tag), Some(value)) = (reader.word(at), reader.word(at + reader.word_size())) else {
                break;
            };
            if tag == 0 {
                break;
            }
            dynamic.note(tag, value)?;
        }
        Ok(dynamic)
    }

    fn note(&mut self, tag: u64, value: u64) -> Result<(), ElfError> {
        const DF_TEXTREL: u64 = 4;
        match tag {
            1 if self.needed.len() == MOST_NEEDED => {
                return Err(ElfError::TooMany { what: "needed libraries", most: MOST_NEEDED });
            }
            1 => self.needed.push(value),
            4 => self.hash = Some(value),
            5 => self.string_table = Some(value),
            6 => self.symbol_table = Some(value),
            10 => self.string_size = value,
            14 => self.soname = Some(value),
            15 => self.rpath = Some(value),
            22 => self.text_relocations = TextRelocations::Present,
            29 => self.runpath = Some(value),
            30 if value & DF_TEXTREL != 0 => self.text_relocations = TextRelocations::Present,
            0x6fff_fef5 => self.gnu_hash = Some(value),
            0x6fff_fff0 => self.symbol_versions = Some(value),
            0x6fff_fffe => self.version_needs = Some(value),
            0x6fff_ffff => self.version_need_count = value,
            _ => {}
        }
        // The string table, hashes, relocations, initialisers and versions; each begins something else.
        if matches!(
            tag,
            4 | 5
                | 7
                | 12
                | 13
                | 17
                | 23
                | 25
                | 26
                | 36
                | 0x6fff_fef5
                | 0x6fff_fff0
                | 0x6fff_fffc
                | 0x6fff_fffe
        ) {
            self.tables.push(value);
        }
        Ok(())
    }

    fn strings<'a>(&self, reader: &Reader<'a>, segments: &[Segment]) -> Result<&'a [u8], ElfError> {
        let Some(address) = self.string_table else { return Ok(&[]) };
        let bytes = |at| reader.bytes(at, self.string_size);
        file_offset(reader, segments, address).and_then(bytes).ok_or(ElfError::Outside("string table"))
    }
}

/// Where the byte at an address of memory is in the file.
fn file_offset(reader: &Reader<'_>, segments: &[Segment], address: u64) -> Option<u64> {
    segments.iter().filter(|segment| segment.kind == PT_LOAD).find_map(|segment| {
        let inside = address.checked_sub(segment.address).filter(|inside| *inside < segment.file_size)?;
        segment.offset.checked_add(inside).filter(|at| *at < reader.file.len() as u64)
    })
}

fn interpreter<'a>(reader: &Reader<'a>, segments: &[Segment]) -> Result<Option<&'a str>, ElfError> {
    let Some(segment) = segments.iter().find(|segment| segment.kind == PT_INTERP) else { return Ok(None) };
    let bytes = reader.bytes(segment.offset, segment.file_size).ok_or(ElfError::Outside("interpreter"))?;
    Text::INTERPRETER.read(bytes, 0).map(Some)
}

fn stack(segments: &[Segment]) -> Stack {
    const PF_X: u32 = 1;
    match segments.iter().find(|segment| segment.kind == PT_GNU_STACK) {
        None => Stack::Unstated,
        Some(segment) if segment.flags & PF_X == 0 => Stack::Plain,
        Some(_) => Stack::Executable,
    }
}

fn version_needs<'a>(
    reader: &Reader<'a>,
    segments: &[Segment],
    dynamic: &Dynamic,
    strings: &'a [u8],
) -> Result<Vec<VersionNeed<'a>>, ElfError> {
    let Some(address) = dynamic.version_needs else { return Ok(Vec::new()) };
    let too_many = || ElfError::TooMany { what: "version needs", most: MOST_VERSIONS };
    let mut at = file_offset(reader, segments, address).ok_or(ElfError::Outside("version needs"))?;
    let (mut needs, mut read) = (Vec::new(), 0);
    for _ in 0..dynamic.version_need_count {
        let entry = |place: u64| reader.quad(at + place).map(u64::from).ok_or(ElfError::Versions);
        let count = reader.half(at + 2).ok_or(ElfError::Versions)?;
        let library = Text::LIBRARY.read(strings, entry(4)?)?;
        let (mut versions, mut place) = (Vec::new(), at + entry(8)?);
        for _ in 0..count {
            read += 1;
            if read > MOST_VERSIONS {
                return Err(too_many());
            }
            let part = |offset: u64| reader.quad(place + offset).map(u64::from).ok_or(ElfError::Versions);
            let index = reader.half(place + 6).ok_or(ElfError::Versions)?;
            versions.push(VersionName { name: Text::VERSION.read(strings, part(8)?)?, index });
            match part(12)? {
                0 => break,
                next => place += next,
            }
        }
        needs.push(VersionNeed { library, versions });
        if needs.len() > MOST_NEEDED {
            return Err(too_many());
        }
        match entry(12)? {
            0 => break,
            next => at += next,
        }
    }
    Ok(needs)
}

#[cfg(test)]
mod tests;
