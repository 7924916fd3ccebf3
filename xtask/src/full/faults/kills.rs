//! Commands that are killed at random instants.

use std::collections::BTreeMap;
use std::fmt;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};

use super::FaultOptions;
use super::operation::Operation;
use super::stage::{Place, Random, Stage};
use crate::fetch::digest;
use crate::programs::capture;

/// How often an instant is drawn again that came too late.
const DRAWS: usize = 20;

/// What was tried.
#[derive(Debug, Default)]
pub(super) struct Tried {
    kills: BTreeMap<Operation, usize>,
    /// How many left something for others to sweep.
    leaving: usize,
}

/// Kills one command after the other.
pub(super) fn run(stage: &Stage, options: &FaultOptions) -> anyhow::Result<Tried> {
    let place = stage.here();
    let mut random = Random(options.seed);
    let mut durations = BTreeMap::new();
    for operation in Operation::ALL {
        operation.prepare(&place)?;
        let begin = Instant::now();
        capture(&mut operation.command(&place, 0))?;
        durations.insert(operation, begin.elapsed());
        place.check().with_context(|| format!("{} undisturbed", operation.name()))?;
    }
    let mut tried = Tried::default();
    for turn in 1..=options.kills {
        let operation = Operation::ALL[turn % Operation::ALL.len()];
        let whole = durations[&operation];
        let after = kill(&place, operation, turn, || random.part_of(whole))?;
        let said =
            format!("{} killed after {} of {} ms", operation.name(), after.as_millis(), whole.as_millis());
        let left = judge(&place, operation, turn).with_context(|| said.clone())?;
        println!("  {said}; left {left} locks");
        tried.leaving += usize::from(left > 0);
        *tried.kills.entry(operation).or_default() += 1;
    }
    place.check_clean()?;
    Ok(tried)
}

/// Starts a command and kills it, as often as it takes until that was not too late.
fn kill(
    place: &Place<'_>,
    operation: Operation,
    turn: usize,
    mut draw: impl FnMut() -> Duration,
) -> anyhow::Result<Duration> {
    for _ in 0..DRAWS {
        operation.prepare(place)?;
        if let Some(file) = operation.published(place, turn).filter(|file| file.exists()) {
            fs_err::remove_file(file)?;
        }
        let mut command = operation.command(place, turn);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let after = draw();
        let mut child = command.spawn().context("hwb did not start")?;
        std::thread::sleep(after);
        let ended = child.try_wait()?;
        child.kill()?;
        child.wait()?;
        match ended {
            None => return Ok(after),
            Some(status) => ensure!(status.success(), "{} ended with {status}", operation.name()),
        }
    }
    bail!("{} is always quicker than it was", operation.name())
}

/// Looks at what is left, and gives the command again; how many locks of the dead there were.
fn judge(place: &Place<'_>, operation: Operation, turn: usize) -> anyhow::Result<usize> {
    let published = operation.published(place, turn).filter(|file| file.exists());
    let first = published.as_deref().map(digest).transpose()?;
    let left = place.check()?;
    operation.make_room(place)?;
    capture(&mut operation.command(place, turn)).context("given again")?;
    place.check().context("given again")?;
    if let (Some(first), Some(file)) = (first, published) {
        ensure!(digest(&file)? == first, "half an archive was put in its place");
    }
    Ok(left.claims)
}

impl fmt::Display for Tried {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all: usize = self.kills.values().sum();
        let each: Vec<_> =
            self.kills.iter().map(|(operation, count)| format!("{} {count}", operation.name())).collect();
        write!(formatter, "{all} ({}); {} left something to sweep", each.join(", "), self.leaving)
    }
}
