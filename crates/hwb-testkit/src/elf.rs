//! ELF files, as a linker would write them, without code.

/// An ELF file in the making: a shared library for x86-64, unless something else is said.
#[derive(Debug, Clone)]
pub struct Elf {
    is_wide: bool,
    is_little: bool,
    machine: u16,
    flags: u32,
    soname: Option<String>,
    needed: Vec<String>,
    run_path: Option<(u64, String)>,
    interpreter: Option<String>,
    versions: Vec<(String, String)>,
    symbols: Vec<Symbol>,
    isa: Option<u32>,
    stack: Option<u32>,
    entries: Vec<(u64, u64)>,
    headers: Headers,
}

/// Which tables of headers there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Headers {
    Program,
    ProgramAndSection,
}

/// One dynamic symbol in the making.
#[derive(Debug, Clone)]
struct Symbol {
    name: String,
    is_here: bool,
    /// Which of the versions it needs.
    version: Option<usize>,
}

impl Default for Elf {
    fn default() -> Self {
        Self::new()
    }
}

/// A part of the file: where it is, and the number by which the dynamic section names it.
#[derive(Debug, Clone, Copy)]
struct Placed {
    tag: u64,
    at: usize,
}

impl Elf {
    /// A shared library for x86-64 that needs nothing.
    pub fn new() -> Self {
        Self {
            is_wide: true,
            is_little: true,
            machine: 62,
            flags: 0,
            soname: None,
            needed: Vec::new(),
            run_path: None,
            interpreter: None,
            versions: Vec::new(),
            symbols: Vec::new(),
            isa: None,
            stack: Some(6),
            entries: Vec::new(),
            headers: Headers::Program,
        }
    }

    /// For i686: 32 bit, little endian.
    pub fn i686() -> Self {
        Self { is_wide: false, machine: 3, ..Self::new() }
    }

    /// For aarch64.
    pub fn aarch64() -> Self {
        Self { machine: 183, ..Self::new() }
    }

    /// For armv7l: 32 bit, with hardware floating point.
    pub fn armv7l() -> Self {
        Self { is_wide: false, machine: 40, flags: 0x0500_0400, ..Self::new() }
    }

    /// For s390x: 64 bit, big endian.
    pub fn s390x() -> Self {
        Self { is_little: false, machine: 22, ..Self::new() }
    }

    /// For a machine of 32 bit and big endian, which has no platform tag.
    pub fn ppc() -> Self {
        Self { is_wide: false, is_little: false, machine: 20, ..Self::new() }
    }

    /// Names it (`DT_SONAME`).
    #[must_use]
    pub fn soname(mut self, name: &str) -> Self {
        self.soname = Some(name.to_owned());
        self
    }

    /// Adds a library that it needs (`DT_NEEDED`).
    #[must_use]
    pub fn needs(mut self, library: &str) -> Self {
        self.needed.push(library.to_owned());
        self
    }

    /// Sets `DT_RPATH`.
    #[must_use]
    pub fn rpath(mut self, path: &str) -> Self {
        self.run_path = Some((15, path.to_owned()));
        self
    }

    /// Sets `DT_RUNPATH`.
    #[must_use]
    pub fn runpath(mut self, path: &str) -> Self {
        self.run_path = Some((29, path.to_owned()));
        self
    }

    /// Makes it a program that this loader loads.
    #[must_use]
    pub fn interpreter(mut self, path: &str) -> Self {
        self.interpreter = Some(path.to_owned());
        self
    }

    /// Adds a symbol that it needs in a version of a library, which is needed as well.
    #[must_use]
    pub fn imports(mut self, symbol: &str, version: &str, library: &str) -> Self {
        if !self.needed.iter().any(|name| name == library) {
            self.needed.push(library.to_owned());
        }
        let wanted = (library.to_owned(), version.to_owned());
        let known = self.versions.iter().position(|known| *known == wanted);
        let place = known.unwrap_or_else(|| {
            self.versions.push(wanted);
            self.versions.len() - 1
        });
        self.symbols.push(Symbol { name: symbol.to_owned(), is_here: false, version: Some(place) });
        self
    }

    /// Adds a symbol that it needs in whatever version there is.
    #[must_use]
    pub fn imports_unversioned(mut self, symbol: &str) -> Self {
        self.symbols.push(Symbol { name: symbol.to_owned(), is_here: false, version: None });
        self
    }

    /// Adds a symbol that it has.
    #[must_use]
    pub fn exports(mut self, symbol: &str) -> Self {
        self.symbols.push(Symbol { name: symbol.to_owned(), is_here: true, version: None });
        self
    }

    /// Says that it needs these levels of x86-64: 2 for v2, 4 for v3, 8 for v4.
    #[must_use]
    pub fn isa(mut self, levels: u32) -> Self {
        self.isa = Some(levels);
        self
    }

    /// Asks for an executable stack.
    #[must_use]
    pub fn executable_stack(mut self) -> Self {
        self.stack = Some(7);
        self
    }

    /// Says that its code is changed while it is loaded.
    #[must_use]
    pub fn text_relocations(self) -> Self {
        self.entry(22, 0)
    }

    /// Adds an entry to the dynamic section, whatever it means.
    #[must_use]
    pub fn entry(mut self, tag: u64, value: u64) -> Self {
        self.entries.push((tag, value));
        self
    }

    /// Gives it section headers, a symbol table, a comment and something to debug.
    #[must_use]
    pub fn sections(mut self) -> Self {
        self.headers = Headers::ProgramAndSection;
        self
    }

    /// Writes the file.
    pub fn build(&self) -> Vec<u8> {
        let mut strings = Strings(vec![0]);
        let segments = 2 + usize::from(self.interpreter.is_some()) + usize::from(self.isa.is_some());
        let segments = segments + usize::from(self.stack.is_some());
        let head = if self.is_wide { 64 } else { 52 };
        let mut file = vec![0; head + segments * if self.is_wide { 56 } else { 32 }];
        let interpreter =
            self.interpreter.as_ref().map(|path| append(&mut file, format!("{path}\0").as_bytes()));
        let note = self.isa.map(|levels| append(&mut file, &self.property(levels)));
        let symbols = append(&mut file, &self.symbol_table(&mut strings));
        let hash = append(&mut file, &self.hash());
        let indices = append(&mut file, &self.symbol_versions());
        let needs = append(&mut file, &self.version_needs(&mut strings));
        let mut entries = self.named(&mut strings);
        let string_table = append(&mut file, &strings.0);
        let placed = [
            Placed { tag: 4, at: hash.0 },
            Placed { tag: 5, at: string_table.0 },
            Placed { tag: 6, at: symbols.0 },
            Placed { tag: 0x6fff_fff0, at: indices.0 },
            Placed { tag: 0x6fff_fffe, at: needs.0 },
        ];
        entries.extend(placed.map(|Placed { tag, at }| (tag, BASE + at as u64)));
        entries.extend([(10, string_table.1 as u64), (0x6fff_ffff, self.libraries().len() as u64), (0, 0)]);
        let words = entries.iter().flat_map(|(tag, value)| [self.word(*tag), self.word(*value)].concat());
        let dynamic = append(&mut file, &words.collect::<Vec<_>>());
        let mut table = self.segment((1, 5), (0, file.len()));
        table.extend(self.segment((2, 6), dynamic));
        table.extend(interpreter.into_iter().flat_map(|place| self.segment((3, 4), place)));
        table.extend(note.into_iter().flat_map(|place| self.segment((0x6474_e553, 4), place)));
        table.extend(self.stack.into_iter().flat_map(|flags| self.segment((0x6474_e551, flags), (0, 0))));
        file[..head].copy_from_slice(&self.head(head, segments));
        file[head..head + table.len()].copy_from_slice(&table);
        if self.headers == Headers::ProgramAndSection {
            let loaded = [
                (".dynstr", 3, string_table),
                (".dynsym", 11, symbols),
                (".dynamic", 6, dynamic),
                (".hash", 5, hash),
                (".gnu.version", 0x6fff_ffff, indices),
                (".gnu.version_r", 0x6fff_fffe, needs),
            ];
            let more = interpreter.map(|place| (".interp", 1, place));
            let more = more.into_iter().chain(note.map(|place| (".note.gnu.property", 7, place)));
            self.add_sections(&mut file, &loaded.into_iter().chain(more).collect::<Vec<_>>());
        }
        file
    }

    fn number(&self, value: u64, width: usize) -> Vec<u8> {
        let mut bytes = value.to_le_bytes()[..width].to_vec();
        if !self.is_little {
            bytes.reverse();
        }
        bytes
    }

    fn half(&self, value: usize) -> Vec<u8> {
        self.number(value as u64, 2)
    }

    fn quad(&self, value: usize) -> Vec<u8> {
        self.number(value as u64, 4)
    }

    fn word(&self, value: u64) -> Vec<u8> {
        self.number(value, if self.is_wide { 8 } else { 4 })
    }

    fn head(&self, size: usize, segments: usize) -> Vec<u8> {
        let (class, order) = (1 + u8::from(self.is_wide), 2 - u8::from(self.is_little));
        let mut head = [b"\x7fELF".as_slice(), &[class, order, 1], &[0; 9]].concat();
        head.extend([self.half(3), self.half(usize::from(self.machine)), self.quad(1)].concat());
        head.extend([self.word(0), self.word(size as u64), self.word(0)].concat());
        head.extend(self.number(u64::from(self.flags), 4));
        head.extend([self.half(size), self.half(if self.is_wide { 56 } else { 32 })].concat());
        head.extend([self.half(segments), vec![0; 6]].concat());
        head
    }

    /// A program header of a kind with flags, for a place with a size.
    fn segment(&self, (kind, flags): (u64, u32), (at, size): (usize, usize)) -> Vec<u8> {
        let (kind, flags) = (self.number(kind, 4), self.number(u64::from(flags), 4));
        let (offset, address) = (self.word(at as u64), self.word(BASE + at as u64));
        let (size, alignment) = (self.word(size as u64), self.word(8));
        let place = [offset, address.clone(), address, size.clone(), size].concat();
        if self.is_wide {
            [kind, flags, place, alignment].concat()
        } else {
            [kind, place, flags, alignment].concat()
        }
    }

    /// Adds the headers of what is loaded, and sections that are not.
    fn add_sections(&self, file: &mut Vec<u8>, loaded: &[(&'static str, u64, (usize, usize))]) {
        let symbol_size = if self.is_wide { 24 } else { 16 };
        let dynamic = loaded.iter().find(|(name, _, _)| *name == ".dynamic").map_or(0, |(_, _, (at, _))| *at);
        let name = self.number(1, 4);
        // `_DYNAMIC`, a local symbol of the third section.
        let (info, value) = ([vec![1, 0], self.half(3)].concat(), self.word(BASE + dynamic as u64));
        let symbol = if self.is_wide {
            [name, info, value, self.word(0)].concat()
        } else {
            [name, value, self.word(0), info].concat()
        };
        let symbols = append(file, &[vec![0; symbol_size], symbol].concat());
        let others = [
            (".symtab", 2, symbols),
            (".strtab", 3, append(file, b"\0_DYNAMIC\0")),
            (".comment", 1, append(file, b"a forge\0")),
            (".debug_info", 1, append(file, &[7; 40])),
        ];
        let mut names = Strings(vec![0]);
        let mut table = vec![0; if self.is_wide { 64 } else { 40 }];
        let strings = loaded.len() + 2;
        for (name, kind, place) in loaded.iter().chain(&others) {
            let is_loaded = !others.iter().any(|(other, _, _)| other == name);
            let (link, info, size) = match kind {
                2 => (strings, 2, symbol_size),
                11 => (1, 1, symbol_size),
                6 => (1, 0, if self.is_wide { 16 } else { 8 }),
                5 | 0x6fff_ffff => (2, 0, 0),
                0x6fff_fffe => (1, self.libraries().len(), 0),
                _ => (0, 0, 0),
            };
            let head = [self.number(names.add(name), 4), self.number(*kind, 4)].concat();
            let address = if is_loaded { BASE + place.0 as u64 } else { 0 };
            let place = [u64::from(is_loaded) * 2, address, place.0 as u64, place.1 as u64];
            table.extend([head, place.map(|word| self.word(word)).concat()].concat());
            table.extend([self.quad(link), self.quad(info), self.word(1), self.word(size as u64)].concat());
        }
        let name = names.add(".shstrtab");
        let place = append(file, &names.0);
        let place = [0, 0, place.0 as u64, place.1 as u64].map(|word| self.word(word)).concat();
        table.extend([self.number(name, 4), self.number(3, 4), place, self.quad(0), self.quad(0)].concat());
        table.extend([self.word(1), self.word(0)].concat());
        let start = append(file, &table).0;
        let count = loaded.len() + others.len() + 2;
        let (at, size_at) = if self.is_wide { (40, 58) } else { (32, 46) };
        let word = self.word(start as u64);
        file[at..at + word.len()].copy_from_slice(&word);
        let sizes = [table.len() / count, count, count - 1].map(|value| self.half(value)).concat();
        file[size_at..size_at + 6].copy_from_slice(&sizes);
    }

    /// The entries of the dynamic section that are names.
    fn named(&self, strings: &mut Strings) -> Vec<(u64, u64)> {
        let mut entries = self.needed.iter().map(|name| (1, strings.add(name))).collect::<Vec<_>>();
        entries.extend(self.soname.as_ref().map(|name| (14, strings.add(name))));
        entries.extend(self.run_path.as_ref().map(|(tag, path)| (*tag, strings.add(path))));
        entries.extend(&self.entries);
        entries
    }

    fn symbol_table(&self, strings: &mut Strings) -> Vec<u8> {
        let mut table = vec![0; if self.is_wide { 24 } else { 16 }];
        for symbol in &self.symbols {
            let name = self.number(strings.add(&symbol.name), 4);
            // A global function in the first section, or in none.
            let info = [vec![0x12, 0], self.half(usize::from(symbol.is_here))].concat();
            let value = self.word(if symbol.is_here { BASE } else { 0 });
            let size = self.word(0);
            table.extend(if self.is_wide {
                [name, info, value, size].concat()
            } else {
                [name, value, size, info].concat()
            });
        }
        table
    }

    /// One bucket that nothing is in, and a chain entry for each symbol. Of s390x the entries are wider.
    fn hash(&self) -> Vec<u8> {
        let width = if self.machine == 22 && self.is_wide { 8 } else { 4 };
        let count = self.symbols.len() as u64 + 1;
        let mut table = [1, count, 0].map(|value| self.number(value, width)).concat();
        table.extend(vec![0; self.symbols.len() * width + width]);
        table
    }

    fn symbol_versions(&self) -> Vec<u8> {
        let versions = self.symbols.iter().map(|symbol| symbol.version.map_or(1, |place| place + FIRST));
        std::iter::once(0).chain(versions).flat_map(|version| self.half(version)).collect()
    }

    fn libraries(&self) -> Vec<&String> {
        let mut libraries = Vec::new();
        for (library, _) in &self.versions {
            if !libraries.contains(&library) {
                libraries.push(library);
            }
        }
        libraries
    }

    fn version_needs(&self, strings: &mut Strings) -> Vec<u8> {
        let libraries = self.libraries();
        let mut table = Vec::new();
        for (number, library) in libraries.iter().enumerate() {
            let of_it = || self.versions.iter().enumerate().filter(|(_, (of, _))| of == *library);
            let count = of_it().count();
            let next = if number + 1 == libraries.len() { 0 } else { 16 * (count + 1) };
            table.extend([self.half(1), self.half(count)].concat());
            table.extend([self.number(strings.add(library), 4), self.quad(16), self.quad(next)].concat());
            for (place, (index, (_, version))) in of_it().enumerate() {
                let next = if place + 1 == count { 0 } else { 16 };
                table.extend([self.quad(0), self.half(0), self.half(index + FIRST)].concat());
                table.extend([self.number(strings.add(version), 4), self.quad(next)].concat());
            }
        }
        table
    }

    /// The note that names the levels of x86-64.
    fn property(&self, levels: u32) -> Vec<u8> {
        let property =
            [self.number(0xc000_8002, 4), self.quad(4), self.number(u64::from(levels), 4), self.quad(0)];
        let property = property.concat();
        [self.quad(4), self.quad(property.len()), self.quad(5), b"GNU\0".to_vec(), property].concat()
    }
}

/// Where the file is loaded.
const BASE: u64 = 0x1_0000;
/// The first index of a version that a file may choose; 0 and 1 are taken.
const FIRST: usize = 2;

/// Texts one after the other, each with a zero behind it.
#[derive(Debug)]
struct Strings(Vec<u8>);

impl Strings {
    fn add(&mut self, text: &str) -> u64 {
        let at = self.0.len() as u64;
        self.0.extend_from_slice(text.as_bytes());
        self.0.push(0);
        at
    }
}

/// Adds bytes where a number of eight bytes may be; says where they are and how many.
fn append(file: &mut Vec<u8>, bytes: &[u8]) -> (usize, usize) {
    file.resize(file.len().next_multiple_of(8), 0);
    let at = file.len();
    file.extend_from_slice(bytes);
    (at, bytes.len())
}
