//! What hwb asks of its helper, as arguments, and what the helper answers.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::RawFd;
use std::path::PathBuf;
use std::str::FromStr;

use hwb_ident::{GuestPath, HostPath};
use rustix::process::Pid;
use serde::{Deserialize, Serialize};

use crate::spec::{Access, Mount, Network};

/// What the helper is to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Request {
    /// Who started it.
    pub(crate) parent: Pid,
    /// Where the report goes.
    pub(crate) reports: RawFd,
    /// What becomes descriptor 3 of the command.
    pub(crate) control: Option<RawFd>,
    pub(crate) network: Network,
    pub(crate) mounts: Vec<Mount>,
    pub(crate) cwd: GuestPath,
    /// The command; empty if only the surroundings are to be tried.
    pub(crate) argv: Vec<OsString>,
}

impl Request {
    /// The arguments that say all this.
    pub(crate) fn to_args(&self) -> Vec<OsString> {
        let mut args: Vec<OsString> = vec![
            "--parent".into(),
            self.parent.to_string().into(),
            "--reports".into(),
            self.reports.to_string().into(),
        ];
        if let Some(control) = self.control {
            args.extend(["--control".into(), control.to_string().into()]);
        }
        match self.network {
            Network::Host => {}
            Network::Denied => args.push("--no-network".into()),
            Network::Isolated => args.push("--isolated".into()),
        }
        for Mount { host, guest, access } in &self.mounts {
            match access {
                Access::ReadOnly => args.push("--read-only".into()),
                Access::ReadWrite => args.push("--read-write".into()),
                Access::Layered => args.push("--layered".into()),
                Access::Overlaid { changes } => args.extend(["--overlaid".into(), changes.as_path().into()]),
            }
            args.extend([host.as_path().into(), guest.as_path().into()]);
        }
        args.extend(["--cwd".into(), self.cwd.as_path().into(), "--".into()]);
        args.extend(self.argv.iter().cloned());
        args
    }

    /// The inverse of [`to_args`](Self::to_args); `None` if hwb did not write them.
    pub(crate) fn from_args(args: impl IntoIterator<Item = OsString>) -> Option<Self> {
        fn number<T: FromStr>(value: &OsStr) -> Option<T> {
            value.to_str()?.parse().ok()
        }
        fn mount(access: Access, args: &mut impl Iterator<Item = OsString>) -> Option<Mount> {
            let host = HostPath::new(PathBuf::from(args.next()?));
            let guest = GuestPath::new(PathBuf::from(args.next()?));
            Some(Mount { host, guest, access })
        }
        let mut args = args.into_iter();
        let (mut parent, mut reports, mut control, mut cwd) = (None, None, None, None);
        let mut network = Network::Host;
        let mut mounts = Vec::new();
        loop {
            let option = args.next()?;
            match option.to_str()? {
                "--parent" => parent = Some(Pid::from_raw(number(&args.next()?)?)?),
                "--reports" => reports = Some(number(&args.next()?)?),
                "--control" => control = Some(number(&args.next()?)?),
                "--no-network" => network = Network::Denied,
                "--isolated" => network = Network::Isolated,
                "--read-only" => mounts.push(mount(Access::ReadOnly, &mut args)?),
                "--read-write" => mounts.push(mount(Access::ReadWrite, &mut args)?),
                "--layered" => mounts.push(mount(Access::Layered, &mut args)?),
                "--overlaid" => {
                    let changes = HostPath::new(PathBuf::from(args.next()?));
                    mounts.push(mount(Access::Overlaid { changes }, &mut args)?);
                }
                "--cwd" => cwd = Some(GuestPath::new(PathBuf::from(args.next()?))),
                "--" => break,
                _ => return None,
            }
        }
        let (parent, reports, cwd) = (parent?, reports?, cwd?);
        Some(Self { parent, reports, control, network, mounts, cwd, argv: args.collect() })
    }
}

/// How far the helper came.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Report {
    /// The command runs.
    Started,
    /// The kernel refused what the guarantee needs.
    Unsupported(Guarantee, RawOsError),
    /// The step failed, on account of what was asked for.
    Setup(String, RawOsError),
    /// The program that was to connect a network said this.
    Network(String),
    /// The program could not be executed.
    Spawn(RawOsError),
}

/// The number of an error of the operating system.
pub(crate) type RawOsError = i32;

/// What a kernel may be unable to give.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Guarantee {
    NoNetwork,
    IsolatedNetwork,
    PrivateMounts,
    LayeredMounts,
    Namespaces,
    Ids,
    OtherUsers,
    Layers,
    SystemFiles,
    CallFilter,
    Limits,
    Emulator,
}

impl Guarantee {
    /// As messages call it.
    pub(crate) fn demand(self) -> &'static str {
        match self {
            Self::NoNetwork => "a build without network",
            Self::IsolatedNetwork => "an isolated network",
            Self::PrivateMounts => "private mounts",
            Self::LayeredMounts => "layered mounts",
            Self::Namespaces => "namespaces of its own",
            Self::Ids => "user ids of its own",
            Self::OtherUsers => "a user other than root",
            Self::Layers => "a root of layers",
            Self::SystemFiles => "a /proc of its own",
            Self::CallFilter => "a filter of system calls",
            Self::Limits => "limits of a container",
            Self::Emulator => "an emulator of its own",
        }
    }
}

fn raw(error: &io::Error) -> RawOsError {
    error.raw_os_error().unwrap_or(match error.kind() {
        io::ErrorKind::NotFound => libc::ENOENT,
        io::ErrorKind::NotADirectory => libc::ENOTDIR,
        _ => libc::EINVAL,
    })
}

impl Report {
    pub(crate) fn unsupported(guarantee: Guarantee, error: &io::Error) -> Self {
        Self::Unsupported(guarantee, raw(error))
    }

    pub(crate) fn setup(step: String, error: &io::Error) -> Self {
        Self::Setup(step, raw(error))
    }

    pub(crate) fn spawn(error: &io::Error) -> Self {
        Self::Spawn(raw(error))
    }

    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        // A value of numbers and text always has a form in JSON.
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// The inverse of [`to_bytes`](Self::to_bytes); `None` if no helper wrote them.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        serde_json::from_slice(bytes).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_survive_being_arguments() {
        let plain = Request {
            parent: rustix::process::getpid(),
            reports: 7,
            control: None,
            network: Network::Host,
            mounts: Vec::new(),
            cwd: GuestPath::new("/a b"),
            argv: Vec::new(),
        };
        let mount = |access| Mount { host: HostPath::new("/h"), guest: GuestPath::new("--"), access };
        let full = Request {
            control: Some(9),
            network: Network::Denied,
            mounts: vec![
                mount(Access::ReadOnly),
                mount(Access::ReadWrite),
                mount(Access::Layered),
                mount(Access::Overlaid { changes: HostPath::new("/c") }),
            ],
            argv: ["sh", "--", "--cwd"].map(OsString::from).into(),
            ..plain.clone()
        };
        for request in [plain, full] {
            assert_eq!(Request::from_args(request.to_args()), Some(request));
        }
        for args in [&[][..], &["--"], &["--parent", "x"], &["--parent", "0"], &["--what"]] {
            assert_eq!(Request::from_args(args.iter().map(OsString::from)), None, "{args:?}");
        }
    }

    #[test]
    fn reports_survive_being_bytes() {
        for report in [
            Report::Started,
            Report::Unsupported(Guarantee::NoNetwork, 1),
            Report::Unsupported(Guarantee::PrivateMounts, 38),
            Report::Unsupported(Guarantee::LayeredMounts, 22),
            Report::Setup("mount `/a b`".to_owned(), 2),
            Report::Network("no device".to_owned()),
            Report::Spawn(13),
        ] {
            assert_eq!(Report::from_bytes(&report.to_bytes()), Some(report));
        }
        for bytes in [&b""[..], b"usage: hwb", b"spawn x ", b"\xff 1 "] {
            assert_eq!(Report::from_bytes(bytes), None);
        }
    }
}
