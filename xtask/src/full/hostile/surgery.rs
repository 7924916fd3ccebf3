//! What can be wrong with an ELF file.

use super::image::Number::{Half, Long, Word};
use super::image::{HEADER, Image, kind, tag};

/// What must become of a wheel with such a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// Nothing true can be said of it.
    Refused,
    /// It is refused, or what is wrong does not matter.
    Either,
}

use Fate::{Either, Refused};

/// A fault: its name, what must come of it, and how it is made.
pub(super) type Fault = (&'static str, Fate, fn(&mut Image));

/// The faults of headers.
pub(super) const HEADERS: &[Fault] = &[
    ("ends after its magic", Refused, |image| image.0.truncate(4)),
    ("ends within its identification", Refused, |image| image.0.truncate(10)),
    ("ends within its header", Refused, |image| image.0.truncate(40)),
    ("ends where its program headers begin", Refused, |image| image.0.truncate(64)),
    ("ends within its program headers", Refused, |image| image.0.truncate(64 + HEADER + 8)),
    ("ends before its dynamic section", Refused, |image| {
        image.0.truncate(image.long(image.header(kind::DYNAMIC) + 8));
    }),
    ("ends within its string table", Refused, |image| image.0.truncate(image.table(tag::STRTAB) + 3)),
    ("class that there is not", Refused, |image| image.0[4] = 3),
    ("byte order that there is not", Refused, |image| image.0[5] = 3),
    ("big endian by its byte order alone", Either, |image| image.0[5] = 2),
    ("version that there is not", Either, |image| image.0[6] = 9),
    ("header of no size", Either, |image| image.put(52, Half(0))),
    ("program headers of one byte", Refused, |image| image.put(54, Half(1))),
    ("program headers of 65535 bytes", Refused, |image| image.put(54, Half(0xffff))),
    ("65535 program headers", Refused, |image| image.put(56, Half(0xffff))),
    ("65534 program headers", Refused, |image| image.put(56, Half(0xfffe))),
    ("no program headers", Either, |image| image.put(56, Half(0))),
    ("program headers at the end of the address space", Refused, |image| image.put(32, Long(u64::MAX))),
    ("program headers that wrap around", Refused, |image| image.put(32, Long(u64::MAX - 63))),
    ("program headers behind the file", Refused, |image| image.put(32, Long(1 << 40))),
    ("program headers at an odd place", Either, |image| image.put(32, Long(65))),
    ("section headers at the end of the address space", Either, |image| image.put(40, Long(u64::MAX))),
    ("65535 section headers", Either, |image| image.put(60, Half(0xffff))),
    ("section headers of one byte", Either, |image| image.put(58, Half(1))),
    ("names of sections in a section that there is not", Either, |image| image.put(62, Half(0xfff0))),
];

/// Overwrites a field of the first program header of a kind.
fn segment(image: &mut Image, kind: usize, field: usize, number: u64) {
    image.put(image.header(kind) + field, Long(number));
}

/// The faults of segments.
pub(super) const SEGMENTS: &[Fault] = &[
    ("dynamic section at the end of the address space", Refused, |image| {
        segment(image, kind::DYNAMIC, 8, u64::MAX);
        segment(image, kind::DYNAMIC, 16, u64::MAX);
    }),
    ("dynamic section behind the file", Refused, |image| {
        segment(image, kind::DYNAMIC, 8, 1 << 40);
        segment(image, kind::DYNAMIC, 16, 1 << 40);
    }),
    ("dynamic section as large as the address space", Either, |image| {
        segment(image, kind::DYNAMIC, 32, u64::MAX);
        segment(image, kind::DYNAMIC, 40, u64::MAX);
    }),
    ("dynamic section of seven bytes", Either, |image| segment(image, kind::DYNAMIC, 32, 7)),
    ("two dynamic sections", Either, |image| image.put(image.header(kind::GNU_STACK), Word(2))),
    ("first segment at the end of the address space of the file", Refused, |image| {
        segment(image, kind::LOAD, 8, u64::MAX);
    }),
    ("first segment as large as the address space", Either, |image| {
        segment(image, kind::LOAD, 32, u64::MAX);
        segment(image, kind::LOAD, 40, u64::MAX);
    }),
    ("first segment at an address that wraps around", Refused, |image| {
        segment(image, kind::LOAD, 16, u64::MAX - 0xfff);
    }),
    ("more bytes in the file than in memory", Either, |image| segment(image, kind::LOAD, 40, 1)),
    ("alignment that is no power of two", Either, |image| segment(image, kind::LOAD, 48, 3)),
    ("alignment as large as the address space", Either, |image| segment(image, kind::LOAD, 48, 1 << 63)),
    ("alignment that offset and address contradict", Either, |image| {
        let at = image.header(kind::LOAD) + 16;
        let address = image.long(at) as u64;
        image.put(at, Long(address + 1));
    }),
    ("segments one upon the other", Either, |image| {
        let loads: Vec<_> = image.headers().into_iter().filter(|at| image.word(*at) == kind::LOAD).collect();
        for at in &loads {
            let first = image.long(loads[0] + 16) as u64;
            image.put(at + 16, Long(first));
        }
    }),
    ("segments of which each holds the whole file", Either, |image| {
        let size = image.0.len() as u64;
        for at in image.headers() {
            if image.word(at) == kind::LOAD {
                image.describe(at, &[(8, 0), (16, 0), (32, size), (40, size)]);
            }
        }
    }),
    ("segments in descending order", Either, |image| {
        let loads: Vec<_> = image.headers().into_iter().filter(|at| image.word(*at) == kind::LOAD).collect();
        let (first, last) = (loads[0], loads[loads.len() - 1]);
        for byte in 0..HEADER {
            image.0.swap(first + byte, last + byte);
        }
    }),
    ("no segment that is loaded", Refused, |image| {
        for at in image.headers() {
            if image.word(at) == kind::LOAD {
                image.put(at, Word(0));
            }
        }
    }),
    ("interpreter behind the file", Refused, |image| {
        let at = image.header(kind::GNU_STACK);
        image.put(at, Word(3));
        image.describe(at, &[(8, 1 << 40), (16, 1 << 40), (32, 9)]);
        assert_eq!(image.header(kind::INTERP), at, "there was none");
    }),
    ("interpreter without an end", Either, |image| {
        let at = image.header(kind::GNU_STACK);
        image.put(at, Word(3));
        image.describe(at, &[(8, 1), (16, 1), (32, 3)]);
    }),
    ("note with a name as large as the address space", Either, |image| {
        let at = image.long(image.header(kind::NOTE) + 8);
        image.put(at, Word(u32::MAX));
    }),
    ("property larger than its note", Either, |image| {
        let at = image.header(kind::GNU_STACK);
        let note = [4_u32.to_le_bytes(), 16_u32.to_le_bytes(), 5_u32.to_le_bytes(), *b"GNU\0"].concat();
        let property = [0xc000_8002_u32.to_le_bytes(), u32::MAX.to_le_bytes(), [8, 0, 0, 0], [0; 4]].concat();
        let address = image.append(&[note, property].concat());
        // What is appended is loaded; the property is found by a header of its own.
        let (offset, other) = (image.long(at + 8) as u64, image.header(kind::NOTE));
        image.put(other, Word(u32::try_from(kind::GNU_PROPERTY).expect("it has 32 bits")));
        image.describe(other, &[(8, offset), (16, address as u64), (32, 32), (40, 32)]);
    }),
];

/// Overwrites the value of the first entry with a tag.
fn entry(image: &mut Image, tag: usize, value: u64) {
    image.put(image.value(tag), Long(value));
}

/// The faults of the dynamic section, and of what it names.
pub(super) const DYNAMIC: &[Fault] = &[
    ("dynamic section without an end", Either, |image| {
        while image.headers().iter().any(|at| image.word(*at) == kind::DYNAMIC) && has_end(image) {
            let at = image.value(tag::NULL) - 8;
            image.put(at, Long(21));
        }
    }),
    ("strings at the end of the address space", Refused, |image| entry(image, tag::STRTAB, u64::MAX)),
    ("strings in no segment", Refused, |image| entry(image, tag::STRTAB, 1 << 40)),
    ("strings as large as the address space", Either, |image| entry(image, tag::STRSZ, u64::MAX)),
    ("strings of no size", Refused, |image| entry(image, tag::STRSZ, 0)),
    ("no strings", Refused, |image| {
        let at = image.value(tag::STRTAB) - 8;
        image.put(at, Long(21));
    }),
    ("needed library that is named behind the strings", Refused, |image| entry(image, tag::NEEDED, 1 << 20)),
    ("needed library at the end of the address space", Refused, |image| entry(image, tag::NEEDED, u64::MAX)),
    ("needed library without a name", Either, |image| entry(image, tag::NEEDED, 0)),
    ("needed library whose name is no text", Either, |image| {
        let at = image.name(tag::NEEDED);
        image.0[at..at + 3].copy_from_slice(b"\xff\xfe\xfd");
    }),
    ("needed library whose name is a way out", Either, |image| {
        let at = image.name(tag::NEEDED);
        image.0[at..at + 14].copy_from_slice(b"../../etc/pass");
    }),
    ("needed library whose name has a line break", Either, |image| {
        let at = image.name(tag::NEEDED);
        image.0[at + 3] = b'\n';
    }),
    ("100,000 needed libraries", Either, |image| {
        let name = image.long(image.value(tag::NEEDED));
        image.prepend_entries(&vec![(tag::NEEDED, name); 100_000]);
    }),
    ("name that is named behind the strings", Refused, |image| entry(image, tag::SONAME, 1 << 20)),
    ("run path that is named behind the strings", Refused, |image| entry(image, tag::RUNPATH, 1 << 20)),
    ("symbols at the end of the address space", Either, |image| entry(image, tag::SYMTAB, u64::MAX)),
    ("symbols of one byte", Either, |image| entry(image, tag::SYMENT, 1)),
    ("relocations at the end of the address space", Either, |image| entry(image, tag::RELA, u64::MAX)),
    ("hash table at the end of the address space", Either, |image| {
        entry(image, tag::HASH, u64::MAX);
        entry(image, tag::GNU_HASH, u64::MAX);
    }),
    ("hash table with 4,294,967,295 symbols", Either, |image| {
        image.put(image.table(tag::HASH) + 4, Word(u32::MAX));
    }),
    ("hash table with 4,294,967,295 buckets", Either, |image| {
        image.put(image.table(tag::GNU_HASH), Word(u32::MAX));
        image.put(image.table(tag::HASH), Word(u32::MAX));
    }),
    ("hash table with a filter as large as the address space", Either, |image| {
        image.put(image.table(tag::GNU_HASH) + 8, Word(u32::MAX));
    }),
    ("hash table whose first symbol is the last of all", Either, |image| {
        image.put(image.table(tag::GNU_HASH) + 4, Word(u32::MAX));
    }),
];

/// The faults of symbol versions.
pub(super) const VERSIONS: &[Fault] = &[
    ("versions at the end of the address space", Refused, |image| entry(image, tag::VERNEED, u64::MAX)),
    ("versions in no segment", Refused, |image| entry(image, tag::VERNEED, 1 << 40)),
    ("versions of more libraries than there are", Either, |image| entry(image, tag::VERNEEDNUM, u64::MAX)),
    ("versions of no library", Either, |image| entry(image, tag::VERNEEDNUM, 0)),
    ("65535 versions of a library that has one", Either, |image| {
        image.put(image.table(tag::VERNEED) + 2, Half(0xffff));
    }),
    ("versions that overlap each other", Either, |image| {
        let at = image.table(tag::VERNEED);
        image.put(at + 2, Half(0xffff));
        let first = at + image.word(at + 8);
        image.put(first + 12, Word(1));
    }),
    ("libraries of versions that overlap each other", Either, |image| {
        entry(image, tag::VERNEEDNUM, u64::from(u32::MAX));
        image.put(image.table(tag::VERNEED) + 12, Word(1));
    }),
    ("version behind the segment", Refused, |image| image.put(image.table(tag::VERNEED) + 8, Word(u32::MAX))),
    ("library of a version that is named behind the strings", Refused, |image| {
        image.put(image.table(tag::VERNEED) + 4, Word(1 << 20));
    }),
    ("version that is named behind the strings", Refused, |image| {
        let at = image.table(tag::VERNEED);
        image.put(at + image.word(at + 8) + 8, Word(1 << 20));
    }),
    ("library of a version that it does not need", Either, |image| {
        let at = image.table(tag::VERNEED);
        image.put(at + 4, Word(0));
    }),
    ("versions of symbols at the end of the address space", Either, |image| {
        entry(image, tag::VERSYM, u64::MAX);
    }),
    ("symbols of versions that there are not", Either, |image| {
        let at = image.table(tag::VERSYM);
        for symbol in 1..4 {
            image.put(at + 2 * symbol, Half(0x7fff));
        }
    }),
];

/// Whether the dynamic section ends before its segment does.
fn has_end(image: &Image) -> bool {
    let header = image.header(kind::DYNAMIC);
    let (start, size) = (image.long(header + 8), image.long(header + 32));
    (start..start + size).step_by(16).any(|at| image.long(at) == tag::NULL)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::{DYNAMIC, HEADERS, SEGMENTS, VERSIONS};

    #[test]
    fn there_are_enough_of_them_and_each_has_a_name_of_its_own() {
        let all = [HEADERS, SEGMENTS, DYNAMIC, VERSIONS].concat();
        let names: BTreeSet<&str> = all.iter().map(|(what, ..)| *what).collect();
        assert!(names.len() == all.len() && all.len() >= 40, "{} of {}", names.len(), all.len());
    }
}
