//! An image layout in a directory.

use std::io::{self, Read};
use std::path::{Path, PathBuf};

use hwb_ident::ArchivePath;
use hwb_oci::layout::{Files, PutFiles};

/// A directory whose files are read. No link leads out of it.
#[derive(Debug)]
pub(super) struct Folder {
    /// Without links.
    root: PathBuf,
}

#[derive(Debug, thiserror::Error)]
enum FolderFault {
    #[error("it leads out of the directory")]
    Leaves,
    #[error("it is no file")]
    Kind,
    #[error("{came} bytes came where {wanted} should")]
    Size { wanted: u64, came: u64 },
}

impl Folder {
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        Ok(Self { root: path.canonicalize()? })
    }
}

impl Files for Folder {
    fn open(&mut self, path: &ArchivePath) -> io::Result<Option<Box<dyn Read + '_>>> {
        let real = match fs_err::canonicalize(path.below(&self.root)) {
            Ok(real) => real,
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
        if !real.starts_with(&self.root) {
            return Err(io::Error::other(FolderFault::Leaves));
        }
        // Who opens a pipe waits for somebody to write to it.
        if !fs_err::metadata(&real)?.is_file() {
            return Err(io::Error::other(FolderFault::Kind));
        }
        Ok(Some(Box::new(fs_err::File::open(real)?)))
    }
}

/// A directory in which files appear whole.
#[derive(Debug)]
pub(super) struct FolderWriter<'a> {
    root: &'a Path,
    /// Where a file is before it is whole.
    partial: PathBuf,
}

impl<'a> FolderWriter<'a> {
    /// Writes to `root`; `scratch` is a directory for what is not whole yet.
    pub(super) fn new(root: &'a Path, scratch: &Path) -> Self {
        Self { root, partial: scratch.join("file") }
    }
}

impl PutFiles for FolderWriter<'_> {
    fn put(&mut self, path: &ArchivePath, size: u64, contents: &mut dyn Read) -> io::Result<()> {
        let mut file = fs_err::File::create(&self.partial)?;
        let came = io::copy(contents, &mut file)?;
        if came != size {
            return Err(io::Error::other(FolderFault::Size { wanted: size, came }));
        }
        drop(file);
        let place = path.below(self.root);
        place.parent().map_or(Ok(()), fs_err::create_dir_all)?;
        hwb_store::fs::publish(&self.partial, &place).map_err(io::Error::other)
    }
}
