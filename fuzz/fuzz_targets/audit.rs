//! Whatever an ELF file says it needs, it is read within its bytes, and the verdict on it holds together.
#![no_main]

use hwb_repair::elf::{Elf, scan};
use hwb_repair::{Exceptions, Object, Sysroot, read_files};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|file: &[u8]| {
    let Ok(elf) = Elf::parse(file) else {
        assert!(Object::read("a.so", file).is_err());
        return;
    };
    assert!(elf.symbols().count() <= file.len() / 16);
    assert!(elf.needed.iter().all(|name| name.len() < file.len()));
    if let Ok(scan) = scan(file) {
        let found = scan.beyond.values().map(|instructions| instructions.count).sum::<u64>();
        assert!(found <= file.len() as u64);
    }
    let object = Object::read("a.so", file).expect("what can be parsed can be read");
    // Beside itself it may find itself.
    let copy = Object { path: "b/a.so".to_owned(), ..object.clone() };
    for (_, code) in read_files(vec![object, copy]) {
        let (sysroot, none) = (Sysroot::default(), Exceptions::default());
        let audit = code.audit(&sysroot, &none);
        let wanted: Vec<_> = code.wanted(&sysroot, &none).into_iter().map(|wanted| wanted.library).collect();
        assert!(wanted.iter().all(|library| audit.external_libraries.contains(library)));
        // What an older policy does not mind, a newer one does not.
        let counts = audit.policies.iter().map(|policy| policy.blockers.len());
        assert!(
            counts.clone().is_sorted_by(|older, newer| older >= newer),
            "{:?}",
            counts.collect::<Vec<_>>()
        );
        let reached = audit.policies.iter().any(|policy| policy.blockers.is_empty());
        assert!(audit.tag.starts_with("linux_") != reached, "{}", audit.tag);
    }
});
