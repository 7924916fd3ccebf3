//! One file, copied and measured in one pass.

use std::fs::File;
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::os::fd::AsFd as _;

use hwb_ident::{Digest, Hasher};

use crate::os::Reflink;

/// Which side of a copy failed.
#[derive(Debug)]
pub(super) enum Fault {
    Read(io::Error),
    Write(io::Error),
}

/// What a file held.
#[derive(Debug, Clone, Copy)]
pub(super) struct Content {
    pub(super) digest: Digest,
    pub(super) bytes: u64,
}

/// Measures `file` from where it stands to its end.
pub(super) fn measure(mut file: &File, buffer: &mut [u8]) -> Result<Content, Fault> {
    let (mut hasher, mut bytes) = (Hasher::new(), 0);
    loop {
        let got = match file.read(buffer) {
            Ok(0) => return Ok(Content { digest: hasher.finish(), bytes }),
            Ok(got) => got,
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) => return Err(Fault::Read(error)),
        };
        hasher.update(&buffer[..got]);
        bytes += got as u64;
    }
}

/// Copies `from` into the empty file `to`, and measures what was written.
///
/// Where blocks can be shared the copy is measured, as the original may change meanwhile. Where they cannot, the
/// bytes have to come by here for their digest anyway: writing them from the same warm buffer costs less than a
/// second pass after a copy within the kernel.
pub(super) fn copy_measured(
    mut from: &File,
    mut to: &File,
    reflink: &Reflink,
    buffer: &mut [u8],
) -> Result<Content, Fault> {
    if reflink.share(from.as_fd(), to.as_fd()) {
        return measure(to, buffer);
    }
    let (mut hasher, mut bytes) = (Hasher::new(), 0);
    loop {
        let got = match from.read(buffer) {
            Ok(0) => return Ok(Content { digest: hasher.finish(), bytes }),
            Ok(got) => got,
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) => return Err(Fault::Read(error)),
        };
        hasher.update(&buffer[..got]);
        to.write_all(&buffer[..got]).map_err(Fault::Write)?;
        bytes += got as u64;
    }
}

/// Copies `from` into the empty file `to` without looking at the bytes; says how many there were.
///
/// The kernel copies by itself where it can; [`io::copy`] falls back where it cannot.
pub(super) fn copy(mut from: &File, mut to: &File, reflink: &Reflink) -> Result<u64, Fault> {
    if reflink.share(from.as_fd(), to.as_fd()) {
        return from.metadata().map(|metadata| metadata.len()).map_err(Fault::Read);
    }
    // Which side failed cannot be told; a full disk is by far the likeliest.
    io::copy(&mut from, &mut to).map_err(Fault::Write)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_a_fault_of_writing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        crate::fs::write_atomic(&path, b"content").unwrap();
        let from = File::open(&path).unwrap();
        let full = File::options().write(true).open("/dev/full").unwrap();
        let fault = copy_measured(&from, &full, &Reflink::untried(), &mut [0; 16]).unwrap_err();
        assert!(matches!(fault, Fault::Write(error) if error.kind() == ErrorKind::StorageFull));
    }
}
