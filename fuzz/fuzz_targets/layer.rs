//! Whatever a layer says, it stays in its own directory, and the layer below it is as it was.
#![no_main]

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use hwb_snapshot::unpack::Limits;
use hwb_snapshot::{Marks, Owners, Snapshot, Unpack, unpack};
use libfuzzer_sys::fuzz_target;

const LIMITS: Limits = Limits { entries: 1_000, bytes: 1 << 20, path: 4000, depth: 50 };

/// The layer below: a file, a link that leads out, a directory and a link to that.
const BELOW: &[u8] = include_bytes!("../seeds/layer/below");

/// Gives every tar header in sight a right checksum, which chance alone does not.
fn mend_checksums(bytes: &mut [u8]) {
    for block in bytes.chunks_exact_mut(512).filter(|block| &block[257..262] == b"ustar") {
        block[148..156].fill(b' ');
        let sum: u32 = block.iter().copied().map(u32::from).sum();
        block[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
    }
}

/// Everything below a directory: kind and mode, size, time of the last change, and where a link leads.
fn seen(folder: &Path) -> BTreeMap<PathBuf, (u32, u64, i64, Option<PathBuf>)> {
    let mut seen = BTreeMap::new();
    let mut open = vec![folder.to_owned()];
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(folder).expect("a directory of the layer below can be read") {
            let path = entry.expect("its entries too").path();
            let metadata = path.symlink_metadata().expect("they are there");
            let facts = (metadata.mode(), metadata.size(), metadata.ctime_nsec(), fs::read_link(&path).ok());
            open.extend(metadata.is_dir().then(|| path.clone()));
            seen.insert(path, facts);
        }
    }
    seen
}

/// Opens what the layer shut, so that it can be removed.
fn open_up(folder: &Path) {
    let _ = fs::set_permissions(folder, fs::Permissions::from_mode(0o700));
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            open_up(&entry.path());
        }
    }
}

fn put(folder: &Path, name: &str, lowers: Vec<Snapshot>, bytes: &[u8]) -> (Snapshot, bool) {
    let path = folder.join(name);
    fs::create_dir(&path).expect("there is room");
    let snapshot = Snapshot::new(path);
    let (owners, marks) = (Owners::Recorded, Marks::User);
    let request = Unpack { snapshot: snapshot.clone(), lowers, owners, marks, limits: LIMITS };
    let outcome = unpack(&mut &bytes[..], &request);
    (snapshot, outcome.is_ok())
}

fuzz_target!(|bytes: &[u8]| {
    let mut bytes = bytes.to_vec();
    mend_checksums(&mut bytes);
    let folder = tempfile::tempdir().expect("a temporary directory can be made");
    let (below, is_whole) = put(folder.path(), "below", Vec::new(), BELOW);
    assert!(is_whole);
    let before = seen(&folder.path().join("below"));
    let (_, first) = put(folder.path(), "first", vec![below.clone()], &bytes);
    let (_, second) = put(folder.path(), "second", vec![below], &bytes);
    assert_eq!(first, second);
    assert_eq!(seen(&folder.path().join("below")), before);
    let mut names: Vec<_> =
        fs::read_dir(folder.path()).expect("it can be read").map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["below", "first", "second"]);
    open_up(folder.path());
});
