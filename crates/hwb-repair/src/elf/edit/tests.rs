//! Forged files of every class and byte order, changed and read again; and files that nobody should change.

use hwb_testkit::Elf as Forge;

use super::*;
use crate::elf::image::Section;

/// A library that the edits have something to do with.
pub(super) fn library(forge: Forge) -> Forge {
    forge
        .soname("libwhole.so.1")
        .needs("libother.so")
        .runpath("/secret/place")
        .exports("have")
        .imports("memcpy", "GLIBC_2.14", "libc.so.6")
        .imports("free", "GLIBC_2.0", "libc.so.6")
        .imports("sin", "GLIBC_2.2", "libm.so.6")
        .imports_unversioned("whatever")
}

/// Each of them with and without section headers.
fn forges() -> impl Iterator<Item = (String, Forge)> {
    let forges = [
        ("x86_64", Forge::new()),
        ("i686", Forge::i686()),
        ("aarch64", Forge::aarch64()),
        ("armv7l", Forge::armv7l()),
        ("s390x", Forge::s390x()),
        ("ppc", Forge::ppc()),
    ];
    forges.into_iter().flat_map(|(name, forge)| {
        [(name.to_owned(), forge.clone()), (format!("{name} with sections"), forge.sections())]
    })
}

fn told(file: &[u8]) -> String {
    let elf = Elf::parse(file).unwrap();
    let versions = elf.versions.iter().map(|need| {
        let versions = need.versions.iter().map(|version| format!("{}={}", version.name, version.index));
        format!("{}: {}", need.library, versions.collect::<Vec<_>>().join(" "))
    });
    let symbols = elf.symbols().map(|symbol| {
        format!("{}@{}", String::from_utf8_lossy(symbol.name), symbol.version.unwrap_or_default())
    });
    let path = elf.rpath.map(|path| format!("rpath {path}"));
    let path = path.or_else(|| elf.runpath.map(|path| format!("runpath {path}")));
    [
        elf.needed.join(" "),
        elf.soname.unwrap_or_default().to_owned(),
        path.unwrap_or_default(),
        versions.collect::<Vec<_>>().join(", "),
        symbols.collect::<Vec<_>>().join(" "),
    ]
    .join(" | ")
}

/// Edits, each as what and which name.
pub(super) fn edits(words: &[(&str, &str)]) -> Edits {
    let mut edits = Edits::default();
    for (what, name) in words {
        let name = (*name).to_owned();
        match *what {
            "soname" => edits.soname = Some(name),
            "add" => edits.add_needed.push(name),
            "rpath" => edits.run_path = RunPathEdit::Rpath(name),
            "runpath" => edits.run_path = RunPathEdit::Runpath(name),
            "no path" => edits.run_path = RunPathEdit::Remove,
            "loader" => edits.interpreter = Some(name),
            "remove" => drop(edits.needed.insert(name, None)),
            library => drop(edits.needed.insert(library.to_owned(), Some(name))),
        }
    }
    edits
}

/// Section headers and program headers must agree with each other and with what is read.
fn holds_together(what: &str, file: &[u8]) {
    let image = Image::read(file.to_vec()).unwrap();
    let entries = Entries::read(&image).unwrap();
    let loads = image.segments.iter().filter(|segment| segment.kind == crate::elf::PT_LOAD);
    let loads = loads.collect::<Vec<_>>();
    assert!(
        loads.windows(2).all(|pair| pair[0].address + pair[0].memory_size <= pair[1].address),
        "{what}: segments lie over each other: {loads:?}"
    );
    for segment in &loads {
        assert_eq!(segment.address % segment.alignment, segment.offset % segment.alignment, "{what}");
    }
    let known = [
        (5, dynamic::HASH),
        (11, dynamic::SYMTAB),
        (0x6fff_ffff, dynamic::VERSYM),
        (0x6fff_fffe, dynamic::VERNEED),
    ];
    for (kind, tag) in known {
        if let (Some(section), Some(address)) =
            (image.sections.iter().find(|section| section.kind == kind && section.size > 0), entries.get(tag))
        {
            assert_eq!(section.address, address, "{what}: {kind:x}");
        }
    }
    let loaded = image.sections.iter().filter(|section| section.is_loaded() && section.size > 0);
    let loaded = loaded.collect::<Vec<_>>();
    for section in &loaded {
        let offset = file_offset(&image.reader(), &image.segments, section.address);
        assert_eq!(offset, Some(section.offset), "{what}: {section:?}");
        let overlapping = |other: &&&Section| crate::elf::image::overlap(&section.range(), &other.range());
        assert_eq!(loaded.iter().filter(overlapping).count(), 1, "{what}: {section:?}");
    }
    if let Some(strings) = loaded.iter().find(|section| section.kind == 3) {
        assert_eq!(entries.get(dynamic::STRTAB), Some(strings.address), "{what}");
        assert_eq!(entries.get(dynamic::STRSZ), Some(strings.size), "{what}");
    }
    // `_DYNAMIC`
    if let Some(table) = image.sections.iter().find(|section| section.kind == 2) {
        let (size, value) = if image.word_width() == 8 { (24, 8) } else { (16, 4) };
        let value = image.reader().word(table.offset + size + value);
        assert_eq!(value, Some(image.sections[3].address), "{what}");
        assert_eq!(image.sections[3].range(), entries.place, "{what}");
    }
}

#[test]
fn edits_every_class_and_order() {
    let versions = "libc.so.6: GLIBC_2.14=2 GLIBC_2.0=3, libm.so.6: GLIBC_2.2=4";
    let symbols = "have@1 memcpy@2 free@3 sin@4 whatever@1";
    let path = "runpath /secret/place";
    let check = |words: &[(&str, &str)], expect: [&str; 5]| {
        for (name, forge) in forges() {
            let what = format!("{name}, {words:?}");
            let file = library(forge).build();
            let edits = edits(words);
            let new = edit(file.clone(), &edits).unwrap_or_else(|error| panic!("{what}: {error:?}"));
            assert_eq!(told(&new), expect.join(" | "), "{what}");
            holds_together(&what, &new);
            assert!(edit(new.clone(), &edits).as_ref() == Ok(&new), "{what}: changes twice");
            let has_secret = new.windows(7).any(|bytes| bytes == b"/secret");
            assert_eq!(has_secret, edits.run_path == RunPathEdit::Keep, "{what}");
            assert!(new.len() < file.len() + 2048, "{what}: {} became {}", file.len(), new.len());
        }
    };
    let needed = "libother.so libc.so.6 libm.so.6";
    let name = "libwhole.so.1";
    check(&[("nobody", "knows it")], [needed, name, path, versions, symbols]);
    check(&[("soname", "lib-0123.so.1")], [needed, "lib-0123.so.1", path, versions, symbols]);
    // The end of another text.
    check(&[("soname", "whole.so.1")], [needed, "whole.so.1", path, versions, symbols]);
    check(&[("no path", "")], [needed, name, "", versions, symbols]);
    check(&[("rpath", "$ORIGIN")], [needed, name, "rpath $ORIGIN", versions, symbols]);
    check(&[("runpath", "")], [needed, name, "runpath ", versions, symbols]);
    check(&[("runpath", "place")], [needed, name, "runpath place", versions, symbols]);
    check(
        &[("libother.so", "lib-other.so"), ("libc.so.6", "libc-6.so")],
        [
            "lib-other.so libc-6.so libm.so.6",
            name,
            path,
            "libc-6.so: GLIBC_2.14=2 GLIBC_2.0=3, libm.so.6: GLIBC_2.2=4",
            symbols,
        ],
    );
    check(
        &[("remove", "libc.so.6"), ("add", "libx.so"), ("add", "libm.so.6"), ("add", "liby.so")],
        [
            "libother.so libm.so.6 libx.so liby.so",
            name,
            path,
            "libm.so.6: GLIBC_2.2=4",
            "have@1 memcpy@1 free@1 sin@4 whatever@1",
        ],
    );
    check(
        &[("remove", "libm.so.6"), ("no path", "")],
        [
            "libother.so libc.so.6",
            name,
            "",
            "libc.so.6: GLIBC_2.14=2 GLIBC_2.0=3",
            "have@1 memcpy@2 free@3 sin@1 whatever@1",
        ],
    );
    // Without any versions nothing says where the versions of symbols are.
    check(
        &[("remove", "libm.so.6"), ("remove", "libc.so.6"), ("rpath", "/a")],
        ["libother.so", name, "rpath /a", "", "have@0 memcpy@0 free@0 sin@0 whatever@0"],
    );
    check(
        &[("add", "a"), ("add", "b"), ("add", "c"), ("soname", "d"), ("rpath", "e"), ("libm.so.6", "f")],
        [
            "libother.so libc.so.6 f a b c",
            "d",
            "rpath e",
            "libc.so.6: GLIBC_2.14=2 GLIBC_2.0=3, f: GLIBC_2.2=4",
            symbols,
        ],
    );
}

#[test]
fn adds_what_was_not_there() {
    for (name, forge) in forges() {
        let file = forge.exports("have").build();
        let edits = edits(&[("soname", "s"), ("add", "a"), ("add", "b"), ("rpath", "/r")]);
        let new = edit(file.clone(), &edits).unwrap();
        assert_eq!(told(&new), "a b | s | rpath /r |  | have@1", "{name}");
        holds_together(&name, &new);
    }
}

#[test]
fn grows_where_an_edit_was_before() {
    for (name, forge) in forges() {
        let mut file = library(forge).build();
        let count = |file: &[u8]| Image::read(file.to_vec()).unwrap().segments.len();
        let before = count(&file);
        for number in 0..10 {
            let (library, path) = (format!("lib{number}.so"), format!("/path/{number}"));
            file = edit(file, &edits(&[("add", &library), ("rpath", &path)])).unwrap();
            holds_together(&name, &file);
        }
        assert_eq!(count(&file), before + 1, "{name}");
        assert!(told(&file).contains("lib8.so lib9.so"), "{name}: {}", told(&file));
        assert!(!file.windows(7).any(|bytes| bytes == b"/path/8"), "{name}");
    }
}

#[test]
fn changes_the_loader() {
    for (name, forge) in forges() {
        let program = library(forge).interpreter("/lib/ld.so.1");
        for path in ["/l", "/lib/ld.so.1", "/lib/ld.so.2", "/a/much/longer/path/to/a/loader"] {
            let edits = edits(&[("loader", path)]);
            let file = program.build();
            // Old kernels look for the table of program headers at the start of a program.
            if path.len() > 12 && !name.contains("sections") {
                assert_eq!(edit(file.clone(), &edits), Err(EditError::NoRoom), "{name}, {path}");
                continue;
            }
            let new = edit(file.clone(), &edits).unwrap_or_else(|error| panic!("{name}, {path}: {error:?}"));
            assert_eq!(Elf::parse(&new).unwrap().interpreter, Some(path), "{name}");
            assert_eq!(new == file, path == "/lib/ld.so.1", "{name}, {path}");
            assert!(edit(new.clone(), &edits).as_ref() == Ok(&new), "{name}, {path}: changes twice");
            holds_together(&format!("{name}, {path}"), &new);
        }
    }
}

#[test]
fn a_text_that_others_share_is_kept() {
    let check = |path: &str, symbol: &str, left: &[&str], gone: &[&str]| {
        let forge = Forge::new().sections().runpath(path).exports(symbol);
        let file = forge.build();
        // Let the symbol's name be the end of the run path, as linkers do.
        let mut image = Image::read(file).unwrap();
        let entries = Entries::read(&image).unwrap();
        let (start, _) = symbol_table(&image).unwrap();
        let at = entries.get(dynamic::RUNPATH).unwrap() + (path.len() - symbol.len()) as u64;
        image.put(start + 24, at, 4).unwrap();
        let new = edit(image.bytes.clone(), &edits(&[("no path", "")])).unwrap();
        assert_eq!(Elf::parse(&new).unwrap().symbols().next().unwrap().name, symbol.as_bytes());
        let has = |text: &str| new.windows(text.len()).any(|bytes| bytes == text.as_bytes());
        assert!(left.iter().all(|text| has(text)), "{path}");
        assert!(!gone.iter().any(|text| has(text)), "{path}");
    };
    check("/secret/place/of/free", "free", &["free"], &["/secret", "/of"]);
    check("/whole", "/whole", &["/whole"], &[]);
}

#[test]
fn nothing_to_do_is_nothing_done() {
    for (name, forge) in forges() {
        let file = library(forge).interpreter("/lib/ld.so").build();
        for words in [
            &[][..],
            &[("soname", "libwhole.so.1")],
            &[("runpath", "/secret/place")],
            &[("add", "libc.so.6")],
            &[("libc.so.6", "libc.so.6"), ("remove", "libx.so")],
            &[("loader", "/lib/ld.so")],
        ] {
            let same = edit(file.clone(), &edits(words)).unwrap();
            assert_eq!(same, file, "{name}, {words:?}");
        }
    }
}

#[test]
fn refuses_texts_that_no_file_can_hold() {
    let file = library(Forge::new().sections()).interpreter("/lib/ld.so").build();
    let long = "x".repeat(5000);
    for words in [
        ("soname", ""),
        ("soname", "a\0b"),
        ("soname", long.as_str()),
        ("add", ""),
        ("libc.so.6", ""),
        ("loader", "\0"),
        ("rpath", "/a\0/b"),
        ("runpath", &"/x".repeat(40_000)),
    ] {
        assert_eq!(edit(file.clone(), &edits(&[words])), Err(EditError::Text(words.1.to_owned())));
    }
}

/// Whatever is changed, the result is what was asked for, or there is an error.
#[test]
fn is_not_led_astray_by_lies() {
    let all =
        edits(&[("soname", "new.so"), ("remove", "libm.so.6"), ("libc.so.6", "lib-c.so"), ("rpath", "/a")]);
    let mut refused = 0;
    for (name, forge) in forges().skip(1).step_by(5) {
        let file = library(forge).build();
        for at in 0..file.len() {
            for lie in [0x00, 0x01, 0x80, 0xff] {
                let mut file = file.clone();
                for end in [at + 1, file.len().min(at + 8)] {
                    file[at..end].fill(lie);
                    match edit(file.clone(), &all) {
                        Ok(new) => {
                            assert!(new.len() <= 2 * file.len() + 4096, "{name}");
                            assert_eq!(Elf::parse(&new).unwrap().soname, Some("new.so"), "{name}");
                        }
                        Err(_) => refused += 1,
                    }
                }
            }
        }
        for length in 0..file.len() {
            let _cut = edit(file[..length].to_vec(), &all);
        }
    }
    assert!(refused > 1000, "{refused} lies were noticed");
}
