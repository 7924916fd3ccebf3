//! Whatever `METADATA` says, reading it ends in metadata or in an error of one line.
#![no_main]

use hwb_wheel::Metadata;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    match Metadata::parse(bytes) {
        Ok(metadata) => assert!(!metadata.name.as_str().is_empty()),
        Err(error) => assert!(!error.to_string().is_empty()),
    }
});
