//! A user namespace that is given its ids while the holder is loaded, which enters it afterwards.
//!
//! The holder is not executed in there: the kernel would take what it executed for the namespace's own, and let whoever
//! has the right to trace in the container look into process 1.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;

use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, WaitOptions, waitpid};

use crate::os;
use crate::process::on_lasting_thread;

/// A process in a user namespace of its own, which does nothing; it ends with this value, or with hwb.
#[derive(Debug)]
pub(super) struct Keeper {
    process: Pid,
    /// It waits for the end of this.
    leave: Option<OwnedFd>,
}

impl Keeper {
    /// Starts it; nobody has ids in there yet.
    pub(super) fn start() -> io::Result<Self> {
        let (wait, leave) = pipe_with(PipeFlags::CLOEXEC)?;
        let process = on_lasting_thread(move || os::keep_user_namespace(&wait))??;
        Ok(Self { process, leave: Some(leave) })
    }

    /// Its number.
    pub(super) fn number(&self) -> u32 {
        self.process.as_raw_nonzero().get().unsigned_abs()
    }

    /// The namespace; it stays as long as this is open.
    pub(super) fn namespace(&self) -> io::Result<OwnedFd> {
        Ok(File::open(format!("/proc/{}/ns/user", self.number()))?.into())
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.leave = None;
        let _reaped = waitpid(Some(self.process), WaitOptions::empty());
    }
}
