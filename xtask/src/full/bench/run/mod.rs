//! A command in a container, that does nothing: one in a session that has begun, and the whole of `hwb image run`,
//! against runc, podman and docker.
//!
//! - [`peers`]: those, each with a store of its own.
//! - [`steps`]: a session that has begun.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};

use super::ground::Ground;
use super::{BenchOptions, measure};
use crate::evidence::Section;
use crate::full::image::origin::Origin;
use crate::full::image::person::{Person, Who};
use crate::programs::{capture, empty, program, tail};
use crate::workspace::Workspace;

mod peers;
mod steps;

use self::peers::Peers;
use self::steps::Steps;

/// What is timed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Tool {
    /// A command in a session of the sandbox that has begun.
    Step(Who),
    /// `hwb image run`.
    Whole(Who),
    /// `runc run` of a bundle that is there.
    Runc,
    Podman,
    Docker,
}

/// Everybody, and what is theirs.
#[derive(Debug)]
struct Arena {
    place: PathBuf,
    image: String,
    peers: Peers,
    // Accounts go only when nobody uses them any more.
    steps: BTreeMap<Who, Steps>,
    people: BTreeMap<Who, Person>,
}

/// Measures, on the ground that stands as long as this runs.
pub(super) fn run(workspace: &Workspace, options: &BenchOptions, ground: &Ground) -> anyhow::Result<Section> {
    let origin = Origin::start(workspace, &["busybox-static", "docker.io", "podman", "runc"])?;
    let mut arena = Arena::build(workspace, options, &origin, &ground.place.join("run"))?;
    let mut tools: Vec<Tool> =
        Who::ALL.into_iter().flat_map(|who| [Tool::Step(who), Tool::Whole(who)]).collect();
    tools.extend([Tool::Runc, Tool::Podman, Tool::Docker]);
    let medians = measure(options.rounds, &tools, |tool| arena.time(tool))?;
    let body = format!(
        "{} rounds, {}, on {}. The image is one of a static busybox, and the command its `true`. hwb has everything on \
         that it has by default: the filter of system calls, masked paths, capabilities, an overlay. `runc run` has a \
         bundle of `runc spec`, which has neither an overlay nor a filter of system calls. All have the host's network, \
         which is podman's and docker's fastest; podman is told limits of files and processes, as it would raise them \
         further than this machine's root may. A step is one command in a session that has begun, which `runc run` is \
         the peer of too.\n\n{}",
        options.rounds,
        arena.peers.versions,
        ground.file_system,
        table(&medians),
    );
    let command = format!("cargo xtask full bench run --rounds {}", options.rounds);
    Ok(Section { part: "bench run", command, body, failed: Vec::new() })
}

fn table(medians: &BTreeMap<Tool, f64>) -> String {
    let of = |tool: Tool| medians.get(&tool).copied().unwrap_or(f64::NAN);
    let mut text =
        "| | ms | / runc run | / podman run | / docker run |\n| --- | --- | --- | --- | --- |\n".to_owned();
    for (tool, median) in medians {
        let [runc, podman, docker] = [Tool::Runc, Tool::Podman, Tool::Docker].map(|peer| median / of(peer));
        writeln!(text, "| {} | {median:.1} | {runc:.2} | {podman:.2} | {docker:.2} |", tool.name())
            .expect("writing to a string succeeds");
    }
    text
}

impl Tool {
    fn name(self) -> String {
        match self {
            Self::Step(who) => format!("a step, {}", who.name()),
            Self::Whole(who) => format!("`hwb image run --rm IMAGE true`, {}", who.name()),
            Self::Runc => "`runc run`".to_owned(),
            Self::Podman => "`podman run --rm IMAGE true`".to_owned(),
            Self::Docker => "`docker run --rm IMAGE true`".to_owned(),
        }
    }
}

impl Arena {
    fn build(
        workspace: &Workspace,
        options: &BenchOptions,
        origin: &Origin,
        place: &Path,
    ) -> anyhow::Result<Self> {
        let hwb = workspace.hwb(options.program.binary.clone())?;
        let example = steps::build(workspace)?;
        let place = empty(place)?;
        let tree = busybox(&place.join("busybox"))?;
        let image = origin.push(&tree, "busybox")?;
        let (mut people, mut steps) = (BTreeMap::new(), BTreeMap::new());
        for who in Who::ALL {
            let person = Person::create(who, &hwb)?;
            let cache = cache(&place, who);
            person.folder(&cache)?;
            capture(
                person.command(&person.hwb()).args(["image", "pull", &image, "--cache-dir"]).arg(&cache),
            )?;
            steps.insert(who, Steps::begin(&person, &example, &tree, &place.join(format!("steps-{who:?}")))?);
            people.insert(who, person);
        }
        let peers = Peers::start(&place, &tree)?;
        Ok(Self { place, image, peers, steps, people })
    }

    fn time(&mut self, tool: Tool) -> anyhow::Result<Duration> {
        // What one has written is not for the next to pay.
        capture(program("sync").arg("--file-system").arg(&self.place))?;
        match tool {
            Tool::Step(who) => self.steps.get_mut(&who).context("everybody has a session")?.step(),
            Tool::Whole(who) => {
                let person = &self.people[&who];
                let mut command = person.command(&person.hwb());
                command.args(["image", "run", "--rm", "--cache-dir"]).arg(cache(&self.place, who));
                timed(command.args([&self.image, "true"]))
            }
            Tool::Runc => timed(&mut self.peers.runc()),
            Tool::Podman => timed(&mut self.peers.podman()),
            Tool::Docker => timed(&mut self.peers.docker()),
        }
    }
}

fn cache(place: &Path, who: Who) -> PathBuf {
    place.join(format!("cache-{who:?}"))
}

/// Times a command from start to end; it must succeed.
pub(super) fn timed(command: &mut Command) -> anyhow::Result<Duration> {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let start = Instant::now();
    let output = command.output().context("the tool did not start")?;
    let time = start.elapsed();
    if !output.status.success() {
        bail!("{}:\n{}", output.status, tail(&String::from_utf8_lossy(&output.stderr), 12));
    }
    Ok(time)
}

/// The smallest system in which `true` can be run.
fn busybox(tree: &Path) -> anyhow::Result<PathBuf> {
    for name in ["bin", "dev", "etc", "proc", "sys", "tmp"] {
        fs_err::create_dir_all(tree.join(name))?;
    }
    fs_err::copy("/bin/busybox", tree.join("bin/busybox"))?;
    for name in ["sh", "true"] {
        symlink("busybox", tree.join("bin").join(name))?;
    }
    Ok(tree.to_owned())
}
