//! The holder: it has the ids of a user namespace, and starts whatever hwb orders under them.
//!
//! Small, and with one thread: a copy of it is made in a fraction of a millisecond, however large hwb is. It has no
//! environment, keeps no descriptor open for what it starts, and cannot be looked into.

use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd, RawFd};
use std::process::ExitCode;

use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd, poll};
use rustix::fs::{Gid, Uid};
use rustix::mount::MountPropagationFlags;
use rustix::process::{DumpableBehavior, Pid, Signal, WaitOptions};
use rustix::thread::{LinkNameSpaceType, UnshareFlags};

use super::container::Filters;
use super::emulators::Emulators;
use super::namespaces::{limit, map_one};
use super::request::{Guarantee, Report};
use super::{Work, container, wakeup};
use crate::container::wire::{self, Answer, CommandOrder, NetworkOrder, Order};
use crate::os;
use crate::session::ExitStatus;

/// The word that makes a holder of a helper.
pub(crate) const HOLDER: &str = "--holder";

/// Whose files and processes a holder can name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mapping {
    /// Everybody's: there is no user namespace.
    None,
    /// Those of ranges, which hwb has mapped.
    Ranges,
    /// Its own, as root's.
    Single,
}

impl Mapping {
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Ranges => "ranges",
            Self::Single => "single",
        }
    }
}

/// What to be, as arguments after [`HOLDER`].
#[derive(Debug)]
struct Request {
    parent: Pid,
    socket: RawFd,
    mapping: Mapping,
}

impl Request {
    fn from_args(args: impl IntoIterator<Item = OsString>) -> Option<Self> {
        let mut args = args.into_iter();
        let parent = Pid::from_raw(args.next()?.to_str()?.parse().ok()?)?;
        let socket = args.next()?.to_str()?.parse().ok()?;
        let word = args.next()?;
        let mapping = [Mapping::None, Mapping::Ranges, Mapping::Single]
            .into_iter()
            .find(|mapping| word == mapping.word())?;
        Some(Self { parent, socket, mapping })
    }
}

/// Acts as the holder; also as what it starts, which begins as a copy of it.
pub(super) fn main(args: impl IntoIterator<Item = OsString>, works: &[Work]) -> ExitCode {
    let Some(request) = Request::from_args(args) else {
        return ExitCode::from(2);
    };
    // Out of the way of the streams of commands, and not for them.
    let socket = os::adopt(request.socket);
    let Ok(socket) = rustix::io::fcntl_dupfd_cloexec(socket, os::CONTROL_FD + 1) else {
        return ExitCode::from(2);
    };
    let wakeup = match prepare(&request, &socket) {
        Ok(wakeup) => wakeup,
        Err(report) => {
            let _nobody_listens = wire::answer(&socket, &Answer::Refused(report), &[]);
            return ExitCode::from(2);
        }
    };
    let mut filters = Filters::default();
    // While hwb makes up its order.
    filters.expect(request.mapping);
    match serve(socket, wakeup, (&mut filters, Emulators::new(request.mapping))) {
        None => ExitCode::SUCCESS,
        Some(Task::Command { order, channel, streams }) => match filters.of(&order) {
            Some(filter) => container::main(&order, &filter, channel, streams),
            None => {
                let report = Report::unsupported(Guarantee::CallFilter, &io::ErrorKind::Unsupported.into());
                let _nobody_listens = wire::answer(&channel, &Answer::Refused(report), &[]);
                ExitCode::FAILURE
            }
        },
        Some(Task::Network { order, channel }) => super::network::main(&order, &channel),
        Some(Task::Work { name, channel, streams }) => super::work::main(&name, works, channel, streams),
    }
}

fn prepare(request: &Request, socket: &OwnedFd) -> Result<OwnedFd, Report> {
    let ids = |error: io::Error| Report::unsupported(Guarantee::Ids, &error);
    enter_ids(request.mapping, socket).map_err(ids)?;
    let namespaces = |error: io::Error| Report::unsupported(Guarantee::Namespaces, &error);
    os::unshare(UnshareFlags::NEWNS).map_err(namespaces)?;
    // Nothing that is mounted here is seen outside, and nothing from outside appears here.
    rustix::mount::mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)
        .map_err(|errno| namespaces(errno.into()))?;
    let failed = |error: io::Error| Report::setup("become the holder".to_owned(), &error);
    let attempt = || -> io::Result<OwnedFd> {
        rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
        let wakeup = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        wakeup::on_child(&wakeup)?;
        // A change of ids has cleared it.
        rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
        if rustix::process::getppid() != Some(request.parent) {
            return Err(io::ErrorKind::NotFound.into());
        }
        wire::answer(socket, &Answer::Ready, &[])?;
        Ok(wakeup)
    };
    attempt().map_err(failed)
}

/// Enters a user namespace, where there is to be one, and becomes root of it.
fn enter_ids(mapping: Mapping, socket: &OwnedFd) -> io::Result<()> {
    let (user, group) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    match mapping {
        Mapping::None => return Ok(()),
        Mapping::Single => {
            os::unshare(UnshareFlags::NEWUSER).map_err(limit)?;
            map_one((0, user), (0, group))?;
        }
        Mapping::Ranges => {
            let namespace = match wire::next_answer(socket)? {
                Some((Answer::Mapped, descriptors)) => descriptors.into_iter().next(),
                _ => return Err(io::ErrorKind::Interrupted.into()),
            };
            let namespace = namespace.ok_or(io::ErrorKind::InvalidData)?;
            let kind = Some(LinkNameSpaceType::User);
            rustix::thread::move_into_link_name_space(namespace.as_fd(), kind)?;
            rustix::thread::set_thread_groups(&[])?;
        }
    }
    let (user, group) = (Uid::ROOT, Gid::ROOT);
    rustix::thread::set_thread_res_gid(group, group, group)?;
    Ok(rustix::thread::set_thread_res_uid(user, user, user)?)
}

/// What a copy of the holder is to do.
#[derive(Debug)]
enum Task {
    Command { order: Box<CommandOrder>, channel: OwnedFd, streams: Vec<OwnedFd> },
    Network { order: NetworkOrder, channel: OwnedFd },
    Work { name: String, channel: OwnedFd, streams: Vec<OwnedFd> },
}

/// Starts what is ordered until nobody can order any more. Returns a task in the copies that are to do it.
fn serve(
    socket: OwnedFd,
    wakeup: OwnedFd,
    (filters, mut emulators): (&mut Filters, Emulators),
) -> Option<Task> {
    let mut running: Vec<(Pid, OwnedFd)> = Vec::new();
    loop {
        let mut fds = [PollFd::new(&wakeup, PollFlags::IN), PollFd::new(&socket, PollFlags::IN)];
        match poll(&mut fds, None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(_) => return None,
        }
        let is_ordered = !fds[1].revents().is_empty();
        wakeup::clear(&wakeup);
        while let Ok(Some((process, status))) = rustix::process::wait(WaitOptions::NOHANG) {
            if let Some(index) = running.iter().position(|(known, _)| *known == process) {
                let (_, channel) = running.swap_remove(index);
                if let Some(signal) = status.terminating_signal() {
                    let _nobody_listens =
                        wire::answer(&channel, &Answer::Ended(ExitStatus::Signal(signal)), &[]);
                }
                // Closed only now that the process and its descendants are gone: hwb takes it for that.
                drop(channel);
            }
        }
        if !is_ordered {
            continue;
        }
        let (order, channel, streams) = wire::next_order(&socket).ok()??;
        let namespaces = match &order {
            Order::Command(order) => {
                if let Err(error) = emulators.have(order.container.emulator.as_ref()) {
                    let report = Report::unsupported(Guarantee::Emulator, &error);
                    let _nobody_listens = wire::answer(&channel, &Answer::Refused(report), &[]);
                    continue;
                }
                // Made before the copy, so that the next one has it too.
                let _kept = filters.of(order);
                container::namespaces(order)
            }
            Order::Network(_) => super::network::NAMESPACES,
            Order::Work { .. } => UnshareFlags::empty(),
        };
        match os::clone_process(namespaces) {
            Ok(Some(process)) => running.push((process, channel)),
            Ok(None) => {
                return Some(match order {
                    Order::Command(order) => Task::Command { order, channel, streams },
                    Order::Network(order) => Task::Network { order, channel },
                    Order::Work { name } => Task::Work { name, channel, streams },
                });
            }
            Err(error) => {
                let report = Report::unsupported(Guarantee::Namespaces, &limit(error));
                let _nobody_listens = wire::answer(&channel, &Answer::Refused(report), &[]);
            }
        }
    }
}
