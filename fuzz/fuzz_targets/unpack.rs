//! Whatever an archive says, a sink sees each path once, and nothing that leads out.
#![no_main]

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::io::{Cursor, Read};

use hwb_archive::{Executable, Limits, LinkTarget, Sink, unpack};
use hwb_ident::ArchivePath;
use libfuzzer_sys::fuzz_target;

const LIMITS: Limits = Limits { entries: 1_000, entry_bytes: 1 << 20, total_bytes: 4 << 20, ratio: 1_000 };

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Directory,
    File,
    Symlink,
}

#[derive(Default)]
struct Tree {
    seen: BTreeMap<ArchivePath, Kind>,
    bytes: u64,
}

impl Tree {
    fn take(&mut self, path: &ArchivePath, kind: Kind) {
        let before = self.seen.insert(path.clone(), kind);
        assert!(
            before.is_none() || (before, kind) == (Some(Kind::Directory), Kind::Directory),
            "{path} twice"
        );
        let mut above = path.parent();
        while let Some(parent) = above {
            assert!(
                self.seen.get(&parent).is_none_or(|&kind| kind == Kind::Directory),
                "{path} below {parent}"
            );
            above = parent.parent();
        }
    }
}

impl Sink for Tree {
    type Error = Infallible;

    fn directory(&mut self, path: &ArchivePath) -> Result<(), Infallible> {
        self.take(path, Kind::Directory);
        Ok(())
    }

    fn file(&mut self, path: &ArchivePath, _: Executable, contents: &mut dyn Read) -> Result<(), Infallible> {
        self.take(path, Kind::File);
        let mut sink = Vec::new();
        // A damaged member is reported by `unpack`.
        let _ = contents.read_to_end(&mut sink);
        self.bytes += sink.len() as u64;
        assert!(self.bytes <= LIMITS.total_bytes);
        Ok(())
    }

    fn symlink(&mut self, path: &ArchivePath, target: &LinkTarget) -> Result<(), Infallible> {
        self.take(path, Kind::Symlink);
        let up = target.as_str().split('/').take_while(|part| *part == "..").count();
        assert!(up < path.parts().count() && !target.as_str().starts_with('/'), "{path} -> {target}");
        assert!(target.as_str().split('/').skip(up).all(|part| part != ".."), "{path} -> {target}");
        Ok(())
    }
}

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
    let mut tree = Tree::default();
    if let Ok(unpacked) = unpack(Cursor::new(&bytes), &LIMITS, &mut tree) {
        assert_eq!(unpacked.bytes, tree.bytes);
    }
});
