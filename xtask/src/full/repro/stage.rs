//! The two surroundings, and builds in them.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, bail};
use hwb_testkit::Tree;
use hwb_testkit::tree::Entry;
use tempfile::TempDir;

use crate::corpus::{file_name, only_wheel};
use crate::fetch::Index;
use crate::mounts::Mount;
use crate::ordinary_user::Account;
use crate::programs::{capture, empty, program};
use crate::workspace::ambient;

/// An interpreter that every user may run.
const INTERPRETER: &str = "/usr/bin/python3.11";

/// How far the second clock is ahead: certificates must still be valid.
const AHEAD: &str = "+3d";

/// How long a hook may take: what waits for a clock that does not come shall not wait for ever.
const TIMEOUT: &str = "30m";

/// What mends how faketime waits, as C.
const WAITING: &str = include_str!("clock_nanosleep.c");

/// How hwb reaches the index, where the machine says so.
const REACHING: [&str; 8] = [
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "http_proxy",
    "https_proxy",
    "no_proxy",
];

/// Where a build takes place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Surroundings {
    /// Root's, with the clock and the file system of the machine.
    Usual,
    /// Of another user, with another clock and file order.
    Hostile,
}

/// The script that stands for rustc, without the library that moves its clock: rustc's own allocator asks for the time
/// as it starts, the library allocates as it starts, and they wait for each other.
fn compiler(place: &Path) -> String {
    format!("#!/bin/sh\nunset LD_PRELOAD\nexec {} \"$@\"\n", place.join("toolchain/bin/rustc").display())
}

/// What both builds of a source share. The mounts are fields before the folder that they lie in: they end first.
#[derive(Debug)]
pub(super) struct Stage {
    _shuffled: Mount,
    _toolchain: Mount,
    place: TempDir,
    account: Account,
    hwb: PathBuf,
    index: String,
    clock: String,
}

impl Stage {
    /// Makes the second user and mounts what is needed (needs root).
    pub(super) fn open(hwb: &Path, index: &Index) -> anyhow::Result<Self> {
        let account = Account::create()?;
        // Outside of any folder that is closed to the other user.
        let folder =
            tempfile::Builder::new().prefix("hwb-repro-").tempdir().context("no temporary folder")?;
        let place = folder.path();
        capture(program("chmod").arg("755").arg(place))?;
        let binary = place.join("hwb");
        fs_err::copy(hwb, &binary)?;
        fs_err::create_dir(place.join("home"))?;
        fs_err::create_dir(place.join("ordered"))?;
        let shuffled = Mount::disorderly(&place.join("ordered"), place.join("shuffled"))?;
        let sysroot = capture(program("rustc").args(["--print", "sysroot"]))?;
        let toolchain = Mount::bound(Path::new(sysroot.trim()), place.join("toolchain"))?;
        let programs = Tree::new().entry("rustc", Entry::Program(compiler(place).into_bytes()));
        programs.write_to(&place.join("programs"));
        let find = "ls /usr/lib/*/faketime/libfaketimeMT.so.1 | head -n 1";
        let clock = capture(program("sh").args(["-c", find]))?.trim().to_owned();
        if clock.is_empty() {
            bail!("faketime is not installed");
        }
        let (source, waiting) = (place.join("clock_nanosleep.c"), place.join("clock_nanosleep.so"));
        fs_err::write(&source, WAITING)?;
        capture(program("cc").args(["-shared", "-fPIC", "-O2", "-o"]).args([&waiting, &source]))?;
        let clock = format!("{}:{clock}", waiting.display());
        Ok(Self {
            _shuffled: shuffled,
            _toolchain: toolchain,
            place: folder,
            account,
            hwb: binary,
            index: index.url.clone(),
            clock,
        })
    }

    /// The copy of hwb that builds, whatever becomes of the one that it was made from.
    pub(super) fn binary(&self) -> &Path {
        &self.hwb
    }

    /// Puts a source where both users can read it.
    pub(super) fn bring(&self, sdist: &Path) -> anyhow::Result<PathBuf> {
        let source = self.place.path().join(file_name(sdist));
        fs_err::copy(sdist, &source)?;
        capture(program("chmod").arg("644").arg(&source))?;
        Ok(source)
    }

    /// Builds a source with an empty cache and returns the wheel.
    pub(super) fn build(&self, surroundings: Surroundings, source: &Path) -> anyhow::Result<PathBuf> {
        let out = self.empty(match surroundings {
            Surroundings::Usual => "first",
            Surroundings::Hostile => "second",
        })?;
        let mut command = self.command(surroundings, "build")?;
        capture(command.arg(source).arg("--out-dir").arg(&out))?;
        only_wheel(&out)
    }

    /// Copies the two wheels of the last source to a folder that outlives the stage.
    pub(super) fn keep(&self, kept: &Path) -> anyhow::Result<()> {
        for out in ["first", "second"] {
            let wheel = only_wheel(&self.place.path().join(out))?;
            fs_err::create_dir_all(kept.join(out))?;
            fs_err::copy(&wheel, kept.join(out).join(file_name(&wheel)))?;
        }
        Ok(())
    }

    /// What `hwb verify` in the second surroundings says of a wheel.
    pub(super) fn verify(&self, wheel: &Path, source: &Path) -> anyhow::Result<Vec<String>> {
        let mut command = self.command(Surroundings::Hostile, "verify")?;
        let output = command.arg(wheel).arg("--source").arg(source).output().context("hwb did not start")?;
        let text = String::from_utf8_lossy(match output.status.code() {
            Some(0 | 6) => &output.stdout,
            _ => &output.stderr,
        });
        Ok(text.lines().map(|line| line.trim().to_owned()).collect())
    }

    /// Begins a command of hwb with an empty cache.
    fn command(&self, surroundings: Surroundings, verb: &str) -> anyhow::Result<Command> {
        let place = self.place.path();
        let (mut command, cache) = match surroundings {
            Surroundings::Usual => {
                let mut command = program(&self.hwb);
                command.env_clear().env("HOME", place.join("home"));
                command.env("TZ", "UTC").env("LC_ALL", "C").env("PYTHONHASHSEED", "1");
                command.arg(verb);
                (command, self.empty("cache-one")?)
            }
            Surroundings::Hostile => (self.hostile(verb), self.empty("shuffled/cache-two")?),
        };
        command.arg("--cache-dir").arg(cache).args(["--python", INTERPRETER, "--index-url", &self.index]);
        command.args(["--timeout", TIMEOUT]);
        let folders = [place.join("programs"), place.join("toolchain/bin")];
        let folders = folders.map(|folder| folder.to_string_lossy().into_owned()).join(":");
        let path = format!("{folders}:/usr/local/bin:/usr/bin:/bin");
        command.current_dir(place).env("PATH", path).env("SOURCE_DATE_EPOCH", "1700000000");
        command.envs(REACHING.iter().filter_map(|name| Some((name, ambient(name)?))));
        Ok(command)
    }

    /// The clock is moved for hwb itself and no earlier: what a program of root shares for it is closed to the other
    /// user. What waits for a while asks the monotonic clock, which must stay the kernel's own.
    fn hostile(&self, verb: &str) -> Command {
        let clock = [
            format!("LD_PRELOAD={}", self.clock),
            format!("FAKETIME={AHEAD}"),
            "FAKETIME_DONT_FAKE_MONOTONIC=1".to_owned(),
        ];
        let (name, home) = (&self.account.name, self.account.home.path());
        let mut command = program("setpriv");
        command.args(["--reuid", name, "--regid", name, "--clear-groups", "--"]);
        command
            .args(["sh", "-c", "umask 077; exec \"$@\"", "sh", "env"])
            .args(&clock)
            .arg(&self.hwb)
            .arg(verb);
        // The hooks see a built environment: the clock must be moved for them by name.
        command.args(clock.iter().flat_map(|variable| ["--env", variable]));
        command.env_clear().env("HOME", home).env("TMPDIR", home);
        command.env("TZ", "Asia/Kathmandu").env("LC_ALL", "C.UTF-8").env("PYTHONHASHSEED", "2");
        command
    }

    /// An empty folder that the second user may write to.
    fn empty(&self, name: &str) -> anyhow::Result<PathBuf> {
        let folder = empty(&self.place.path().join(name))?;
        capture(program("chown").arg(format!("{}:", self.account.name)).arg(&folder))?;
        Ok(folder)
    }
}
