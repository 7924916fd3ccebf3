//! What moves layers: pulling them, unpacking them, and making and pushing one of what a run changed.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::Context as _;
use serde_json::Value;

use super::ground::Ground;
use super::run::timed;
use super::{BenchOptions, measure};
use crate::evidence::Section;
use crate::full::debian::Debians;
use crate::full::image::PACKAGES;
use crate::full::image::engines::{Docker, skopeo_copy};
use crate::full::image::origin::Origin;
use crate::full::image::person::{Person, Who};
use crate::programs::{capture, empty, program, remove};
use crate::workspace::Workspace;

/// Files of the image of many files.
const FILES: u32 = 20_000;

/// Copies of `/usr`, and a file so that no two changes are the same.
const CHANGE: &str = "for copy in 1 2 3 4; do cp -a /usr /srv/$copy; done; echo $0 > /srv/round";

/// Who does it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Tool {
    Hwb,
    Docker,
    /// skopeo for what goes over the network, umoci for the rest.
    Skopeo,
}

/// What is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Task {
    /// From the registry to a store that is empty.
    Pull,
    /// From the store to a tree.
    Unpack,
    /// From the registry to the end of the first command.
    Start,
    /// From the end of a command to the registry.
    Commit,
}

/// Everybody, with empty stores.
#[derive(Debug)]
struct Arena {
    place: PathBuf,
    origin: Origin,
    person: Person,
    docker: Docker,
    /// Numbers the images that are pushed: none is known to the registry.
    pushed: BTreeMap<Tool, usize>,
}

/// Measures, on the ground that stands as long as this runs; as root.
pub(super) fn run(workspace: &Workspace, options: &BenchOptions, ground: &Ground) -> anyhow::Result<Section> {
    let origin = Origin::start(workspace, &["busybox-static", "docker.io", "runc", "umoci"])?;
    let place = empty(&ground.place.join("layers"))?;
    let hwb = workspace.hwb(options.program.binary.clone())?;
    let tree = Debians::new(workspace).with(&PACKAGES.into())?;
    let changed = 4 * megabytes(&tree.join("usr"))?;
    let debian = origin.push(&tree, "debian")?;
    let files = origin.push(&many_files(&place.join("files"))?, "files")?;
    let docker = Docker::start(&place.join("docker"))?;
    let person = Person::create(Who::Root, &hwb)?;
    let mut arena = Arena { place, origin, person, docker, pushed: BTreeMap::new() };
    let mut rows = String::new();
    for (what, image) in [("a Debian with Python", &debian), ("20,000 files", &files)] {
        for (task, name, tools) in [
            (Task::Pull, "pull", [Tool::Hwb, Tool::Skopeo]),
            (Task::Unpack, "unpack", [Tool::Hwb, Tool::Skopeo]),
            (Task::Start, "pull, unpack and run `true`", [Tool::Hwb, Tool::Docker]),
        ] {
            let medians = measure(options.rounds, &tools, |tool| arena.time(task, tool, image))?;
            rows.push_str(&row(&format!("{name}: {what}"), &medians));
        }
    }
    let medians =
        measure(options.rounds, &[Tool::Hwb, Tool::Docker], |tool| arena.time(Task::Commit, tool, &debian))?;
    rows.push_str(&row(&format!("commit and push: {changed} MB"), &medians));
    let (ours, theirs) = (arena.size(Tool::Hwb)?, arena.size(Tool::Docker)?);
    let docker = arena.docker.version()?;
    let body = format!(
        "{} rounds, docker {}, skopeo and umoci of Debian, as root, on {}. Each begins with an empty store; the registry \
         is Debian's, on loopback. hwb unpacks for the first command that wants the files, so that its unpacking has the \
         command in it. Size of the pushed layer of {changed} MB, by gzip: {:.1} MB, {:.3} of docker's.\n\n\
         | | hwb ms | docker ms | skopeo or umoci ms | ratio |\n| --- | --- | --- | --- | --- |\n{rows}",
        options.rounds,
        docker,
        ground.file_system,
        ours / 1e6,
        ours / theirs,
    );
    let command = format!("cargo xtask full bench layers --rounds {}", options.rounds);
    Ok(Section { part: "bench layers", command, body, failed: Vec::new() })
}

fn row(name: &str, medians: &BTreeMap<Tool, f64>) -> String {
    let shown = |tool: &Tool| medians.get(tool).map(|median| format!("{median:.0}")).unwrap_or_default();
    let peer = medians.iter().find(|(tool, _)| **tool != Tool::Hwb).map_or(f64::NAN, |(_, median)| *median);
    let [hwb, docker, skopeo] = [Tool::Hwb, Tool::Docker, Tool::Skopeo].map(|tool| shown(&tool));
    let ratio = medians.get(&Tool::Hwb).copied().unwrap_or(f64::NAN) / peer;
    let row = format!("| {name} | {hwb} | {docker} | {skopeo} | {ratio:.2} |\n");
    print!("{row}");
    row
}

impl Arena {
    fn time(&mut self, task: Task, tool: Tool, image: &str) -> anyhow::Result<Duration> {
        self.clear(tool)?;
        let (before, timed_ones) = match task {
            Task::Pull => (Vec::new(), vec![self.pull(tool, image)]),
            Task::Unpack => (vec![self.pull(tool, image)], vec![self.unpack(tool, image)]),
            Task::Start => (Vec::new(), vec![self.unpack(tool, image)]),
            Task::Commit => self.commit(tool, image),
        };
        for mut command in before {
            capture(&mut command)?;
        }
        // What was written before is not for this one to pay.
        capture(program("sync").arg("--file-system").arg(&self.place))?;
        let times = timed_ones.into_iter().map(|mut command| timed(&mut command));
        times.sum::<anyhow::Result<Duration>>()
    }

    /// Empties the store of a tool.
    fn clear(&self, tool: Tool) -> anyhow::Result<()> {
        match tool {
            Tool::Hwb => empty(&self.place.join("cache")).map(drop),
            Tool::Skopeo => {
                remove(&self.place.join("bundle"))?;
                empty(&self.place.join("layout")).map(drop)
            }
            Tool::Docker => {
                let all = |arguments: [&str; 2]| capture(self.docker.command().args(arguments));
                let containers = all(["ps", "-aq"])?;
                let images = all(["images", "-q"])?;
                for (remove, names) in [("rm", containers), ("rmi", images)] {
                    for name in names.split_whitespace() {
                        capture(self.docker.command().args([remove, "--force", name]))?;
                    }
                }
                Ok(())
            }
        }
    }

    fn hwb(&self, arguments: &[&str]) -> Command {
        let mut command = self.person.command(&self.person.hwb());
        command.arg("image").args(arguments).env("HWB_CACHE_DIR", self.place.join("cache"));
        command
    }

    fn docker(&self, arguments: &[&str]) -> Command {
        let mut command = self.docker.command();
        command.args(arguments);
        command
    }

    fn layout(&self) -> String {
        format!("{}:image", self.place.join("layout").display())
    }

    fn pull(&self, tool: Tool, image: &str) -> Command {
        match tool {
            Tool::Hwb => self.hwb(&["pull", image]),
            Tool::Docker => self.docker(&["pull", image]),
            Tool::Skopeo => skopeo_copy(&format!("docker://{image}"), &format!("oci:{}", self.layout())),
        }
    }

    /// Unpacks, and pulls before that if there is nothing.
    fn unpack(&self, tool: Tool, image: &str) -> Command {
        match tool {
            Tool::Hwb => self.hwb(&["run", "--rm", image, "true"]),
            Tool::Docker => {
                let mut command = self.docker.run();
                command.args(["--rm", image, "true"]);
                command
            }
            Tool::Skopeo => {
                let mut command = program("umoci");
                command.args(["unpack", "--image", &self.layout()]).arg(self.place.join("bundle"));
                command
            }
        }
    }

    /// What changes much, and what makes an image of that and pushes it.
    fn commit(&mut self, tool: Tool, image: &str) -> (Vec<Command>, Vec<Command>) {
        *self.pushed.entry(tool).or_default() += 1;
        let name = self.name(tool);
        let command = |arguments: &[&str]| match tool {
            Tool::Hwb => self.hwb(arguments),
            Tool::Docker => self.docker(arguments),
            Tool::Skopeo => unreachable!("neither skopeo nor umoci runs a command"),
        };
        // The host's network is what hwb gives by itself.
        let run = ["run", "--network", "host", "--name", "changed", image, "sh", "-c", CHANGE, &name];
        (vec![command(&run)], vec![command(&["commit", "changed", &name]), command(&["push", &name])])
    }

    /// What a tool pushed last.
    fn name(&self, tool: Tool) -> String {
        let number = self.pushed.get(&tool).copied().unwrap_or_default();
        self.origin.reference(&format!("{}/{number}", format!("{tool:?}").to_lowercase()))
    }

    /// The size of the topmost layer that a tool pushed last, in bytes.
    fn size(&self, tool: Tool) -> anyhow::Result<f64> {
        let image = format!("docker://{}", self.name(tool));
        let said = capture(program("skopeo").args(["inspect", "--raw", "--tls-verify=false", &image]))?;
        let manifest: Value = serde_json::from_str(&said).context("a manifest is JSON")?;
        manifest["layers"][1]["size"].as_f64().context("there is no second layer")
    }
}

fn megabytes(folder: &Path) -> anyhow::Result<u64> {
    let said =
        capture(program("du").args(["--summarize", "--apparent-size", "--block-size=1000000"]).arg(folder))?;
    said.split_whitespace().next().and_then(|size| size.parse().ok()).context("du tells no size")
}

/// A system in which `true` can be run, and many files.
fn many_files(tree: &Path) -> anyhow::Result<PathBuf> {
    fs_err::create_dir_all(tree.join("bin"))?;
    fs_err::copy("/bin/busybox", tree.join("bin/busybox"))?;
    symlink("busybox", tree.join("bin/true"))?;
    for number in 0..FILES {
        let folder = tree.join(format!("srv/{}", number / 100));
        fs_err::create_dir_all(&folder)?;
        let mut text = String::new();
        for line in 0..number % 60 {
            writeln!(text, "{}", u64::from(number) * 2_654_435_761 + u64::from(line) * 40_503)?;
        }
        fs_err::write(folder.join(number.to_string()), text)?;
    }
    Ok(tree.to_owned())
}
