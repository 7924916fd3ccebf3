//! Whatever a file says of itself, its sections lie within it, and both readers of native code agree that it is ELF.
#![no_main]

use hwb_repair::elf::sections;
use hwb_wheel::elf::Elf;
use hwb_wheel::native::Native;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|file: &[u8]| {
    let head = Elf::parse(file);
    let _ = Native::of(file);
    if let Some(sections) = sections(file) {
        assert!(head.is_some());
        for (name, contents) in sections {
            assert!(!name.is_empty() && !name.contains('\0'));
            assert!(contents.len() <= file.len());
        }
    }
});
