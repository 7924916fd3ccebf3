//! Whole commands against their peers, in pairs: every round runs each tool once, and the medians are compared.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt::Debug;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use hwb_testkit::{Artifact, Index};

use super::{Bench, BenchOptions};
use crate::corpus::{PYTHON, file_name, files_named};
use crate::evidence::Section;
use crate::fetch;
use crate::peers::Peers;
use crate::programs::{capture, program};
use crate::workspace::{Workspace, ambient};

mod audit;
mod ground;
mod layers;
mod memory;
mod projects;
mod repair;
mod run;
mod tree;

use self::ground::Ground;
use self::projects::Project;

/// What is timed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Tool {
    /// With an environment that is made anew.
    HwbFresh,
    /// As it is without flags.
    Hwb,
    Uv,
    Build,
    /// The backend's hooks in a ready environment, one process: what no frontend can save.
    Bare,
}

/// Everything that a run needs to know.
#[derive(Debug)]
struct Arena {
    place: PathBuf,
    hwb: PathBuf,
    peers: Peers,
    index: Index,
    python: PathBuf,
}

/// Measures what is asked for.
pub(super) fn run(workspace: &Workspace, options: &BenchOptions) -> anyhow::Result<Section> {
    let (usual, asked) = (workspace.target.join("bench"), options.place.as_deref());
    match options.what {
        Bench::Build => {
            builds(workspace, options, &Ground::open(&usual, asked)?, ("bench build", small_projects))
        }
        Bench::Tree => {
            builds(workspace, options, &Ground::with_journal(&usual, asked)?, ("bench tree", tree::run))
        }
        Bench::Repair => repair::run(workspace, options, &Ground::open(&usual, asked)?),
        Bench::Run => run::run(workspace, options, &Ground::journaled_unless(&usual, asked)?),
        Bench::Layers => layers::run(workspace, options, &Ground::journaled_unless(&usual, asked)?),
        Bench::Audit => audit::run(workspace, options, &Ground::open(&usual, asked)?),
    }
}

/// The name of a part, and what measures it.
type Part = (&'static str, fn(&Arena, &BenchOptions) -> anyhow::Result<String>);

/// Measures builds; `ground` stands as long as they run.
fn builds(
    workspace: &Workspace,
    options: &BenchOptions,
    ground: &Ground,
    (part, measure): Part,
) -> anyhow::Result<Section> {
    let peers_index = fetch::Index::configured()?;
    let peers = Peers::install(workspace, &peers_index)?;
    let wheels = workspace.target.join("bench-wheels");
    let index = serve_wheels(&wheels, &peers_index)?;
    let hwb = workspace.hwb(options.program.binary.clone())?;
    let python = real_interpreter()?;
    let arena = Arena { place: ground.place.clone(), hwb, peers, index, python };
    let body = measure(&arena, options)?;
    let body = format!(
        "{} rounds, {}, CPython {PYTHON}, on {}; index on loopback with cache headers, caches of all tools warm where \
         nothing else is said. `fresh`: hwb makes the environment anew for every build, as uv and build do \
         (`--fresh-environment`); `kept`: what it does by itself, a private layer over one of the same content.\n\n{body}",
        options.rounds, arena.peers.versions, ground.file_system
    );
    let command = format!("cargo xtask full {part} --rounds {}", options.rounds);
    Ok(Section { part, command, body, failed: Vec::new() })
}

/// The interpreter itself: a shim on the way to it would be measured too.
fn real_interpreter() -> anyhow::Result<PathBuf> {
    let ask = "import os, sys; print(os.path.realpath(sys.executable))";
    let said = capture(program(format!("python{PYTHON}")).args(["-I", "-c", ask]))?;
    Ok(PathBuf::from(said.trim()))
}

/// Serves the backends' wheels, which are downloaded once.
fn serve_wheels(folder: &Path, from: &fetch::Index) -> anyhow::Result<Index> {
    if !folder.is_dir() {
        let partial = folder.with_extension("partial");
        let mut command = program(format!("python{PYTHON}"));
        command.args([
            "-m",
            "pip",
            "download",
            "--quiet",
            "--only-binary",
            ":all:",
            "--index-url",
            &from.url,
        ]);
        command.arg("--dest").arg(&partial).args(projects::BACKENDS);
        capture(&mut command)?;
        fs_err::rename(&partial, folder)?;
    }
    let mut artifacts = Vec::new();
    for path in files_named(folder, ".whl")? {
        artifacts.push(Artifact::new(file_name(&path), fs_err::read(&path)?));
    }
    Ok(Index::of(artifacts))
}

fn small_projects(arena: &Arena, options: &BenchOptions) -> anyhow::Result<String> {
    let mut text = String::from(
        "| project | fresh ms | kept ms | uv ms | build ms | bare hooks ms | fresh/uv | kept/uv | fresh/build \
         | overhead fresh/uv | overhead kept/uv |\n\
         | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |\n",
    );
    for project in projects::small() {
        if !options.only.is_empty() && !options.only.iter().any(|name| name == project.name) {
            continue;
        }
        let ready = ready_environment(arena, &project)?;
        let tools = [Tool::HwbFresh, Tool::Hwb, Tool::Uv, Tool::Build, Tool::Bare];
        let medians = measure(options.rounds, &tools, |tool| one_run(arena, &project, &ready, tool))?;
        let row = row(project.name, &medians);
        println!("{row}");
        text.push_str(&row);
        text.push('\n');
    }
    Ok(text)
}

fn row(name: &str, medians: &BTreeMap<Tool, f64>) -> String {
    let of = |tool: Tool| medians.get(&tool).copied().unwrap_or(f64::NAN);
    let (fresh, kept) = (of(Tool::HwbFresh), of(Tool::Hwb));
    let (uv, build, bare) = (of(Tool::Uv), of(Tool::Build), of(Tool::Bare));
    // A backend that uv runs in process never starts Python: there is no overhead to speak of.
    let overhead = |hwb: f64| {
        if uv > bare { format!("{:.2}", (hwb - bare) / (uv - bare)) } else { "none".to_owned() }
    };
    format!(
        "| {name} | {fresh:.0} | {kept:.0} | {uv:.0} | {build:.0} | {bare:.0} | {:.2} | {:.2} | {:.2} | {} | {} |",
        fresh / uv,
        kept / uv,
        fresh / build,
        overhead(fresh),
        overhead(kept),
    )
}

/// Runs every tool once a round, one round to warm up, and gives the medians in milliseconds.
fn measure<T: Copy + Ord + Debug>(
    rounds: usize,
    tools: &[T],
    mut run: impl FnMut(T) -> anyhow::Result<Duration>,
) -> anyhow::Result<BTreeMap<T, f64>> {
    let mut times: BTreeMap<T, Vec<Duration>> = BTreeMap::new();
    for round in 0..=rounds {
        for turn in 0..tools.len() {
            // No tool always has the same predecessor.
            let tool = tools[(turn + round) % tools.len()];
            let time = run(tool).with_context(|| format!("{tool:?}"))?;
            if round > 0 {
                times.entry(tool).or_default().push(time);
            }
        }
    }
    Ok(times.into_iter().map(|(tool, times)| (tool, median(times))).collect())
}

/// In milliseconds.
fn median(times: Vec<Duration>) -> f64 {
    middle(times.iter().map(|time| time.as_secs_f64() * 1000.0).collect())
}

/// What is in the middle; there is something.
fn middle(mut numbers: Vec<f64>) -> f64 {
    numbers.sort_by(f64::total_cmp);
    let half = numbers.len() / 2;
    let low = if numbers.len().is_multiple_of(2) { half.saturating_sub(1) } else { half };
    f64::midpoint(numbers[low], numbers[half])
}

/// A virtual environment with the project's build requirements, bytecode compiled.
fn ready_environment(arena: &Arena, project: &Project) -> anyhow::Result<PathBuf> {
    let environment = arena.place.join("ready").join(project.name);
    let python = environment.join("bin/python");
    if !python.exists() {
        // Without pip: older interpreters would bring their own setuptools along.
        capture(program(&arena.python).args(["-m", "venv", "--clear", "--without-pip"]).arg(&environment))?;
        let mut install = program(&arena.python);
        install.args(["-m", "pip", "--python"]).arg(&python);
        install.args(["install", "--quiet", "--index-url", &arena.index.url()]).args(project.requires);
        capture(&mut install)?;
    }
    Ok(python)
}

/// Puts the project afresh where the tool will find it, and times the tool from start to end.
fn one_run(arena: &Arena, project: &Project, ready: &Path, tool: Tool) -> anyhow::Result<Duration> {
    let place = arena.place.join("run").join(format!("{tool:?}"));
    let (source, out) = (place.join(project.name), place.join("out"));
    if place.exists() {
        fs_err::remove_dir_all(&place)?;
    }
    project.tree().write_to(&source);
    fs_err::create_dir_all(&out)?;
    let cache = arena.place.join("cache").join(format!("{tool:?}"));
    let mut command = match tool {
        Tool::Bare => bare_hooks(project, ready, &source, &out),
        Tool::HwbFresh | Tool::Hwb | Tool::Uv | Tool::Build => frontend(arena, (tool, &cache), &source, &out),
    };
    timed(&arena.place, &mut command, &out)
}

fn bare_hooks(project: &Project, ready: &Path, source: &Path, out: &Path) -> Command {
    let backend = project.backend;
    let code = format!(
        "import sys\nout = sys.argv.pop()\nimport {backend} as b\n\
         getattr(b, 'get_requires_for_build_wheel', lambda: [])()\n\
         b.build_wheel(out)"
    );
    let mut command = program(ready);
    command.args(["-c", &code]).arg(out).current_dir(source);
    // Some backends are programs beside the interpreter.
    let mut path = ready.parent().unwrap_or(ready).as_os_str().to_owned();
    path.push(":");
    path.push(ambient("PATH").unwrap_or_default());
    command.env("PATH", path);
    command
}

fn frontend(arena: &Arena, (tool, cache): (Tool, &Path), source: &Path, out: &Path) -> Command {
    let url = arena.index.url();
    match tool {
        Tool::HwbFresh | Tool::Hwb => {
            let mut command = program(&arena.hwb);
            command.arg("build").arg(source).arg("-o").arg(out).arg("--python").arg(&arena.python);
            command.args(["--index-url", &url, "--cache-dir"]).arg(cache);
            if tool == Tool::HwbFresh {
                command.arg("--fresh-environment");
            }
            command
        }
        Tool::Uv => {
            let mut command = program(&arena.peers.uv);
            command.args(["build", "--wheel", "--no-config", "--default-index", &url, "--python"]);
            command.arg(&arena.python).arg("--cache-dir").arg(cache).arg("--out-dir").arg(out).arg(source);
            command
        }
        Tool::Build | Tool::Bare => {
            let mut command = program(&arena.peers.python);
            command.args(["-m", "build", "--wheel", "--outdir"]).arg(out).arg(source);
            command.env("PIP_INDEX_URL", url).env("PIP_CACHE_DIR", cache);
            command
        }
    }
}

/// Gives a command a built environment, and keeps what it was given already.
fn surround(home: &Path, command: &mut Command) {
    let own: Vec<(OsString, OsString)> =
        command.get_envs().filter_map(|(name, value)| Some((name.to_owned(), value?.to_owned()))).collect();
    command.env_clear().env("PATH", ambient("PATH").unwrap_or_default());
    command.env("HOME", home).env("LC_ALL", "C.UTF-8").env("TZ", "UTC").env("NO_COLOR", "1");
    command.env("SOURCE_DATE_EPOCH", "1700000000").envs(own);
}

/// Times a command in a built environment; it must have made exactly one wheel.
fn timed(home: &Path, command: &mut Command, out: &Path) -> anyhow::Result<Duration> {
    surround(home, command);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    // A tool that flushes its output would else pay for what the one before it left in the journal.
    capture(&mut program("sync"))?;
    let start = Instant::now();
    let output = command.output().context("the tool did not start")?;
    let time = start.elapsed();
    let wheels = files_named(out, ".whl")?.len();
    if !output.status.success() || wheels != 1 {
        bail!("{}, {wheels} wheels:\n{}", output.status, String::from_utf8_lossy(&output.stderr));
    }
    Ok(time)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::median;

    #[test]
    fn a_median_is_in_the_middle() {
        let of = |times: &[u64]| median(times.iter().map(|time| Duration::from_millis(*time)).collect());
        assert!((of(&[5, 1, 3]) - 3.0).abs() < 1e-9);
        assert!((of(&[4, 1, 2, 9]) - 3.0).abs() < 1e-9);
    }
}
