//! Process 1 of a container: it makes the container, starts the command, and is the parent of whatever loses its own.
//!
//! It is a copy of the holder in new namespaces, and runs no foreign program. When the command ends, it ends; then the
//! kernel ends everything else in the container.

mod command;
mod furnish;
mod owners;
mod root;
mod target;

use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::process::ExitCode;

use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd, poll};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, Signal, WaitOptions, WaitStatus};
use rustix::thread::{CapabilitySet, LinkNameSpaceType, UnshareFlags};

pub(super) use self::command::set_capabilities;
pub(super) use self::furnish::file_system;

use self::command::{Ask, Place};
use self::furnish::{Furniture, Terminal};
use self::target::Targets;
use super::holder::Mapping;
use super::namespaces::raise_loopback;
use super::request::{Guarantee, Report};
use super::wakeup;
use crate::container::wire::{self, Answer, CommandOrder, Owners, StreamOrder};
use crate::container::{Capabilities, LostOwners, OldSockets};
use crate::os;
use crate::seccomp::{self, Architecture, Instruction, Policy};
use crate::session::ExitStatus;
use crate::spec::Network;

/// The namespaces of a container's process 1. That of control groups comes later, as its root is the group it is in then.
pub(super) fn namespaces(order: &CommandOrder) -> UnshareFlags {
    let common = UnshareFlags::NEWNS | UnshareFlags::NEWPID | UnshareFlags::NEWIPC | UnshareFlags::NEWUTS;
    match order.network {
        // That of an isolated network is there already.
        Network::Host | Network::Isolated => common,
        Network::Denied => common | UnshareFlags::NEWNET,
    }
}

/// The filters of system calls that were made so far: each costs more to make than a command to start.
#[derive(Debug, Default)]
pub(super) struct Filters(Vec<(Policy, Vec<Instruction>)>);

/// The filters of one container.
#[derive(Debug)]
pub(super) struct Filter {
    /// Process 1's, which the command takes over.
    init: Vec<Instruction>,
    /// The command's own, where process 1 answers some of its calls.
    asking: Option<Vec<Instruction>>,
}

impl Filters {
    /// Those of `order`, or nothing for a machine without a table of calls.
    pub(super) fn of(&mut self, order: &CommandOrder) -> Option<Filter> {
        let (capabilities, old_sockets) = (order.container.capabilities, order.container.old_sockets);
        let mut make = |owners| self.make(Policy { capabilities, owners, old_sockets });
        Some(match (order.owners, order.container.lost_owners) {
            (Owners::Many, _) => Filter { init: make(seccomp::Owners::Real)?, asking: None },
            (Owners::One, LostOwners::Forgotten) => {
                Filter { init: make(seccomp::Owners::Forged)?, asking: None }
            }
            (Owners::One, LostOwners::Recorded) => Filter {
                init: make(seccomp::Owners::Forged)?,
                asking: Some(make(seccomp::Owners::Recorded)?),
            },
        })
    }

    /// Makes the one that is most often wanted.
    pub(super) fn expect(&mut self, mapping: Mapping) {
        let owners = match mapping {
            Mapping::None | Mapping::Ranges => seccomp::Owners::Real,
            Mapping::Single => seccomp::Owners::Forged,
        };
        let capabilities = Capabilities::usual(Network::Host);
        let _kept = self.make(Policy { capabilities, owners, old_sockets: OldSockets::Refused });
    }

    fn make(&mut self, policy: Policy) -> Option<Vec<Instruction>> {
        let Self(made) = self;
        if let Some((_, filter)) = made.iter().find(|(known, _)| *known == policy) {
            return Some(filter.clone());
        }
        let architectures = Some(Architecture::here()).filter(|list| !list.is_empty())?;
        let filter = seccomp::program(architectures, policy);
        made.push((policy, filter.clone()));
        Some(filter)
    }
}

/// Acts as process 1, or, in the copy of it that was to become the command, tells why it did not.
pub(super) fn main(
    order: &CommandOrder,
    filter: &Filter,
    channel: OwnedFd,
    streams: Vec<OwnedFd>,
) -> ExitCode {
    match start(order, filter, streams) {
        Ok(Begun::Started { command, terminal, made, ears }) => {
            let outer = terminal.as_ref().map(|terminal| terminal.outer.as_fd());
            let descriptors: Vec<_> = outer.into_iter().collect();
            if wire::answer(&channel, &Answer::Started { made }, &descriptors).is_err() {
                return ExitCode::FAILURE;
            }
            // The command's end stays open as long as the command: one may close it and open it again, and without any
            // end of it hwb would be told all the time that there is none.
            let _inner = terminal.map(|terminal| terminal.inner);
            if let Some(status) = attend(command, &channel, &ears) {
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

/// What process 1 listens to, beside its channel.
#[derive(Debug)]
struct Ears {
    /// Readable when a child has ended.
    wakeup: OwnedFd,
    /// Readable when the command wants to give a file away.
    questions: Option<OwnedFd>,
}

/// How far [`start`] came, in which process.
enum Begun {
    /// This is process 1, and the command runs.
    Started {
        command: Pid,
        terminal: Option<Terminal>,
        /// What was made for something to stand on.
        made: Vec<hwb_ident::GuestPath>,
        ears: Ears,
    },
    /// This was to be the command.
    Copy,
}

fn start(order: &CommandOrder, filter: &Filter, mut streams: Vec<OwnedFd>) -> Result<Begun, Report> {
    let step = |step: &'static str| move |error: io::Error| Report::setup(step.to_owned(), &error);
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))
        .map_err(|errno| step("follow the holder")(errno.into()))?;
    // Before anything is given to the user, as a terminal is.
    command::check_user(order)?;
    let wakeup = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)
        .map_err(|errno| step("make an event descriptor")(errno.into()))?;
    wakeup::on_child(&wakeup).map_err(step("catch signals"))?;

    let mut others = streams.split_off(stream_count(order.streams).min(streams.len())).into_iter();
    if order.network == Network::Isolated {
        enter_network(others.next())
            .map_err(|error| Report::unsupported(Guarantee::IsolatedNetwork, &error))?;
    }
    enter_groups(others).map_err(|error| Report::unsupported(Guarantee::Limits, &error))?;

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
    let (questions, ask) = match &filter.asking {
        None => {
            // One for both: to translate it is the dearest single thing that the kernel does for a container.
            confine(&filter.init)?;
            (None, None)
        }
        Some(filter) => {
            let (questions, to) = wire::channel().map_err(step("make a channel"))?;
            (Some(questions), Some(Ask { filter, to }))
        }
    };
    let (leave, leave_end) =
        pipe_with(PipeFlags::CLOEXEC).map_err(|errno| step("make a pipe")(errno.into()))?;
    match os::clone_process(UnshareFlags::empty()).map_err(step("start a process"))? {
        None => {
            drop(leave_end);
            // The command must never see process 1 with all that it could do until now.
            let _at_the_end = std::fs::File::from(leave).read(&mut [0]);
            let report = place.become_command(order, &streams, ask.as_ref());
            let _nobody_listens = std::fs::File::from(errors_end).write_all(&report.to_bytes());
            Ok(Begun::Copy)
        }
        Some(command) => {
            drop((errors_end, ask, leave));
            disarm(order).map_err(step("give up what is not needed any more"))?;
            if questions.is_some() {
                confine(&filter.init)?;
            }
            drop(leave_end);
            let mut report = Vec::new();
            std::fs::File::from(errors).read_to_end(&mut report).map_err(step("watch the command start"))?;
            if !report.is_empty() {
                return Err(Report::from_bytes(&report).unwrap_or(Report::Spawn(libc::EIO)));
            }
            let questions = match questions {
                None => None,
                Some(questions) => wire::next_answer(&questions).map_err(step("listen to the command"))?,
            };
            let questions = questions.and_then(|(_, descriptors)| descriptors.into_iter().next());
            let ears = Ears { wakeup, questions };
            Ok(Begun::Started { command, terminal, made: targets.into_made(), ears })
        }
    }
}

/// Enters the network that was made for the session.
fn enter_network(network: Option<OwnedFd>) -> io::Result<()> {
    let network = network.ok_or(io::ErrorKind::InvalidInput)?;
    Ok(rustix::thread::move_into_link_name_space(network.as_fd(), Some(LinkNameSpaceType::Network))?)
}

/// Enters control groups, and makes them all that the container sees of them.
fn enter_groups(groups: impl Iterator<Item = OwnedFd>) -> io::Result<()> {
    for group in groups {
        std::fs::File::from(group).write_all(b"0")?;
    }
    os::unshare(UnshareFlags::NEWCGROUP)
}

/// Gives up all that process 1 does not need any more: it only waits, and passes signals on. It holds nothing of the host
/// by now, and may do no more than the command: whoever gets hold of it, as by a right to trace that was asked for, has
/// won nothing.
fn disarm(order: &CommandOrder) -> io::Result<()> {
    let kept = match (order.owners, order.container.lost_owners) {
        (Owners::One, LostOwners::Recorded) => order.container.capabilities,
        _ => Capabilities::from_kernel(CapabilitySet::KILL),
    };
    set_capabilities(kept)
}

/// Lets this process, and whatever it starts from now on, make no other calls than `filter` allows, and gain no rights.
fn confine(filter: &[Instruction]) -> Result<(), Report> {
    let attempt = || -> io::Result<()> {
        rustix::thread::set_no_new_privs(true)?;
        os::filter_calls(filter)
    };
    attempt().map_err(|error| Report::unsupported(Guarantee::CallFilter, &error))
}

/// Waits for the end of `command`, reaps what was left to this process, and passes signals on. `None` when there is
/// nobody any more who wants to know.
fn attend(command: Pid, channel: &OwnedFd, ears: &Ears) -> Option<ExitStatus> {
    loop {
        let mut fds = vec![PollFd::new(&ears.wakeup, PollFlags::IN), PollFd::new(channel, PollFlags::IN)];
        fds.extend(ears.questions.as_ref().map(|questions| PollFd::new(questions, PollFlags::IN)));
        match poll(&mut fds, None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(_) => return None,
        }
        let is_told = !fds[1].revents().is_empty();
        let is_asked = fds.get(2).is_some_and(|fd| fd.revents().contains(PollFlags::IN));
        if let Some(status) = reap(command, &ears.wakeup) {
            return Some(status);
        }
        if let Some(questions) = ears.questions.as_ref().filter(|_| is_asked) {
            owners::answer(questions);
        }
        if is_told {
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
