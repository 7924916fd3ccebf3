//! A source distribution that can be read is written canonically, and then reads and writes the same.
#![no_main]

use hwb_archive::Limits;
use hwb_ident::Timestamp;
use hwb_wheel::Expect;
use hwb_wheel::sdist::{Entry, Sdist, canonical, check};
use libfuzzer_sys::fuzz_target;

const LIMITS: Limits = Limits { entries: 1_000, entry_bytes: 1 << 20, total_bytes: 4 << 20, ratio: 1_000 };
const NAME: &str = "a-1.0.tar.gz";
const TIME: Timestamp = Timestamp::from_seconds(1_600_000_000);

/// Gives every tar header in sight a right checksum, which chance alone does not.
fn mend_checksums(bytes: &mut [u8]) {
    for block in bytes.chunks_exact_mut(512).filter(|block| &block[257..262] == b"ustar") {
        block[148..156].fill(b' ');
        let sum: u32 = block.iter().copied().map(u32::from).sum();
        block[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
    }
}

fuzz_target!(|bytes: &[u8]| {
    let mut bytes = bytes.to_vec();
    mend_checksums(&mut bytes);
    let Ok(sdist) = Sdist::read(NAME, &bytes, &LIMITS) else {
        return;
    };
    // Whatever it says, it says it without a panic.
    drop(check(&sdist, &Expect::default()));
    let written = canonical(&sdist, TIME).expect("what was read can be written");
    let again = Sdist::read(NAME, &written, &Limits::default()).expect("what was written can be read");
    let files = |sdist: &Sdist| {
        let entries = sdist.entries().iter().filter(|(_, entry)| **entry != Entry::Directory);
        entries.map(|(path, entry)| (path.clone(), entry.clone())).collect::<Vec<_>>()
    };
    assert_eq!(files(&again), files(&sdist));
    assert_eq!(canonical(&again, TIME).expect("it can be written again"), written);
});
