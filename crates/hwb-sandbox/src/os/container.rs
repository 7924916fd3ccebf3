//! What only containers need of the kernel.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};

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
    // SAFETY: the helper has one thread, so that no lock is held in the copy by a thread that is not there; nothing of
    // the memory is shared, and no stack is given: the copy goes on where this process is.
    let result = unsafe { libc::syscall(libc::SYS_clone, flags, 0_i64, 0_i64, 0_i64, 0_i64) };
    match i32::try_from(result) {
        Ok(0) => Ok(None),
        Ok(number) if number > 0 => Ok(Pid::from_raw(number)),
        _ => Err(io::Error::last_os_error()),
    }
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
#[expect(unsafe_code, reason = "no safe wrapper")]
pub(crate) fn filter_calls(program: &[Instruction]) -> io::Result<()> {
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
        unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, 0, &raw const program) };
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
