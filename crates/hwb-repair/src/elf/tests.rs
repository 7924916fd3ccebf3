//! Files of every class and byte order, and files that nobody should believe.

use hwb_testkit::Elf as Forge;

use super::*;

/// Something of everything.
fn whole(forge: Forge) -> Forge {
    forge
        .soname("libwhole.so.1")
        .needs("libother.so")
        .runpath("$ORIGIN/a:/b")
        .interpreter("/lib/ld.so.1")
        .exports("have")
        .imports("memcpy", "GLIBC_2.14", "libc.so.6")
        .imports("free", "GLIBC_2.0", "libc.so.6")
        .imports("sin", "GLIBC_2.2", "libm.so.6")
        .imports_unversioned("whatever")
        .isa(3)
        .text_relocations()
}

fn forges() -> [(&'static str, Forge); 6] {
    [
        ("x86_64", Forge::new()),
        ("i686", Forge::i686()),
        ("aarch64", Forge::aarch64()),
        ("armv7l", Forge::armv7l()),
        ("s390x", Forge::s390x()),
        ("ppc", Forge::ppc()),
    ]
}

/// Everything that is told of a file, so that everything is looked at.
fn told(elf: &Elf<'_>) -> String {
    let versions = elf.versions.iter().map(|need| {
        let versions = need.versions.iter().map(|version| format!("{}={}", version.name, version.index));
        format!("{}: {}", need.library, versions.collect::<Vec<_>>().join(" "))
    });
    let symbols = elf.symbols().map(|symbol| {
        let mark = if symbol.definition == Definition::Here { "+" } else { "-" };
        format!("{mark}{}@{}", String::from_utf8_lossy(symbol.name), symbol.version.unwrap_or_default())
    });
    format!(
        "{} {} {} {} | {} | {}",
        elf.needed.join(" "),
        elf.soname.unwrap_or_default(),
        elf.runpath.or(elf.rpath).unwrap_or_default(),
        elf.interpreter.unwrap_or_default(),
        versions.collect::<Vec<_>>().join(", "),
        symbols.collect::<Vec<_>>().join(" ")
    )
}

#[test]
fn reads_every_class_and_order() {
    for (name, forge) in forges() {
        let file = whole(forge).build();
        let elf = Elf::parse(&file).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(
            told(&elf),
            "libother.so libc.so.6 libm.so.6 libwhole.so.1 $ORIGIN/a:/b /lib/ld.so.1 | \
             libc.so.6: GLIBC_2.14=2 GLIBC_2.0=3, libm.so.6: GLIBC_2.2=4 | \
             +have@1 -memcpy@2 -free@3 -sin@4 -whatever@1",
            "{name}"
        );
        assert_eq!((elf.text_relocations, elf.stack), (TextRelocations::Present, Stack::Plain), "{name}");
        assert_eq!(elf.isa, if name == "x86_64" { Isa::V2 } else { Isa::Baseline }, "{name}");
    }
    let rpath = Forge::new().rpath("/a").executable_stack().isa(15).build();
    let elf = Elf::parse(&rpath).unwrap();
    assert_eq!((elf.rpath, elf.runpath, elf.stack, elf.isa), (Some("/a"), None, Stack::Executable, Isa::V4));
    assert_eq!(elf.symbols().count(), 0);
}

#[test]
fn is_not_led_astray_by_what_is_cut_off() {
    for (name, forge) in forges() {
        let file = whole(forge).build();
        for length in 0..file.len() {
            if let Ok(elf) = Elf::parse(&file[..length]) {
                // The last part of the file is the end of its dynamic section, whose terminator nobody misses.
                assert!(
                    length + 16 >= file.len(),
                    "{name}: {length} of {} bytes are taken for whole",
                    file.len()
                );
                told(&elf);
            }
        }
    }
}

#[test]
fn is_not_led_astray_by_lies() {
    let mut refused = 0;
    for (_, forge) in forges() {
        let file = whole(forge).build();
        for at in 0..file.len() {
            for lie in [0x00, 0x01, 0x7f, 0x80, 0xff] {
                let mut file = file.clone();
                file[at] = lie;
                match Elf::parse(&file) {
                    Ok(elf) => drop(told(&elf)),
                    Err(_) => refused += 1,
                }
                // A whole word of it: sizes and offsets at the ends of what a number holds.
                let end = file.len().min(at + 8);
                file[at..end].fill(lie);
                match Elf::parse(&file) {
                    Ok(elf) => drop(told(&elf)),
                    Err(_) => refused += 1,
                }
            }
        }
    }
    assert!(refused > 1000, "{refused} lies were noticed");
}

#[test]
fn says_what_is_wrong() {
    let check = |file: &[u8], expect: &str| {
        let said = Elf::parse(file).err().map(|error| error.to_string());
        assert_eq!(said.as_deref(), Some(expect));
    };
    let word = |file: &mut Vec<u8>, at: usize, value: u64| {
        file[at..at + 8].copy_from_slice(&value.to_le_bytes());
    };
    check(b"", "it is no ELF file");
    check(b"\x7fELF\x02\x01\x01", "its identification is malformed");
    let good = whole(Forge::new()).build();
    check(&good[..40], "its header lies outside the file");
    let mut many = good.clone();
    many[56..58].fill(0xff);
    check(&many, "its program headers are malformed");
    let mut far = good.clone();
    word(&mut far, 32, u64::MAX - 8);
    check(&far, "its program header table lies outside the file");
    // The second program header is of the dynamic section.
    let mut far = good;
    word(&mut far, 64 + 56 + 8, 1 << 40);
    check(&far, "its dynamic section lies outside the file");
    let entries = |tag, value| Forge::new().entry(tag, value).build();
    check(&entries(1, 1 << 30), "its needed library lies outside the file");
    let crowd = (0..=MOST_NEEDED).fold(Forge::new(), |forge, _| forge.entry(1, 0));
    check(&crowd.build(), "it has more than 1024 needed libraries");
    let mut foreign = Forge::new().needs("libé.so").build();
    let place = foreign.windows(2).position(|pair| pair == "é".as_bytes()).unwrap();
    foreign[place] = 0xff;
    check(&foreign, "its needed library is not UTF-8");
    let long = Forge::new().needs(&"x".repeat(5000)).build();
    check(&long, "its needed library does not end");
}
