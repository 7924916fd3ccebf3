//! `hwb audit` against `auditwheel show`, on large public wheels.

use std::fmt::Write as _;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};

use super::memory::{finish, largest};
use super::{BenchOptions, Ground, measure, middle};
use crate::corpus::{PYTHON, file_name, only_wheel};
use crate::evidence::Section;
use crate::fetch::Index;
use crate::peers::Peers;
use crate::programs::{capture, program};
use crate::workspace::Workspace;

/// Projects with large wheels.
const PROJECTS: [&str; 5] = ["numpy", "scipy", "opencv-python-headless", "pyarrow", "PySide6-Essentials"];
/// The versions of glibc (2.17, …) that such a wheel may ask for; pip takes no platform for implied by another.
const MINORS: RangeInclusive<u32> = 17..=42;

/// What is timed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Tool {
    Hwb,
    Auditwheel,
}

/// The two programs, and a home for them.
#[derive(Debug)]
struct Programs {
    hwb: PathBuf,
    auditwheel: PathBuf,
    /// An interpreter, to ask for memory.
    python: PathBuf,
    home: PathBuf,
}

/// Measures both on each wheel.
pub(super) fn run(workspace: &Workspace, options: &BenchOptions, ground: &Ground) -> anyhow::Result<Section> {
    let index = Index::configured()?;
    let peers = Peers::install(workspace, &index)?;
    let programs = Programs {
        hwb: workspace.hwb(options.program.binary.clone())?,
        auditwheel: peers.auditwheel(&index)?,
        python: peers.python,
        home: ground.place.clone(),
    };
    let mut rows = String::new();
    let mut ratios = Vec::new();
    for project in PROJECTS {
        if !options.only.is_empty() && !options.only.iter().any(|name| name == project) {
            continue;
        }
        let wheel = newest_wheel(&workspace.target.join("bench-audit").join(project), project, &index)?;
        let (row, ratio) = one_wheel(&programs, &wheel, options.rounds)?;
        println!("{row}");
        writeln!(rows, "{row}").expect("writing to a string succeeds");
        ratios.push(ratio);
    }
    if ratios.is_empty() {
        bail!("none of the projects is asked for; there are {}", PROJECTS.join(", "));
    }
    let body = format!(
        "{} rounds, auditwheel 6.8.2 on CPython {PYTHON}, in turn, on {}. hwb is told to look at the libraries of this \
         system (`--sysroot /`), as `auditwheel show` does by itself. Warm: the wheels, both programs and those \
         libraries lie in the page cache, and auditwheel has its bytecode; neither keeps anything of an audit. Memory \
         is the largest resident set of one run that is not timed. auditwheel/hwb in the middle: **{:.1}**.\n\n\
         | wheel | MB | hwb ms | auditwheel ms | auditwheel/hwb | hwb MiB | auditwheel MiB |\n\
         | --- | --- | --- | --- | --- | --- | --- |\n{rows}",
        options.rounds,
        ground.file_system,
        middle(ratios),
    );
    let command = format!("cargo xtask full bench audit --rounds {}", options.rounds);
    Ok(Section { part: "bench audit", command, body, failed: Vec::new() })
}

/// Downloads the newest wheel of a project for CPython 3.11 on x86-64, once.
pub(super) fn newest_wheel(folder: &Path, project: &str, index: &Index) -> anyhow::Result<PathBuf> {
    if !folder.is_dir() {
        let partial = folder.with_extension("partial");
        let mut command = program(format!("python{PYTHON}"));
        command.args(["-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:"]);
        command.args(["--index-url", &index.url, "--python-version", "3.11", "--implementation", "cp"]);
        command.args(["--abi", "cp311", "--abi", "abi3"]);
        command.args(["--platform", "manylinux2014_x86_64"]);
        for minor in MINORS {
            command.args(["--platform", &format!("manylinux_2_{minor}_x86_64")]);
        }
        capture(command.arg("--dest").arg(&partial).arg(project))
            .with_context(|| format!("could not fetch {project}"))?;
        fs_err::rename(&partial, folder)?;
    }
    only_wheel(folder)
}

/// A row of the table, and by how much hwb is faster.
fn one_wheel(programs: &Programs, wheel: &Path, rounds: usize) -> anyhow::Result<(String, f64)> {
    let medians = measure(rounds, &[Tool::Hwb, Tool::Auditwheel], |tool| {
        timed(programs, &mut command(programs, tool, wheel))
    })?;
    let of = |tool: Tool| medians.get(&tool).copied().unwrap_or(f64::NAN);
    let (hwb, auditwheel) = (of(Tool::Hwb), of(Tool::Auditwheel));
    let ratio = auditwheel / hwb;
    let size = fs_err::metadata(wheel)?.len() / 1_000_000;
    let held = |tool: Tool| largest(&programs.home, &programs.python, &command(programs, tool, wheel));
    let row = format!(
        "| {} | {size} | {hwb:.0} | {auditwheel:.0} | {ratio:.1} | {} | {} |",
        file_name(wheel),
        held(Tool::Hwb)? / 1024,
        held(Tool::Auditwheel)? / 1024,
    );
    Ok((row, ratio))
}

/// The same work for both: a report as text, with a look at the libraries of this system.
fn command(programs: &Programs, tool: Tool, wheel: &Path) -> Command {
    let (binary, arguments): (_, &[&str]) = match tool {
        Tool::Hwb => (&programs.hwb, &["audit", "--sysroot", "/"]),
        Tool::Auditwheel => (&programs.auditwheel, &["show"]),
    };
    let mut command = program(binary);
    command.args(arguments).arg(wheel);
    command
}

fn timed(programs: &Programs, command: &mut Command) -> anyhow::Result<Duration> {
    let start = Instant::now();
    finish(&programs.home, command)?;
    Ok(start.elapsed())
}
