//! The file system that a bench stands on.

use std::fmt;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};

use crate::corpus::file_name;
use crate::mounts::Mount;
use crate::programs::{capture, program};

/// The size of an image: the largest of what is measured, and copies of it.
const IMAGE: &str = "6G";

/// A folder, and what is known of its file system.
#[derive(Debug)]
pub(super) struct Ground {
    pub(super) place: PathBuf,
    pub(super) file_system: FileSystem,
    _image: Option<Mount>,
}

impl Ground {
    /// Takes the folder that was asked for, or makes `usual`.
    pub(super) fn open(usual: &Path, asked: Option<&Path>) -> anyhow::Result<Self> {
        Self::at(asked.unwrap_or(usual), None)
    }

    /// Takes the folder that was asked for, or mounts a file system below `usual`.
    ///
    /// # Errors
    ///
    /// The large tree is to stand on an ext4 with a journal, as on most machines: without one writing is cheaper.
    pub(super) fn with_journal(usual: &Path, asked: Option<&Path>) -> anyhow::Result<Self> {
        let ground = Self::journaled_unless(usual, asked)?;
        if ground.file_system != FileSystem::Ext4(Journal::Yes) {
            bail!(
                "{} is on {}, and the large tree is measured on an ext4 with a journal: \
                 leave --place away as root, or make one (truncate -s {IMAGE} FILE; mkfs.ext4 FILE; \
                 mount -o loop FILE FOLDER)",
                ground.place.display(),
                ground.file_system
            );
        }
        Ok(ground)
    }

    /// Takes the folder that was asked for, whatever it is on, or mounts a file system below `usual`.
    pub(super) fn journaled_unless(usual: &Path, asked: Option<&Path>) -> anyhow::Result<Self> {
        match asked {
            Some(place) => Self::at(place, None),
            None => {
                let at = usual.join("journaled");
                let image = journaled(&usual.join("journaled.ext4"), at.clone())?;
                Self::at(&at, Some(image))
            }
        }
    }

    fn at(place: &Path, image: Option<Mount>) -> anyhow::Result<Self> {
        fs_err::create_dir_all(place)?;
        let place = fs_err::canonicalize(place)?;
        let file_system = FileSystem::of(&place)?;
        Ok(Self { place, file_system, _image: image })
    }
}

/// Mounts a file system in a file, which is made where there is none.
fn journaled(image: &Path, at: PathBuf) -> anyhow::Result<Mount> {
    if !image.is_file() {
        let partial = image.with_extension("partial");
        fs_err::create_dir_all(image.parent().context("an image lies in a folder")?)?;
        capture(program("truncate").args(["-s", IMAGE]).arg(&partial))?;
        capture(program("mkfs.ext4").args(["-q", "-F", "-O", "has_journal"]).arg(&partial))?;
        fs_err::rename(&partial, image)?;
    }
    Mount::image(image, at).context("an ext4 with a journal cannot be mounted; name one with --place")
}

/// Whether an ext4 has a journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Journal {
    Yes,
    No,
}

/// A file system, as far as it matters to a clock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum FileSystem {
    Ext4(Journal),
    Other(String),
}

impl FileSystem {
    fn of(place: &Path) -> anyhow::Result<Self> {
        let ask = |column: &str| {
            capture(program("findmnt").args(["--noheadings", "--output", column, "--target"]).arg(place))
        };
        let kind = ask("FSTYPE")?.trim().to_owned();
        if kind != "ext4" {
            return Ok(Self::Other(kind));
        }
        // The kernel shows each journal that it writes, by the name of its device.
        let source = ask("SOURCE")?;
        let device = fs_err::canonicalize(source.trim()).unwrap_or_else(|_| PathBuf::from(source.trim()));
        let journal = format!("/proc/fs/jbd2/{}-8", file_name(&device));
        Ok(Self::Ext4(if Path::new(&journal).exists() { Journal::Yes } else { Journal::No }))
    }
}

impl fmt::Display for FileSystem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Ext4(Journal::Yes) => "ext4 with a journal",
            Self::Ext4(Journal::No) => "ext4 without a journal",
            Self::Other(kind) => kind,
        })
    }
}
