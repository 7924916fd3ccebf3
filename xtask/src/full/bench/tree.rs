//! A pure package in a git checkout of 20,000 files and 500 MB.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use hwb_testkit::Tree;

use super::{Arena, BenchOptions, Tool, frontend, measure, projects, surround, timed};
use crate::compare;
use crate::corpus::only_wheel;
use crate::programs::{capture, empty, program};

/// What an earlier build left to a tool.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Cache {
    /// All of it.
    Warm,
    /// Nothing: even the wheels of the build requirements are taken from the index.
    Empty,
}

/// A tool and its cache.
type Run = (Tool, Cache);

/// What is measured; the first build of a checkout stands beside the later ones.
const RUNS: [Run; 5] = [
    (Tool::HwbFresh, Cache::Warm),
    (Tool::Hwb, Cache::Warm),
    (Tool::Uv, Cache::Warm),
    (Tool::Hwb, Cache::Empty),
    (Tool::Uv, Cache::Empty),
];

/// Checks the digest of the checkout, and measures.
pub(super) fn run(arena: &Arena, options: &BenchOptions) -> anyhow::Result<String> {
    let source = arena.place.join("checkout");
    if !source.is_dir() {
        let partial = arena.place.join("checkout-partial");
        capture(program("rm").arg("-rf").arg(&partial))?;
        make_checkout(&partial)?;
        fs_err::rename(&partial, &source)?;
    }
    check_digest(arena, &source)?;
    let medians = measure(options.rounds, &RUNS, |run| one_run(arena, run, &source))?;
    let of = |run: Run| only_wheel(&out(arena, run));
    let differences = compare::wheels(&of((Tool::Hwb, Cache::Warm))?, &of((Tool::Uv, Cache::Warm))?)?;
    ensure!(differences.is_empty(), "the wheels of hwb and uv differ: {}", differences.join("; "));
    let [fresh, kept, uv, cold, uv_cold] = RUNS.map(|run| medians.get(&run).copied().unwrap_or(f64::NAN));
    Ok(format!(
        "20,000 files and 500 MB of a git checkout around a package of flit.\n\n\
         | caches | fresh ms | kept ms | uv ms | fresh/uv | kept/uv |\n| --- | --- | --- | --- | --- | --- |\n\
         | warm | {fresh:.0} | {kept:.0} | {uv:.0} | {:.2} | {:.2} |\n\
         | empty | | {cold:.0} | {uv_cold:.0} | | {:.2} |\n\n\
         The wheels of hwb and uv are equal. The digest of the source is that of a copy of the same files elsewhere, \
         built without the repository and with another, empty cache; it is another one when a byte of one file is \
         changed, its size and time kept, and the first one again when the byte is changed back.\n",
        fresh / uv,
        kept / uv,
        cold / uv_cold,
    ))
}

fn out(arena: &Arena, (tool, cache): Run) -> PathBuf {
    arena.place.join("run").join(format!("{tool:?}-{cache:?}-out"))
}

fn cache(arena: &Arena, (tool, cache): Run) -> PathBuf {
    arena.place.join("cache").join(format!("{tool:?}-{cache:?}"))
}

fn one_run(arena: &Arena, run: Run, source: &Path) -> anyhow::Result<Duration> {
    let (out, cache) = (empty(&out(arena, run))?, cache(arena, run));
    if run.1 == Cache::Empty {
        empty(&cache)?;
    }
    timed(&arena.place, &mut frontend(arena, (run.0, &cache), source, &out), &out)
}

/// Builds what must have the same digest, and what must not.
fn check_digest(arena: &Arena, source: &Path) -> anyhow::Result<()> {
    let warm = cache(arena, (Tool::Hwb, Cache::Warm));
    let first = digest_of(arena, source, &warm)?;
    let copy = empty(&arena.place.join("copy"))?;
    capture(program("cp").arg("-a").arg(source.join(".")).arg(&copy))?;
    capture(program("rm").arg("-rf").arg(copy.join(".git")))?;
    let elsewhere = digest_of(arena, &copy, &empty(&cache(arena, (Tool::Hwb, Cache::Empty)))?)?;
    capture(program("rm").arg("-rf").arg(&copy))?;
    ensure!(first == elsewhere, "the digest of the checkout is {first}, that of its copy {elsewhere}");

    let changed = source.join("data/007/07.bin");
    let known = fs_err::read(&changed)?;
    let mut other = known.clone();
    *other.last_mut().context("the file is not empty")? ^= 1;
    overwrite(arena, &changed, &other)?;
    let second = digest_of(arena, source, &warm);
    overwrite(arena, &changed, &known)?;
    let (second, third) = (second?, digest_of(arena, source, &warm)?);
    ensure!(first != second, "a changed file leaves the digest {first} as it was");
    ensure!(first == third, "the digest of the checkout was {first} and is {third}");
    Ok(())
}

/// Writes a file of the same size and with the same time.
fn overwrite(arena: &Arena, file: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let time = arena.place.join("time");
    capture(program("touch").arg("-r").arg(file).arg(&time))?;
    fs_err::write(file, bytes)?;
    capture(program("touch").arg("-r").arg(&time).arg(file)).map(drop)
}

/// Builds a source with hwb and reads the digest that the build reports.
fn digest_of(arena: &Arena, source: &Path, cache: &Path) -> anyhow::Result<String> {
    let out = empty(&arena.place.join("run/digest-out"))?;
    let mut command = frontend(arena, (Tool::Hwb, cache), source, &out);
    surround(&arena.place, &mut command);
    let report: serde_json::Value = serde_json::from_str(&capture(command.arg("--json"))?)?;
    let digest = report["artifacts"][0]["source"].as_str();
    digest.map(str::to_owned).context("the build reports no digest of its source")
}

fn make_checkout(source: &Path) -> anyhow::Result<()> {
    let flit = projects::small().into_iter().next().context("there is a first project")?;
    flit.tree().write_to(source);
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    for folder in 0..200 {
        let mut tree = Tree::new();
        for file in 0..100 {
            let mut bytes = Vec::with_capacity(25_000);
            while bytes.len() < 25_000 {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                bytes.extend_from_slice(&state.to_le_bytes());
            }
            tree = tree.file(&format!("data/{folder:03}/{file:02}.bin"), bytes);
        }
        tree.write_to(source);
    }
    let git = |arguments: &[&str]| {
        let mut command = program("git");
        command.args(["-c", "user.name=bench", "-c", "user.email=bench@localhost", "-c", "gc.auto=0"]);
        capture(command.args(arguments).current_dir(source))
    };
    git(&["init", "--quiet"])?;
    git(&["add", "--all"])?;
    git(&["commit", "--quiet", "--message", "a large checkout"])?;
    Ok(())
}
