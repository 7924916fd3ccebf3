//! The calls that the compiler cannot check, one in each function.
//!
//! Everything that runs between fork and exec ([`Prelude::run`]) or in a signal handler makes system calls only: it
//! neither allocates nor takes a lock, for another thread may hold the one it would need.

use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd, RawFd};
use std::os::unix::process::CommandExt as _;
use std::process::Command;
use std::sync::atomic::{AtomicI32, Ordering};

use rustix::fs::Mode;
use rustix::io::FdFlags;
use rustix::process::{Pid, Signal};
use rustix::thread::UnshareFlags;

use crate::signals::Again;

mod container;

pub(crate) use self::container::{
    Question, answer_question, clone_process, execute, filter_calls, filter_calls_and_ask,
    keep_user_namespace, next_question, restrict,
};

/// Where a command finds its control pipe.
pub(crate) const CONTROL_FD: RawFd = 3;

/// The writing end of a signal handler's wake-up; -1 before there is one.
static WAKEUP: AtomicI32 = AtomicI32::new(-1);

/// The writing end of a pipe that signals go into; -1 before there is one.
static RELAY: AtomicI32 = AtomicI32::new(-1);

/// What a new process does before it executes its program.
#[derive(Debug)]
pub(crate) struct Prelude {
    /// Who starts it: if that has ended meanwhile, the program is not executed.
    pub(crate) parent: Pid,
    /// What it is sent when the thread that started it ends.
    pub(crate) death_signal: Signal,
    /// Descriptors that it keeps under their number.
    pub(crate) inherited: Vec<OwnedFd>,
    /// What becomes its descriptor 3.
    pub(crate) control: Option<ControlEnd>,
}

/// The writing end of a control pipe, on its way to descriptor 3 of a new process.
#[derive(Debug)]
pub(crate) enum ControlEnd {
    /// It has that number already.
    InPlace(OwnedFd),
    /// Number 3 belongs to something else here, which the new process must still find under it.
    Elsewhere {
        /// The writing end.
        end: OwnedFd,
        /// Device and inode of what has number 3.
        occupant: (u64, u64),
    },
}

impl ControlEnd {
    /// Takes number 3 for `end` if it is free.
    ///
    /// It matters what stands there: the standard library has a pipe of its own between fork and exec, and a blind
    /// `dup2` might hit it. Held or recognised, number 3 is never that pipe.
    pub(crate) fn claim(end: OwnedFd) -> io::Result<Self> {
        let claimed = rustix::io::fcntl_dupfd_cloexec(&end, CONTROL_FD)?;
        if claimed.as_raw_fd() == CONTROL_FD {
            return Ok(Self::InPlace(claimed));
        }
        match identify(CONTROL_FD) {
            Ok(occupant) => Ok(Self::Elsewhere { end, occupant }),
            // It was freed in between.
            Err(rustix::io::Errno::BADF) => Err(io::ErrorKind::Interrupted.into()),
            Err(error) => Err(error.into()),
        }
    }

    fn install(&self) -> io::Result<()> {
        match self {
            Self::InPlace(end) => rustix::io::fcntl_setfd(end, FdFlags::empty())?,
            Self::Elsewhere { end, occupant } => {
                if identify(CONTROL_FD)? != *occupant {
                    return Err(rustix::io::Errno::INTR.into());
                }
                duplicate_to(end, CONTROL_FD)?;
            }
        }
        Ok(())
    }
}

impl Prelude {
    /// Runs between fork and exec.
    fn run(&self) -> io::Result<()> {
        rustix::process::set_parent_process_death_signal(Some(self.death_signal))?;
        if rustix::process::getppid() != Some(self.parent) {
            return Err(rustix::io::Errno::SRCH.into());
        }
        // A session of its own: no terminal to ask questions on, and a process group to be killed by.
        rustix::process::setsid()?;
        rustix::process::umask(Mode::WGRP | Mode::WOTH);
        // What others left open above standard error is not for foreign code. Kernels before 5.11 cannot do this
        // at once; then only what was opened without close-on-exec remains.
        close_on_exec_from(CONTROL_FD);
        for descriptor in &self.inherited {
            rustix::io::fcntl_setfd(descriptor, FdFlags::empty())?;
        }
        self.control.as_ref().map_or(Ok(()), ControlEnd::install)
    }
}

/// Lets `command` run `prelude` before it executes its program.
#[expect(unsafe_code, reason = "what runs between fork and exec must be async-signal-safe")]
pub(crate) fn before_exec(command: &mut Command, prelude: Prelude) {
    let run = move || prelude.run();
    // SAFETY: `Prelude::run` makes system calls on values that were made before; errors are plain numbers.
    unsafe { command.pre_exec(run) };
}

/// Device and inode of what `number` stands for.
#[expect(unsafe_code, reason = "a descriptor that somebody else owns")]
fn identify(number: RawFd) -> rustix::io::Result<(u64, u64)> {
    // SAFETY: the descriptor is used for one call; if nobody has it open, the call fails and touches nothing.
    let descriptor = unsafe { BorrowedFd::borrow_raw(number) };
    let stat = rustix::fs::fstat(descriptor)?;
    Ok((stat.st_dev, stat.st_ino))
}

/// Makes `number` another name of `descriptor`, in a process where nobody else uses `number`: between fork and exec,
/// and in the helper.
#[expect(unsafe_code, reason = "replaces a descriptor that somebody else owns")]
pub(crate) fn duplicate_to(descriptor: &OwnedFd, number: RawFd) -> io::Result<()> {
    // SAFETY: the callers own the whole process, with its only thread.
    let result = unsafe { libc::dup2(descriptor.as_raw_fd(), number) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Marks every descriptor from `first` on as to be closed at exec.
#[expect(unsafe_code, reason = "no safe wrapper")]
fn close_on_exec_from(first: RawFd) {
    let (from, to, flags) = (i64::from(first), i64::from(u32::MAX), i64::from(libc::CLOSE_RANGE_CLOEXEC));
    // SAFETY: takes three numbers; descriptors stay open until exec.
    let _result = unsafe { libc::syscall(libc::SYS_close_range, from, to, flags) };
}

/// Takes over a descriptor that this process was started with.
#[expect(unsafe_code, reason = "its number came as an argument")]
pub(crate) fn adopt(number: RawFd) -> OwnedFd {
    // SAFETY: hwb passed it on for the helper, which takes each of its numbers once; a wrong one fails when it is used.
    unsafe { OwnedFd::from_raw_fd(number) }
}

/// Enters new namespaces.
#[expect(unsafe_code, reason = "sharing of descriptors could be undone between threads")]
pub(crate) fn unshare(flags: UnshareFlags) -> io::Result<()> {
    debug_assert!(!flags.contains(UnshareFlags::FILES), "descriptors stay shared");
    // SAFETY: no flag that is passed here concerns descriptors, and the helper has one thread.
    Ok(unsafe { rustix::thread::unshare_unsafe(flags) }?)
}

/// What a change of a mount concerns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Extent {
    /// This mount.
    Mount,
    /// This mount and all below it.
    Tree,
}

/// Says what a signal handler writes to; it must stay open for ever.
pub(crate) fn set_wakeup(descriptor: RawFd) {
    WAKEUP.store(descriptor, Ordering::SeqCst);
}

/// Says what signals that are relayed are written to; it must stay open for ever.
pub(crate) fn set_relay(descriptor: RawFd) {
    RELAY.store(descriptor, Ordering::SeqCst);
}

/// Lets `signal` wake up whoever polls what [`set_wakeup`] named; `again` says what its
/// second arrival does.
pub(crate) fn install_wakeup_handler(signal: i32, again: Again) -> io::Result<()> {
    let flags = match again {
        Again::Kills => libc::SA_RESTART | libc::SA_RESETHAND,
        Again::SetsAgain => libc::SA_RESTART,
    };
    install_handler(signal, wake_up, flags)
}

/// Lets the number of `signal` be written to what [`set_relay`] named, as one byte.
pub(crate) fn install_relay_handler(signal: i32) -> io::Result<()> {
    install_handler(signal, relay, libc::SA_RESTART)
}

#[expect(unsafe_code, reason = "signal handlers are a C interface")]
fn install_handler(signal: i32, handler: extern "C" fn(i32), flags: i32) -> io::Result<()> {
    let mut action = default_action();
    action.sa_sigaction = handler as *const () as libc::sighandler_t;
    action.sa_flags = flags;
    // SAFETY: `action` lives during the call, and its handler makes one system call only.
    let result = unsafe { libc::sigaction(signal, &raw const action, std::ptr::null_mut()) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Lets `signal` do what it does by default.
#[expect(unsafe_code, reason = "signal handlers are a C interface")]
pub(crate) fn restore_default(signal: i32) -> io::Result<()> {
    let action = default_action();
    // SAFETY: `action` lives during the call and has no handler.
    let result = unsafe { libc::sigaction(signal, &raw const action, std::ptr::null_mut()) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Lets every signal do what it does by default, those too that were ignored when hwb was started (nohup).
pub(crate) fn restore_all_defaults() -> io::Result<()> {
    // Those after them are the C library's and programs' own.
    let signals = libc::SIGHUP..=libc::SIGSYS;
    signals.filter(|signal| ![libc::SIGKILL, libc::SIGSTOP].contains(signal)).try_for_each(restore_default)
}

#[expect(unsafe_code, reason = "a C structure without a constructor")]
fn default_action() -> libc::sigaction {
    // SAFETY: all zeroes is a valid `sigaction`: no flags, an empty mask, the default action.
    unsafe { std::mem::zeroed() }
}

#[expect(unsafe_code, reason = "a descriptor out of a static")]
extern "C" fn wake_up(_signal: i32) {
    let number = WAKEUP.load(Ordering::SeqCst);
    if number < 0 {
        return;
    }
    // SAFETY: `set_wakeup` was given a descriptor that is never closed.
    let descriptor = unsafe { BorrowedFd::borrow_raw(number) };
    // No `errno` is touched: the call is made without the C library.
    let _full = rustix::io::write(descriptor, &1_u64.to_ne_bytes());
}

#[expect(unsafe_code, reason = "a descriptor out of a static")]
extern "C" fn relay(signal: i32) {
    let (number, Ok(byte)) = (RELAY.load(Ordering::SeqCst), u8::try_from(signal)) else { return };
    if number < 0 {
        return;
    }
    // SAFETY: `set_relay` was given a descriptor that is never closed.
    let descriptor = unsafe { BorrowedFd::borrow_raw(number) };
    // No `errno` is touched: the call is made without the C library.
    let _full = rustix::io::write(descriptor, &[byte]);
}

/// Makes the allocator give allocations of so many bytes and more back to the system as soon as they are free.
#[cfg(target_env = "gnu")]
#[expect(unsafe_code, reason = "a setting of the C library")]
pub(crate) fn return_allocations(least: i32) {
    // SAFETY: it takes numbers, and changes how memory is found for later allocations only.
    let _is_done = unsafe { libc::mallopt(libc::M_MMAP_THRESHOLD, least) };
}
