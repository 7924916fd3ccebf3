//! What only containers need of the kernel.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd, RawFd};

use rustix::mount::MountAttrFlags;
use rustix::process::Pid;
use rustix::thread::UnshareFlags;

use super::Extent;
use crate::seccomp::Instruction;

/// Makes a copy of this process in new namespaces: the copy gets `None`.
///
/// Not fork(2): that knows no namespaces, and a new namespace of processes could be entered in no other way more than
/// once.
#[expect(unsafe_code, reason = "no safe wrapper")]
pub(crate) fn clone_process(namespaces: UnshareFlags) -> io::Result<Option<Pid>> {
    let flags = i64::from(namespaces.bits()) | i64::from(libc::SIGCHLD);
    // SAFETY: the helper has one thread, so that no lock is held in the copy by a thread that is not there, and a keeper
    // of a namespace takes none; nothing of the memory is shared, and no stack is given: the copy goes on where this
    // process is.
    let result = unsafe { libc::syscall(libc::SYS_clone, flags, 0_i64, 0_i64, 0_i64, 0_i64) };
    match i32::try_from(result) {
        Ok(0) => Ok(None),
        Ok(number) if number > 0 => Ok(Pid::from_raw(number)),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Starts a process in a new user namespace that only waits for the end of `wait`.
///
/// It may be called where there are other threads: the copy makes system calls, and never returns.
pub(crate) fn keep_user_namespace(wait: &OwnedFd) -> io::Result<Pid> {
    if let Some(process) = clone_process(UnshareFlags::NEWUSER)? {
        return Ok(process);
    }
    // Whatever else is open here must not stay so because of this process.
    if super::duplicate_to(wait, 0).is_ok() && close_from(1) {
        while rustix::io::read(rustix::stdio::stdin(), &mut [0; 1]) == Err(rustix::io::Errno::INTR) {}
    }
    leave()
}

/// Closes every descriptor from `first` on; whether that could be done.
#[expect(unsafe_code, reason = "no safe wrapper")]
fn close_from(first: RawFd) -> bool {
    let (from, to) = (i64::from(first), i64::from(u32::MAX));
    // SAFETY: takes three numbers; the process uses none of these descriptors any more.
    let result = unsafe { libc::syscall(libc::SYS_close_range, from, to, 0_i64) };
    result == 0
}

/// Ends this process, and leaves everything as it is.
#[expect(unsafe_code, reason = "no safe wrapper")]
fn leave() -> ! {
    // SAFETY: nothing runs afterwards that could miss what was not done.
    unsafe { libc::_exit(0) }
}

/// Adds attributes to a mount, for root too; mount_setattr(2), since Linux 5.12.
#[expect(unsafe_code, reason = "no safe wrapper")]
pub(crate) fn restrict(mount: &OwnedFd, attributes: MountAttrFlags, extent: Extent) -> io::Result<()> {
    let attributes =
        libc::mount_attr { attr_set: attributes.bits().into(), attr_clr: 0, propagation: 0, userns_fd: 0 };
    let flags = match extent {
        Extent::Mount => libc::AT_EMPTY_PATH,
        Extent::Tree => libc::AT_EMPTY_PATH | libc::AT_RECURSIVE,
    };
    let (path, size) = (c"".as_ptr(), size_of::<libc::mount_attr>());
    let number = mount.as_raw_fd();
    // SAFETY: the path is a C string, and `attributes` has the size that is said; both live during the call.
    let result =
        unsafe { libc::syscall(libc::SYS_mount_setattr, number, path, flags, &raw const attributes, size) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Lets the kernel run `program` at each system call of this process from now on, and of all that it starts.
pub(crate) fn filter_calls(program: &[Instruction]) -> io::Result<()> {
    install_filter(program, 0).map(drop)
}

/// As [`filter_calls`], for a program that leaves some calls to whoever has the descriptor.
pub(crate) fn filter_calls_and_ask(program: &[Instruction]) -> io::Result<OwnedFd> {
    let number = install_filter(program, libc::SECCOMP_FILTER_FLAG_NEW_LISTENER)?;
    Ok(super::adopt(number))
}

#[expect(unsafe_code, reason = "no safe wrapper")]
fn install_filter(program: &[Instruction], flags: libc::c_ulong) -> io::Result<RawFd> {
    let mut program: Vec<_> = program
        .iter()
        .map(|&Instruction { code, if_true, if_false, operand }| libc::sock_filter {
            code,
            jt: if_true,
            jf: if_false,
            k: operand,
        })
        .collect();
    let length = program.len().try_into().map_err(|_| io::ErrorKind::InvalidInput)?;
    let program = libc::sock_fprog { len: length, filter: program.as_mut_ptr() };
    // SAFETY: `program` points to as many instructions as it says, and the kernel copies them during the call.
    let result =
        unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, flags, &raw const program) };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    RawFd::try_from(result).map_err(|_| io::ErrorKind::InvalidData.into())
}

/// A system call that somebody wants to make, and waits for the answer.
#[derive(Debug)]
pub(crate) struct Question {
    id: u64,
    pub(crate) process: u32,
    pub(crate) architecture: u32,
    pub(crate) number: u32,
    pub(crate) arguments: [u64; 5],
}

/// Takes the next question; seccomp_unotify(2).
#[expect(unsafe_code, reason = "no safe wrapper")]
pub(crate) fn next_question(listener: &OwnedFd) -> io::Result<Question> {
    let mut notification = no_notification();
    let (number, request) = (listener.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_RECV);
    // SAFETY: the kernel fills the structure, which lives during the call and is of its size.
    let result = unsafe { libc::ioctl(number, request, &raw mut notification) };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    let libc::seccomp_notif { id, pid, data, .. } = notification;
    let [a, b, c, d, e, _] = data.args;
    let number = data.nr.cast_unsigned();
    Ok(Question { id, process: pid, architecture: data.arch, number, arguments: [a, b, c, d, e] })
}

#[expect(unsafe_code, reason = "a C structure without a constructor")]
fn no_notification() -> libc::seccomp_notif {
    // SAFETY: all zeroes is what the kernel wants to find.
    unsafe { std::mem::zeroed() }
}

/// Lets the call return `errno`, or 0.
#[expect(unsafe_code, reason = "no safe wrapper")]
pub(crate) fn answer_question(listener: &OwnedFd, question: &Question, errno: i32) -> io::Result<()> {
    let answer = libc::seccomp_notif_resp { id: question.id, val: 0, error: -errno, flags: 0 };
    let (number, request) = (listener.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_SEND);
    // SAFETY: the structure lives during the call and is of the size that the kernel expects.
    let result = unsafe { libc::ioctl(number, request, &raw const answer) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Becomes `program`; returns only with the reason why not.
#[expect(unsafe_code, reason = "the standard library would hand files that are no programs to a shell")]
pub(crate) fn execute(program: &CString, arguments: &[CString], environment: &[CString]) -> io::Error {
    let pointers = |strings: &[CString]| -> Vec<*const libc::c_char> {
        strings.iter().map(|string| string.as_ptr()).chain([std::ptr::null()]).collect()
    };
    let (arguments, environment) = (pointers(arguments), pointers(environment));
    // SAFETY: both lists end with a null pointer, and their strings live until the call succeeds or returns.
    let _failed = unsafe { libc::execve(program.as_ptr(), arguments.as_ptr(), environment.as_ptr()) };
    io::Error::last_os_error()
}
