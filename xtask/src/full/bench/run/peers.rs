//! What else runs containers: Debian's runc, podman and docker, each with the same small system.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context as _;
use serde_json::{Value, json};

use crate::full::image::engines::{Docker, Podman};
use crate::programs::{capture, program};

/// What the image is called with podman and docker.
const IMAGE: &str = "busybox-of-bench";

/// All of them, with stores of their own.
#[derive(Debug)]
pub(super) struct Peers {
    place: PathBuf,
    docker: Docker,
    podman: Podman,
    /// Names and versions, for the evidence.
    pub(super) versions: String,
}

impl Peers {
    /// Starts dockerd, and gives all of them the system in `tree`.
    pub(super) fn start(place: &Path, tree: &Path) -> anyhow::Result<Self> {
        let tar = place.join("busybox.tar");
        capture(program("tar").arg("--create").arg("--file").arg(&tar).arg("-C").arg(tree).arg("."))?;
        let mut peers = Self {
            place: place.to_owned(),
            docker: Docker::start(&place.join("docker"))?,
            podman: Podman::new(place.join("podman")),
            versions: String::new(),
        };
        capture(peers.podman.command().arg("import").arg(&tar).arg(IMAGE))?;
        capture(peers.docker.command().arg("import").arg(&tar).arg(IMAGE))?;
        bundle(&peers.bundle(), tree)?;
        let runc = capture(program("runc").arg("--version"))?;
        let podman = capture(program("podman").arg("--version"))?;
        let docker = peers.docker.version()?;
        let runc = runc.lines().next().unwrap_or_default().replace("version ", "");
        peers.versions = format!("{runc}, {}, docker {docker}", podman.trim().replace("version ", ""));
        Ok(peers)
    }

    fn bundle(&self) -> PathBuf {
        self.place.join("bundle")
    }

    /// `runc run` of the bundle.
    pub(super) fn runc(&self) -> Command {
        let mut command = program("runc");
        command.arg("--root").arg(self.place.join("runc")).arg("run").arg("--bundle").arg(self.bundle());
        command.arg("bench");
        command
    }

    /// `podman run`.
    pub(super) fn podman(&self) -> Command {
        let mut command = self.podman.run();
        command.args([&format!("localhost/{IMAGE}"), "true"]);
        command
    }

    /// `docker run`.
    pub(super) fn docker(&self) -> Command {
        let mut command = self.docker.run();
        command.args(["--rm", IMAGE, "true"]);
        command
    }
}

/// Makes a bundle that runs `true`, as `runc spec` makes it but for the terminal.
fn bundle(place: &Path, tree: &Path) -> anyhow::Result<()> {
    fs_err::create_dir_all(place)?;
    capture(program("cp").arg("-a").arg(tree).arg(place.join("rootfs")))?;
    capture(program("runc").arg("spec").current_dir(place))?;
    let file = place.join("config.json");
    let mut config: Value = serde_json::from_slice(&fs_err::read(&file)?).context("runc writes no JSON")?;
    config["process"]["terminal"] = json!(false);
    config["process"]["args"] = json!(["true"]);
    fs_err::write(&file, config.to_string())?;
    Ok(())
}
