//! A `WHEEL` that can be read is printed in a form that reads the same.
#![no_main]

use hwb_wheel::WheelFile;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(file) = WheelFile::parse(bytes) {
        assert_eq!(WheelFile::parse(file.to_string().as_bytes()), Ok(file));
    }
});
