//! Process 1 of a container: it makes the container, starts the command, and is the parent of whatever loses its own.
//!
//! It is a copy of the holder in new namespaces, and runs no foreign program. When the command ends, it ends; then the
//! kernel ends everything else in the container.

mod command;
mod furnish;
mod root;
mod target;

use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::process::ExitCode;

use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd, poll};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, Signal, WaitOptions, WaitStatus};
use rustix::thread::{CapabilitySet, UnshareFlags};

use self::command::Place;
use self::furnish::{Furniture, Terminal};
use self::target::Targets;
use super::namespaces::raise_loopback;
use super::request::{Guarantee, Report};
use super::wakeup;
use crate::container::Capabilities;
use crate::container::wire::{self, Answer, CommandOrder, Owners, StreamOrder};
use crate::os;
use crate::seccomp::{self, Architecture, Instruction, Policy};
use crate::session::ExitStatus;
use crate::spec::Network;

/// The namespaces of a container's process 1. That of control groups comes later, as its root is the group it is in then.
pub(super) fn namespaces(order: &CommandOrder) -> UnshareFlags {
    let common = UnshareFlags::NEWNS | UnshareFlags::NEWPID | UnshareFlags::NEWIPC | UnshareFlags::NEWUTS;
    match order.network {
        Network::Host => common,
        Network::Denied | Network::Isolated => common | UnshareFlags::NEWNET,
    }
}

/// The filters of system calls that were made so far: each costs more to make than a command to start.
#[derive(Debug, Default)]
pub(super) struct Filters(Vec<(Policy, Vec<Instruction>)>);

impl Filters {
    /// That of `order`, or nothing for a machine without a table of calls.
    pub(super) fn of(&mut self, order: &CommandOrder) -> Option<&[Instruction]> {
        let owners = match order.owners {
            Owners::Many => seccomp::Owners::Real,
            Owners::One => seccomp::Owners::Forged,
        };
        let policy = Policy { capabilities: order.container.capabilities, owners };
        let Self(made) = self;
        let index = match made.iter().position(|(known, _)| *known == policy) {
            Some(index) => index,
            None => {
                let architectures = Some(Architecture::here()).filter(|list| !list.is_empty())?;
                made.push((policy, seccomp::program(architectures, policy)));
                made.len() - 1
            }
        };
        made.get(index).map(|(_, filter)| filter.as_slice())
    }
}

/// Acts as process 1, or, in the copy of it that was to become the command, tells why it did not.
pub(super) fn main(
    order: &CommandOrder,
    filter: &[Instruction],
    channel: OwnedFd,
    streams: Vec<OwnedFd>,
) -> ExitCode {
    match start(order, filter, streams) {
        Ok(Begun::Started { command, terminal, made, wakeup }) => {
            let outer = terminal.as_ref().map(|terminal| terminal.outer.as_fd());
            let descriptors: Vec<_> = outer.into_iter().collect();
            if wire::answer(&channel, &Answer::Started { made }, &descriptors).is_err() {
                return ExitCode::FAILURE;
            }
            drop(terminal);
            if let Some(status) = attend(command, &channel, &wakeup) {
                let _nobody_listens = wire::answer(&channel, &Answer::Ended(status), &[]);
            }
            ExitCode::SUCCESS
        }
        Ok(Begun::Copy) => ExitCode::FAILURE,
        Err(report) => {
            let _nobody_listens = wire::answer(&channel, &Answer::Refused(report), &[]);
            ExitCode::FAILURE
        }
    }
}

/// How far [`start`] came, in which process.
enum Begun {
    /// This is process 1, and the command runs.
    Started {
        command: Pid,
        terminal: Option<Terminal>,
        /// What was made for something to stand on.
        made: Vec<hwb_ident::GuestPath>,
        wakeup: OwnedFd,
    },
    /// This was to be the command.
    Copy,
}

fn start(order: &CommandOrder, filter: &[Instruction], mut streams: Vec<OwnedFd>) -> Result<Begun, Report> {
    let step = |step: &'static str| move |error: io::Error| Report::setup(step.to_owned(), &error);
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))
        .map_err(|errno| step("follow the holder")(errno.into()))?;
    let wakeup = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)
        .map_err(|errno| step("make an event descriptor")(errno.into()))?;
    wakeup::on_child(&wakeup).map_err(step("catch signals"))?;

    let groups = streams.split_off(stream_count(order.streams).min(streams.len()));
    enter_groups(groups).map_err(|error| Report::unsupported(Guarantee::Limits, &error))?;

    let staging = root::staging();
    let root = root::make(&order.container.root, &staging)?;
    let furniture = Furniture::gather(order, &staging)?;
    root::enter(&root, &staging).map_err(step("enter the root of the container"))?;
    let mut targets = Targets::new(&root).map_err(step("look at the root of the container"))?;
    let terminal = furniture.place(order, &mut targets)?;
    rustix::system::sethostname(order.container.hostname.as_bytes())
        .map_err(|errno| step("set the host name")(errno.into()))?;
    if order.network == Network::Denied {
        raise_loopback().map_err(|error| Report::unsupported(Guarantee::NoNetwork, &error))?;
    }
    let place = Place::ready(order, &mut targets)?;
    furnish::close(&root, order.container.root_access).map_err(step("make the root read-only"))?;

    let (errors, errors_end) =
        pipe_with(PipeFlags::CLOEXEC).map_err(|errno| step("make a pipe")(errno.into()))?;
    let streams = match &terminal {
        Some(terminal) => command::Streams::Terminal(&terminal.inner),
        None => command::Streams::of(order, &streams)?,
    };
    match os::clone_process(UnshareFlags::empty()).map_err(step("start a process"))? {
        None => {
            let report = place.become_command(order, &streams, filter);
            let _nobody_listens = std::fs::File::from(errors_end).write_all(&report.to_bytes());
            Ok(Begun::Copy)
        }
        Some(command) => {
            drop(errors_end);
            let mut report = Vec::new();
            std::fs::File::from(errors).read_to_end(&mut report).map_err(step("watch the command start"))?;
            if !report.is_empty() {
                return Err(Report::from_bytes(&report).unwrap_or(Report::Spawn(libc::EIO)));
            }
            disarm(filter).map_err(step("give up what is not needed any more"))?;
            Ok(Begun::Started { command, terminal, made: targets.into_made(), wakeup })
        }
    }
}

/// Enters control groups, and makes them all that the container sees of them.
fn enter_groups(groups: Vec<OwnedFd>) -> io::Result<()> {
    for group in groups {
        std::fs::File::from(group).write_all(b"0")?;
    }
    os::unshare(UnshareFlags::NEWCGROUP)
}

/// Gives up all that process 1 does not need any more: it only waits, and passes signals on. It holds nothing of the host
/// by now, and may do no more than the command: whoever gets hold of it, as by a right to trace that was asked for, has
/// won nothing.
fn disarm(filter: &[Instruction]) -> io::Result<()> {
    command::set_capabilities(Capabilities::from_kernel(CapabilitySet::KILL))?;
    rustix::thread::set_no_new_privs(true)?;
    os::filter_calls(filter)
}

/// Waits for the end of `command`, reaps what was left to this process, and passes signals on. `None` when there is
/// nobody any more who wants to know.
fn attend(command: Pid, channel: &OwnedFd, wakeup: &OwnedFd) -> Option<ExitStatus> {
    loop {
        let mut fds = [PollFd::new(wakeup, PollFlags::IN), PollFd::new(channel, PollFlags::IN)];
        match poll(&mut fds, None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(_) => return None,
        }
        let told = !fds[1].revents().is_empty();
        if let Some(status) = reap(command, wakeup) {
            return Some(status);
        }
        if told {
            pass_on(command, channel)?;
        }
    }
}

/// Reaps whoever has ended; says how the command did, if it is among them.
fn reap(command: Pid, wakeup: &OwnedFd) -> Option<ExitStatus> {
    let mut ended = None;
    wakeup::clear(wakeup);
    while let Ok(Some((process, status))) = rustix::process::wait(WaitOptions::NOHANG) {
        if process == command {
            ended = Some(exit_status(status));
        }
    }
    ended
}

fn exit_status(status: WaitStatus) -> ExitStatus {
    match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => ExitStatus::Code(code),
        (None, signal) => ExitStatus::Signal(signal.unwrap_or(libc::SIGKILL)),
    }
}

/// Sends the command the signals that came over the channel; `None` at its end.
fn pass_on(command: Pid, channel: &OwnedFd) -> Option<()> {
    let mut signals = [0; 64];
    let length = rustix::io::read(channel, &mut signals).unwrap_or(0);
    if length == 0 {
        return None;
    }
    for &number in &signals[..length] {
        if let Some(signal) = Signal::from_named_raw(number.into()) {
            // It fails only if the command is gone.
            let _gone = rustix::process::kill_process(command, signal);
        }
    }
    Some(())
}

/// The number of streams that come with an order.
pub(super) fn stream_count(order: StreamOrder) -> usize {
    match order {
        StreamOrder::Three => 3,
        StreamOrder::ThreeAndControl => 4,
        StreamOrder::Terminal { .. } => 0,
    }
}
