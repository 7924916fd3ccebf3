//! Several commands at once in one cache.

use std::fmt;
use std::process::{Child, Stdio};

use anyhow::{Context as _, ensure};

use super::stage::{Place, Stage};
use crate::programs::tail;

/// How often two pulls are tried, and a pull beside prunes.
const ROUNDS: usize = 5;

/// Reads all files of the image, twice, with a pause: what is removed under it is missed.
const READ: &str = "find / -xdev -type f -exec cat {} + >/dev/null && sleep 0.3 && \
     find / -xdev -type f -exec cat {} + >/dev/null";

/// What was tried.
#[derive(Debug, Default)]
pub(super) struct Tried {
    pulls: usize,
    beside: usize,
    prunes: usize,
    runs: usize,
}

/// Lets commands meet.
pub(super) fn run(stage: &Stage) -> anyhow::Result<Tried> {
    let place = stage.here();
    let mut tried = Tried::default();
    let image = stage.image.as_str();
    for round in 0..ROUNDS {
        place.must(&["cache", "clean"])?;
        let first = begin(&place, &["image", "pull", image])?;
        let second = begin(&place, &["image", "pull", image])?;
        end(first).with_context(|| format!("two pulls, round {round}"))?;
        end(second).with_context(|| format!("two pulls, round {round}"))?;
        place.check()?;
        tried.pulls += 1;
    }
    for round in 0..ROUNDS {
        place.must(&["cache", "clean"])?;
        let pull = begin(&place, &["image", "pull", image])?;
        tried.prunes += prune_beside(&place, pull, &["cache", "prune"])
            .with_context(|| format!("pull beside prune, round {round}"))?;
        ensure!(place.has_image(image)?, "what was pulled beside prunes is not there");
        place.check()?;
        tried.beside += 1;
    }
    for round in 0..ROUNDS {
        place.must(&["image", "pull", image])?;
        let run = begin(&place, &["image", "run", image, "sh", "-c", READ])?;
        tried.prunes += prune_beside(&place, run, &["cache", "prune", "--all"])
            .with_context(|| format!("run beside prune, round {round}"))?;
        place.check()?;
        tried.runs += 1;
    }
    place.check_clean()?;
    Ok(tried)
}

/// Prunes for as long as a command runs, which must end well; how often.
fn prune_beside(place: &Place<'_>, mut child: Child, prune: &[&str]) -> anyhow::Result<usize> {
    let mut prunes = 0;
    while child.try_wait()?.is_none() {
        place.must(prune)?;
        place.must(&["cache", "du"])?;
        prunes += 1;
    }
    end(child)?;
    Ok(prunes)
}

fn begin(place: &Place<'_>, arguments: &[&str]) -> anyhow::Result<Child> {
    let mut command = place.hwb(arguments);
    command.stdout(Stdio::null()).stderr(Stdio::piped());
    command.spawn().context("hwb did not start")
}

fn end(child: Child) -> anyhow::Result<()> {
    let output = child.wait_with_output().context("hwb was lost")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{}: {}", output.status, tail(&said, 6));
    Ok(())
}

impl fmt::Display for Tried {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { pulls, beside, prunes, runs } = self;
        write!(
            formatter,
            "{pulls} times two pulls; {beside} pulls and {runs} runs beside {prunes} prunes and measurements"
        )
    }
}
