//! Staying with a command until it and everything it started has ended.

use std::os::unix::process::ExitStatusExt as _;
use std::process::{ExitCode, ExitStatus};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, WaitOptions};

use super::Held;
use crate::os;

/// How long a command may take to end after it was asked to.
const GRACE: Duration = Duration::from_secs(1);

/// Waits for the command, ends what it left behind, and ends like it.
pub(super) fn hold(mut held: Held) -> ExitCode {
    await_end(&held);
    end(&mut held).map_or(ExitCode::FAILURE, |status| end_like(status, rustix::process::getpid()))
}

/// Ends the command, if it has not ended, and what it left behind; says how it ended.
pub(super) fn end(held: &mut Held) -> Option<ExitStatus> {
    if let Ok(None) = held.child.try_wait() {
        kill(Pid::from_child(&held.child));
    }
    let status = held.child.wait().ok();
    end_descendants(rustix::process::getpid());
    status
}

/// Returns when the command has ended, or had its time to end after a signal.
fn await_end(held: &Held) {
    let Ok(pidfd) = rustix::process::pidfd_open(Pid::from_child(&held.child), PidfdFlags::empty()) else {
        return;
    };
    let mut deadline: Option<Instant> = None;
    loop {
        let timeout = deadline.map(|deadline| {
            let left = deadline.saturating_duration_since(Instant::now());
            Timespec { tv_sec: left.as_secs().cast_signed(), tv_nsec: left.subsec_nanos().into() }
        });
        let mut fds = vec![PollFd::new(&pidfd, PollFlags::IN)];
        if deadline.is_none() {
            fds.push(PollFd::new(&held.cancel, PollFlags::IN));
        }
        match poll(&mut fds, timeout.as_ref()) {
            Ok(0) => return,
            Ok(_) if !fds[0].revents().is_empty() => return,
            // Whoever sent the signal sent it to the whole group, unless it came from hwb's death.
            Ok(_) if rustix::process::getppid() != Some(held.parent) => return,
            Ok(_) => deadline = Some(Instant::now() + GRACE),
            Err(rustix::io::Errno::INTR) => {}
            Err(_) => return,
        }
    }
}

fn kill(process: Pid) {
    // It fails only if the process is gone.
    let _gone = rustix::process::kill_process(process, Signal::KILL);
}

/// Kills children until there are none: each orphan becomes a child of its reaper.
fn end_descendants(own: Pid) {
    let children = format!("/proc/self/task/{own}/children");
    loop {
        let listed = fs_err::read_to_string(&children).unwrap_or_default();
        for child in listed.split_ascii_whitespace() {
            if let Some(child) = child.parse().ok().and_then(Pid::from_raw) {
                kill(child);
            }
        }
        // A kernel that does not list children leaves those that still run to init.
        let options = if listed.is_empty() { WaitOptions::NOHANG } else { WaitOptions::empty() };
        match rustix::process::wait(options) {
            Ok(Some(_)) | Err(rustix::io::Errno::INTR) => {}
            Ok(None) | Err(_) => return,
        }
    }
}

/// Ends with the code of the command, or by its signal.
fn end_like(status: ExitStatus, own: Pid) -> ExitCode {
    if let Some(code) = status.code() {
        return u8::try_from(code).map_or(ExitCode::FAILURE, ExitCode::from);
    }
    let number = status.signal().unwrap_or(libc::SIGKILL);
    // One core file was enough.
    let _limited = rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable);
    let _reset = os::restore_default(number);
    if let Some(signal) = Signal::from_named_raw(number) {
        let _sent = rustix::process::kill_process(own, signal);
    }
    ExitCode::FAILURE
}
