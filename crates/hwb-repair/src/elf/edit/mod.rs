//! Changes to ELF files that are linked already: other names of libraries, other run paths, another loader.
//!
//! What fits is written over what was there. Where a text is new, the string table goes into a segment at the end of
//! the file (`layout`), and a place for the header of that segment is found (`room`).

use std::collections::{BTreeMap, BTreeSet};

use hwb_ident::{Digest, Hasher};

use self::dynamic::Entries;
use self::layout::Part;
use self::strings::Strings;
use self::versions::{Change, VersionNeeds};
use super::image::{Image, SHT_DYNSYM};
use super::reader::Text;
use super::symbols::SymbolTable;
use super::{Dynamic, Elf, ElfError, MOST_VERSIONS, PT_INTERP, VersionName, VersionNeed, file_offset};

mod dynamic;
mod layout;
mod room;
mod strings;
mod versions;

/// What is to change in an ELF file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Edits {
    /// The name that others need it by (`DT_SONAME`).
    pub soname: Option<String>,
    /// Needed libraries that get another name, or are needed no longer. Those that the file does not need are passed
    /// over.
    pub needed: BTreeMap<String, Option<String>>,
    /// Libraries that are needed after the others, unless they are needed already.
    pub add_needed: Vec<String>,
    /// Where it looks for libraries.
    pub run_path: RunPathEdit,
    /// The dynamic loader that it asks for.
    pub interpreter: Option<String>,
}

/// What is to become of the run path.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum RunPathEdit {
    /// It stays.
    #[default]
    Keep,
    /// There is none.
    Remove,
    /// It is this one, as `DT_RPATH`, which counts for what the file loads too.
    Rpath(String),
    /// It is this one, as `DT_RUNPATH`.
    Runpath(String),
}

/// Why an ELF file was not changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EditError {
    /// It cannot be read.
    #[error("it cannot be read as an ELF file")]
    Read(#[from] ElfError),
    /// It is linked statically, or not linked.
    #[error("it has no dynamic section that could be changed")]
    NotDynamic,
    /// It asks for no loader.
    #[error("it asks for no loader in whose place another could be put")]
    NoInterpreter,
    /// Something in it contradicts the rest.
    #[error("its {0} is malformed")]
    Malformed(&'static str),
    /// It has something that the editor does not know how to keep right.
    #[error("it has {0}")]
    Unsupported(&'static str),
    /// No program header can be added.
    #[error("there is no room for another program header")]
    NoRoom,
    /// A size or an address is larger than the file can express.
    #[error("it would be larger than its kind of ELF can express")]
    TooLarge,
    /// What is to be written is no name or path.
    #[error("{0:?} cannot be written into an ELF file")]
    Text(String),
}

/// The file with the edits; the same bytes if they change nothing. It is changed where it is: a library may be large.
///
/// Versions that are needed of a library follow its name. A run path that is removed or replaced is no longer readable
/// in the file. Only what the loader looks at is relied on; section headers and symbols follow.
///
/// To remove debug sections as well, call [`strip`](super::strip::strip) first: what is added here comes last in the file.
///
/// # Errors
///
/// If the file is malformed or linked statically, if a text cannot be written, or if there is no room for it.
pub fn edit(file: Vec<u8>, edits: &Edits) -> Result<Vec<u8>, EditError> {
    if *edits == Edits::default() {
        return Ok(file);
    }
    edits.check()?;
    let expected = Facts::expected(&Elf::parse(&file)?, edits);
    let mut image = Image::read(file)?;
    let mut entries = Entries::read(&image)?;
    let mut strings = Strings::read(&image, &entries)?;
    let mut versions = VersionNeeds::read(&image, &entries)?;
    let old_entries = entries.list.clone();
    let old_sections = image.sections.clone();
    set_soname(edits, &mut entries, &mut strings);
    set_needed(edits, &mut entries, &mut strings);
    versions.change(&mut image, &mut entries, |need| new_name(edits, &mut strings, need.library))?;
    let dropped = set_run_path(edits, &mut entries, &mut strings);
    if !dropped.is_empty() {
        let used = texts(&image, &entries, &versions)?;
        for path in dropped {
            strings.blank(path, &used);
        }
        write_old_strings(&mut image, &strings)?;
    }
    let interpreter = set_interpreter(edits, &mut image)?;
    if strings.has_grown() || !entries.fits(&image) && entries.list != old_entries || interpreter.is_some() {
        layout::place(&mut image, &mut entries, strings, interpreter.into_iter().collect())?;
    } else {
        if entries.list != old_entries {
            entries.write(&mut image)?;
        }
        if image.sections != old_sections {
            image.write_tables()?;
        }
    }
    confirm(&expected, &image.bytes)?;
    Ok(image.bytes)
}

impl Edits {
    fn check(&self) -> Result<(), EditError> {
        let renamed = self.needed.values().flatten();
        let names = self.soname.iter().chain(renamed).chain(&self.add_needed).chain(&self.interpreter);
        let paths = match &self.run_path {
            RunPathEdit::Keep | RunPathEdit::Remove => None,
            RunPathEdit::Rpath(path) | RunPathEdit::Runpath(path) => Some(path),
        };
        let is_bad_name = |name: &&String| name.is_empty() || !Text::NAME.can_hold(name);
        let bad = names.into_iter().find(is_bad_name);
        let bad = bad.or_else(|| paths.filter(|path| !Text::RUN_PATH.can_hold(path)));
        bad.map_or(Ok(()), |text| Err(EditError::Text(text.clone())))
    }

    /// What a needed library is called from now on.
    fn renamed<'a>(&'a self, name: &'a str) -> Option<&'a str> {
        self.needed.get(name).map_or(Some(name), Option::as_deref)
    }
}

fn set_soname(edits: &Edits, entries: &mut Entries, strings: &mut Strings) {
    let Some(name) = &edits.soname else { return };
    let old = entries.get(dynamic::SONAME);
    if old.and_then(|at| strings.get(at)) == Some(name.as_bytes()) {
        return;
    }
    let at = strings.place(name);
    match old {
        Some(_) => entries.set(dynamic::SONAME, at),
        None => entries.list.push((dynamic::SONAME, at)),
    }
}

fn set_needed(edits: &Edits, entries: &mut Entries, strings: &mut Strings) {
    entries.list.retain_mut(|(tag, value)| {
        let Some(new) = (*tag == dynamic::NEEDED).then(|| new_name(edits, strings, *value)) else {
            return true;
        };
        match new {
            Change::Keep => true,
            Change::Remove => false,
            Change::Rename(at) => {
                *value = at;
                true
            }
        }
    });
    for name in &edits.add_needed {
        let mut needed = entries.list.iter().filter(|(tag, _)| *tag == dynamic::NEEDED);
        if !needed.any(|(_, at)| strings.get(*at) == Some(name.as_bytes())) {
            let last = entries.list.iter().rposition(|(tag, _)| *tag == dynamic::NEEDED);
            entries.list.insert(last.map_or(0, |last| last + 1), (dynamic::NEEDED, strings.place(name)));
        }
    }
}

/// What becomes of the library whose name is at a place.
fn new_name(edits: &Edits, strings: &mut Strings, at: u64) -> Change {
    let old = strings.get(at).and_then(|name| std::str::from_utf8(name).ok()).map(str::to_owned);
    match old.as_deref().map(|old| (old, edits.renamed(old))) {
        None => Change::Keep,
        Some((_, None)) => Change::Remove,
        Some((old, Some(new))) if old == new => Change::Keep,
        Some((_, Some(new))) => Change::Rename(strings.place(new)),
    }
}

/// Says which texts no longer count.
fn set_run_path(edits: &Edits, entries: &mut Entries, strings: &mut Strings) -> Vec<u64> {
    let (tag, path) = match &edits.run_path {
        RunPathEdit::Keep => return Vec::new(),
        RunPathEdit::Remove => (dynamic::RUNPATH, None),
        RunPathEdit::Rpath(path) => (dynamic::RPATH, Some(path)),
        RunPathEdit::Runpath(path) => (dynamic::RUNPATH, Some(path)),
    };
    let is_path = |entry: &&(u64, u64)| matches!(entry.0, dynamic::RPATH | dynamic::RUNPATH);
    let old = entries.list.iter().filter(is_path).copied().collect::<Vec<_>>();
    if let ([(old, at)], Some(path)) = (&old[..], path)
        && *old == tag
        && strings.get(*at) == Some(path.as_bytes())
    {
        return Vec::new();
    }
    let first = entries.list.iter().position(|entry| is_path(&entry)).unwrap_or(entries.list.len());
    entries.remove(&[dynamic::RPATH, dynamic::RUNPATH]);
    if let Some(path) = path {
        entries.list.insert(first, (tag, strings.place(path)));
    }
    old.into_iter().map(|(_, at)| at).collect()
}

/// Writes the loader over the old one, or says what goes elsewhere.
fn set_interpreter(edits: &Edits, image: &mut Image) -> Result<Option<Part>, EditError> {
    let Some(path) = &edits.interpreter else { return Ok(None) };
    let segment = image.segments.iter().find(|segment| segment.kind == PT_INTERP);
    let place = segment.ok_or(EditError::NoInterpreter)?.range();
    let bytes = [path.as_bytes(), &[0]].concat();
    let old = image.slice(&place).ok_or(ElfError::Outside("interpreter"))?;
    if old.starts_with(&bytes) {
        return Ok(None);
    }
    if bytes.len() > old.len() {
        return Ok(Some(Part { from: place, bytes, alignment: 1 }));
    }
    image.blank(&place);
    image.overwrite(place.start, &bytes)?;
    Ok(None)
}

/// Writes what was the string table over itself: some of it is gone.
fn write_old_strings(image: &mut Image, strings: &Strings) -> Result<(), EditError> {
    let length = usize::try_from(strings.place.end - strings.place.start).map_err(|_| EditError::TooLarge)?;
    image.overwrite(strings.place.start, &strings.bytes[..length])
}

/// Every place in the string table that something speaks of.
fn texts(image: &Image, entries: &Entries, versions: &VersionNeeds) -> Result<BTreeSet<u64>, EditError> {
    let mut texts = entries.texts().chain(versions.texts()).collect::<BTreeSet<_>>();
    let reader = image.reader();
    let (start, count) = symbol_table(image)?;
    let size = if reader.is_wide() { 24 } else { 16 };
    let names = (0..count).map(|number| reader.quad(start + number * size).map(u64::from));
    texts.extend(names.collect::<Option<Vec<_>>>().ok_or(EditError::Malformed("symbol table"))?);
    texts
        .extend(defined_versions(image, entries).ok_or(EditError::Malformed("list of version definitions"))?);
    Ok(texts)
}

/// The names of the versions that the file defines (`.gnu.version_d`).
fn defined_versions(image: &Image, entries: &Entries) -> Option<Vec<u64>> {
    let Some(address) = entries.get(dynamic::VERDEF) else { return Some(Vec::new()) };
    let reader = image.reader();
    let quad = |at: u64| reader.quad(at).map(u64::from);
    let mut at = file_offset(&reader, &image.segments, address)?;
    let mut names = Vec::new();
    loop {
        let mut name = at + quad(at + 12)?;
        for _ in 0..reader.half(at + 6)? {
            names.push(quad(name)?);
            if names.len() > MOST_VERSIONS {
                return None;
            }
            match quad(name + 4)? {
                0 => break,
                next => name += next,
            }
        }
        match quad(at + 16)? {
            0 => return Some(names),
            next => at += next,
        }
    }
}

/// Where the dynamic symbols are, and how many.
fn symbol_table(image: &Image) -> Result<(u64, u64), EditError> {
    let reader = image.reader();
    let dynamic = Dynamic::read(&reader, &image.segments)?;
    let Some(table) = SymbolTable::locate(reader, &image.segments, &dynamic, &[])? else { return Ok((0, 0)) };
    let (start, count) = table.place();
    let known = image.sections.iter().find(|section| section.kind == SHT_DYNSYM && section.offset == start);
    let size = if reader.is_wide() { 24 } else { 16 };
    Ok((start, known.map_or(count, |section| section.size / size)))
}

fn symbol_count(image: &Image) -> Result<u64, EditError> {
    symbol_table(image).map(|(_, count)| count)
}

/// Reads the result again. A file whose parts lie over each other in ways that nobody foresaw must give an error and no
/// broken file.
fn confirm(expected: &Facts, file: &[u8]) -> Result<(), EditError> {
    let is_right = match (Elf::parse(file), Image::tables(file)) {
        (Ok(after), Ok(_)) => Facts::of(&after) == *expected,
        (Err(_), _) | (_, Err(_)) => false,
    };
    if is_right { Ok(()) } else { Err(EditError::Malformed("layout")) }
}

/// What is to be read in a file.
#[derive(Debug, PartialEq, Eq)]
struct Facts {
    soname: Option<String>,
    needed: Vec<String>,
    rpath: Option<String>,
    runpath: Option<String>,
    interpreter: Option<String>,
    /// By library, each with its number.
    versions: Vec<(String, Vec<(String, u16)>)>,
    /// Of the names of all symbols.
    symbols: Digest,
}

impl Facts {
    fn of(elf: &Elf<'_>) -> Self {
        let owned = |text: Option<&str>| text.map(str::to_owned);
        let version = |version: &VersionName<'_>| (version.name.to_owned(), version.index);
        let need = |need: &VersionNeed<'_>| {
            (need.library.to_owned(), need.versions.iter().map(version).collect::<Vec<_>>())
        };
        let mut symbols = Hasher::new();
        for symbol in elf.symbols() {
            symbols.update(symbol.name);
            symbols.update(&[0]);
        }
        Self {
            soname: owned(elf.soname),
            needed: elf.needed.iter().map(|name| (*name).to_owned()).collect(),
            rpath: owned(elf.rpath),
            runpath: owned(elf.runpath),
            interpreter: owned(elf.interpreter),
            versions: elf.versions.iter().map(need).collect(),
            symbols: symbols.finish(),
        }
    }

    /// Those of the file that `before` is to become.
    fn expected(before: &Elf<'_>, edits: &Edits) -> Self {
        let mut facts = Self::of(before);
        let rename = |name: String| edits.renamed(&name).map(str::to_owned);
        facts.needed = facts.needed.into_iter().filter_map(rename).collect();
        for name in &edits.add_needed {
            if !facts.needed.contains(name) {
                facts.needed.push(name.clone());
            }
        }
        let versions = facts.versions.into_iter();
        facts.versions =
            versions.filter_map(|(library, versions)| Some((rename(library)?, versions))).collect();
        facts.soname = edits.soname.clone().or(facts.soname);
        facts.interpreter = edits.interpreter.clone().or(facts.interpreter);
        (facts.rpath, facts.runpath) = match &edits.run_path {
            RunPathEdit::Keep => (facts.rpath, facts.runpath),
            RunPathEdit::Remove => (None, None),
            RunPathEdit::Rpath(path) => (Some(path.clone()), None),
            RunPathEdit::Runpath(path) => (None, Some(path.clone())),
        };
        facts
    }
}

#[cfg(test)]
mod malformed;
#[cfg(test)]
mod tests;
