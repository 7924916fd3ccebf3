//! Forged files of every class and byte order, changed and read again; and files that nobody should change.

use hwb_testkit::Elf as Forge;

use super::*;

/// A library that the edits have something to do with.
fn library(forge: Forge) -> Forge {
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

fn told(file: &[u8]) -> String {
    let elf = Elf::parse(file).unwrap();
    let versions = elf.versions.iter().map(|need| {
        let versions = need.versions.iter().map(|version| format!("{}={}", version.name, version.index));
        format!("{}: {}", need.library, versions.collect::<Vec<_>>().join(" "))
    });
    let symbols = elf.symbols().map(|symbol| {
        format!("{}@{}", String::from_utf8_lossy(symbol.name), symbol.version.unwrap_or_default())
    });
    format!(
        "{} | {} | {:?} {:?} | {} | {}",
        elf.needed.join(" "),
        elf.soname.unwrap_or_default(),
        elf.rpath,
        elf.runpath,
        versions.collect::<Vec<_>>().join(", "),
        symbols.collect::<Vec<_>>().join(" ")
    )
}

/// The edits of one word each.
fn edits(words: &[(&str, &str)]) -> Edits {
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

#[test]
fn edits_every_class_and_order() {
    let check = |words: &[(&str, &str)], expect: &str| {
        for (name, forge) in forges() {
            let file = library(forge).build();
            let edits = edits(words);
            let new = edit(&file, &edits).unwrap_or_else(|error| panic!("{name}, {words:?}: {error:?}"));
            assert_eq!(told(&new), expect, "{name}, {words:?}");
            assert!(matches!(edit(&new, &edits), Ok(Cow::Borrowed(_))), "{name}, {words:?}: changes twice");
            let has_secret = new.windows(7).any(|bytes| bytes == b"/secret");
            assert_eq!(has_secret, edits.run_path == RunPathEdit::Keep, "{name}, {words:?}");
        }
    };
    let versions = "libc.so.6: GLIBC_2.14=2 GLIBC_2.0=3, libm.so.6: GLIBC_2.2=4";
    let symbols = "have@1 memcpy@2 free@3 sin@4 whatever@1";
    let path = "None Some(\"/secret/place\")";
    check(
        &[("soname", "libwhole-0123.so.1")],
        &format!("libother.so libc.so.6 libm.so.6 | libwhole-0123.so.1 | {path} | {versions} | {symbols}"),
    );
}
