//! From a copy of process 1 to the command: streams, limits, who it is, what it may do.

use std::ffi::{CString, OsStr, OsString};
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{Gid, Uid};
use rustix::io::Errno;
use rustix::process::Rlimit;
use rustix::thread::{CapabilitySet, CapabilitySets};

use super::super::request::{Guarantee, Report};
use super::furnish::APT_CONFIGURATION;
use super::stream_count;
use super::target::Targets;
use crate::container::wire::{self, Answer, CommandOrder, Owners};
use crate::container::{Capabilities, MissingCwd, User};
use crate::os;
use crate::seccomp::Instruction;

/// Where programs are looked for if the environment does not say it.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What the streams of the command are.
#[derive(Debug)]
pub(super) enum Streams<'a> {
    /// One terminal, which controls it.
    Terminal(&'a OwnedFd),
    /// Three descriptors, and perhaps a fourth.
    Separate(&'a [OwnedFd]),
}

impl<'a> Streams<'a> {
    /// Those that came with `order`.
    pub(super) fn of(order: &CommandOrder, streams: &'a [OwnedFd]) -> Result<Self, Report> {
        if streams.len() == stream_count(order.streams) {
            Ok(Self::Separate(streams))
        } else {
            Err(Report::setup("take the streams over".to_owned(), &io::ErrorKind::InvalidInput.into()))
        }
    }

    fn install(&self) -> io::Result<()> {
        rustix::process::setsid()?;
        match self {
            Self::Terminal(terminal) => {
                rustix::process::ioctl_tiocsctty(terminal)?;
                rustix::stdio::dup2_stdin(terminal)?;
                rustix::stdio::dup2_stdout(terminal)?;
                rustix::stdio::dup2_stderr(terminal)?;
            }
            Self::Separate(streams) => {
                let [stdin, stdout, stderr, control @ ..] = streams else {
                    return Err(io::ErrorKind::InvalidInput.into());
                };
                rustix::stdio::dup2_stdin(stdin)?;
                rustix::stdio::dup2_stdout(stdout)?;
                rustix::stdio::dup2_stderr(stderr)?;
                if let Some(control) = control.first() {
                    os::duplicate_to(control, os::CONTROL_FD)?;
                }
            }
        }
        Ok(())
    }
}

/// What is made out beforehand: the program, its arguments and environment, what it may do.
#[derive(Debug)]
pub(super) struct Place {
    program: Result<CString, Report>,
    arguments: Vec<CString>,
    environment: Vec<CString>,
    capabilities: Capabilities,
}

impl Place {
    /// Makes the working directory, if it is to be made, enters it, and finds the program.
    pub(super) fn ready(order: &CommandOrder, targets: &mut Targets) -> Result<Self, Report> {
        let cwd = order.cwd.as_path();
        let enter = |error: io::Error| Report::setup(format!("enter `{}`", cwd.display()), &error);
        if !cwd.is_absolute() {
            return Err(enter(io::ErrorKind::InvalidInput.into()));
        }
        if order.missing_cwd == MissingCwd::Make {
            targets.directory(cwd).map_err(enter)?;
        }
        rustix::process::chdir(cwd).map_err(|errno| enter(errno.into()))?;
        let strings = |step: &str| {
            let step = step.to_owned();
            move |_| Report::setup(step, &io::ErrorKind::InvalidInput.into())
        };
        let arguments: Result<_, _> =
            order.argv.iter().map(|argument| CString::new(argument.as_bytes())).collect();
        let environment: Result<_, _> = environment(order).into_iter().map(CString::new).collect();
        Ok(Self {
            program: find(order),
            arguments: arguments.map_err(strings("pass arguments with a zero byte"))?,
            environment: environment.map_err(strings("pass an environment with a zero byte"))?,
            capabilities: order.container.capabilities,
        })
    }

    /// Becomes the command, in a process that has process 1's filter unless it is to have its own; returns only with the
    /// reason why not.
    pub(super) fn become_command(
        &self,
        order: &CommandOrder,
        streams: &Streams<'_>,
        ask: Option<&Ask<'_>>,
    ) -> Report {
        self.attempt(order, streams, ask).map_or_else(|report| report, |never| match never {})
    }

    fn attempt(
        &self,
        order: &CommandOrder,
        streams: &Streams<'_>,
        ask: Option<&Ask<'_>>,
    ) -> Result<std::convert::Infallible, Report> {
        let step = |step: String| move |error: io::Error| Report::setup(step, &error);
        let program = self.program.as_ref().map_err(Clone::clone)?;
        streams.install().map_err(step("pass the streams on".to_owned()))?;
        limit(order)?;
        bound(self.capabilities).map_err(step("drop capabilities".to_owned()))?;
        let User { uid, gid, .. } = order.user;
        become_user(order).map_err(step(format!("become {uid}:{gid}")))?;
        // Becoming another user took them; nobody but root has any.
        let capabilities = if uid == 0 { self.capabilities } else { Capabilities::NONE };
        set_capabilities(capabilities).map_err(step("drop capabilities".to_owned()))?;
        rustix::thread::set_no_new_privs(true)
            .map_err(|errno| step("forbid new privileges".to_owned())(errno.into()))?;
        os::restore_all_defaults().map_err(step("reset signals".to_owned()))?;
        let asked = ask.map_or(Ok(()), Ask::begin);
        asked.map_err(|error| Report::unsupported(Guarantee::CallFilter, &error))?;
        Err(Report::spawn(&os::execute(program, &self.arguments, &self.environment)))
    }
}

/// A filter of the command's own, by which the kernel asks process 1 about some calls.
#[derive(Debug)]
pub(super) struct Ask<'a> {
    pub(super) filter: &'a [Instruction],
    /// Where process 1 gets what it answers by.
    pub(super) to: OwnedFd,
}

impl Ask<'_> {
    fn begin(&self) -> io::Result<()> {
        let questions = os::filter_calls_and_ask(self.filter)?;
        wire::answer(&self.to, &Answer::Ready, &[questions.as_fd()])
    }
}

/// Refuses who cannot be had: another where there is one id, and the id that the kernel takes for "leave it as it is",
/// with which root would stay root.
pub(super) fn check_user(order: &CommandOrder) -> Result<(), Report> {
    let User { uid, gid, groups } = &order.user;
    if [uid, gid].into_iter().chain(groups).any(|id| *id == u32::MAX) {
        let step = format!("become {uid}:{gid}: nobody can have the id {}", u32::MAX);
        return Err(Report::setup(step, &Errno::INVAL.into()));
    }
    if order.owners == Owners::One && (order.user.uid, order.user.gid) != (0, 0) {
        return Err(Report::unsupported(Guarantee::OtherUsers, &Errno::INVAL.into()));
    }
    Ok(())
}

fn environment(order: &CommandOrder) -> Vec<Vec<u8>> {
    let pair = |name: &OsStr, value: &OsStr| [name.as_bytes(), b"=", value.as_bytes()].concat();
    let mut environment: Vec<_> = order.env.iter().map(|(name, value)| pair(name, value)).collect();
    if order.owners == Owners::One && !order.env.iter().any(|(name, _)| name == "APT_CONFIG") {
        environment.push(pair(OsStr::new("APT_CONFIG"), OsStr::new(APT_CONFIGURATION)));
    }
    environment
}

/// Finds the program as execvp(3) would, in the `PATH` of the command.
fn find(order: &CommandOrder) -> Result<CString, Report> {
    let missing = || Report::spawn(&Errno::NOENT.into());
    let program = order.argv.first().filter(|program| !program.is_empty()).ok_or_else(missing)?;
    let to_c = |path: OsString| CString::new(path.into_vec()).map_err(|_| missing());
    if program.as_bytes().contains(&b'/') {
        return to_c(program.clone());
    }
    let path = order.env.iter().find(|(name, _)| name == "PATH").map(|(_, path)| path.as_os_str());
    let path = path.unwrap_or(OsStr::new(DEFAULT_PATH));
    let mut refused = None;
    for directory in path.as_bytes().split(|&byte| byte == b':') {
        let directory =
            if directory.is_empty() { Path::new(".") } else { Path::new(OsStr::from_bytes(directory)) };
        let candidate: PathBuf = directory.join(program);
        match std::fs::metadata(&candidate) {
            Ok(metadata) if metadata.is_file() && metadata.mode() & 0o111 != 0 => {
                return to_c(candidate.into_os_string());
            }
            Ok(_) => refused = Some(Report::spawn(&Errno::ACCESS.into())),
            Err(_) => {}
        }
    }
    Err(refused.unwrap_or_else(missing))
}

fn limit(order: &CommandOrder) -> Result<(), Report> {
    for limit in &order.container.process_limits {
        let value = Rlimit { current: limit.soft, maximum: limit.hard };
        rustix::process::setrlimit(limit.resource.to_kernel(), value)
            .map_err(|errno| Report::setup(format!("set the limit {:?}", limit.resource), &errno.into()))?;
    }
    Ok(())
}

/// Takes everything but `capabilities` away for good, from every program that is ever started.
fn bound(capabilities: Capabilities) -> io::Result<()> {
    for capability in capabilities.others() {
        match rustix::thread::remove_capability_from_bounding_set(capability) {
            // The kernel has no capability of this number, nor of any higher.
            Err(Errno::INVAL) => break,
            result => result?,
        }
    }
    Ok(())
}

/// Leaves this process those of `capabilities` that it has, and no other.
pub(in crate::helper) fn set_capabilities(capabilities: Capabilities) -> io::Result<()> {
    let has = rustix::thread::capabilities(None)?.permitted;
    let kept = capabilities.to_kernel() & has;
    // What could be handed on without right goes first: the kernel keeps it a part of what is inherited.
    rustix::thread::clear_ambient_capability_set()?;
    let sets = CapabilitySets { effective: kept, permitted: kept, inheritable: CapabilitySet::empty() };
    Ok(rustix::thread::set_capabilities(None, sets)?)
}

fn become_user(order: &CommandOrder) -> io::Result<()> {
    // Where there is one id, there are no other groups either.
    if order.owners == Owners::One {
        return Ok(());
    }
    let User { uid, gid, groups } = &order.user;
    let (uid, gid) = (Uid::from_raw(*uid), Gid::from_raw(*gid));
    let groups: Vec<_> = groups.iter().copied().map(Gid::from_raw).collect();
    rustix::thread::set_thread_groups(&groups)?;
    rustix::thread::set_thread_res_gid(gid, gid, gid)?;
    Ok(rustix::thread::set_thread_res_uid(uid, uid, uid)?)
}
