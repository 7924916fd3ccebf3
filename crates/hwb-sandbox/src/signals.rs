//! Ctrl-C and SIGTERM stop what runs, in order; or signals are passed on to what runs.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, IntoRawFd as _, OwnedFd};
use std::sync::Once;

use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::Signal;

use crate::cancel::Cancel;
use crate::os;

/// Lets SIGINT, SIGTERM and SIGHUP set `cancel`.
///
/// The second signal of a kind ends the process at once, as if nothing had been installed: whatever was started
/// then ends with it. Only the first call in a process has an effect.
///
/// # Errors
///
/// If the process has no descriptor left, or the kernel refuses a handler.
pub fn install(cancel: &Cancel) -> io::Result<()> {
    wake_on(cancel, Again::Kills)
}

/// What the second signal of a kind does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Again {
    /// What it does by default.
    Kills,
    /// The same as the first.
    SetsAgain,
}

pub(crate) fn wake_on(cancel: &Cancel, again: Again) -> io::Result<()> {
    static FIRST: Once = Once::new();
    // The handler may run at any time until the end of the process: its descriptor is never closed.
    let descriptor = rustix::io::fcntl_dupfd_cloexec(cancel.as_fd(), os::CONTROL_FD + 1)?;
    let mut installed = Ok(());
    FIRST.call_once(|| {
        os::set_wakeup(descriptor.into_raw_fd());
        installed = [libc::SIGINT, libc::SIGTERM, libc::SIGHUP]
            .into_iter()
            .try_for_each(|signal| os::install_wakeup_handler(signal, again));
    });
    installed
}

/// The signals that a program in a container gets as if it ran in hwb's place.
const RELAYED: [i32; 7] =
    [libc::SIGHUP, libc::SIGINT, libc::SIGQUIT, libc::SIGTERM, libc::SIGUSR1, libc::SIGUSR2, libc::SIGWINCH];

/// Signals that came to hwb, for a command; readable when there are some.
#[derive(Debug)]
pub struct Relay {
    signals: OwnedFd,
}

impl Relay {
    /// Takes the signals from now on, for good; [`install`] has no effect on them any more. The last one made gets them.
    ///
    /// # Errors
    ///
    /// If the process has no descriptor left, or the kernel refuses a handler.
    pub fn install() -> io::Result<Self> {
        let (signals, end) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
        // The handler may run at any time until the end of the process: its descriptor is never closed.
        os::set_relay(end.into_raw_fd());
        RELAYED.into_iter().try_for_each(os::install_relay_handler)?;
        Ok(Self { signals })
    }

    /// Those that came since the last time.
    pub(crate) fn take(&self) -> Vec<Signal> {
        let mut numbers = [0; 64];
        let length = rustix::io::read(&self.signals, &mut numbers).unwrap_or(0);
        numbers[..length].iter().filter_map(|&number| Signal::from_named_raw(number.into())).collect()
    }
}

impl AsFd for Relay {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.signals.as_fd()
    }
}
