//! What hwb holds of a process that it started, or had started.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt as _;
use std::process::Child;
use std::sync::Arc;

use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open};

use crate::container::Holder;
use crate::container::wire::{self, Answer};
use crate::session::ExitStatus;

/// A process, until it was reaped.
#[derive(Debug)]
pub(crate) enum Held {
    /// A child, the leader of a process group.
    Child {
        child: Child,
        /// Readable once the process has ended; it is reaped only after its group was killed, so that the group's
        /// number cannot mean anybody else.
        pidfd: OwnedFd,
    },
    /// A command in a container, or a work, started by a holder.
    Remote(Remote),
}

/// What a holder has started.
#[derive(Debug)]
pub(crate) struct Remote {
    /// Ends with it.
    pub(crate) _holder: Arc<Holder>,
    pub(crate) channel: OwnedFd,
    pub(crate) status: Option<ExitStatus>,
}

impl Held {
    pub(crate) fn child(child: Child) -> io::Result<Self> {
        let pidfd = pidfd_open(Pid::from_child(&child), PidfdFlags::empty())?;
        Ok(Self::Child { child, pidfd })
    }

    /// Readable when it may have ended.
    pub(crate) fn descriptor(&self) -> &OwnedFd {
        match self {
            Self::Child { pidfd, .. } => pidfd,
            Self::Remote(remote) => &remote.channel,
        }
    }

    /// Whether it has, if its descriptor is readable.
    pub(crate) fn has_ended(&mut self) -> io::Result<bool> {
        match self {
            Self::Child { .. } => Ok(true),
            Self::Remote(remote) => remote.has_ended(),
        }
    }

    /// Sends a signal to it; to its whole group, if it is a child.
    pub(crate) fn signal(&self, signal: Signal) {
        match self {
            Self::Child { child, .. } => {
                // It fails only if the group has no process left that we may signal.
                let _gone = kill_process_group(Pid::from_child(child), signal);
            }
            Self::Remote(remote) => remote.signal(signal),
        }
    }

    /// How it ended.
    pub(crate) fn reap(&mut self) -> io::Result<ExitStatus> {
        match self {
            Self::Child { child, .. } => {
                let status = child.wait()?;
                Ok(match (status.code(), status.signal()) {
                    (Some(code), _) => ExitStatus::Code(code),
                    (None, signal) => ExitStatus::Signal(signal.unwrap_or(libc::SIGKILL)),
                })
            }
            Self::Remote(remote) => {
                while !remote.has_ended()? {}
                // Nobody tells how it ended if process 1 of the container was killed, and everything with it.
                Ok(remote.status.unwrap_or(ExitStatus::Signal(libc::SIGKILL)))
            }
        }
    }
}

impl Remote {
    /// Takes the next message; `true` if it was the end of them, and so of everything in the container.
    fn has_ended(&mut self) -> io::Result<bool> {
        match wire::next_answer(&self.channel)? {
            None => return Ok(true),
            Some((Answer::Ended(status), _)) => self.status = self.status.or(Some(status)),
            Some((Answer::Mapped | Answer::Ready | Answer::Started { .. } | Answer::Refused(_), _)) => {}
        }
        Ok(false)
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let number = u8::try_from(signal.as_raw()).unwrap_or_default();
        // It fails only if there is nobody left to tell.
        let _gone = rustix::net::send(&self.channel, &[number], rustix::net::SendFlags::NOSIGNAL);
    }
}
