//! Whatever an ELF file says of itself, an edit of it says what was asked for, or there is an error; so it is when it is
//! edited again, and when it is stripped.
#![no_main]

use std::borrow::Cow;
use std::collections::BTreeMap;

use hwb_repair::elf::Elf;
use hwb_repair::elf::edit::{Edits, RunPathEdit, edit};
use hwb_repair::elf::strip::strip;
use libfuzzer_sys::fuzz_target;

/// As many edits as a byte can choose.
fn edits(choice: u8) -> Edits {
    let has = |bit: u8| choice & (1 << bit) != 0;
    let mut needed = BTreeMap::new();
    if has(0) {
        needed.insert("libc.so.6".to_owned(), Some("libc-0123456789.so.6".to_owned()));
    }
    if has(1) {
        needed.insert("libm.so.6".to_owned(), None);
    }
    Edits {
        soname: has(2).then(|| "another.so".to_owned()),
        needed,
        add_needed: if has(3) { vec!["libx.so".to_owned(), "libz.so.1".to_owned()] } else { Vec::new() },
        run_path: match (has(4), has(5)) {
            (false, false) => RunPathEdit::Keep,
            (false, true) => RunPathEdit::Remove,
            (true, false) => RunPathEdit::Rpath("$ORIGIN/../a.libs".to_owned()),
            (true, true) => RunPathEdit::Runpath("place".to_owned()),
        },
        interpreter: has(6).then(|| "/lib/ld-musl-x86_64.so.1".to_owned()),
    }
}

/// Strips a file, which leaves what is loaded as it is.
fn stripped(file: &[u8]) {
    let Ok(new) = strip(file) else { return };
    assert!(new.len() <= file.len() + 4096);
    assert!(matches!(strip(&new), Ok(Cow::Borrowed(_))));
    if let (Ok(before), Ok(after)) = (Elf::parse(file), Elf::parse(&new)) {
        assert_eq!((before.needed, before.soname), (after.needed, after.soname));
    }
}

fuzz_target!(|input: &[u8]| {
    let Some((choice, file)) = input.split_first() else { return };
    stripped(file);
    let edits = edits(*choice);
    let Ok(new) = edit(file.to_vec(), &edits) else { return };
    // The strings are copied, and what was behind the program headers may be.
    assert!(new.len() <= 2 * file.len() + 4096);
    if new != file {
        let elf = Elf::parse(&new).expect("what was edited can be read");
        assert!(edits.soname.as_deref().is_none_or(|name| elf.soname == Some(name)));
        assert!(edits.interpreter.as_deref().is_none_or(|path| elf.interpreter == Some(path)));
        assert!(elf.needed.iter().all(|name| edits.needed.get(*name) != Some(&None)));
    }
    let again = edit(new.clone(), &edits).expect("what was edited can be edited");
    assert!(again == new, "the same edits change it twice");
    stripped(&new);
});
