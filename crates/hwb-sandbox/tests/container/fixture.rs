//! A container of the host's own programs.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;

use hwb_ident::{GuestPath, HostPath};
use hwb_sandbox::container::{
    Capabilities, Container, ContainerCommand, ContainerSession, ContainerSpec, Holder, Ids, IdsAnswer,
    Limits, LostOwners, MissingCwd, NetworkProgram, NetworkProgramKind, OldSockets, Person, Place, Root,
    RootAccess, Streams, User, available,
};
use hwb_sandbox::{
    Access, Cancel, Control, ExecSpec, ExitStatus, Mount, Network, Running as _, SandboxError, SessionSpec,
};

use crate::conversation::Transcript;

/// All ways to have ids here.
pub(crate) fn answers() -> Vec<IdsAnswer> {
    available(&std::env::current_exe().unwrap(), &Person::current())
}

pub(crate) fn word(ids: &Ids) -> &'static str {
    match ids {
        Ids::Same => "same ids",
        Ids::Ranges { .. } => "ranges",
        Ids::Single => "single id",
    }
}

pub(crate) struct Fixture {
    directory: tempfile::TempDir,
    holder: Arc<Holder>,
}

impl Drop for Fixture {
    fn drop(&mut self) {
        // That of a victim lies below.
        let inner = fs_err::read_dir(self.path()).unwrap().map(|entry| entry.unwrap().path());
        for fixture in inner.chain([self.path().to_owned()]) {
            // The kernel leaves them closed to their owner.
            let mut directory = fixture.join("changes").join("work/work");
            for below in ["incompat", "volatile", "."] {
                let _missing = std::fs::set_permissions(&directory, std::fs::Permissions::from_mode(0o700));
                directory.push(below);
            }
        }
    }
}

impl Fixture {
    pub(crate) fn new(ids: &Ids) -> Self {
        let directory = tempfile::tempdir().unwrap();
        // Others than the caller look into it, if there are others.
        std::fs::set_permissions(directory.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        let lower = directory.path().join("lower");
        for name in ["dev", "etc", "proc", "sys", "tmp", "usr"] {
            fs_err::create_dir_all(lower.join(name)).unwrap();
        }
        for name in ["bin", "lib", "lib64", "sbin"] {
            fs_err::os::unix::fs::symlink(Path::new("usr").join(name), lower.join(name)).unwrap();
        }
        for name in ["kept", "removed"] {
            let mut file = std::fs::File::create(lower.join("etc").join(name)).unwrap();
            writeln!(file, "{name}").unwrap();
        }
        fs_err::create_dir(directory.path().join("changes")).unwrap();
        let holder = Holder::start(&std::env::current_exe().unwrap(), ids.clone()).unwrap();
        Self { directory, holder }
    }

    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }

    pub(crate) fn holder(&self) -> &Arc<Holder> {
        &self.holder
    }

    pub(crate) fn is_single(&self) -> bool {
        *self.holder.ids() == Ids::Single
    }

    pub(crate) fn spec(&self) -> ContainerSpec {
        let read_only = |host: &Path, guest: &str| {
            Place::Host(Mount {
                host: HostPath::new(host),
                guest: GuestPath::new(guest),
                access: Access::ReadOnly,
            })
        };
        ContainerSpec {
            root: Root::Layers {
                lowers: vec![HostPath::new(self.path().join("lower"))],
                changes: HostPath::new(self.path().join("changes")),
            },
            root_access: RootAccess::ReadWrite,
            places: vec![read_only(Path::new("/usr"), "/usr")],
            hostname: "box".to_owned(),
            capabilities: Capabilities::usual(Network::Host),
            limits: Limits::default(),
            process_limits: Vec::new(),
            shared_memory: 1 << 20,
            emulator: None,
            lost_owners: LostOwners::Recorded,
            old_sockets: OldSockets::Refused,
        }
    }

    pub(crate) fn shell(&self, script: &str) -> ContainerCommand {
        command(["sh", "-c", script])
    }

    pub(crate) fn open(
        &self,
        spec: ContainerSpec,
        network: Network,
    ) -> Result<ContainerSession, SandboxError> {
        Container::new(Arc::clone(&self.holder), spec).open(&SessionSpec { mounts: Vec::new(), network })
    }

    /// A program that claims to connect networks, and is `script`.
    pub(crate) fn network_program(&self, script: &str) -> NetworkProgram {
        let path = self.path().join("pasta");
        fs_err::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        NetworkProgram { kind: NetworkProgramKind::Pasta, path }
    }

    /// A session whose network `program` connects.
    pub(crate) fn open_isolated(&self, program: NetworkProgram) -> Result<ContainerSession, SandboxError> {
        let container = Container::new(Arc::clone(&self.holder), self.spec()).with_network_program(program);
        container.open(&SessionSpec { mounts: Vec::new(), network: Network::Isolated })
    }

    pub(crate) fn run_in(
        &self,
        spec: ContainerSpec,
        network: Network,
        command: &ContainerCommand,
    ) -> (String, ExitStatus) {
        finish(&mut self.open(spec, network).unwrap(), command)
    }

    /// Runs `script`; its standard output and error, and how it ended.
    pub(crate) fn run(&self, script: &str) -> (String, ExitStatus) {
        self.run_in(self.spec(), Network::Host, &self.shell(script))
    }

    pub(crate) fn check(&self, script: &str, expect: &str) {
        let (output, _) = self.run(script);
        assert_eq!(output, expect, "{script}");
    }
}

/// Runs `command` to its end: its standard output and error, and how it ended.
pub(crate) fn finish(session: &mut ContainerSession, command: &ContainerCommand) -> (String, ExitStatus) {
    let mut transcript = Transcript::default();
    let running = session.run(command, Streams::Piped).unwrap();
    let status = Box::new(running).wait(&Cancel::new().unwrap(), None, &mut transcript).unwrap();
    (transcript.0, status)
}

/// A named pipe that is held open by whoever has it open for writing.
#[derive(Debug)]
pub(crate) struct Witness {
    reader: std::fs::File,
}

impl Witness {
    /// Made in `directory`.
    pub(crate) fn make(directory: &Path) -> Self {
        let path = directory.join("witness");
        rustix::fs::mkfifoat(rustix::fs::CWD, &path, rustix::fs::Mode::from_raw_mode(0o666)).unwrap();
        let flags = rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::NONBLOCK | rustix::fs::OFlags::CLOEXEC;
        let reader = rustix::fs::open(&path, flags, rustix::fs::Mode::empty()).unwrap();
        rustix::io::ioctl_fionbio(&reader, false).unwrap();
        Self { reader: reader.into() }
    }

    /// What a program does that goes on in the background, and holds the witness of `directory`.
    pub(crate) fn held_by_a_daemon(directory: &Path) -> String {
        format!("exec 3>'{}'; echo held >&3; setsid sleep 600 & exit 0", directory.join("witness").display())
    }

    /// Comes to its end only when nobody holds it any more.
    pub(crate) fn wait(self) {
        assert_eq!(std::io::read_to_string(self.reader).unwrap(), "held\n");
    }
}

pub(crate) fn command<const N: usize>(argv: [&str; N]) -> ContainerCommand {
    ContainerCommand {
        exec: ExecSpec {
            argv: argv.map(OsString::from).into(),
            cwd: GuestPath::new("/"),
            env: BTreeMap::from([("PATH".into(), "/usr/sbin:/usr/bin:/sbin:/bin".into())]),
            control: Control::None,
        },
        user: User::ROOT,
        missing_cwd: MissingCwd::Refuse,
    }
}

/// Runs a command that leaves a daemon and waits for ever; both hold standard output open. What connects its network holds
/// the witness of the folder for temporary files.
pub(crate) fn be_killed(ids: &OsStr) -> ! {
    let answer = answers().into_iter().find(|answer| word(&answer.ids) == ids).unwrap();
    let fixture = Fixture::new(&answer.ids);
    let script = "(trap '' TERM HUP; setsid sleep 600 &); echo alive; sleep 600";
    let streams = Streams::Given {
        stdin: std::fs::File::open("/dev/null").unwrap().into(),
        stdout: rustix::io::dup(rustix::stdio::stdout()).unwrap(),
        stderr: std::fs::File::options().write(true).open("/dev/null").unwrap().into(),
    };
    let program = fixture.network_program(&Witness::held_by_a_daemon(fixture.path().parent().unwrap()));
    let _running = fixture.open_isolated(program).unwrap().run(&fixture.shell(script), streams).unwrap();
    loop {
        std::thread::park();
    }
}
