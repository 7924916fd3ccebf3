//! What else runs containers: Debian's runc, podman and docker, each with the same small system.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};

use crate::programs::{capture, program, succeeds};

/// What the image is called with podman and docker.
const IMAGE: &str = "busybox-of-bench";

/// How long dockerd may take to answer.
const PATIENCE: Duration = Duration::from_secs(60);

/// All of them, with stores of their own.
#[derive(Debug)]
pub(super) struct Peers {
    place: PathBuf,
    daemon: Daemon,
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
            daemon: Daemon::start(&place.join("docker"))?,
            versions: String::new(),
        };
        capture(peers.podman_itself().arg("import").arg(&tar).arg(IMAGE))?;
        capture(peers.daemon.client().arg("import").arg(&tar).arg(IMAGE))?;
        bundle(&peers.bundle(), tree)?;
        let runc = capture(program("runc").arg("--version"))?;
        let podman = capture(program("podman").arg("--version"))?;
        let docker = capture(peers.daemon.client().args(["version", "--format", "{{.Server.Version}}"]))?;
        let runc = runc.lines().next().unwrap_or_default().replace("version ", "");
        peers.versions =
            format!("{runc}, {}, docker {}", podman.trim().replace("version ", ""), docker.trim());
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

    fn podman_itself(&self) -> Command {
        let mut command = program("podman");
        command
            .arg("--root")
            .arg(self.place.join("podman"))
            .arg("--runroot")
            .arg(self.place.join("podman-run"));
        // crun, the other one, does not start where both kinds of control groups are mounted.
        command.args(["--runtime", "runc", "--cgroup-manager", "cgroupfs", "--storage-driver", "overlay"]);
        command
    }

    /// `podman run`.
    pub(super) fn podman(&self) -> Command {
        let mut command = self.podman_itself();
        command.args(["run", "--rm", "--network", "host", "--pull", "never"]);
        command.args(["--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024"]);
        command.args([&format!("localhost/{IMAGE}"), "true"]);
        command
    }

    /// `docker run`.
    pub(super) fn docker(&self) -> Command {
        let mut command = self.daemon.client();
        command.args(["run", "--rm", "--network", "host", IMAGE, "true"]);
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

/// A dockerd that nobody else sees; it ends with this value.
#[derive(Debug)]
struct Daemon {
    child: Child,
    place: PathBuf,
}

impl Daemon {
    fn start(place: &Path) -> anyhow::Result<Self> {
        fs_err::create_dir_all(place)?;
        let log = fs_err::File::create(place.join("log"))?.into_parts().0;
        let mut command = program("dockerd");
        command.arg("--data-root").arg(place.join("data")).arg("--exec-root").arg(place.join("exec"));
        command.arg("--pidfile").arg(place.join("pid")).arg("--host").arg(socket(place));
        command.args(["--iptables=false", "--ip6tables=false", "--bridge=none", "--storage-driver=overlay2"]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        let daemon =
            Self { child: command.spawn().context("dockerd did not start")?, place: place.to_owned() };
        let end = Instant::now() + PATIENCE;
        while !succeeds(daemon.client().arg("info")) {
            ensure!(Instant::now() < end, "dockerd does not answer: see {}", place.join("log").display());
            std::thread::sleep(Duration::from_millis(100));
        }
        Ok(daemon)
    }

    /// Debian's client: another one may come first on `PATH`.
    fn client(&self) -> Command {
        let mut command = program("/usr/bin/docker");
        command.arg("--host").arg(socket(&self.place));
        command
    }
}

fn socket(place: &Path) -> String {
    format!("unix://{}", place.join("socket").display())
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // It ends its own containerd only if it is asked to end itself.
        if succeeds(program("kill").arg(self.child.id().to_string())) {
            drop(self.child.wait());
        }
        // It leaves the host's network mounted there.
        succeeds(program("umount").arg(self.place.join("exec/netns/default")));
    }
}
