//! How much memory a command takes.

use std::path::Path;
use std::process::{Command, Output, Stdio};

use anyhow::{Context as _, bail};

use super::surround;
use crate::programs::{program, tail};

/// Runs a command, and says how much memory the largest of its processes held, in KiB: the kernel takes the largest
/// child for what the children held, and theirs before.
const LARGEST: &str = "import resource, subprocess, sys\n\
                       subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL, check=True)\n\
                       print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)";

/// The largest resident set of any one process of a command's tree, in KiB; `python` asks for it.
pub(super) fn largest(home: &Path, python: &Path, command: &Command) -> anyhow::Result<u64> {
    let mut asking = program(python);
    asking.args(["-I", "-c", LARGEST]).arg(command.get_program()).args(command.get_args());
    asking.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let said = finish(home, &mut asking)?.stdout;
    String::from_utf8_lossy(&said).trim().parse().context("Python names no size")
}

/// Runs a command in a built environment to its good end.
pub(super) fn finish(home: &Path, command: &mut Command) -> anyhow::Result<Output> {
    surround(home, command);
    let output = command.stdin(Stdio::null()).output().context("the tool did not start")?;
    if !output.status.success() {
        bail!("{}:\n{}", output.status, tail(&String::from_utf8_lossy(&output.stderr), 12));
    }
    Ok(output)
}
