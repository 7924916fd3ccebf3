//! File systems that are there for as long as they are needed (needs root).

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::programs::{capture, program, succeeds};

/// What is mounted, and ends with this value.
#[derive(Debug)]
pub(crate) struct Mount {
    at: PathBuf,
}

impl Mount {
    /// Shows a folder in another order each time that it is listed, to every user (disorderfs).
    pub(crate) fn disorderly(from: &Path, at: PathBuf) -> anyhow::Result<Self> {
        let mut command = program("disorderfs");
        command.args(["--shuffle-dirents=yes", "--multi-user=yes", "--quiet"]);
        Self::new(command, from, at)
    }

    /// Shows a folder at another place.
    pub(crate) fn bound(from: &Path, at: PathBuf) -> anyhow::Result<Self> {
        let mut command = program("mount");
        command.arg("--bind");
        Self::new(command, from, at)
    }

    /// Opens the file system that a file holds.
    pub(crate) fn image(file: &Path, at: PathBuf) -> anyhow::Result<Self> {
        let mut command = program("mount");
        command.args(["-o", "loop"]);
        Self::new(command, file, at)
    }

    fn new(mut command: Command, from: &Path, at: PathBuf) -> anyhow::Result<Self> {
        fs_err::create_dir_all(&at)?;
        capture(command.arg(from).arg(&at))?;
        Ok(Self { at })
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        if !succeeds(program("umount").arg(&self.at)) {
            println!("{} is still mounted", self.at.display());
        }
    }
}
