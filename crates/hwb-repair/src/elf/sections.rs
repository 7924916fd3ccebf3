//! The sections of a file (System V ABI, "Sections"), for those who compare files. Loaders do not look at them.

use std::collections::BTreeMap;

use hwb_wheel::elf::Elf as Head;

use super::reader::Reader;

/// A section that occupies no bytes of its file (`SHT_NOBITS`).
const NO_BITS: u32 = 8;

/// The most bytes that the name of a section may have.
const LONGEST_NAME: usize = 1024;

/// The contents of each section by its name; a name that comes twice bears its number from the second on.
///
/// `None` if the bytes are no ELF file, or one whose section headers do not hold together.
pub fn sections(file: &[u8]) -> Option<BTreeMap<String, &[u8]>> {
    let reader = Reader { file, head: Head::parse(file)? };
    let headers = headers(&reader)?;
    let name_table = reader.half(if reader.is_wide() { 62 } else { 50 })?;
    let names = headers.get(usize::from(name_table))?.contents(&reader)?;
    let mut sections = BTreeMap::new();
    for (number, header) in headers.iter().enumerate() {
        let contents = if header.kind == NO_BITS { &[][..] } else { header.contents(&reader)? };
        let name = names.get(usize::try_from(header.name).ok()?..)?;
        // Many headers may point into one long text: no section has such a name.
        let end = name.iter().take(LONGEST_NAME).position(|&byte| byte == 0)?;
        let name = String::from_utf8_lossy(&name[..end]).into_owned();
        if name.is_empty() {
            continue;
        }
        let name = if sections.contains_key(&name) { format!("{name} #{number}") } else { name };
        sections.insert(name, contents);
    }
    Some(sections)
}

/// The sections that are code, by their addresses; none if the headers do not hold together.
pub(super) fn executable_sections<'a>(reader: &Reader<'a>) -> Vec<(u64, &'a [u8])> {
    const SHF_EXECINSTR: u64 = 4;
    let headers = headers(reader).unwrap_or_default();
    let is_code = |header: &&Header| header.kind != NO_BITS && header.flags & SHF_EXECINSTR != 0;
    let code = headers.iter().filter(is_code);
    code.map(|header| Some((header.address, header.contents(reader)?)))
        .collect::<Option<_>>()
        .unwrap_or_default()
}

/// One entry of the section header table.
#[derive(Debug, Clone, Copy)]
struct Header {
    name: u32,
    kind: u32,
    flags: u64,
    address: u64,
    offset: u64,
    size: u64,
}

impl Header {
    fn contents<'a>(&self, reader: &Reader<'a>) -> Option<&'a [u8]> {
        reader.bytes(self.offset, self.size)
    }
}

fn headers(reader: &Reader<'_>) -> Option<Vec<Header>> {
    let (table, size, count, least) = if reader.is_wide() {
        (reader.word(40)?, reader.half(58)?, reader.half(60)?, 64)
    } else {
        (reader.word(32)?, reader.half(46)?, reader.half(48)?, 40)
    };
    // SHN_LORESERVE stands for more of them than any linker writes.
    if table == 0 || size < least || count == 0 || count == u16::MAX {
        return None;
    }
    (0..u64::from(count)).map(|number| header(reader, table.checked_add(number * u64::from(size))?)).collect()
}

fn header(reader: &Reader<'_>, at: u64) -> Option<Header> {
    let place = |number: u64| at.checked_add(8)?.checked_add(number * reader.word_size());
    Some(Header {
        name: reader.quad(at)?,
        kind: reader.quad(at.checked_add(4)?)?,
        flags: reader.word(place(0)?)?,
        address: reader.word(place(1)?)?,
        offset: reader.word(place(2)?)?,
        size: reader.word(place(3)?)?,
    })
}

#[cfg(test)]
mod tests {
    use hwb_testkit::elf_of_sections;

    use super::*;

    #[test]
    fn reads_sections() {
        let file = elf_of_sections(&[(".text", b"code"), (".rodata", b"words"), (".text", b"more")]);
        let found = sections(&file).unwrap();
        let found: Vec<_> = found.iter().map(|(name, bytes)| (name.as_str(), bytes.len())).collect();
        assert_eq!(found, [(".rodata", 5), (".shstrtab", 31), (".text", 4), (".text #3", 4)]);
    }

    #[test]
    fn is_not_led_astray() {
        let file = elf_of_sections(&[(".text", b"code")]);
        // The last header's last three fields are of no interest.
        for length in 0..file.len() - 24 {
            assert_eq!(sections(&file[..length]), None, "{length}");
        }
        for at in 0..file.len() {
            for byte in [0, 1, 0x7f, 0xff] {
                let mut file = file.clone();
                file[at] = byte;
                drop(sections(&file));
            }
        }
        assert_eq!(sections(b"#!/bin/sh\n"), None);
    }
}
