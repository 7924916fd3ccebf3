//! Large files of users, read from where they are looked at and never held as a whole.

use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use hwb_archive::zip::ReadAt;

use crate::fs::FsError;

/// A file that is read piece by piece. It may be replaced meanwhile, but must not be written to:
/// [`InputFile::check_unchanged`] tells.
///
/// It is not mapped: whoever cuts it short makes reading fail, and does not end the process.
#[derive(Debug)]
pub struct InputFile {
    path: PathBuf,
    file: File,
    state: State,
}

/// What changes when a file is written to.
#[derive(Debug, PartialEq, Eq)]
struct State {
    length: u64,
    modified: (i64, i64),
}

impl From<Metadata> for State {
    fn from(metadata: Metadata) -> Self {
        Self { length: metadata.len(), modified: (metadata.mtime(), metadata.mtime_nsec()) }
    }
}

impl InputFile {
    /// Opens the file at `path`.
    ///
    /// # Errors
    ///
    /// If it cannot be opened, or is a directory or something else that has no places to read from.
    pub fn open(path: &Path) -> Result<Self, FsError> {
        let open = || {
            let file = File::open(path)?;
            if !file.metadata()?.is_file() {
                return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file"));
            }
            Ok(file)
        };
        Self::of(&open().map_err(FsError::open(path))?, path)
    }

    /// Takes a file that is open for reading already; `path` is what it is called.
    ///
    /// # Errors
    ///
    /// If nothing can be known of it.
    pub fn of(file: &File, path: &Path) -> Result<Self, FsError> {
        let state = file.metadata().map_err(FsError::read(path))?.into();
        let file = file.try_clone().map_err(FsError::read(path))?;
        Ok(Self { path: path.to_owned(), file, state })
    }

    /// Makes sure that nobody has written to the file since it was opened, as far as its length and its time tell.
    ///
    /// # Errors
    ///
    /// If somebody has.
    pub fn check_unchanged(&self) -> Result<(), FsError> {
        let now = self.file.metadata().map_err(FsError::read(&self.path))?;
        if State::from(now) == self.state { Ok(()) } else { Err(FsError::Changed(self.path.clone())) }
    }
}

impl ReadAt for InputFile {
    fn length(&self) -> u64 {
        self.state.length
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.file.read_exact_at(buffer, offset)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fs::write_atomic;

    #[test]
    fn reads_from_any_place_until_there_is_no_more() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        write_atomic(&path, b"some bytes").unwrap();
        let input = InputFile::open(&path).unwrap();
        let mut bytes = [0; 4];
        input.read_exact_at(&mut bytes, 3).unwrap();
        assert_eq!((input.length(), &bytes), (10, b"e by"));
        input.read_exact_at(&mut bytes, 7).unwrap_err();
        input.read_exact_at(&mut bytes, u64::MAX - 1).unwrap_err();
        InputFile::open(&path.with_file_name("absent")).unwrap_err();
        InputFile::open(folder.path()).unwrap_err();
    }

    #[test]
    fn tells_who_writes_from_who_replaces() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        write_atomic(&path, b"some bytes").unwrap();
        let (first, second) = (InputFile::open(&path).unwrap(), InputFile::open(&path).unwrap());
        write_atomic(&path, b"others").unwrap();
        first.check_unchanged().unwrap();
        second.check_unchanged().unwrap();
        let third = InputFile::open(&path).unwrap();
        File::options().write(true).open(&path).unwrap().set_len(3).unwrap();
        let error = third.check_unchanged().unwrap_err();
        assert_eq!(error.to_string(), format!("`{}` has changed while it was read", path.display()));
    }
}
