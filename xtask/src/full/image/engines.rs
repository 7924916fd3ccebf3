//! Other engines, Debian's, with stores that nobody else sees.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};

use crate::programs::{capture, program, succeeds, tail};

/// How long dockerd may take to answer.
const PATIENCE: Duration = Duration::from_secs(60);

/// A podman with everything in a folder.
#[derive(Debug)]
pub(crate) struct Podman {
    place: PathBuf,
}

impl Podman {
    /// Names the folder.
    pub(crate) fn new(place: PathBuf) -> Self {
        Self { place }
    }

    /// Begins a command of it.
    pub(crate) fn command(&self) -> Command {
        let mut command = program("podman");
        command.arg("--root").arg(self.place.join("root")).arg("--runroot").arg(self.place.join("run"));
        // crun, the other one, does not start where both kinds of control groups are mounted.
        command.args(["--runtime", "runc", "--cgroup-manager", "cgroupfs", "--storage-driver", "overlay"]);
        command
    }

    /// Begins `podman run` on the host's network.
    pub(crate) fn run(&self) -> Command {
        let mut command = self.command();
        command.args(["run", "--rm", "--network", "host", "--pull", "never"]);
        // By itself it raises them further than root may everywhere.
        command.args(["--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024"]);
        command
    }
}

/// Copies an image with skopeo, to or from a registry without TLS.
pub(crate) fn skopeo_copy(from: &str, to: &str) -> Command {
    let mut command = program("skopeo");
    command.args([
        "copy",
        "--quiet",
        "--insecure-policy",
        "--src-tls-verify=false",
        "--dest-tls-verify=false",
    ]);
    command.args([from, to]);
    command
}

/// A dockerd that nobody else sees; it ends with this value.
#[derive(Debug)]
pub(crate) struct Docker {
    child: Child,
    place: PathBuf,
}

impl Docker {
    /// Starts it with everything in a folder.
    pub(crate) fn start(place: &Path) -> anyhow::Result<Self> {
        fs_err::create_dir_all(place)?;
        let log = fs_err::File::create(place.join("log"))?.into_parts().0;
        let mut command = program("dockerd");
        command.arg("--data-root").arg(place.join("data")).arg("--exec-root").arg(place.join("exec"));
        command.arg("--pidfile").arg(place.join("pid")).arg("--host").arg(socket(place));
        command.args(["--iptables=false", "--ip6tables=false", "--bridge=none", "--storage-driver=overlay2"]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        let mut docker =
            Self { child: command.spawn().context("dockerd did not start")?, place: place.to_owned() };
        let end = Instant::now() + PATIENCE;
        while !succeeds(docker.command().arg("info")) {
            let log = || fs_err::read_to_string(place.join("log")).unwrap_or_default();
            if let Some(status) = docker.child.try_wait()? {
                bail!("dockerd ended with {status}:\n{}", tail(&log(), 12));
            }
            ensure!(Instant::now() < end, "dockerd does not answer:\n{}", tail(&log(), 12));
            std::thread::sleep(Duration::from_millis(100));
        }
        Ok(docker)
    }

    /// Begins `docker run` on the host's network.
    pub(crate) fn run(&self) -> Command {
        let mut command = self.command();
        command.args(["run", "--network", "host"]);
        command
    }

    /// What the daemon calls its version.
    pub(crate) fn version(&self) -> anyhow::Result<String> {
        let said = capture(self.command().args(["version", "--format", "{{.Server.Version}}"]))?;
        Ok(said.trim().to_owned())
    }

    /// Begins a command of Debian's client: another one may come first on `PATH`.
    pub(crate) fn command(&self) -> Command {
        let mut command = program("/usr/bin/docker");
        command.arg("--host").arg(socket(&self.place));
        command
    }
}

fn socket(place: &Path) -> String {
    format!("unix://{}", place.join("socket").display())
}

impl Drop for Docker {
    fn drop(&mut self) {
        // It ends its own containerd only if it is asked to end itself.
        if succeeds(program("kill").arg(self.child.id().to_string())) {
            drop(self.child.wait());
        }
        // It leaves the host's network mounted there.
        succeeds(program("umount").arg(self.place.join("exec/netns/default")));
    }
}
