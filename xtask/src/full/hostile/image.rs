//! ELF files of 64 bit and little endian, as a linker made them, and changed byte by byte.

use std::path::Path;

use crate::programs::{capture, program};

/// The numbers of the ELF specification that faults are made of.
pub(super) mod kind {
    pub(crate) const LOAD: usize = 1;
    pub(crate) const DYNAMIC: usize = 2;
    pub(crate) const INTERP: usize = 3;
    pub(crate) const NOTE: usize = 4;
    pub(crate) const GNU_STACK: usize = 0x6474_e551;
    pub(crate) const GNU_PROPERTY: usize = 0x6474_e553;
}

/// The tags of the dynamic section that faults are made of.
pub(super) mod tag {
    pub(crate) const NULL: usize = 0;
    pub(crate) const NEEDED: usize = 1;
    pub(crate) const HASH: usize = 4;
    pub(crate) const STRTAB: usize = 5;
    pub(crate) const SYMTAB: usize = 6;
    pub(crate) const RELA: usize = 7;
    pub(crate) const STRSZ: usize = 10;
    pub(crate) const SYMENT: usize = 11;
    pub(crate) const SONAME: usize = 14;
    pub(crate) const RUNPATH: usize = 29;
    pub(crate) const GNU_HASH: usize = 0x6fff_fef5;
    pub(crate) const VERSYM: usize = 0x6fff_fff0;
    pub(crate) const VERNEED: usize = 0x6fff_fffe;
    pub(crate) const VERNEEDNUM: usize = 0x6fff_ffff;
}

/// The size of a program header.
pub(super) const HEADER: usize = 56;
/// The size of an entry of the dynamic section.
const ENTRY: usize = 16;
/// What a segment that is added is aligned to, in the file and in memory.
const PAGE: usize = 0x1_0000;

/// A file.
#[derive(Debug, Clone)]
pub(super) struct Image(pub(super) Vec<u8>);

/// A number as wide as a field.
#[derive(Debug, Clone, Copy)]
pub(super) enum Number {
    Half(u16),
    Word(u32),
    Long(u64),
}

impl Image {
    /// Compiles a shared library in a folder; it is found there by later ones.
    pub(super) fn compile(folder: &Path, name: &str, code: &str, options: &[&str]) -> anyhow::Result<Self> {
        let (source, library) = (folder.join(format!("{name}.c")), folder.join(name));
        fs_err::write(&source, code)?;
        let mut command = program("cc");
        command.args(["-shared", "-fPIC", "-O1", "-nostartfiles", "-Wl,--hash-style=both", "-L"]).arg(folder);
        command.arg(format!("-Wl,-soname,{name}")).arg("-o").arg(&library).arg(&source).args(options);
        capture(&mut command)?;
        Ok(Self(fs_err::read(&library)?))
    }

    /// A copy on which something was done.
    pub(super) fn with(&self, operate: impl FnOnce(&mut Self)) -> Self {
        let mut copy = self.clone();
        operate(&mut copy);
        copy
    }

    fn number(&self, at: usize, width: usize) -> usize {
        self.0[at..at + width].iter().rev().fold(0, |number, byte| (number << 8) | usize::from(*byte))
    }

    pub(super) fn half(&self, at: usize) -> usize {
        self.number(at, 2)
    }

    pub(super) fn word(&self, at: usize) -> usize {
        self.number(at, 4)
    }

    pub(super) fn long(&self, at: usize) -> usize {
        self.number(at, 8)
    }

    /// Overwrites a field.
    pub(super) fn put(&mut self, at: usize, number: Number) {
        let bytes = match number {
            Number::Half(number) => number.to_le_bytes().to_vec(),
            Number::Word(number) => number.to_le_bytes().to_vec(),
            Number::Long(number) => number.to_le_bytes().to_vec(),
        };
        self.0[at..at + bytes.len()].copy_from_slice(&bytes);
    }

    /// Overwrites fields of a program header.
    pub(super) fn describe(&mut self, header: usize, fields: &[(usize, u64)]) {
        for (field, number) in fields {
            self.put(header + field, Number::Long(*number));
        }
    }

    /// Where the program headers are.
    pub(super) fn headers(&self) -> Vec<usize> {
        (0..self.half(56)).map(|number| self.long(32) + number * HEADER).collect()
    }

    /// Where the first program header of a kind is.
    pub(super) fn header(&self, kind: usize) -> usize {
        let mut headers = self.headers().into_iter();
        headers.find(|at| self.word(*at) == kind).expect("a linker makes such a header")
    }

    /// Where the loader finds an address in the file.
    fn place(&self, address: usize) -> usize {
        let holds = |at: &usize| {
            let start = self.long(at + 16);
            self.word(*at) == kind::LOAD && (start..start + self.long(at + 32)).contains(&address)
        };
        let at = self.headers().into_iter().find(holds).expect("the address lies in a segment");
        self.long(at + 8) + address - self.long(at + 16)
    }

    /// Where the entries of the dynamic section are.
    fn entries(&self) -> impl Iterator<Item = usize> {
        let header = self.header(kind::DYNAMIC);
        let (start, size) = (self.long(header + 8), self.long(header + 32));
        (start..start + size).step_by(ENTRY)
    }

    /// Where the value of the first entry with a tag is.
    pub(super) fn value(&self, tag: usize) -> usize {
        let mut entries = self.entries();
        entries.find(|at| self.long(*at) == tag).expect("a linker makes such an entry") + 8
    }

    /// Where that is which an entry names by its address.
    pub(super) fn table(&self, tag: usize) -> usize {
        self.place(self.long(self.value(tag)))
    }

    /// Where the name is that the first entry with a tag refers to.
    pub(super) fn name(&self, tag: usize) -> usize {
        self.table(tag::STRTAB) + self.long(self.value(tag))
    }

    /// Appends bytes as a segment of its own, which takes a header that nothing depends on, and returns its address.
    pub(super) fn append(&mut self, bytes: &[u8]) -> usize {
        let end = self.headers().into_iter().map(|at| self.long(at + 16) + self.long(at + 40)).max();
        let offset = self.0.len().next_multiple_of(PAGE);
        let address = end.unwrap_or_default().next_multiple_of(PAGE);
        self.0.resize(offset, 0);
        self.0.extend_from_slice(bytes);
        let at = self.header(kind::GNU_STACK);
        self.put(at, Number::Word(1));
        self.put(at + 4, Number::Word(6));
        let (from, to, size) = (offset as u64, address as u64, bytes.len() as u64);
        let fields = [(8, from), (16, to), (24, to), (32, size), (40, size), (48, PAGE as u64)];
        self.describe(at, &fields);
        address
    }

    /// Puts another dynamic section in the place of this one: its entries with others before them.
    pub(super) fn prepend_entries(&mut self, entries: &[(usize, usize)]) {
        let mut all: Vec<u8> = entries
            .iter()
            .flat_map(|(tag, value)| [*tag as u64, *value as u64])
            .flat_map(u64::to_le_bytes)
            .collect();
        let old: Vec<u8> = self.entries().flat_map(|at| self.0[at..at + ENTRY].to_vec()).collect();
        all.extend(old);
        let header = self.header(kind::DYNAMIC);
        let address = self.append(&all);
        let offset = self.place(address);
        let (offset, address, size) = (offset as u64, address as u64, all.len() as u64);
        self.describe(header, &[(8, offset), (16, address), (24, address), (32, size), (40, size)]);
    }
}
