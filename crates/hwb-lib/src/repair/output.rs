//! The new wheel on its way to its place; a large one is never in memory as a whole.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use hwb_archive::zip::Source;
use hwb_ident::{Digest, Hasher};
use hwb_repair::repair::write::Repaired;
use hwb_store::fs::write_atomic_with;
use hwb_store::{FsError, InputFile};
use hwb_wheel::{Wheel, WheelError};

/// What comes of a wheel.
#[derive(Debug)]
pub(super) enum NewWheel<'a> {
    /// Nothing: it was only planned.
    Planned,
    /// The old one, which is right as it is.
    Same(Source<'a>),
    /// A repaired one.
    Repaired(Repaired<'a>),
}

/// Why a new wheel was not written.
#[derive(Debug, thiserror::Error)]
pub(super) enum OutputError {
    /// Its place, or the old wheel.
    #[error(transparent)]
    File(#[from] FsError),
    /// A member of it.
    #[error(transparent)]
    Member(#[from] hwb_wheel::WriteError),
    /// The copy of the old one.
    #[error("the wheel cannot be copied")]
    Copy(#[source] io::Error),
    /// What was written is no wheel.
    #[error("the new wheel cannot be read again")]
    Unreadable(#[source] WheelError),
}

impl NewWheel<'_> {
    /// Writes it to `out`; what is only planned is nothing.
    pub(super) fn write<W: Write>(self, mut out: W) -> Result<W, OutputError> {
        match self {
            Self::Planned => {}
            Self::Same(old) => {
                let copied = io::copy(&mut old.reader(), &mut out).and_then(|_| out.flush());
                copied.map_err(OutputError::Copy)?;
            }
            Self::Repaired(repaired) => out = repaired.assemble(out)?,
        }
        Ok(out)
    }

    /// Writes it to a file, which is there whole or not at all, if `check` is content with what was read for it.
    pub(super) fn publish(
        self,
        path: &Path,
        check: impl FnOnce() -> Result<(), FsError>,
    ) -> Result<Digest, OutputError> {
        write_atomic_with(path, |file: &File| {
            let is_new = matches!(self, Self::Repaired(_));
            let out = Hashed { out: BufWriter::with_capacity(1 << 16, file), hasher: Hasher::new() };
            let digest = self.write(out)?.hasher.finish();
            check()?;
            if is_new {
                read_again(path, file)?;
            }
            Ok(digest)
        })
    }
}

/// Reads what describes a new wheel, as whoever installs it does; its code was audited before.
fn read_again(path: &Path, file: &File) -> Result<(), OutputError> {
    let written = InputFile::of(file, path)?;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    Wheel::read(&name, Source::of(&written)).map(drop).map_err(OutputError::Unreadable)
}

/// Passes bytes on, and takes their digest.
#[derive(Debug)]
struct Hashed<W> {
    out: W,
    hasher: Hasher,
}

impl<W: Write> Write for Hashed<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.out.write(bytes)?;
        self.hasher.update(&bytes[..count]);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}
