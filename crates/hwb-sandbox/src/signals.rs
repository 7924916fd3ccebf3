//! Ctrl-C and SIGTERM stop what runs, in order.

use std::io;
use std::os::fd::{AsFd as _, IntoRawFd as _};
use std::sync::Once;

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
