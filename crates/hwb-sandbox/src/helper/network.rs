//! What keeps a network of a session's own, and the program that connects it with the host's.
//!
//! It is a copy of the holder, process 1 of a namespace of processes. It starts the program while it is in the host's
//! network, and only then enters a new one, for the program to find it there. When it ends, the kernel ends the program,
//! also one that went into the background.

use std::convert::Infallible;
use std::ffi::CString;
use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::process::ExitCode;

use rustix::io::{Errno, FdFlags};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{DumpableBehavior, Pid, Signal, WaitOptions};
use rustix::thread::UnshareFlags;

use super::container::set_capabilities;
use super::namespaces::raise_loopback;
use super::request::{Guarantee, Report};
use crate::container::network::Readiness;
use crate::container::wire::{self, Answer, NetworkOrder};
use crate::container::{Capabilities, NetworkProgram};
use crate::os;

/// No complaint of a program is passed on any longer.
const COMPLAINT_LIMIT: u64 = 4 << 10;

/// The namespaces of process 1: the network's comes later.
pub(super) const NAMESPACES: UnshareFlags = UnshareFlags::NEWPID;

/// Makes the network and keeps it until nobody wants it any more.
pub(super) fn main(order: &NetworkOrder, channel: &OwnedFd) -> ExitCode {
    match start(&order.program) {
        Ok(Some(Attached { namespace, said: _said })) => {
            let started = Answer::Started { made: Vec::new() };
            if wire::answer(channel, &started, &[namespace.as_fd()]).is_ok() {
                wait_for_end(channel);
            }
            ExitCode::SUCCESS
        }
        Ok(None) => ExitCode::FAILURE,
        Err(report) => {
            let _nobody_listens = wire::answer(channel, &Answer::Refused(report), &[]);
            ExitCode::FAILURE
        }
    }
}

/// A network with a way out.
struct Attached {
    namespace: OwnedFd,
    /// Kept open and never emptied: what the program says from now on is lost when it is full, and nothing waits.
    said: OwnedFd,
}

/// The pipes between process 1 and the program: what is read from, and what is written to.
struct Pipes {
    /// Closed when the program may begin.
    begin: (OwnedFd, OwnedFd),
    /// Where it says that it has begun.
    ready: (OwnedFd, OwnedFd),
    /// What it complains about.
    said: (OwnedFd, OwnedFd),
}

/// Enters a new network, and has `program` connect it; `None` in the copy that was to become the program.
fn start(program: &NetworkProgram) -> Result<Option<Attached>, Report> {
    let step = |step: &'static str| move |error: io::Error| Report::setup(step.to_owned(), &error);
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))
        .map_err(|errno| step("follow the holder")(errno.into()))?;
    // The holder's own is for its children.
    os::restore_default(libc::SIGCHLD).map_err(step("reset signals"))?;
    // As the host counts: the program sees the host's /proc.
    let own = fs_err::read_link("/proc/self").map_err(step("find its own number"))?;
    let pipe =
        |flags| pipe_with(PipeFlags::CLOEXEC | flags).map_err(|errno| step("make a pipe")(errno.into()));
    let pipes = Pipes {
        begin: pipe(PipeFlags::empty())?,
        ready: pipe(PipeFlags::empty())?,
        said: pipe(PipeFlags::NONBLOCK)?,
    };
    let words = program.command_line(&own.to_string_lossy(), pipes.ready.1.as_raw_fd());
    let Some(process) = os::clone_process(UnshareFlags::empty()).map_err(step("start a process"))? else {
        become_program(program, words, pipes);
        return Ok(None);
    };
    let Pipes { begin, ready, said } = pipes;
    drop((begin.0, ready.1, said.1));
    enter_network().map_err(|error| Report::unsupported(Guarantee::IsolatedNetwork, &error))?;
    drop(begin.1);
    let has_begun = match program.kind.readiness() {
        Readiness::Exit => {
            has_succeeded(process).map_err(|errno| step("wait for the network")(errno.into()))?
        }
        Readiness::Message => matches!(File::from(ready.0).read(&mut [0]), Ok(1)),
    };
    if !has_begun {
        return Err(Report::Network(complaint(said.0)));
    }
    let namespace = File::open("/proc/self/ns/net").map_err(step("open the network"))?;
    Ok(Some(Attached { namespace: namespace.into(), said: said.0 }))
}

/// Enters a new network, and lets the program open it: that has few rights by then, and may look into nobody who has more.
fn enter_network() -> io::Result<()> {
    os::unshare(UnshareFlags::NEWNET)?;
    raise_loopback()?;
    set_capabilities(Capabilities::NONE)?;
    Ok(rustix::process::set_dumpable_behavior(DumpableBehavior::Dumpable)?)
}

fn has_succeeded(process: Pid) -> rustix::io::Result<bool> {
    loop {
        match rustix::process::waitpid(Some(process), WaitOptions::empty()) {
            Err(Errno::INTR) => {}
            ended => return Ok(ended?.and_then(|(_, status)| status.exit_status()) == Some(0)),
        }
    }
}

/// Becomes the program, or says why not where that would have complained.
fn become_program(program: &NetworkProgram, words: Vec<String>, pipes: Pipes) {
    let Pipes { begin, ready, said } = pipes;
    drop(begin.1);
    let _at_the_end = File::from(begin.0).read(&mut [0]);
    let attempt = || -> io::Result<Infallible> {
        rustix::stdio::dup2_stdout(&said.1)?;
        rustix::stdio::dup2_stderr(&said.1)?;
        if program.kind.readiness() == Readiness::Message {
            rustix::io::fcntl_setfd(&ready.1, FdFlags::empty())?;
        }
        // pasta takes one that is ignored for a failure.
        os::restore_default(libc::SIGPIPE)?;
        let path = CString::new(program.path.as_os_str().as_bytes())?;
        let words = words.into_iter().map(CString::new).collect::<Result<Vec<_>, _>>()?;
        Err(os::execute(&path, &words, &[]))
    };
    let Err(error) = attempt();
    let _nobody_listens = File::from(said.1).write_all(error.to_string().as_bytes());
}

/// What the program wrote, in one line; without what it says of the system's log, which it cannot reach.
fn complaint(said: OwnedFd) -> String {
    let mut bytes = Vec::new();
    // A daemon may still hold the other end: there is no more than what is there.
    let _at_the_end = File::from(said).take(COMPLAINT_LIMIT).read_to_end(&mut bytes);
    let text = String::from_utf8_lossy(&bytes);
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.ends_with("to syslog"));
    let said = lines.collect::<Vec<_>>().join("; ");
    if said.is_empty() { "it said nothing".to_owned() } else { said }
}

/// Waits until nobody holds the other end of `channel` any more.
fn wait_for_end(channel: &OwnedFd) {
    while !matches!(rustix::io::read(channel, &mut [0; 64]), Ok(0)) {}
}
