//! Ctrl-C and SIGTERM stop what runs, in order.

use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _, IntoRawFd as _};
use std::sync::OnceLock;

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
    static INSTALLED: OnceLock<i32> = OnceLock::new();
    // The handler may run at any time until the end of the process: its descriptor is never closed.
    let duplicate = rustix::io::fcntl_dupfd_cloexec(cancel.as_fd(), 0)?;
    let raw = duplicate.as_raw_fd();
    if INSTALLED.set(raw).is_err() {
        return Ok(());
    }
    os::set_wakeup(duplicate.into_raw_fd());
    for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP] {
        os::install_wakeup_handler(signal)?;
    }
    Ok(())
}
