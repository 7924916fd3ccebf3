//! Entering the namespaces of a session.

use std::io;

use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};
use rustix::thread::UnshareFlags;

use super::request::{Guarantee, Report, Request};
use super::root;
use crate::os;
use crate::spec::Network;

/// Enters what `request` asks for: a network of nothing but a loopback, a root of private mounts.
pub(super) fn enter(request: &Request) -> Result<(), Report> {
    let mut flags = UnshareFlags::empty();
    let mut guarantee = None;
    if !request.mounts.is_empty() {
        flags |= UnshareFlags::NEWNS;
        guarantee = Some(Guarantee::PrivateMounts);
    }
    match request.network {
        Network::Host => {}
        Network::Denied => {
            flags |= UnshareFlags::NEWNET;
            guarantee = Some(Guarantee::NoNetwork);
        }
        // Refused by hwb already.
        Network::Isolated => {
            return Err(Report::unsupported(Guarantee::IsolatedNetwork, &io::ErrorKind::Unsupported.into()));
        }
    }
    let Some(guarantee) = guarantee else {
        return Ok(());
    };
    unshare(flags).map_err(|error| Report::unsupported(guarantee, &error))?;
    if request.network == Network::Denied {
        raise_loopback().map_err(|error| Report::unsupported(Guarantee::NoNetwork, &error))?;
    }
    if request.mounts.is_empty() { Ok(()) } else { root::enter(&request.mounts) }
}

/// Enters new namespaces: by right if there is one, else inside a user namespace in which everybody keeps his number.
fn unshare(flags: UnshareFlags) -> io::Result<()> {
    if rustix::process::geteuid().is_root() && os::unshare(flags).is_ok() {
        return Ok(());
    }
    let (user, group) = (rustix::process::geteuid(), rustix::process::getegid());
    os::unshare(flags | UnshareFlags::NEWUSER).map_err(limit)?;
    map_one((user.as_raw(), user.as_raw()), (group.as_raw(), group.as_raw()))
}

/// Maps one user and one group, each as (inside, outside), in the user namespace that was just entered.
pub(super) fn map_one(user: (u32, u32), group: (u32, u32)) -> io::Result<()> {
    let write = |path: &str, text: String| {
        let mut file = std::fs::File::options().write(true).open(path)?;
        io::Write::write_all(&mut file, text.as_bytes())
    };
    // Without this no group may be mapped.
    write("/proc/self/setgroups", "deny".to_owned())?;
    write("/proc/self/uid_map", format!("{} {} 1", user.0, user.1))?;
    write("/proc/self/gid_map", format!("{} {} 1", group.0, group.1))
}

/// A kernel that has no namespaces left says that there is no space, which sounds like a disk; older ones said it so.
pub(crate) fn limit(error: io::Error) -> io::Error {
    match error.raw_os_error() {
        Some(libc::ENOSPC) => io::Error::from_raw_os_error(libc::EUSERS),
        _ => error,
    }
}

/// Sets the loopback interface up: tests and compilers talk to themselves over it.
///
/// One `RTM_NEWLINK` message of rtnetlink(7); in a new network namespace the loopback is interface 1.
pub(super) fn raise_loopback() -> io::Result<()> {
    const LENGTH: u32 = 32;
    const ACKNOWLEDGE: u16 = 1 | 4;
    const NEW_LINK: u16 = 16;
    const ERROR: u16 = 2;
    const UP: u32 = 1;
    let mut message = Vec::new();
    // Header: length, type, flags, sequence, sender.
    message.extend(LENGTH.to_ne_bytes());
    message.extend(NEW_LINK.to_ne_bytes());
    message.extend(ACKNOWLEDGE.to_ne_bytes());
    message.extend([0; 8]);
    // Body: family and type, interface, flags, which flags change.
    message.extend([0; 4]);
    message.extend(1_i32.to_ne_bytes());
    message.extend(UP.to_ne_bytes());
    message.extend(UP.to_ne_bytes());
    let socket =
        rustix::net::socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, None)?;
    rustix::net::send(&socket, &message, SendFlags::empty())?;
    let mut answer = [0; 256];
    let (length, _) = rustix::net::recv(&socket, &mut answer[..], RecvFlags::empty())?;
    let field = |at: usize| answer[..length].get(at..at + 4).and_then(|bytes| bytes.try_into().ok());
    let kind = field(4).map(|bytes: [u8; 4]| u16::from_ne_bytes([bytes[0], bytes[1]]));
    match (kind, field(16).map(i32::from_ne_bytes)) {
        (Some(ERROR), Some(0)) => Ok(()),
        (Some(ERROR), Some(error)) => Err(io::Error::from_raw_os_error(-error)),
        _ => Err(io::ErrorKind::InvalidData.into()),
    }
}
