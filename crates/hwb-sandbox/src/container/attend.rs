//! Staying with a command that has hwb's own streams, or a terminal of its own behind hwb's.

use std::io;
use std::os::fd::BorrowedFd;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::process::Signal;
use rustix::termios::{OptionalActions, Termios};

use super::strategy::ContainerProcess;
use crate::session::{ExitStatus, Nowhere, SandboxError};
use crate::signals::Relay;

/// The terminal in front of hwb.
#[derive(Debug, Clone, Copy)]
pub struct Console<'a> {
    /// Where keystrokes come from; `None` if the command gets none.
    pub input: Option<BorrowedFd<'a>>,
    /// Where its output goes.
    pub output: BorrowedFd<'a>,
}

impl Console<'_> {
    /// Rows and columns; of a usual size if it is no terminal.
    pub fn size(&self) -> (u16, u16) {
        rustix::termios::tcgetwinsize(self.output).map_or((24, 80), |size| (size.ws_row, size.ws_col))
    }
}

/// A terminal that passes every key on as it is, until this is dropped.
#[derive(Debug)]
struct Raw<'a> {
    terminal: BorrowedFd<'a>,
    before: Termios,
}

impl<'a> Raw<'a> {
    /// `None` if it is no terminal.
    fn enter(terminal: BorrowedFd<'a>) -> io::Result<Option<Self>> {
        let Ok(before) = rustix::termios::tcgetattr(terminal) else { return Ok(None) };
        let mut raw = before.clone();
        raw.make_raw();
        rustix::termios::tcsetattr(terminal, OptionalActions::Drain, &raw)?;
        Ok(Some(Self { terminal, before }))
    }
}

impl Drop for Raw<'_> {
    fn drop(&mut self) {
        // There is nobody to tell: it was his terminal.
        let _failed = rustix::termios::tcsetattr(self.terminal, OptionalActions::Flush, &self.before);
    }
}

impl ContainerProcess {
    /// Waits for its end, passing on the signals that hwb gets, and between its terminal and `console` what is typed and
    /// written.
    ///
    /// # Errors
    ///
    /// [`SandboxError::Watch`] if a terminal fails; the command has ended then.
    pub fn attend(mut self, relay: &Relay, console: Option<Console<'_>>) -> Result<ExitStatus, SandboxError> {
        let program = self.process().program().to_owned();
        let failed = |source| SandboxError::Watch { action: "watch", program: program.clone(), source };
        let raw = console.and_then(|console| console.input).map(Raw::enter).transpose().map_err(failed)?;
        let mut typed = Typed { input: console.and_then(|console| console.input), pending: Vec::new() };
        if let Some(terminal) = self.terminal() {
            rustix::io::ioctl_fionbio(terminal, true).map_err(|errno| failed(errno.into()))?;
        }
        while !self.turn(relay, console, &mut typed).map_err(failed)? {}
        if let (Some(terminal), Some(console)) = (self.terminal(), console) {
            while show(terminal, console.output).map_err(failed)? {}
        }
        drop(raw);
        self.process().finish(&mut Nowhere).map_err(failed)
    }

    /// Waits until something happens; `true` if it has ended.
    fn turn(
        &mut self,
        relay: &Relay,
        console: Option<Console<'_>>,
        typed: &mut Typed<'_>,
    ) -> io::Result<bool> {
        let (channel, terminal) = (self.descriptor(), self.terminal());
        let mut fds = vec![PollFd::new(channel, PollFlags::IN), PollFd::new(relay, PollFlags::IN)];
        if let Some(terminal) = &terminal {
            let flags = if typed.pending.is_empty() { PollFlags::IN } else { PollFlags::IN | PollFlags::OUT };
            fds.push(PollFd::new(terminal, flags));
            // One thing after the other: what was typed first arrives first.
            fds.extend(typed.wanted().map(|input| PollFd::new(input, PollFlags::IN)));
        }
        match poll(&mut fds, None) {
            Ok(_) => {}
            Err(Errno::INTR) => return Ok(false),
            Err(errno) => return Err(errno.into()),
        }
        let ready: Vec<bool> = fds.iter().map(|fd| !fd.revents().is_empty()).collect();
        drop(fds);
        let is_ready = |index: usize| ready.get(index).copied().unwrap_or_default();
        if let (Some(terminal), Some(console)) = (terminal, console) {
            if is_ready(2) {
                show(terminal, console.output)?;
            }
            if is_ready(3) {
                typed.read();
            }
            typed.write(terminal)?;
        }
        for signal in relay.take() {
            match (signal, self.terminal(), console) {
                (Signal::WINCH, Some(terminal), Some(console)) => {
                    if let Ok(size) = rustix::termios::tcgetwinsize(console.output) {
                        rustix::termios::tcsetwinsize(terminal, size)?;
                    }
                }
                (Signal::WINCH, ..) => {}
                (signal, ..) => self.signal(signal),
            }
        }
        if is_ready(0) { self.process().held().has_ended() } else { Ok(false) }
    }
}

/// Shows what the command has written; `false` if there is nothing, or nobody any more who would write.
fn show(terminal: BorrowedFd<'_>, output: BorrowedFd<'_>) -> io::Result<bool> {
    let mut buffer = [0; 4096];
    let mut written = match rustix::io::read(terminal, &mut buffer) {
        Ok(length) => &buffer[..length],
        // No end of it is open inside.
        Err(Errno::AGAIN | Errno::INTR | Errno::IO) => return Ok(false),
        Err(errno) => return Err(errno.into()),
    };
    let any = !written.is_empty();
    while !written.is_empty() {
        match rustix::io::write(output, written) {
            Ok(length) => written = &written[length..],
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(any)
}

/// What was typed, on its way to the command.
#[derive(Debug)]
struct Typed<'a> {
    input: Option<BorrowedFd<'a>>,
    pending: Vec<u8>,
}

impl<'a> Typed<'a> {
    /// Where the next is read from, if it is time.
    fn wanted(&self) -> Option<&BorrowedFd<'a>> {
        self.input.as_ref().filter(|_| self.pending.is_empty())
    }

    fn read(&mut self) {
        let Some(input) = self.input else { return };
        let mut buffer = [0; 4096];
        match rustix::io::read(input, &mut buffer) {
            Ok(0) => self.input = None,
            Ok(length) => self.pending.extend_from_slice(&buffer[..length]),
            Err(Errno::AGAIN | Errno::INTR) => {}
            // Gone, as terminals go.
            Err(_) => self.input = None,
        }
    }

    fn write(&mut self, terminal: BorrowedFd<'_>) -> io::Result<()> {
        if self.pending.is_empty() {
            return Ok(());
        }
        match rustix::io::write(terminal, &self.pending) {
            Ok(length) => {
                self.pending.drain(..length);
                Ok(())
            }
            Err(Errno::AGAIN | Errno::INTR) => Ok(()),
            // Nobody reads it any more.
            Err(Errno::IO) => {
                self.pending.clear();
                Ok(())
            }
            Err(errno) => Err(errno.into()),
        }
    }
}
