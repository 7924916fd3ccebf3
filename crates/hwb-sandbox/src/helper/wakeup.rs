//! Being woken by the end of a child.

use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};

use crate::os;
use crate::signals::Again;

/// Lets the end of a child wake whoever polls `descriptor`, which must stay open as long as this process.
pub(super) fn on_child(descriptor: &OwnedFd) -> io::Result<()> {
    os::set_wakeup(descriptor.as_raw_fd());
    os::install_wakeup_handler(libc::SIGCHLD, Again::SetsAgain)
}

/// Makes ready for the next one.
pub(super) fn clear(descriptor: &OwnedFd) {
    // Nothing to read is as good.
    let _empty = rustix::io::read(descriptor, &mut [0; 8]);
}
