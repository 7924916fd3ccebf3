//! Files, seen as memory.

use std::fs::File;
use std::ops::Deref;
use std::path::Path;

use memmap2::Mmap;

use crate::fs::FsError;

/// The bytes of a file, read from disk only where they are looked at.
#[derive(Debug)]
pub struct Mapped(Mmap);

impl Deref for Mapped {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl AsRef<[u8]> for Mapped {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

/// Maps the file at `path` for reading.
///
/// Meant for files that nobody changes: blobs of the store, and artifacts that a backend has finished writing.
/// Where a file could be cut short meanwhile, read it instead.
///
/// # Errors
///
/// If it cannot be opened or mapped.
pub fn map_file(path: &Path) -> Result<Mapped, FsError> {
    let file = File::open(path).map_err(FsError::open(path))?;
    // SAFETY: the file is read through this private mapping only; the callers map files that are complete and whose
    // writers have ended, so that its bytes do not change and its length does not shrink while the mapping lives.
    #[expect(unsafe_code, reason = "the store's one mapping function")]
    let mapping = unsafe { Mmap::map(&file) };
    mapping.map(Mapped).map_err(FsError::read(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shows_the_bytes_of_a_file() {
        let folder = tempfile::tempdir().unwrap();
        for content in [b"".as_slice(), b"some bytes"] {
            let path = folder.path().join("file");
            crate::fs::write_atomic(&path, content).unwrap();
            assert_eq!(&*map_file(&path).unwrap(), content);
        }
        assert!(map_file(&folder.path().join("absent")).is_err());
    }
}
