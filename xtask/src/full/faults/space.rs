//! Commands on a disk without space.

use std::ffi::OsString;
use std::fmt;
use std::path::Path;

use anyhow::{Context as _, ensure};

use super::operation::Operation;
use super::stage::{Place, Stage};
use crate::mounts::Mount;
use crate::programs::{capture, program, succeeds, tail};

/// The size of the disk.
const SIZE: &str = "256M";

/// Bytes that are left on it, from nothing to about half of what is needed.
const LEFT: [u64; 4] = [0, 64 << 10, 1 << 20, 6 << 20];

/// What is filled byte by byte.
const MARGIN: u64 = 8 << 20;

/// What is tried on it.
const OPERATIONS: [Operation; 5] =
    [Operation::Pull, Operation::Run, Operation::Commit, Operation::Export, Operation::Import];

/// What was tried.
#[derive(Debug, Default)]
pub(super) struct Tried {
    refused: usize,
    operations: usize,
}

/// Gives commands on a disk that is full, and again when it is not.
pub(super) fn run(stage: &Stage) -> anyhow::Result<Tried> {
    let folder = tempfile::tempdir().context("no temporary folder")?;
    capture(program("chmod").arg("755").arg(folder.path()))?;
    let image = folder.path().join("small.ext4");
    capture(program("truncate").args(["-s", SIZE]).arg(&image))?;
    capture(program("mkfs.ext4").args(["-q", "-F", "-m", "0", "-O", "has_journal"]).arg(&image))?;
    let disk = folder.path().join("small");
    let _mount = Mount::image(&image, disk.clone())?;
    capture(program("chmod").arg("755").arg(&disk))?;
    let place = stage.with_cache(disk.join("cache"))?;
    let mut tried = Tried::default();
    for operation in OPERATIONS {
        tried.operations += 1;
        for left in LEFT {
            let said = || format!("{} with {left} bytes left", operation.name());
            refuse(&place, &disk, operation, left).with_context(said)?;
            println!("  {}: right", said());
            tried.refused += 1;
        }
    }
    place.check_clean()?;
    Ok(tried)
}

fn refuse(place: &Place<'_>, disk: &Path, operation: Operation, left: u64) -> anyhow::Result<()> {
    operation.prepare(place)?;
    let ballast = disk.join("ballast");
    fill(disk, &ballast, left)?;
    let output = operation.command(place, 0).output().context("hwb did not start")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(!output.status.success(), "it went well");
    ensure!(said.contains("No space left on device"), "{}: {}", output.status, tail(&said, 6));
    // What shows and frees space needs none.
    place.check_quiet()?;
    place.must(&["cache", "du"])?;
    place.must(&["image", "ls"])?;
    place.must(&["cache", "prune"])?;
    fs_err::remove_file(&ballast)?;
    place.check()?;
    operation.make_room(place)?;
    capture(&mut operation.command(place, 0)).context("with space again")?;
    place.check().map(drop)
}

/// Takes the space of a disk but for some bytes.
fn fill(disk: &Path, ballast: &Path, left: u64) -> anyhow::Result<()> {
    let said = capture(program("df").args(["--output=avail", "-B1"]).arg(disk))?;
    let free: u64 = said.lines().last().context("df says nothing")?.trim().parse()?;
    capture(program("fallocate").args(["-l", &free.saturating_sub(MARGIN).to_string()]).arg(ballast))?;
    // What the file system needs for itself is not known before.
    let mut rest = program("dd");
    rest.args(["if=/dev/zero", "bs=4096", "oflag=append", "conv=notrunc,fsync"]);
    let mut of = OsString::from("of=");
    of.push(ballast);
    ensure!(!succeeds(rest.arg(of)), "the disk does not get full");
    capture(program("truncate").args(["-s", &format!("-{left}")]).arg(ballast)).map(drop)
}

impl fmt::Display for Tried {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} commands in {} ways of filling it", self.operations, self.refused)
    }
}
