//! A cache, somebody who uses it, and what must be true of it at any time.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use serde_json::Value;

use crate::fetch::digest;
use crate::full::image::origin::Origin;
use crate::full::image::person::{Person, Who};
use crate::programs::{capture, program};

/// How long the processes of a killed command may take to end.
const GRACE: Duration = Duration::from_secs(5);

/// Files of the lowest layer.
const FILES: u32 = 1_500;

/// Bytes of each layer that do not compress.
const NOISE: u64 = 12 << 20;

/// What a run does: it makes, changes and removes.
pub(super) const WORK: &str = "rm -rf /copy && cp -r /srv /copy && rm -rf /srv/1 && echo new > /srv/new && \
     head -c 12582912 /dev/urandom > /noise2 && chown -R 7:7 /copy";

/// A cache, somebody who uses it, and images in a registry.
#[derive(Debug)]
pub(super) struct Stage {
    person: Person,
    cache: PathBuf,
    /// An image of two layers in the registry.
    pub(super) image: String,
    /// What names in the registry begin with that nobody else takes.
    own: String,
    /// Processes that were there before.
    known: BTreeSet<u32>,
    /// Mounts that were there before.
    mounts: String,
}

/// Pushes an image of one layer.
pub(super) fn base(origin: &Origin) -> anyhow::Result<String> {
    let folder = tempfile::tempdir().context("no temporary folder")?;
    let tree = folder.path();
    for name in ["bin", "dev", "etc", "proc", "sys", "tmp"] {
        fs_err::create_dir_all(tree.join(name))?;
    }
    fs_err::copy("/bin/busybox", tree.join("bin/busybox"))?;
    for name in ["sh", "true", "cp", "rm", "head", "chown", "cat", "sleep", "find"] {
        symlink("busybox", tree.join("bin").join(name))?;
    }
    for number in 0..FILES {
        let folder = tree.join(format!("srv/{}", number / 100));
        fs_err::create_dir_all(&folder)?;
        let mut text = String::new();
        for line in 0..number % 60 {
            writeln!(text, "{}", u64::from(number) * 2_654_435_761 + u64::from(line) * 40_503)?;
        }
        fs_err::write(folder.join(number.to_string()), text)?;
    }
    fs_err::write(tree.join("noise"), noise(NOISE))?;
    origin.push(tree, "base")
}

/// Bytes that do not compress, the same every time.
fn noise(length: u64) -> Vec<u8> {
    let mut random = Random(7);
    (0..length / 8).flat_map(|_| random.next().to_le_bytes()).collect()
}

/// Numbers that follow from a seed (SplitMix64).
#[derive(Debug)]
pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// A part of some time.
    pub(super) fn part_of(&mut self, whole: Duration) -> Duration {
        let thousandths = u32::try_from(self.next() % 1000).unwrap_or_default();
        whole * thousandths / 1000
    }
}

impl Stage {
    /// Makes somebody with an empty cache, and an image of two layers in the registry.
    pub(super) fn set(origin: &Origin, who: Who, hwb: &Path, base: &str) -> anyhow::Result<Self> {
        let person = Person::create(who, hwb)?;
        let cache = person.home().join("cache");
        let own = format!("{who:?}").to_lowercase();
        let mut stage = Self {
            image: origin.reference(&format!("{own}/two")),
            own: origin.reference(&own).trim_end_matches(":latest").to_owned(),
            mounts: mounts()?,
            known: processes()?,
            person,
            cache,
        };
        stage.must(&["image", "run", "--name", "first", base, "sh", "-c", WORK])?;
        stage.must(&["image", "commit", "first", &stage.image])?;
        stage.must(&["image", "push", &stage.image])?;
        stage.must(&["cache", "clean"])?;
        stage.known = processes()?;
        Ok(stage)
    }

    /// With a cache elsewhere.
    pub(super) fn with_cache(&self, cache: PathBuf) -> anyhow::Result<Place<'_>> {
        self.person.folder(&cache)?;
        Ok(Place { stage: self, cache })
    }

    /// With its usual cache.
    pub(super) fn here(&self) -> Place<'_> {
        Place { stage: self, cache: self.cache.clone() }
    }

    fn must(&self, arguments: &[&str]) -> anyhow::Result<String> {
        self.here().must(arguments)
    }
}

/// A stage with one of its caches.
#[derive(Debug)]
pub(super) struct Place<'a> {
    pub(super) stage: &'a Stage,
    pub(super) cache: PathBuf,
}

impl Place<'_> {
    /// A name in the registry that nobody else takes.
    pub(super) fn name(&self, name: &str) -> String {
        format!("{}/{name}:latest", self.stage.own)
    }

    /// A file of the person.
    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.stage.person.home().join(name)
    }

    /// Begins a command of hwb.
    pub(super) fn hwb(&self, arguments: &[&str]) -> Command {
        let mut command = self.stage.person.command(&self.stage.person.hwb());
        command.arg("--quiet").arg("--cache-dir").arg(&self.cache).args(arguments).stdin(Stdio::null());
        command
    }

    /// Runs one that must succeed, and gives what it said.
    pub(super) fn must(&self, arguments: &[&str]) -> anyhow::Result<String> {
        capture(&mut self.hwb(arguments))
    }

    /// Whether there is such a run.
    pub(super) fn has_run(&self, name: &str) -> anyhow::Result<bool> {
        Ok(self.listed(&["image", "ls", "--runs", "--json"])?.iter().any(|run| run["name"] == name))
    }

    /// Whether there is such an image.
    pub(super) fn has_image(&self, name: &str) -> anyhow::Result<bool> {
        Ok(self.listed(&["image", "ls", "--json"])?.iter().any(|image| image["name"] == name))
    }

    fn listed(&self, arguments: &[&str]) -> anyhow::Result<Vec<Value>> {
        let listed: Value = serde_json::from_str(&self.must(arguments)?)?;
        listed.as_array().cloned().context("hwb lists in an array")
    }

    /// Waits until nothing of a command is left but files.
    pub(super) fn check_quiet(&self) -> anyhow::Result<()> {
        let end = Instant::now() + GRACE;
        loop {
            let left: Vec<u32> = processes()?.difference(&self.stage.known).copied().collect();
            if left.is_empty() {
                break;
            }
            ensure!(Instant::now() < end, "processes go on: {}", described(&left));
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    /// Checks everything that must be true whenever nothing runs, and removes what was left behind.
    pub(super) fn check(&self) -> anyhow::Result<Left> {
        self.check_quiet()?;
        let found = mounts()?;
        let mine = found.lines().filter(|line| !line.contains("/small"));
        let before = self.stage.mounts.lines();
        ensure!(mine.eq(before), "mounts are left:\n{found}");
        let left = Left { claims: self.claims()? };
        for blob in files_below(&self.cache.join("v1/blobs"))? {
            let name = blob.iter().rev().take(2).map(|part| part.to_string_lossy()).collect::<Vec<_>>();
            let called = format!("{}{}", name[1], name[0]);
            ensure!(digest(&blob)? == called, "the blob {called} has another digest");
        }
        self.must(&["cache", "prune"])?;
        self.check_sum()?;
        ensure!(self.claims()? == 0, "claims are left: {:?}", files_below(&self.cache.join("v1/locks"))?);
        let scratch = files_below(&self.cache.join("v1/tmp"))?;
        ensure!(scratch.is_empty(), "scratch space is left: {scratch:?}");
        for image in self.listed(&["image", "ls", "--json"])? {
            let name = image["name"].as_str().context("an image has a name")?;
            self.must(&["image", "run", "--rm", "--pull", "never", name, "true"])?;
        }
        self.check_quiet()?;
        Ok(left)
    }

    /// Checks that what hwb measures is what there is.
    fn check_sum(&self) -> anyhow::Result<()> {
        let usage: Value = serde_json::from_str(&self.must(&["cache", "du", "--json"])?)?;
        let kinds = usage["kinds"].as_array().context("there are kinds")?;
        let sum: u64 = kinds.iter().filter_map(|kind| kind["bytes"].as_u64()).sum();
        let said = capture(program("du").args(["-s", "-B1"]).arg(&self.cache))?;
        let whole = said.split_whitespace().next().context("du says nothing")?;
        ensure!(sum.to_string() == whole, "hwb measures {sum} bytes, du {whole}");
        Ok(())
    }

    /// Locks besides the store's own.
    fn claims(&self) -> anyhow::Result<usize> {
        let locks = files_below(&self.cache.join("v1/locks"))?;
        Ok(locks.iter().filter(|lock| !lock.ends_with("store")).count())
    }

    /// Removes everything step by step and at once, and checks that nothing is left but what must be.
    pub(super) fn check_clean(&self) -> anyhow::Result<()> {
        for run in self.listed(&["image", "ls", "--runs", "--json"])? {
            self.must(&["image", "rm", "--run", run["name"].as_str().context("a run has a name")?])?;
        }
        self.must(&["cache", "prune", "--all"])?;
        for kind in ["blobs", "records", "runs", "snapshots", "tmp"] {
            let left = files_below(&self.cache.join("v1").join(kind))?;
            ensure!(left.is_empty(), "`hwb cache prune --all` leaves {left:?}");
        }
        self.must(&["cache", "clean"])?;
        let left: Vec<String> = files_below(&self.cache)?
            .iter()
            .filter_map(|path| Some(path.strip_prefix(&self.cache).ok()?.display().to_string()))
            .filter(|path| path != "lost+found")
            .collect();
        ensure!(left == [".lock", "CACHEDIR.TAG", "v1/VERSION", "v1/locks/store"], "left: {left:?}");
        Ok(())
    }
}

/// What a disturbed command left to be swept.
#[derive(Debug, Clone, Copy)]
pub(super) struct Left {
    /// Locks of the dead.
    pub(super) claims: usize,
}

/// Every file below a folder that may not be there, sorted.
fn files_below(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        if !folder.is_dir() {
            continue;
        }
        for entry in fs_err::read_dir(&folder)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() { &mut folders } else { &mut files }.push(entry.path());
        }
    }
    files.sort();
    Ok(files)
}

/// Every process here, but for those that nobody has waited for.
fn processes() -> anyhow::Result<BTreeSet<u32>> {
    let mut found = BTreeSet::new();
    for entry in fs_err::read_dir("/proc")? {
        let Ok(id) = entry?.file_name().to_string_lossy().parse() else { continue };
        let status = fs_err::read_to_string(format!("/proc/{id}/status")).unwrap_or_default();
        if status.contains("State:") && !status.contains("State:\tZ") && !status.contains("State:\tX") {
            found.insert(id);
        }
    }
    Ok(found)
}

fn described(processes: &[u32]) -> String {
    let describe = |id: &u32| {
        let line = fs_err::read(format!("/proc/{id}/cmdline")).unwrap_or_default();
        let name = fs_err::read_to_string(format!("/proc/{id}/comm")).unwrap_or_default();
        format!("{id} {} {}", name.trim(), String::from_utf8_lossy(&line).replace('\0', " "))
    };
    processes.iter().map(describe).collect::<Vec<_>>().join("; ")
}

fn mounts() -> anyhow::Result<String> {
    Ok(fs_err::read_to_string("/proc/self/mountinfo")?)
}
