//! The sections of an ELF file (System V ABI, "Sections"), read with distrust: as much as a comparison needs.

use std::collections::BTreeMap;

/// A file has no more section headers than this, or they are not read.
const MOST_SECTIONS: u64 = 65_535;

/// A section that occupies no bytes of its file (`SHT_NOBITS`).
const NO_BITS: u32 = 8;

/// The most bytes that the name of a section may have.
const LONGEST_NAME: usize = 1024;

/// The contents of each section by its name; a name that comes twice bears its number from the second on.
///
/// `None` if the bytes are no ELF file, or one whose section headers do not hold together.
pub(super) fn sections(file: &[u8]) -> Option<BTreeMap<String, &[u8]>> {
    let reader = Reader::of(file)?;
    let headers = reader.headers()?;
    let names = headers.get(reader.name_table()?)?.contents(file)?;
    let mut sections = BTreeMap::new();
    for (number, header) in headers.iter().enumerate() {
        let contents = if header.kind == NO_BITS { &[][..] } else { header.contents(file)? };
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

/// Reads numbers as the file's own header says that they are written.
#[derive(Debug, Clone, Copy)]
struct Reader<'a> {
    file: &'a [u8],
    is_wide: bool,
    is_little: bool,
}

/// One section header.
#[derive(Debug, Clone, Copy)]
struct Header {
    name: u32,
    kind: u32,
    offset: u64,
    size: u64,
}

impl Header {
    fn contents<'a>(&self, file: &'a [u8]) -> Option<&'a [u8]> {
        let (offset, size) = (usize::try_from(self.offset).ok()?, usize::try_from(self.size).ok()?);
        file.get(offset..)?.get(..size)
    }
}

impl<'a> Reader<'a> {
    fn of(file: &'a [u8]) -> Option<Self> {
        if !file.starts_with(b"\x7fELF") {
            return None;
        }
        let choice = |at: usize| match file.get(at)? {
            1 => Some(false),
            2 => Some(true),
            _ => None,
        };
        Some(Self { file, is_wide: choice(4)?, is_little: !choice(5)? })
    }

    fn number(&self, at: u64, width: usize) -> Option<u64> {
        let bytes = self.file.get(usize::try_from(at).ok()?..)?.get(..width)?;
        let add = |value: u64, byte: &u8| (value << 8) | u64::from(*byte);
        Some(if self.is_little { bytes.iter().rev().fold(0, add) } else { bytes.iter().fold(0, add) })
    }

    /// A number as wide as an address.
    fn word(&self, at: u64) -> Option<u64> {
        self.number(at, if self.is_wide { 8 } else { 4 })
    }

    fn half(&self, at: u64) -> Option<u64> {
        self.number(at, 2)
    }

    /// Which section has the names of all.
    fn name_table(&self) -> Option<usize> {
        usize::try_from(self.half(if self.is_wide { 62 } else { 50 })?).ok()
    }

    fn headers(&self) -> Option<Vec<Header>> {
        let (table, entry, count) = if self.is_wide {
            (self.word(40)?, self.half(58)?, self.half(60)?)
        } else {
            (self.word(32)?, self.half(46)?, self.half(48)?)
        };
        let least = if self.is_wide { 64 } else { 40 };
        if table == 0 || entry < least || count == 0 || count >= MOST_SECTIONS {
            return None;
        }
        (0..count)
            .map(|number| {
                let at = table.checked_add(number.checked_mul(entry)?)?;
                let (offset, size) = if self.is_wide { (24, 32) } else { (16, 20) };
                Some(Header {
                    name: u32::try_from(self.number(at, 4)?).ok()?,
                    kind: u32::try_from(self.number(at.checked_add(4)?, 4)?).ok()?,
                    offset: self.word(at.checked_add(offset)?)?,
                    size: self.word(at.checked_add(size)?)?,
                })
            })
            .collect()
    }
}

/// An ELF file of 64 bit, little endian, with these sections, for tests of what reads it.
#[cfg(test)]
pub(super) fn forge(sections: &[(&str, &[u8])]) -> Vec<u8> {
    let mut names = vec![0];
    let mut contents: Vec<(usize, Vec<u8>)> = vec![(0, Vec::new())];
    for (name, bytes) in sections.iter().copied().chain([(".shstrtab", &[][..])]) {
        contents.push((names.len(), bytes.to_vec()));
        names.extend_from_slice(name.as_bytes());
        names.push(0);
    }
    contents.last_mut().unwrap().1 = names;
    let (mut body, mut headers) = (Vec::new(), Vec::new());
    for (name, bytes) in &contents {
        let mut header = vec![0; 64];
        header[..4].copy_from_slice(&u32::try_from(*name).unwrap().to_le_bytes());
        header[4] = 1;
        header[24..32].copy_from_slice(&(64 + body.len() as u64).to_le_bytes());
        header[32..40].copy_from_slice(&(bytes.len() as u64).to_le_bytes());
        headers.extend(header);
        body.extend_from_slice(bytes);
    }
    let mut file = vec![0x7f, b'E', b'L', b'F', 2, 1, 1];
    file.resize(64, 0);
    file[16] = 3;
    file[18] = 62;
    file[40..48].copy_from_slice(&(64 + body.len() as u64).to_le_bytes());
    file[58] = 64;
    file[60..62].copy_from_slice(&u16::try_from(contents.len()).unwrap().to_le_bytes());
    file[62..64].copy_from_slice(&u16::try_from(contents.len() - 1).unwrap().to_le_bytes());
    file.extend(body);
    file.extend(headers);
    file
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_sections() {
        let file = forge(&[(".text", b"code"), (".rodata", b"words"), (".text", b"more")]);
        let found = sections(&file).unwrap();
        let found: Vec<_> = found.iter().map(|(name, bytes)| (name.as_str(), bytes.len())).collect();
        assert_eq!(found, [(".rodata", 5), (".shstrtab", 31), (".text", 4), (".text #3", 4)]);
    }

    #[test]
    fn is_not_led_astray() {
        let file = forge(&[(".text", b"code")]);
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
