//! A `RECORD` that can be read is printed in a form that reads the same.
#![no_main]

use hwb_wheel::Record;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(record) = Record::parse(bytes) {
        let printed = record.to_string();
        assert_eq!(Record::parse(printed.as_bytes()).ok(), Some(record));
    }
});
