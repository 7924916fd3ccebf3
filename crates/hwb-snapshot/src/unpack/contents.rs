//! What is in a file, holes left out: out of an archive, or out of a file of a layer below.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::FileExt as _;

use hwb_archive::tar::{Piece, Sparse};
use rustix::fs::SeekFrom as SeekTo;
use rustix::io::Errno;

use super::UnpackError;
use super::entry::Extent;
use crate::path::LayerPath;

/// Yields the contents of an entry, some at a time; nothing at the end.
pub(super) type Contents<'a> = dyn FnMut(&mut [u8]) -> Result<usize, UnpackError> + 'a;

/// Writes the contents of the entry `path` into its new file.
pub(super) fn write(
    path: &LayerPath,
    mut file: &File,
    extent: &Extent,
    contents: &mut Contents<'_>,
    buffer: &mut [u8],
) -> Result<(), UnpackError> {
    let fault = |source| UnpackError::Write { entry: path.clone(), source };
    match extent {
        Extent::Plain(size) => copy(path, file, *size, contents, buffer)?,
        Extent::Sparse(sparse) => {
            for piece in &sparse.pieces {
                file.seek(SeekFrom::Start(piece.offset)).map_err(fault)?;
                copy(path, file, piece.length, contents, buffer)?;
            }
            file.set_len(sparse.size).map_err(fault)?;
        }
    }
    Ok(())
}

/// Writes the next `left` bytes.
fn copy(
    path: &LayerPath,
    mut file: &File,
    mut left: u64,
    contents: &mut Contents<'_>,
    buffer: &mut [u8],
) -> Result<(), UnpackError> {
    let fault = |source| UnpackError::Write { entry: path.clone(), source };
    while left > 0 {
        let wanted = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
        let got = contents(&mut buffer[..wanted])?;
        if got == 0 {
            return Err(fault(io::ErrorKind::UnexpectedEof.into()));
        }
        file.write_all(&buffer[..got]).map_err(fault)?;
        left -= got as u64;
    }
    Ok(())
}

/// Finds the holes of a file. A file system that knows none has one piece from the start to the end.
pub(super) fn find_holes(file: &File) -> Result<Sparse, Errno> {
    let size = rustix::fs::seek(file, SeekTo::End(0))?;
    let (mut pieces, mut end) = (Vec::new(), 0);
    while end < size {
        let offset = match rustix::fs::seek(file, SeekTo::Data(end)) {
            Ok(offset) => offset,
            // The rest is a hole.
            Err(Errno::NXIO) => break,
            Err(errno) => return Err(errno),
        };
        end = rustix::fs::seek(file, SeekTo::Hole(offset))?;
        pieces.push(Piece { offset, length: end - offset });
    }
    Ok(Sparse { size, pieces })
}

/// What a file has between its holes, one piece after the other, as an archive would have it.
#[derive(Debug)]
pub(super) struct Stored {
    file: File,
    left: VecDeque<Piece>,
}

impl Stored {
    pub(super) fn new(file: File, sparse: &Sparse) -> Self {
        Self { file, left: sparse.pieces.iter().copied().collect() }
    }

    pub(super) fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Some(piece) = self.left.front_mut() else { return Ok(0) };
        let wanted = usize::try_from(piece.length).unwrap_or(usize::MAX).min(buffer.len());
        let got = self.file.read_at(&mut buffer[..wanted], piece.offset)?;
        piece.offset += got as u64;
        piece.length -= got as u64;
        if piece.length == 0 {
            self.left.pop_front();
        }
        Ok(got)
    }
}
