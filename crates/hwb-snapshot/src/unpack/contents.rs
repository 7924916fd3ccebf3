//! Writing what is in a file.

use std::fs::File;
use std::io::{self, Seek as _, SeekFrom, Write as _};

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
