//! Files that nobody should believe: each has one fault, and is refused for it.

use hwb_testkit::Elf as Forge;

use super::tests::{edits, library};
use super::*;

/// A file of 64 bit and little endian with a fault in the making.
struct Faulty(Vec<u8>);

impl Faulty {
    fn new() -> Self {
        Self(library(Forge::new().sections()).build())
    }

    fn put(mut self, at: usize, width: usize, value: u64) -> Self {
        self.0[at..at + width].copy_from_slice(&value.to_le_bytes()[..width]);
        self
    }

    /// A field of a program header: 0 is all that is loaded, 1 the dynamic section.
    fn segment(self, number: usize, field: usize, value: u64) -> Self {
        self.put(64 + 56 * number + field, if field < 8 { 4 } else { 8 }, value)
    }

    /// A field of a section header: 1 is the strings, 2 the symbols, 3 the dynamic section.
    fn section(self, number: usize, field: usize, value: u64) -> Self {
        let table = Image::read(self.0.clone()).unwrap().section_table;
        self.put(usize::try_from(table).unwrap() + 64 * number + field, 8, value)
    }

    fn place_of(&self, tag: u64) -> usize {
        let image = Image::read(self.0.clone()).unwrap();
        let entries = Entries::read(&image).unwrap();
        let number = entries.list.iter().position(|(of, _)| *of == tag).unwrap();
        usize::try_from(entries.place.start).unwrap() + 16 * number
    }

    /// The value of an entry of the dynamic section.
    fn entry(self, tag: u64, value: u64) -> Self {
        let at = self.place_of(tag) + 8;
        self.put(at, 8, value)
    }

    fn retag(self, tag: u64, new: u64) -> Self {
        let at = self.place_of(tag);
        self.put(at, 8, new)
    }

    /// A field of what is needed of a library, or of the version behind it.
    fn need(self, field: usize, width: usize, value: u64) -> Self {
        let image = Image::read(self.0.clone()).unwrap();
        let needs = image.sections.iter().find(|section| section.kind == versions::SHT_VERNEED).unwrap();
        self.put(usize::try_from(needs.offset).unwrap() + field, width, value)
    }
}

const WILD: u64 = 1 << 40;
const LAST: u64 = u64::MAX - 7;

/// What a fault is refused with; some of each kind of change is asked for.
fn check(file: Faulty, expect: &str) {
    let all = edits(&[
        ("soname", "new.so"),
        ("libother.so", "lib-other.so"),
        ("remove", "libc.so.6"),
        ("rpath", "/a"),
    ]);
    let said = match edit(file.0, &all).map(|_| ()) {
        Ok(()) => "nothing".to_owned(),
        Err(EditError::Read(error)) => error.to_string(),
        Err(error) => error.to_string(),
    };
    assert_eq!(said, expect);
}

#[test]
fn headers_contradict_the_file() {
    check(Faulty::new(), "nothing");
    check(Faulty(Vec::new()), "it is no ELF file");
    check(Faulty(b"#!/bin/sh\n".to_vec()), "it is no ELF file");
    check(Faulty(Faulty::new().0[..40].to_vec()), "its header lies outside the file");
    // e_phoff, e_phentsize, e_phnum
    for value in [WILD, LAST, u64::MAX] {
        check(Faulty::new().put(32, 8, value), "its program header table lies outside the file");
    }
    for (at, value) in [(54, 0), (54, 55), (54, 57), (56, 0xffff)] {
        check(Faulty::new().put(at, 2, value), "its program headers are malformed");
    }
    check(Faulty::new().put(56, 2, 1000), "its program header table lies outside the file");
    check(Faulty::new().put(56, 2, 0), "it has no dynamic section that could be changed");
    // e_shoff, e_shentsize, e_shnum
    for value in [WILD, LAST, u64::MAX] {
        check(Faulty::new().put(40, 8, value), "its section header table lies outside the file");
    }
    check(Faulty::new().put(60, 2, 0xfeff), "its section header table lies outside the file");
    for (at, value) in [(58, 0), (58, 63), (58, 65), (60, 0)] {
        check(Faulty::new().put(at, 2, value), "its section header table is malformed");
    }
    // p_offset, p_filesz, p_memsz, p_vaddr, p_align
    check(Faulty::new().segment(0, 32, WILD).segment(0, 40, WILD), "its segment lies outside the file");
    check(Faulty::new().segment(0, 40, 1), "its program headers are malformed");
    check(Faulty::new().segment(0, 40, u64::MAX), "its program headers are malformed");
    check(
        Faulty::new().segment(0, 40, u64::MAX - 0x1_0000),
        "it would be larger than its kind of ELF can express",
    );
    check(Faulty::new().segment(0, 48, 4097), "its program header table is malformed");
    check(Faulty::new().segment(0, 48, LAST), "its program header table is malformed");
    check(Faulty::new().segment(0, 48, 1 << 63), "its program header table is malformed");
    check(Faulty::new().segment(0, 0, 9), "its string table lies outside the file");
    check(Faulty::new().segment(1, 0, 9), "it has no dynamic section that could be changed");
    check(Faulty::new().segment(1, 8, WILD), "its dynamic section lies outside the file");
    check(Faulty::new().segment(1, 16, 8), "its dynamic section is malformed");
    check(Faulty::new().segment(1, 32, WILD), "its dynamic section lies outside the file");
}

#[test]
fn the_dynamic_section_contradicts_the_file() {
    for value in [0, WILD, LAST] {
        check(Faulty::new().entry(dynamic::STRTAB, value), "its string table lies outside the file");
        check(Faulty::new().entry(dynamic::SYMTAB, value), "its symbol table lies outside the file");
        check(Faulty::new().entry(dynamic::VERNEED, value), "its version needs lies outside the file");
        check(Faulty::new().entry(dynamic::VERSYM, value), "its table of symbol versions is malformed");
    }
    check(Faulty::new().entry(dynamic::STRSZ, WILD), "its string table lies outside the file");
    check(Faulty::new().entry(dynamic::STRSZ, u64::MAX), "its string table lies outside the file");
    check(Faulty::new().retag(dynamic::STRTAB, 9), "its needed library lies outside the file");
    check(Faulty::new().retag(dynamic::STRSZ, 9), "its needed library lies outside the file");
    check(Faulty::new().entry(dynamic::NEEDED, WILD), "its needed library lies outside the file");
    check(Faulty::new().entry(dynamic::SONAME, WILD), "its name lies outside the file");
    check(Faulty::new().entry(dynamic::RUNPATH, WILD), "its run path lies outside the file");
    let defines = Faulty::new().retag(dynamic::HASH, dynamic::VERDEF).entry(dynamic::VERDEF, WILD);
    check(defines, "its list of version definitions is malformed");
    let relative = "it has an entry of its dynamic section that counts from its own place";
    check(Faulty::new().retag(dynamic::HASH, 0x7000_0035), relative);
    let crowd = (0..4096).fold(Forge::new(), |forge, _| forge.entry(9, 0));
    check(Faulty(crowd.build()), "it has more than 4096 entries of the dynamic section");
    let crowd = (0..1025).fold(Forge::new(), |forge, _| forge.entry(1, 0));
    check(Faulty(crowd.build()), "it has more than 1024 needed libraries");
    // Something else lies where the strings are.
    let address = Image::read(Faulty::new().0).unwrap().segments[1].address;
    check(Faulty::new().entry(dynamic::STRTAB, address), "its needed library is not UTF-8");
}

#[test]
fn version_needs_contradict_the_file() {
    // vn_file, vn_aux, vn_next, vna_name and vna_next
    check(Faulty::new().need(4, 4, 0xffff_ffff), "its needed library lies outside the file");
    check(Faulty::new().need(8, 4, 0xffff_fff8), "its version needs are malformed");
    check(Faulty::new().need(12, 4, 0xffff_fff8), "its version needs are malformed");
    check(Faulty::new().need(12, 4, 1), "its needed library lies outside the file");
    check(Faulty::new().need(24, 4, 0xffff_ffff), "its needed version lies outside the file");
    check(Faulty::new().need(28, 4, 0xffff_fff8), "its version needs are malformed");
    // One lies in the other.
    check(Faulty::new().need(8, 4, 8), "its version needs are malformed");
    check(Faulty::new().need(28, 4, 15), "its needed version lies outside the file");
}

#[test]
fn sections_contradict_the_file() {
    // sh_offset and sh_size
    for number in [1, 2, 3] {
        check(Faulty::new().section(number, 24, WILD), "its section lies outside the file");
        check(Faulty::new().section(number, 24, u64::MAX), "its section lies outside the file");
        check(Faulty::new().section(number, 32, WILD), "its section lies outside the file");
        check(Faulty::new().section(number, 32, u64::MAX), "its section lies outside the file");
    }
}

#[test]
fn refuses_what_cannot_be_kept_right() {
    let check = |file: &[u8], words: &[(&str, &str)], expect: EditError| {
        assert_eq!(edit(file.to_vec(), &edits(words)).map(|_| ()), Err(expect), "{words:?}");
    };
    let file = Faulty::new().0;
    check(&file, &[("loader", "/lib/ld.so")], EditError::NoInterpreter);
    // Of 32 bit: no address is left behind the last one.
    let mut high = library(Forge::i686().sections()).build();
    high[52 + 20..52 + 24].copy_from_slice(&0xfffe_f001_u32.to_le_bytes());
    check(&high, &[("soname", "new.so")], EditError::TooLarge);
}
