//! Stopping commands from another thread.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};

/// Set once, from any thread, to stop every command that was given a clone of it.
///
/// A waiter polls its descriptor beside the command's own, so that stopping never waits for the next line of output.
#[derive(Debug, Clone)]
pub struct Cancel {
    // Written to once and never read: readable from then on.
    wakeup: Arc<OwnedFd>,
}

impl Cancel {
    /// Makes one that is not set.
    ///
    /// # Errors
    ///
    /// Only if the process has no descriptor left.
    pub fn new() -> io::Result<Self> {
        let wakeup = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Self { wakeup: Arc::new(wakeup) })
    }

    /// Asks all commands to stop; there is no way back.
    pub fn cancel(&self) {
        // The write can only fail because the counter is full: then it is set already.
        let _full = rustix::io::write(&*self.wakeup, &1_u64.to_ne_bytes());
    }

    /// Whether stopping was asked for.
    pub fn is_cancelled(&self) -> bool {
        let mut fds = [PollFd::new(&*self.wakeup, PollFlags::IN)];
        let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
        poll(&mut fds, Some(&at_once)).is_ok_and(|ready| ready > 0)
    }
}

/// The descriptor that becomes readable once stopping was asked for.
impl AsFd for Cancel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.wakeup.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_set_once_for_all_clones() {
        let cancel = Cancel::new().unwrap();
        let clone = cancel.clone();
        assert!(!clone.is_cancelled());
        cancel.cancel();
        cancel.cancel();
        assert!(clone.is_cancelled());
        assert!(cancel.is_cancelled());
    }
}
