//! What hwb and the holder say to each other: one value in JSON for each message, with descriptors beside it.
//!
//! An order goes to the holder in a file in memory, so that it may be as long as an environment; everything that concerns
//! a started process goes over a channel of that process.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, IoSlice, IoSliceMut, Seek as _, Write as _};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use hwb_ident::GuestPath;
use rustix::fs::MemfdFlags;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType,
};
use serde::{Deserialize, Serialize};

use super::{ContainerSpec, MissingCwd, NetworkProgram, User};
use crate::helper::Report;
use crate::session::ExitStatus;
use crate::spec::{Mount, Network};

/// No answer is longer.
const ANSWER_LIMIT: usize = 128 << 10;

/// No message carries more descriptors: an order, its channel, three streams, a control pipe, a network, and three control
/// groups.
const MOST_DESCRIPTORS: usize = 10;

/// What a holder is to start. The descriptors of the streams follow that of the channel, then that of an isolated network,
/// and those by which it enters control groups.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Order {
    /// A command in a container.
    Command(Box<CommandOrder>),
    /// A network that commands may have in place of one of their own.
    Network(NetworkOrder),
    /// A function of hwb's own, by its name.
    Work {
        /// Which.
        name: String,
    },
}

/// A command, and everything around it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct CommandOrder {
    pub(crate) container: ContainerSpec,
    pub(crate) mounts: Vec<Mount>,
    pub(crate) network: Network,
    pub(crate) owners: Owners,
    pub(crate) streams: StreamOrder,
    pub(crate) argv: Vec<OsString>,
    pub(crate) env: Vec<(OsString, OsString)>,
    pub(crate) cwd: GuestPath,
    pub(crate) missing_cwd: MissingCwd,
    pub(crate) user: User,
}

/// A network, which is to have a way out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct NetworkOrder {
    pub(crate) program: NetworkProgram,
}

/// Whether owners other than root can be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Owners {
    /// The files of the container belong to many.
    Many,
    /// Everything belongs to one id.
    One,
}

/// Where the streams of a command come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum StreamOrder {
    /// Three descriptors.
    Three,
    /// Three, and what becomes descriptor 3.
    ThreeAndControl,
    /// A terminal of the container, with this many rows and columns.
    Terminal { rows: u16, columns: u16 },
}

/// What is said of a started process, on its channel; its end says that it and everything it started is gone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Answer {
    /// To the holder: the user namespace that it is to enter, which has its ids, comes along.
    Mapped,
    /// The holder takes orders.
    Ready,
    /// The command runs. With a terminal, its other end comes along; a network comes itself.
    Started {
        /// The directories and files that were made for something to stand on.
        made: Vec<GuestPath>,
    },
    /// It was not started.
    Refused(Report),
    /// The command has ended.
    Ended(ExitStatus),
}

/// Both ends of a channel for whole messages.
pub(crate) fn channel() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?)
}

/// Sends `bytes` with `descriptors`.
fn send(to: &OwnedFd, bytes: &[u8], descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_DESCRIPTORS))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() && !control.push(SendAncillaryMessage::ScmRights(descriptors)) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    rustix::net::sendmsg(to, &[IoSlice::new(bytes)], &mut control, SendFlags::NOSIGNAL)?;
    Ok(())
}

/// Receives one message into `buffer`; of length 0 at the end.
fn receive(from: &OwnedFd, buffer: &mut [u8]) -> io::Result<(usize, Vec<OwnedFd>)> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_DESCRIPTORS))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let message = loop {
        match rustix::net::recvmsg(
            from,
            &mut [IoSliceMut::new(buffer)],
            &mut control,
            RecvFlags::CMSG_CLOEXEC,
        ) {
            Err(rustix::io::Errno::INTR) => {}
            // Whoever was killed meanwhile has no more to say either.
            Err(rustix::io::Errno::CONNRESET) => return Ok((0, Vec::new())),
            other => break other?,
        }
    };
    let mut descriptors = Vec::new();
    for part in control.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = part {
            descriptors.extend(rights);
        }
    }
    Ok((message.bytes, descriptors))
}

/// Says something on a channel.
pub(crate) fn answer(to: &OwnedFd, answer: &Answer, descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
    send(to, &serde_json::to_vec(answer)?, descriptors)
}

/// Waits for the next answer; `None` at the end.
pub(crate) fn next_answer(from: &OwnedFd) -> io::Result<Option<(Answer, Vec<OwnedFd>)>> {
    let mut buffer = vec![0; ANSWER_LIMIT];
    let (length, descriptors) = receive(from, &mut buffer)?;
    if length == 0 {
        return Ok(None);
    }
    Ok(Some((serde_json::from_slice(&buffer[..length])?, descriptors)))
}

/// Gives a holder an order; `descriptors` are the channel and the streams.
pub(crate) fn order(to: &OwnedFd, order: &Order, descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
    let mut file = File::from(rustix::fs::memfd_create("order", MemfdFlags::CLOEXEC)?);
    file.write_all(&serde_json::to_vec(order)?)?;
    file.rewind()?;
    let all: Vec<_> = std::iter::once(file.as_fd()).chain(descriptors.iter().copied()).collect();
    send(to, b"order", &all)
}

/// Waits for the next order, with the channel and the streams; `None` when nobody can give one any more.
pub(crate) fn next_order(from: &OwnedFd) -> io::Result<Option<(Order, OwnedFd, Vec<OwnedFd>)>> {
    let (length, descriptors) = receive(from, &mut [0; 8])?;
    if length == 0 {
        return Ok(None);
    }
    let mut descriptors = descriptors.into_iter();
    let (Some(file), Some(channel)) = (descriptors.next(), descriptors.next()) else {
        return Err(io::ErrorKind::InvalidData.into());
    };
    let order = serde_json::from_str(&io::read_to_string(File::from(file))?)?;
    Ok(Some((order, channel, descriptors.collect())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::container::{Capabilities, Limits, LostOwners, OldSockets, Root, RootAccess};

    #[test]
    fn orders_and_answers_arrive_with_their_descriptors() {
        use std::os::unix::ffi::OsStringExt as _;
        let sent = Order::Command(Box::new(CommandOrder {
            container: ContainerSpec {
                root: Root::Directory(hwb_ident::HostPath::new("/a b")),
                root_access: RootAccess::ReadOnly,
                places: Vec::new(),
                hostname: "box".to_owned(),
                capabilities: Capabilities::DOCKER,
                limits: Limits::default(),
                process_limits: Vec::new(),
                shared_memory: 1 << 20,
                emulator: None,
                lost_owners: LostOwners::Recorded,
                old_sockets: OldSockets::Refused,
            },
            mounts: Vec::new(),
            network: Network::Host,
            owners: Owners::Many,
            streams: StreamOrder::Three,
            argv: vec![OsString::from_vec(vec![0xff, b'x'])],
            env: vec![("LONG".into(), "x".repeat(1 << 20).into())],
            cwd: GuestPath::new("/"),
            missing_cwd: MissingCwd::Make,
            user: User::ROOT,
        }));
        let (here, there) = channel().unwrap();
        let (one, two) = channel().unwrap();
        order(&here, &sent, &[one.as_fd()]).unwrap();
        let (got, got_channel, rest) = next_order(&there).unwrap().unwrap();
        assert_eq!((got, rest.len()), (sent, 0));
        answer(&got_channel, &Answer::Ended(ExitStatus::Code(3)), &[here.as_fd()]).unwrap();
        drop((one, got_channel));
        let (got, descriptors) = next_answer(&two).unwrap().unwrap();
        assert_eq!((got, descriptors.len()), (Answer::Ended(ExitStatus::Code(3)), 1));
        assert!(next_answer(&two).unwrap().is_none());
        drop((here, descriptors));
        assert!(next_order(&there).unwrap().is_none());
    }
}
