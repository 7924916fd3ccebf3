//! A network of a container's own, with a way out through a program of the host.
//!
//! The network belongs to a session: its commands share it, one after the other. It is made and kept by a copy of the
//! holder that is process 1 of a namespace in which only the program runs beside it. So the program ends with the
//! session, with the holder and with hwb, however it may have left its parent, and nobody has to look for it.

use std::ffi::OsStr;
use std::io;
use std::net::Ipv4Addr;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd, RawFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{CWD, Mode, OFlags};
use serde::{Deserialize, Serialize};

use super::holder::Holder;
use super::strategy::NAME;
use super::wire::{self, NetworkOrder, Order};
use crate::held::Remote;
use crate::helper::Guarantee;
use crate::session::SandboxError;

/// The address of a container in a network of its own, whichever program makes the way out.
const ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 100);

/// What the container takes for the next router.
const ROUTER: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 2);

/// Where the program listens for questions about names; it passes them on to the first server that the host asks, also
/// if that is one on the host's loopback.
pub const FORWARDING_RESOLVER: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 3);

/// What the interface is called in the container.
const INTERFACE: &str = "tap0";

/// What such programs make interfaces with.
const TAP_DEVICE: &str = "/dev/net/tun";

/// A kind of program that connects a network namespace with the host's network, without the right to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum NetworkProgramKind {
    /// pasta(1), of the package passt: speaks for the container by sockets of the host.
    Pasta,
    /// slirp4netns(1): the same, with a TCP of its own.
    Slirp4netns,
}

impl NetworkProgramKind {
    /// All of them, the best first.
    pub const ALL: [Self; 2] = [Self::Pasta, Self::Slirp4netns];

    /// What the program is called.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pasta => "pasta",
            Self::Slirp4netns => "slirp4netns",
        }
    }

    /// When the network is there.
    pub(crate) const fn readiness(self) -> Readiness {
        match self {
            Self::Pasta => Readiness::Exit,
            Self::Slirp4netns => Readiness::Message,
        }
    }
}

/// How a program says that it has begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Readiness {
    /// It goes on in the background, and what was started ends with success.
    Exit,
    /// It writes to a descriptor that it is told, and stays.
    Message,
}

/// A program that connects networks, and where it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkProgram {
    /// Which one it is.
    pub kind: NetworkProgramKind,
    /// Its path.
    pub path: PathBuf,
}

impl NetworkProgram {
    /// The best one in the folders of `path`, which is written as `PATH` is.
    pub fn find(path: &OsStr) -> Option<Self> {
        let inside = |kind: NetworkProgramKind| {
            let place = |folder: PathBuf| Self { kind, path: folder.join(kind.name()) };
            std::env::split_paths(path).map(place).find(|program| program.path.is_file())
        };
        NetworkProgramKind::ALL.into_iter().find_map(inside)
    }

    /// Its arguments, the name it is called by before them.
    ///
    /// `process` is the number of a process in the namespace, and `ready` what [`Readiness::Message`] goes to. What the
    /// programs do if nobody forbids it is forbidden: pasta would pass connections to the loopback of the container on to
    /// that of the host, and both take a connection to the router for one to the host itself.
    pub(crate) fn command_line(&self, process: &str, ready: RawFd) -> Vec<String> {
        let namespace = format!("/proc/{process}/ns/net");
        let mut words = vec![self.kind.name().to_owned()];
        let mut say = |text: &str| words.extend(text.split(' ').map(str::to_owned));
        match self.kind {
            NetworkProgramKind::Pasta => {
                // Root is what the holder is, in its namespace or outside; pasta would become somebody else there.
                say("--quiet --runas 0:0 --no-netns-quit --config-net --no-map-gw");
                say("--tcp-ports none --udp-ports none --tcp-ns none --udp-ns none");
                say(&format!("--ns-ifname {INTERFACE} --address {ADDRESS} --netmask 24 --gateway {ROUTER}"));
                say(&format!("--dns-forward {FORWARDING_RESOLVER} --netns {namespace}"));
            }
            NetworkProgramKind::Slirp4netns => {
                say(&format!("--configure --ready-fd={ready} --disable-host-loopback"));
                // Its addresses are these anyway.
                say("--enable-sandbox --enable-seccomp --netns-type=path");
                say(&format!("{namespace} {INTERFACE}"));
            }
        }
        words
    }
}

/// Whether the caller can make network interfaces, as every such program must.
///
/// # Errors
///
/// Why not.
pub fn probe_tap_device() -> io::Result<()> {
    let flags = OFlags::RDWR | OFlags::CLOEXEC;
    rustix::fs::openat(CWD, Path::new(TAP_DEVICE), flags, Mode::empty())?;
    Ok(())
}

/// A network of a session's own. It ends when this is dropped, and its program with it.
#[derive(Debug)]
pub struct IsolatedNetwork {
    remote: Remote,
    namespace: OwnedFd,
}

impl IsolatedNetwork {
    /// Makes one for commands of `holder`, and waits until `program` has connected it.
    ///
    /// # Errors
    ///
    /// [`SandboxError::Network`] with what the program complained about, [`SandboxError::Unsupported`] if the kernel gives
    /// no namespace.
    pub fn start(holder: &Arc<Holder>, program: &NetworkProgram) -> Result<Self, SandboxError> {
        let name = program.path.display().to_string();
        let order = Order::Network(NetworkOrder { program: program.clone() });
        let (remote, begun) = holder.begin(&order, &[], &name)?;
        let namespace = begun.descriptor.ok_or_else(|| SandboxError::Unsupported {
            sandbox: NAME,
            demand: Guarantee::IsolatedNetwork.demand(),
            source: None,
        })?;
        Ok(Self { remote, namespace })
    }

    pub(super) fn namespace(&self) -> BorrowedFd<'_> {
        self.namespace.as_fd()
    }
}

/// Waits until its program is gone: so nothing is left when hwb ends.
impl Drop for IsolatedNetwork {
    fn drop(&mut self) {
        let _gone = rustix::net::shutdown(&self.remote.channel, rustix::net::Shutdown::Write);
        while let Ok(Some(_)) = wire::next_answer(&self.remote.channel) {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leaves_no_way_to_the_loopback_open() {
        let check = |kind, expect: &str| {
            let program = NetworkProgram { kind, path: "/usr/bin/x".into() };
            assert_eq!(program.command_line("17", 5).join(" "), expect);
        };
        check(
            NetworkProgramKind::Pasta,
            "pasta --quiet --runas 0:0 --no-netns-quit --config-net --no-map-gw \
             --tcp-ports none --udp-ports none --tcp-ns none --udp-ns none \
             --ns-ifname tap0 --address 10.0.2.100 --netmask 24 --gateway 10.0.2.2 \
             --dns-forward 10.0.2.3 --netns /proc/17/ns/net",
        );
        check(
            NetworkProgramKind::Slirp4netns,
            "slirp4netns --configure --ready-fd=5 --disable-host-loopback \
             --enable-sandbox --enable-seccomp --netns-type=path /proc/17/ns/net tap0",
        );
    }

    #[test]
    fn takes_the_best_that_is_there() {
        let folder = tempfile::tempdir().unwrap();
        let path = std::env::join_paths(["/nowhere".into(), folder.path().to_owned()]).unwrap();
        assert_eq!(NetworkProgram::find(&path), None);
        for kind in NetworkProgramKind::ALL.into_iter().rev() {
            let file = folder.path().join(kind.name());
            fs_err::write(&file, "").unwrap();
            assert_eq!(NetworkProgram::find(&path), Some(NetworkProgram { kind, path: file }));
        }
    }
}
