//! A wheel that passes the check is written canonically, passes again, and is then written the same.
//!
//! Input that starts a zip archive is the wheel. Other input, divided at NULs, is what a sound archive holds:
//! `METADATA`, `WHEEL`, `RECORD`, `entry_points.txt`, one file; an empty `RECORD` is made right.
#![no_main]

use hwb_archive::zip::Writer;
use hwb_archive::{Executable, Limits};
use hwb_ident::{Digest, Timestamp};
use hwb_wheel::record::Hash;
use hwb_wheel::{Expect, Wheel, canonical, check};
use libfuzzer_sys::fuzz_target;

const LIMITS: Limits = Limits { entries: 1_000, entry_bytes: 1 << 20, total_bytes: 4 << 20, ratio: 1_000 };
const NAME: &str = "a-1.0-py3-none-any.whl";
const TIME: Timestamp = Timestamp::from_seconds(1_600_000_000);

fn forge(input: &[u8]) -> Vec<u8> {
    let mut parts = input.splitn(5, |&byte| byte == 0);
    let mut next = || parts.next().unwrap_or_default();
    let (metadata, wheel_file, record, entry_points, file) = (next(), next(), next(), next(), next());
    let files = [
        ("a/file", file),
        ("a-1.0.dist-info/METADATA", metadata),
        ("a-1.0.dist-info/WHEEL", wheel_file),
        ("a-1.0.dist-info/entry_points.txt", entry_points),
    ];
    let rows = files.map(|(path, contents)| {
        format!("{path},{},{}\n", Hash::sha256(&Digest::of(contents)), contents.len())
    });
    let right = rows.concat() + "a-1.0.dist-info/RECORD,,\n";
    let record = if record.is_empty() { right.as_bytes() } else { record };
    let mut writer = Writer::new(Vec::new(), TIME);
    for (path, contents) in files.into_iter().chain([("a-1.0.dist-info/RECORD", record)]) {
        let path = path.parse().expect("the path is one");
        writer.store(&path, Executable::No, contents).expect("memory takes it");
    }
    writer.finish().expect("memory takes it")
}

fuzz_target!(|input: &[u8]| {
    let forged;
    let bytes = if input.starts_with(b"PK") {
        input
    } else {
        forged = forge(input);
        &forged
    };
    let Ok(wheel) = Wheel::read_within(NAME, bytes, &LIMITS) else {
        return;
    };
    let Ok(report) = check(&wheel, &Expect::default()) else {
        return;
    };
    let written = canonical(&wheel, TIME).expect("what was checked can be written");
    let again = Wheel::read(NAME, &written).expect("what was written can be read");
    let second = check(&again, &Expect::default()).expect("what was written passes");
    assert!(second.files <= report.files);
    assert_eq!(canonical(&again, TIME).expect("it can be written again"), written);
});
