//! A session of the sandbox that has begun, in a process of its own.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Stdio};
use std::time::Duration;

use anyhow::{Context as _, bail};

use crate::full::image::person::Person;
use crate::programs::{capture, program, run};
use crate::workspace::Workspace;

/// Builds the example of hwb-sandbox that runs a command for each line that it reads.
pub(super) fn build(workspace: &Workspace) -> anyhow::Result<PathBuf> {
    let arguments = ["build", "--release", "--locked", "--package", "hwb-sandbox", "--example", "steps"];
    run(&mut workspace.cargo(arguments))?;
    Ok(workspace.target.join("release/examples/steps"))
}

/// The example, which runs `true`; it ends with this value.
#[derive(Debug)]
pub(super) struct Steps {
    child: Child,
    orders: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Steps {
    /// Begins a session of somebody, in a copy of a tree that is theirs.
    pub(super) fn begin(person: &Person, example: &Path, tree: &Path, place: &Path) -> anyhow::Result<Self> {
        let (lower, changes) = (place.join("lower"), place.join("changes"));
        fs_err::create_dir_all(&changes)?;
        capture(program("cp").arg("-a").arg(tree).arg(&lower))?;
        person.folder(place)?;
        let own = person.hwb().with_file_name("steps");
        fs_err::copy(example, &own)?;
        let mut command = person.command(&own);
        command.args([&lower, &changes]).arg("true").stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().context("the steps did not start")?;
        let orders = child.stdin.take().context("the steps have no standard input")?;
        let answers = BufReader::new(child.stdout.take().context("the steps have no standard output")?);
        Ok(Self { child, orders, answers })
    }

    /// Takes a step; how long that took without the way there and back.
    pub(super) fn step(&mut self) -> anyhow::Result<Duration> {
        self.orders.write_all(b"\n").context("the steps have ended")?;
        let mut answer = String::new();
        if self.answers.read_line(&mut answer).context("the steps do not answer")? == 0 {
            bail!("the steps have ended");
        }
        Ok(Duration::from_nanos(answer.trim().parse().context("a time is a number")?))
    }
}

impl Drop for Steps {
    fn drop(&mut self) {
        // The session ends with it.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
