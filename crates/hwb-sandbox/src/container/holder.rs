//! Starting a holder, and giving it orders.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use rustix::fs::CWD;
use rustix::mount::{MountAttrFlags, OpenTreeFlags};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::Signal;

use super::ids::{IdRange, Ids};
use super::keeper::Keeper;
use super::strategy::NAME;
use super::wire::{self, Answer, Order};
use crate::cancel::Cancel;
use crate::held::Remote;
use crate::helper::{Guarantee, HELPER_ARGUMENT, HOLDER, Mapping, Report, limit};
use crate::host::{HostCommand, Started};
use crate::os::{self, Extent, Prelude};
use crate::process::{on_lasting_thread, refusal};
use crate::session::{ExitStatus, SandboxError};

/// Where the programs lie that may map ranges of ids.
const MAPPERS: &str = "/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin";

/// A process that starts commands in containers, all under the same ids.
///
/// It is the helper. It ends when this value is dropped and no command of it runs any more; with it, whatever it started
/// ends. Beginning one takes some milliseconds, a command of it two.
#[derive(Debug)]
pub struct Holder {
    ids: Ids,
    child: Child,
    socket: OwnedFd,
}

impl Holder {
    /// Starts one with `ids`; `helper` is the path of a binary that calls
    /// [`helper_main_with`](crate::helper_main_with) when its first argument is
    /// [`HELPER_ARGUMENT`](crate::HELPER_ARGUMENT).
    ///
    /// # Errors
    ///
    /// [`SandboxError::Unsupported`] if this machine does not give the ids, or no namespaces.
    pub fn start(helper: &Path, ids: Ids) -> Result<Arc<Self>, SandboxError> {
        let program = || helper.display().to_string();
        let spawn = |source| SandboxError::Spawn { program: program(), source };
        let mapping = match ids {
            Ids::Same => Mapping::None,
            Ids::Ranges { .. } => Mapping::Ranges,
            Ids::Single => Mapping::Single,
        };
        let (socket, child) = launch(helper, mapping).map_err(|error| match (mapping, error.kind()) {
            // Root without the rights of root.
            (Mapping::None, io::ErrorKind::PermissionDenied) => unsupported(Guarantee::Namespaces, error),
            _ => spawn(error),
        })?;
        let holder = Self { ids, child, socket };
        // Kept until the holder is in there itself.
        let _keeper = match &holder.ids {
            Ids::Ranges { users, groups } => Some(holder.map(users, groups)?),
            Ids::Same | Ids::Single => None,
        };
        match wire::next_answer(&holder.socket).map_err(spawn)? {
            Some((Answer::Ready, _)) => Ok(Arc::new(holder)),
            Some((Answer::Refused(report), _)) => Err(refusal(NAME, report, program())),
            Some((Answer::Mapped | Answer::Started { .. } | Answer::Ended(_), _)) | None => {
                Err(spawn(io::ErrorKind::InvalidData.into()))
            }
        }
    }

    /// The ids that it has.
    pub fn ids(&self) -> &Ids {
        &self.ids
    }

    /// Gives it a user namespace with ranges of ids, which two programs of the system may map. They run at the same time,
    /// and while the holder is loaded: each needs longer to start than for its work.
    fn map(&self, users: &[IdRange], groups: &[IdRange]) -> Result<Keeper, SandboxError> {
        let refused = |source| unsupported(Guarantee::Ids, source);
        let keeper = Keeper::start().map_err(|error| {
            refusal(NAME, Report::unsupported(Guarantee::Ids, &limit(error)), String::new())
        })?;
        let cancel = Cancel::new().map_err(refused)?;
        let started = [("newuidmap", users), ("newgidmap", groups)]
            .map(|(program, ranges)| Started::new(&mapper(program, keeper.number(), ranges)));
        for mapper in started {
            let output = mapper?.finish(&cancel)?;
            if output.status != ExitStatus::Code(0) {
                let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
                return Err(refused(io::Error::other(said)));
            }
        }
        let namespace = keeper.namespace().map_err(refused)?;
        wire::answer(&self.socket, &Answer::Mapped, &[namespace.as_fd()]).map_err(refused)?;
        Ok(keeper)
    }

    /// Gives an order, and waits until it is begun.
    pub(super) fn begin(
        self: &Arc<Self>,
        order: &Order,
        streams: &[BorrowedFd<'_>],
        program: &str,
    ) -> Result<(Remote, Begun), SandboxError> {
        let spawn = |source| SandboxError::Spawn { program: program.to_owned(), source };
        let (channel, end) = wire::channel().map_err(spawn)?;
        let descriptors: Vec<_> = std::iter::once(end.as_fd()).chain(streams.iter().copied()).collect();
        wire::order(&self.socket, order, &descriptors).map_err(spawn)?;
        drop(end);
        match wire::next_answer(&channel).map_err(spawn)? {
            Some((Answer::Started { made }, descriptors)) => {
                let descriptor = descriptors.into_iter().next();
                Ok((Remote { _holder: Arc::clone(self), channel, status: None }, Begun { made, descriptor }))
            }
            Some((Answer::Refused(report), _)) => {
                // What was made for it is gone when nobody answers any more.
                while wire::next_answer(&channel).map_err(spawn)?.is_some() {}
                Err(refusal(NAME, report, program.to_owned()))
            }
            Some((Answer::Mapped | Answer::Ready | Answer::Ended(_), _)) | None => {
                Err(spawn(io::ErrorKind::UnexpectedEof.into()))
            }
        }
    }

    /// Runs a [`Work`](crate::Work) of the helper, by its name, under the ids.
    ///
    /// # Errors
    ///
    /// If the helper knows no work of this name, or cannot start it.
    pub fn work(self: &Arc<Self>, name: &str) -> Result<WorkProcess, SandboxError> {
        let spawn = |source: io::Error| SandboxError::Spawn { program: name.to_owned(), source };
        let (input, stdin) = pipe_with(PipeFlags::CLOEXEC).map_err(|errno| spawn(errno.into()))?;
        let (stdout, output) = pipe_with(PipeFlags::CLOEXEC).map_err(|errno| spawn(errno.into()))?;
        let order = Order::Work { name: name.to_owned() };
        let (remote, _) = self.begin(&order, &[input.as_fd(), output.as_fd()], name)?;
        let (stdin, stdout) = (Some(File::from(stdin)), File::from(stdout));
        Ok(WorkProcess { name: name.to_owned(), remote, stdin, stdout })
    }
}

/// It has nothing to finish: its commands ended before, or end with it.
impl Drop for Holder {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _reaped = self.child.wait();
    }
}

/// What was said when an order was begun.
#[derive(Debug)]
pub(super) struct Begun {
    pub(super) made: Vec<hwb_ident::GuestPath>,
    /// The outer end of a terminal, or a network.
    pub(super) descriptor: Option<OwnedFd>,
}

/// A function of hwb's own that runs under the ids of a holder.
#[derive(Debug)]
pub struct WorkProcess {
    name: String,
    remote: Remote,
    stdin: Option<File>,
    stdout: File,
}

impl WorkProcess {
    /// Where its input goes; `None` once closed.
    pub fn stdin(&mut self) -> Option<&mut dyn Write> {
        self.stdin.as_mut().map(|stdin| stdin as &mut dyn Write)
    }

    /// Closes its input.
    pub fn close_stdin(&mut self) {
        self.stdin = None;
    }

    /// Takes the end of the pipe that its input goes to, for another thread.
    pub fn take_stdin(&mut self) -> Option<File> {
        self.stdin.take()
    }

    /// What it writes.
    pub fn stdout(&mut self) -> &mut dyn Read {
        &mut self.stdout
    }

    /// Closes its input, and waits for its end.
    ///
    /// # Errors
    ///
    /// [`SandboxError::Watch`] if it failed or was killed.
    pub fn wait(self) -> Result<(), SandboxError> {
        let Self { name, remote, stdin, stdout: _stdout } = self;
        drop(stdin);
        let failed = |source| SandboxError::Watch { action: "finish", program: name.clone(), source };
        match crate::held::Held::Remote(remote).reap().map_err(failed)? {
            ExitStatus::Code(0) => Ok(()),
            ExitStatus::Code(_) => Err(failed(io::Error::other("it failed"))),
            ExitStatus::Signal(signal) => {
                Err(failed(io::Error::other(format!("it was killed by signal {signal}"))))
            }
        }
    }
}

/// Gives the namespace of `process` ranges of ids.
fn mapper(program: &str, process: u32, ranges: &[IdRange]) -> HostCommand {
    let numbers = ranges.iter().flat_map(|range| [range.inside, range.outside, range.count]);
    HostCommand {
        program: program.into(),
        args: std::iter::once(process).chain(numbers).map(|number| number.to_string().into()).collect(),
        env: BTreeMap::from([("PATH".into(), MAPPERS.into())]),
        cwd: "/".into(),
        input: Vec::new(),
        timeout: Some(Duration::from_secs(30)),
    }
}

fn unsupported(guarantee: Guarantee, source: io::Error) -> SandboxError {
    SandboxError::Unsupported { sandbox: NAME, demand: guarantee.demand(), source: Some(source) }
}

/// Starts the helper as a holder, with nothing but its end of the socket.
fn launch(helper: &Path, mapping: Mapping) -> io::Result<(OwnedFd, Child)> {
    let (socket, end) = wire::channel()?;
    let parent = rustix::process::getpid();
    let (view, program) = binary(helper, mapping)?;
    let args: [OsString; 5] = [
        HELPER_ARGUMENT.into(),
        HOLDER.into(),
        parent.to_string().into(),
        end.as_raw_fd().to_string().into(),
        mapping.word().into(),
    ];
    #[expect(clippy::disallowed_methods, reason = "this crate is where processes are started")]
    let mut command = Command::new(program);
    command.args(args).env_clear().current_dir("/");
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let prelude = Prelude { parent, death_signal: Signal::KILL, inherited: vec![end], control: None };
    os::before_exec(&mut command, prelude);
    let child = on_lasting_thread(move || command.spawn())??;
    drop(view);
    Ok((socket, child))
}

/// The binary to run. Where root of a container is root of the host, a view of it that cannot be written through: process
/// 1 of a container is the same binary, and its like was overwritten through `/proc` before.
fn binary(helper: &Path, mapping: Mapping) -> io::Result<(Option<OwnedFd>, PathBuf)> {
    if mapping != Mapping::None {
        return Ok((None, helper.to_owned()));
    }
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let view = rustix::mount::open_tree(CWD, helper, flags)?;
    os::restrict(&view, MountAttrFlags::MOUNT_ATTR_RDONLY, Extent::Mount)?;
    let program = format!("/proc/self/fd/{}", view.as_raw_fd()).into();
    Ok((Some(view), program))
}
