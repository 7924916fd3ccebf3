//! Whatever a zip archive says, reading it ends in members or in an error, within the limits.
#![no_main]

use hwb_archive::Limits;
use hwb_archive::zip::Archive;
use libfuzzer_sys::fuzz_target;

const LIMITS: Limits = Limits { entries: 1_000, entry_bytes: 1 << 20, total_bytes: 4 << 20, ratio: 1_000 };

fuzz_target!(|bytes: &[u8]| {
    let Ok(archive) = Archive::parse(bytes, &LIMITS) else {
        return;
    };
    let members = archive.members();
    assert!(members.len() as u64 <= LIMITS.entries);
    let packed: u64 = members.iter().map(|member| member.compressed_size).sum();
    assert!(packed < bytes.len() as u64, "members share bytes");
    for member in members {
        assert_eq!(archive.raw(member).length(), member.compressed_size);
        if let Ok(contents) = archive.read(member) {
            assert_eq!(contents.len() as u64, member.size);
        }
    }
});
