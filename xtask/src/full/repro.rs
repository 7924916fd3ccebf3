//! The same source twice, in surroundings that differ in everything, from two empty caches.
//!
//! The first build is root's. The second is of another user, under a moved clock (`faketime`), with its cache on a file
//! system that lists folders in random order (`disorderfs`), under another umask, time zone, locale and hash seed.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context as _;

use super::Selection;
use crate::compare;
use crate::corpus::{Corpus, Kind, Row, file_name, only_wheel};
use crate::evidence::Section;
use crate::fetch::{Index, digest};
use crate::ordinary_user::Account;
use crate::programs::{capture, program, succeeds, tail};
use crate::workspace::{Workspace, ambient};

/// An interpreter that every user may run.
const INTERPRETER: &str = "/usr/bin/python3.11";

/// How far the second build's clock is ahead: certificates must still be valid.
const AHEAD: &str = "+3d";

/// A mounted disorderfs that ends with this value.
#[derive(Debug)]
struct Disorder {
    mounted: PathBuf,
}

impl Disorder {
    fn mount(below: &Path, at: &Path) -> anyhow::Result<Self> {
        fs_err::create_dir_all(below)?;
        fs_err::create_dir_all(at)?;
        let mut command = program("disorderfs");
        command.args(["--shuffle-dirents=yes", "--multi-user=yes", "--quiet"]).arg(below).arg(at);
        capture(&mut command)?;
        Ok(Self { mounted: at.to_owned() })
    }
}

impl Drop for Disorder {
    fn drop(&mut self) {
        if !succeeds(program("umount").arg(&self.mounted)) {
            println!("{} is still mounted", self.mounted.display());
        }
    }
}

/// Counts of one kind of rows.
#[derive(Debug, Default)]
struct Count {
    same: usize,
    built: usize,
}

/// Builds what is selected twice and compares the bytes.
pub(super) fn run(workspace: &Workspace, selection: &Selection) -> anyhow::Result<Section> {
    let corpus = Corpus::load(&workspace.root)?;
    let index = Index::configured()?;
    let built = workspace.hwb(selection.program.binary.clone())?;
    let account = Account::create()?;
    // Outside of any folder that is closed to the other user.
    let place = tempfile::Builder::new().prefix("hwb-repro-").tempdir().context("no temporary folder")?;
    capture(program("chmod").arg("755").arg(place.path()))?;
    let hwb = place.path().join("hwb");
    fs_err::copy(&built, &hwb)?;
    let _disorder = Disorder::mount(&place.path().join("ordered"), &place.path().join("shuffled"))?;
    let (mut pure, mut compiled, mut rows) = (Count::default(), Count::default(), String::new());
    let wanted = |row: &&Row| row.kind != Kind::Broken && selection.wants(row);
    for row in corpus.rows.iter().filter(wanted) {
        let sdist = index.sdist(row, &workspace.target.join("corpus"))?;
        let line =
            match twice(&Pair { hwb: &hwb, index: &index, place: place.path(), account: &account }, &sdist) {
                Ok(wheels) => judge(&wheels, &mut pure, &mut compiled)?,
                Err(error) => format!("not built: {}", tail(&format!("{error:#}"), 2).replace('\n', " ")),
            };
        println!("{:32} {line}", row.name);
        if line != "same bytes" {
            rows.push_str(&format!("- {} {}: {line}\n", row.name, row.version));
        }
    }
    let body = format!(
        "**{} of {} pure wheels and {} of {} compiled ones are byte-identical** when built twice from two empty caches: \
         another user, file order (disorderfs), clock (faketime {AHEAD}), umask, time zone, locale and hash seed.\n\n{rows}",
        pure.same, pure.built, compiled.same, compiled.built
    );
    Ok(Section { part: "repro", command: "cargo xtask full repro".to_owned(), body, failed: Vec::new() })
}

fn judge(
    (left, right): &(PathBuf, PathBuf),
    pure: &mut Count,
    compiled: &mut Count,
) -> anyhow::Result<String> {
    let count = if file_name(left).ends_with("-any.whl") { pure } else { compiled };
    count.built += 1;
    if digest(left)? == digest(right)? {
        count.same += 1;
        return Ok("same bytes".to_owned());
    }
    let how = compare::wheels(left, right)?;
    Ok(if how.is_empty() { "native members differ in bytes only".to_owned() } else { how.join("; ") })
}

/// What both builds of a source share.
#[derive(Debug)]
struct Pair<'a> {
    hwb: &'a Path,
    index: &'a Index,
    place: &'a Path,
    account: &'a Account,
}

/// Builds a source in both surroundings and returns both wheels.
fn twice(pair: &Pair<'_>, sdist: &Path) -> anyhow::Result<(PathBuf, PathBuf)> {
    let open = |name: &str| -> anyhow::Result<PathBuf> {
        let folder = pair.place.join(name);
        capture(program("rm").arg("-rf").arg(&folder))?;
        fs_err::create_dir_all(&folder)?;
        capture(program("chown").arg(format!("{}:", pair.account.name)).arg(&folder))?;
        Ok(folder)
    };
    let source = pair.place.join(file_name(sdist));
    fs_err::copy(sdist, &source)?;
    let (first, second) = (open("first")?, open("second")?);
    let (cache_one, cache_two) = (open("cache-one")?, open("shuffled/cache-two")?);

    let mut command = program(pair.hwb);
    arguments(&mut command, pair, &source, (&first, &cache_one));
    command.env("TZ", "UTC").env("LC_ALL", "C").env("PYTHONHASHSEED", "1");
    capture(&mut command)?;

    let library = capture(program("sh").args(["-c", "ls /usr/lib/*/faketime/libfaketime.so.1 | head -n 1"]))?;
    let mut command = program("sh");
    command.args(["-c", "umask 077; exec \"$@\"", "sh", "faketime", "-f", AHEAD, "setpriv", "--reuid"]);
    command.args([&pair.account.name, "--regid", &pair.account.name, "--clear-groups", "--"]).arg(pair.hwb);
    arguments(&mut command, pair, &source, (&second, &cache_two));
    // The hooks see a built environment: the clock must be moved for them by name.
    command.args(["--env", &format!("LD_PRELOAD={}", library.trim()), "--env", &format!("FAKETIME={AHEAD}")]);
    command.env("HOME", pair.account.home.path()).env("TMPDIR", pair.account.home.path());
    command.env("TZ", "Asia/Kathmandu").env("LC_ALL", "C.UTF-8").env("PYTHONHASHSEED", "2");
    capture(&mut command)?;
    Ok((only_wheel(&first)?, only_wheel(&second)?))
}

fn arguments(command: &mut Command, pair: &Pair<'_>, source: &Path, (out, cache): (&Path, &Path)) {
    command.arg("build").arg(source).arg("-o").arg(out).arg("--cache-dir").arg(cache);
    command.args(["--python", INTERPRETER, "--index-url", &pair.index.url]).current_dir(pair.place);
    command.env_clear().env("PATH", ambient("PATH").unwrap_or_default());
    command.env("HOME", pair.place.join("home")).env("SOURCE_DATE_EPOCH", "1700000000");
}
