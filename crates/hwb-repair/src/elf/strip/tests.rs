//! Forged files without what only debuggers read.

use hwb_testkit::Elf as Forge;

use super::*;
use crate::elf::Elf;
use crate::elf::edit::{Edits, edit};

fn forges() -> [(&'static str, Forge); 6] {
    let forges = [
        ("x86_64", Forge::new()),
        ("i686", Forge::i686()),
        ("aarch64", Forge::aarch64()),
        ("armv7l", Forge::armv7l()),
        ("s390x", Forge::s390x()),
        ("ppc", Forge::ppc()),
    ];
    forges.map(|(name, forge)| {
        let forge = forge.needs("libother.so").exports("have").imports("sin", "GLIBC_2.2", "libm.so.6");
        (name, forge.sections())
    })
}

fn names(file: &[u8]) -> String {
    let image = Image::read(file.to_vec()).unwrap();
    let names =
        image.sections.iter().map(|section| String::from_utf8_lossy(name(&image, section)).into_owned());
    names.collect::<Vec<_>>().join(" ")
}

#[test]
fn keeps_what_is_loaded() {
    for (what, forge) in forges() {
        let file = forge.build();
        let new = strip(&file).unwrap();
        assert_eq!(
            names(&new),
            " .dynstr .dynsym .dynamic .hash .gnu.version .gnu.version_r .comment .shstrtab",
            "{what}"
        );
        assert!(!new.windows(8).any(|bytes| bytes == [7; 8]), "{what}");
        assert!(new.len() < file.len(), "{what}");
        let (old, stripped) = (Elf::parse(&file).unwrap(), Elf::parse(&new).unwrap());
        assert_eq!(old.needed, stripped.needed, "{what}");
        assert!(old.symbols().eq(stripped.symbols()), "{what}");
        assert!(matches!(strip(&new), Ok(Cow::Borrowed(_))), "{what}: strips twice");
    }
}

#[test]
fn can_be_edited_before_and_after() {
    let edits = Edits { soname: Some("a-new-name.so".to_owned()), ..Edits::default() };
    for (what, forge) in forges() {
        let file = forge.build();
        let first = strip(&edit(file.clone(), &edits).unwrap()).unwrap().into_owned();
        let last = edit(strip(&file).unwrap().into_owned(), &edits).unwrap();
        for new in [&first, &last] {
            assert_eq!(Elf::parse(new).unwrap().soname, Some("a-new-name.so"), "{what}");
            assert_eq!(names(new), names(&strip(&file).unwrap()), "{what}");
            assert_eq!(edit(new.clone(), &edits).as_ref(), Ok(new), "{what}");
            assert!(!new.windows(8).any(|bytes| bytes == [7; 8]), "{what}");
        }
    }
}

#[test]
fn leaves_alone_what_has_nothing_to_strip() {
    let library = Forge::new().soname("a").build();
    assert!(matches!(strip(&library), Ok(Cow::Borrowed(_))));
    let mut object = forges()[0].1.build();
    // ET_REL
    object[16] = 1;
    assert!(matches!(strip(&object), Ok(Cow::Borrowed(_))));
    assert_eq!(strip(b"text"), Err(EditError::Read(ElfError::NotElf)));
}

#[test]
fn is_not_led_astray_by_lies() {
    let mut refused = 0;
    for (_, forge) in forges().into_iter().step_by(5) {
        let file = forge.build();
        for at in 0..file.len() {
            for lie in [0x00, 0x01, 0x80, 0xff] {
                let mut file = file.clone();
                for end in [at + 1, file.len().min(at + 8)] {
                    file[at..end].fill(lie);
                    match strip(&file) {
                        Ok(new) => assert!(new.len() <= file.len() + 4096),
                        Err(_) => refused += 1,
                    }
                }
            }
        }
        for length in 0..file.len() {
            let _cut = strip(&file[..length]);
        }
    }
    assert!(refused > 1000, "{refused} lies were noticed");
}
