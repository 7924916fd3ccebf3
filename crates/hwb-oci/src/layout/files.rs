//! Files by their paths.

use std::io::{self, Read, Seek, Write};

use hwb_archive::tar::{Members, Node, NodeWriter};
use hwb_ident::ArchivePath;

use crate::blob::Checked;
use crate::descriptor::Descriptor;
use crate::json::MAX_DOCUMENT;
use crate::layout::{LayoutError, blob_path};

/// Files that can be read in any order, one at a time.
pub trait Files {
    /// Opens a file; `None` if it is not there.
    ///
    /// # Errors
    ///
    /// If it is there and cannot be opened.
    fn open(&mut self, path: &ArchivePath) -> io::Result<Option<Box<dyn Read + '_>>>;
}

/// A place for files.
pub trait PutFiles {
    /// Writes a file of exactly `size` bytes. If `contents` cannot be read to their end, there must be no file.
    ///
    /// # Errors
    ///
    /// If it cannot be written, or `contents` cannot be read.
    fn put(&mut self, path: &ArchivePath, size: u64, contents: &mut dyn Read) -> io::Result<()>;
}

/// Bytes by their digest: a store, or another layout.
pub trait Blobs {
    /// Opens a blob. Who reads it holds it against its descriptor.
    ///
    /// # Errors
    ///
    /// If it is not there or cannot be opened.
    fn open(&mut self, descriptor: &Descriptor) -> io::Result<Box<dyn Read + '_>>;
}

/// Writes files into a tar archive of which every byte follows from them.
#[derive(Debug)]
pub struct ArchiveWriter<W: Write>(NodeWriter<W>);

impl<R: Read + Seek> Files for Members<R> {
    fn open(&mut self, path: &ArchivePath) -> io::Result<Option<Box<dyn Read + '_>>> {
        let contents = Self::open(self, path)?;
        Ok(contents.map(|contents| -> Box<dyn Read + '_> { Box::new(contents) }))
    }
}

impl<W: Write> ArchiveWriter<W> {
    /// Starts an archive.
    pub const fn new(out: W) -> Self {
        Self(NodeWriter::new(out))
    }

    /// Ends the archive.
    ///
    /// # Errors
    ///
    /// If the output fails.
    pub fn finish(self) -> io::Result<W> {
        self.0.finish().map_err(io::Error::other)
    }
}

impl<W: Write> PutFiles for ArchiveWriter<W> {
    fn put(&mut self, path: &ArchivePath, size: u64, contents: &mut dyn Read) -> io::Result<()> {
        self.0.node(&Node::file(path.as_str(), size), contents).map_err(io::Error::other)
    }
}

/// Opens a file that must be there.
pub(super) fn open<'a>(
    files: &'a mut dyn Files,
    path: &ArchivePath,
) -> Result<Box<dyn Read + 'a>, LayoutError> {
    match files.open(path) {
        Ok(Some(contents)) => Ok(contents),
        Ok(None) => Err(LayoutError::Missing(path.clone())),
        Err(source) => Err(LayoutError::Read { path: path.clone(), source }),
    }
}

/// Reads a document that must be there.
pub(super) fn read_document(files: &mut dyn Files, path: &ArchivePath) -> Result<Vec<u8>, LayoutError> {
    read_bounded(path, open(files, path)?)
}

/// Reads a document out of a blob, and holds it against its descriptor.
pub(super) fn read_blob(blobs: &mut dyn Blobs, descriptor: &Descriptor) -> Result<Vec<u8>, LayoutError> {
    let path = blob_path(descriptor.digest);
    match blobs.open(descriptor) {
        Ok(contents) => read_bounded(&path, Checked::new(contents, descriptor)),
        Err(source) => Err(LayoutError::Read { path, source }),
    }
}

/// Reads one byte more than is allowed, so that whoever parses it sees that it is too large.
fn read_bounded(path: &ArchivePath, contents: impl Read) -> Result<Vec<u8>, LayoutError> {
    let mut bytes = Vec::new();
    match contents.take(MAX_DOCUMENT as u64 + 1).read_to_end(&mut bytes) {
        Ok(_) => Ok(bytes),
        Err(source) => Err(LayoutError::Read { path: path.clone(), source }),
    }
}
