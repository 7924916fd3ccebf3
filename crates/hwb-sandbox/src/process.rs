//! One started process: its output is passed on, its end is awaited, what it leaves behind is ended.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read as _, Write};
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{OnceLock, mpsc};
use std::time::{Duration, Instant};

use hwb_ident::GuestPath;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::Signal;

use crate::cancel::Cancel;
use crate::held::Held;
use crate::helper::{HELPER_ARGUMENT, Report, Request};
use crate::os::{self, ControlEnd, Prelude};
use crate::session::{Deadline, ExitStatus, Nowhere, OutputSink, Running, SandboxError, Stream};
use crate::spec::SessionSpec;

/// No answer on a control pipe is longer; what is, is no answer.
const ANSWER_LIMIT: usize = 64 << 20;

/// No report of a helper is longer.
const REPORT_LIMIT: u64 = 64 << 10;

/// What to start.
#[derive(Debug)]
pub(crate) struct Launch {
    pub(crate) program: OsString,
    pub(crate) arguments: Vec<OsString>,
    pub(crate) env: BTreeMap<OsString, OsString>,
    pub(crate) cwd: PathBuf,
    pub(crate) channels: Channels,
    pub(crate) way: Way,
}

/// How a process is started.
#[derive(Debug, Clone)]
pub(crate) enum Way {
    /// As it is.
    Direct,
    /// By the helper, in a session of its own.
    Helper {
        /// The helper's binary.
        helper: PathBuf,
        /// What the session is.
        session: SessionSpec,
    },
}

/// The pipes beside standard output and error.
#[derive(Debug)]
pub(crate) enum Channels {
    /// None; standard input is empty.
    Closed,
    /// Standard input.
    Input,
    /// Standard input, and answers on descriptor 3.
    InputAndAnswers,
}

/// Who ends the descendants of the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Supervision {
    /// We do, by its process group.
    Group,
    /// The helper, which the process is.
    Helper,
    /// Process 1 of its container.
    Container,
}

impl Supervision {
    /// How long it may take to end after SIGTERM.
    fn grace(self) -> Duration {
        match self {
            Self::Group | Self::Container => Duration::from_secs(1),
            // It has its own grace for the command, and then some descendants to end.
            Self::Helper => Duration::from_secs(5),
        }
    }
}

/// A started process, the leader of its own session and process group.
#[derive(Debug)]
pub(crate) struct Process {
    program: String,
    held: Held,
    stdin: Option<File>,
    stdout: Option<OwnedFd>,
    stderr: Option<OwnedFd>,
    answers: Option<OwnedFd>,
    answered: Vec<u8>,
    supervision: Supervision,
    status: Option<ExitStatus>,
}

/// A command with the pipes that go into it and those that come out of it.
struct Prepared {
    command: Command,
    answers: Option<OwnedFd>,
    reports: Option<File>,
    supervision: Supervision,
    program: String,
}

impl Launch {
    fn prepare(&self) -> io::Result<Prepared> {
        let parent = rustix::process::getpid();
        let (answers, answers_end) = match self.channels {
            Channels::Closed | Channels::Input => (None, None),
            Channels::InputAndAnswers => {
                let (answers, end) = pipe_with(PipeFlags::CLOEXEC)?;
                (Some(answers), Some(end))
            }
        };
        let program = self.program.display().to_string();
        match &self.way {
            Way::Direct => {
                let supervision = Supervision::Group;
                let control = answers_end.map(ControlEnd::claim).transpose()?;
                let mut command = self.command(&self.program, &self.arguments, &self.cwd);
                let prelude = Prelude { parent, death_signal: Signal::KILL, inherited: Vec::new(), control };
                os::before_exec(&mut command, prelude);
                Ok(Prepared { command, answers, reports: None, supervision, program })
            }
            Way::Helper { helper, session } => {
                let supervision = Supervision::Helper;
                let (reports, reports_end) = pipe_with(PipeFlags::CLOEXEC)?;
                let request = Request {
                    parent,
                    reports: reports_end.as_raw_fd(),
                    control: answers_end.as_ref().map(OwnedFd::as_raw_fd),
                    network: session.network,
                    mounts: session.mounts.clone(),
                    cwd: GuestPath::new(&self.cwd),
                    argv: std::iter::once(&self.program)
                        .filter(|program| !program.is_empty())
                        .chain(&self.arguments)
                        .cloned()
                        .collect(),
                };
                let arguments: Vec<_> =
                    std::iter::once(HELPER_ARGUMENT.into()).chain(request.to_args()).collect();
                let mut command = self.command(helper.as_os_str(), &arguments, Path::new("/"));
                let inherited = [reports_end].into_iter().chain(answers_end).collect();
                // It ends the command before itself.
                let death_signal = Signal::TERM;
                os::before_exec(&mut command, Prelude { parent, death_signal, inherited, control: None });
                Ok(Prepared { command, answers, reports: Some(File::from(reports)), supervision, program })
            }
        }
    }

    fn command(&self, program: &OsStr, arguments: &[OsString], cwd: &Path) -> Command {
        #[expect(clippy::disallowed_methods, reason = "this crate is where processes are started")]
        let mut command = Command::new(program);
        command.args(arguments).env_clear().envs(&self.env).current_dir(cwd);
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).stdin(match self.channels {
            Channels::Closed => Stdio::null(),
            Channels::Input | Channels::InputAndAnswers => Stdio::piped(),
        });
        command
    }
}

impl Prepared {
    /// Starts it; also gives where the helper reports.
    fn spawn(self) -> io::Result<(Process, Option<File>)> {
        let Self { mut command, answers, reports, supervision, program } = self;
        let mut child = on_lasting_thread(move || command.spawn())??;
        let pipes = Pipes {
            stdin: child.stdin.take().map(|stdin| File::from(OwnedFd::from(stdin))),
            stdout: child.stdout.take().map(OwnedFd::from),
            stderr: child.stderr.take().map(OwnedFd::from),
            answers,
        };
        let process = Process::new(program, Held::child(child)?, pipes, supervision)?;
        Ok((process, reports))
    }
}

/// Our ends of the pipes of a process.
#[derive(Debug, Default)]
pub(crate) struct Pipes {
    pub(crate) stdin: Option<File>,
    pub(crate) stdout: Option<OwnedFd>,
    pub(crate) stderr: Option<OwnedFd>,
    pub(crate) answers: Option<OwnedFd>,
}

/// Why the helper of the strategy `sandbox` did not start `program`.
pub(crate) fn refusal(sandbox: &'static str, report: Report, program: String) -> SandboxError {
    match report {
        Report::Unsupported(guarantee, error) => SandboxError::Unsupported {
            sandbox,
            demand: guarantee.demand(),
            source: Some(match error {
                libc::EUSERS => io::Error::other("the limit of user namespaces is reached"),
                error => io::Error::from_raw_os_error(error),
            }),
        },
        Report::Setup(step, error) => {
            SandboxError::Setup { step, program, source: io::Error::from_raw_os_error(error) }
        }
        Report::Network(said) => SandboxError::Network { program, said },
        Report::Spawn(error) => SandboxError::Spawn { program, source: io::Error::from_raw_os_error(error) },
        Report::Started => SandboxError::Spawn { program, source: io::ErrorKind::InvalidData.into() },
    }
}

/// What one look at all descriptors found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Turn {
    /// Perhaps some output.
    Running,
    /// The process has ended.
    Ended,
    /// Stopping was asked for.
    Cancelled,
    /// The deadline has passed.
    TimedOut,
}

impl Process {
    /// Takes a process that was started over.
    pub(crate) fn new(
        program: String,
        held: Held,
        pipes: Pipes,
        supervision: Supervision,
    ) -> io::Result<Self> {
        let Pipes { stdin, stdout, stderr, answers } = pipes;
        for output in [&stdout, &stderr, &answers].into_iter().flatten() {
            rustix::io::ioctl_fionbio(output, true)?;
        }
        let (answered, status) = (Vec::new(), None);
        Ok(Self { program, held, stdin, stdout, stderr, answers, answered, supervision, status })
    }

    pub(crate) fn program(&self) -> &str {
        &self.program
    }

    pub(crate) fn held(&mut self) -> &mut Held {
        &mut self.held
    }

    /// Readable when it may have ended.
    pub(crate) fn descriptor(&self) -> &OwnedFd {
        self.held.descriptor()
    }

    /// Starts a process; by the helper, if `launch` says so, which then has entered the session and started the command.
    pub(crate) fn start(launch: &Launch) -> Result<Self, SandboxError> {
        let shown = launch.program.display().to_string();
        let failed = |source: io::Error| match &launch.way {
            Way::Direct if source.kind() == io::ErrorKind::NotFound && !launch.cwd.is_dir() => {
                let step = format!("enter `{}`", launch.cwd.display());
                SandboxError::Setup { step, program: shown.clone(), source }
            }
            Way::Direct => SandboxError::Spawn { program: shown.clone(), source },
            Way::Helper { helper, .. } => {
                SandboxError::Spawn { program: helper.display().to_string(), source }
            }
        };
        loop {
            let (process, reports) = match launch.prepare().and_then(Prepared::spawn) {
                Ok(started) => started,
                // Descriptor 3 changed hands meanwhile.
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(failed(error)),
            };
            let Some(reports) = reports else {
                return Ok(process);
            };
            let mut report = Vec::new();
            reports.take(REPORT_LIMIT).read_to_end(&mut report).map_err(failed)?;
            return match Report::from_bytes(&report) {
                Some(Report::Started) => Ok(process),
                Some(report) => Err(refusal(crate::host_process::NAME, report, shown)),
                None => Err(failed(io::ErrorKind::InvalidData.into())),
            };
        }
    }

    /// Waits until something happens, and passes on what was written.
    fn turn(
        &mut self,
        cancel: Option<&Cancel>,
        deadline: Option<Instant>,
        sink: &mut dyn OutputSink,
    ) -> io::Result<Turn> {
        let timeout = deadline.map(|deadline| {
            let left = deadline.saturating_duration_since(Instant::now());
            // Rounded up, so that the deadline has passed when the poll times out.
            let left = left + Duration::from_micros(1);
            Timespec {
                tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
                tv_nsec: left.subsec_nanos().into(),
            }
        });
        let mut fds = vec![PollFd::new(self.descriptor(), PollFlags::IN)];
        fds.extend(cancel.map(|cancel| PollFd::new(cancel, PollFlags::IN)));
        let pipes = [&self.stdout, &self.stderr, &self.answers].into_iter().flatten();
        fds.extend(pipes.map(|pipe| PollFd::new(pipe, PollFlags::IN)));
        match poll(&mut fds, timeout.as_ref()) {
            Ok(0) => return Ok(Turn::TimedOut),
            Ok(_) => {}
            Err(rustix::io::Errno::INTR) => return Ok(Turn::Running),
            Err(error) => return Err(error.into()),
        }
        let may_have_ended = !fds[0].revents().is_empty();
        let cancelled = cancel.is_some() && !fds[1].revents().is_empty();
        drop(fds);
        let ended = may_have_ended && self.held.has_ended()?;
        self.pass_on(Amount::OneChunk, sink)?;
        Ok(match () {
            () if cancelled => Turn::Cancelled,
            () if ended => Turn::Ended,
            () if deadline.is_some_and(|deadline| deadline <= Instant::now()) => Turn::TimedOut,
            () => Turn::Running,
        })
    }

    /// Passes on what is in the pipes by now.
    fn pass_on(&mut self, amount: Amount, sink: &mut dyn OutputSink) -> io::Result<()> {
        let mut to_stdout = |bytes: &[u8]| sink.write(Stream::Stdout, bytes);
        drain(&mut self.stdout, amount, &mut to_stdout)?;
        let mut to_stderr = |bytes: &[u8]| sink.write(Stream::Stderr, bytes);
        drain(&mut self.stderr, amount, &mut to_stderr)?;
        let answered = &mut self.answered;
        drain(&mut self.answers, amount, &mut |bytes| answered.extend_from_slice(bytes))?;
        if self.answered.len() > ANSWER_LIMIT {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        Ok(())
    }

    /// The next whole line that was answered.
    fn take_answer(&mut self) -> Option<Vec<u8>> {
        let end = self.answered.iter().position(|&byte| byte == b'\n')?;
        let mut line: Vec<u8> = self.answered.drain(..=end).collect();
        line.pop();
        Some(line)
    }

    pub(crate) fn signal(&self, signal: Signal) {
        if self.status.is_none() {
            self.held.signal(signal);
        }
    }

    /// Ends what is left of the group of a process that has ended, and says how it ended.
    pub(crate) fn finish(&mut self, sink: &mut dyn OutputSink) -> io::Result<ExitStatus> {
        if let Some(status) = self.status {
            return Ok(status);
        }
        self.signal(Signal::KILL);
        // What a descendant still writes while it dies is nobody's output.
        let passed_on = self.pass_on(Amount::Everything, sink);
        let status = self.held.reap()?;
        self.status = Some(status);
        passed_on.map(|()| status)
    }

    /// Ends the process and its group: politely, then not.
    fn stop(&mut self, sink: &mut dyn OutputSink) -> io::Result<()> {
        if self.status.is_some() {
            return Ok(());
        }
        self.stdin = None;
        self.signal(Signal::TERM);
        // A stopped process would not notice.
        self.signal(Signal::CONT);
        let mut deadline = Some(Instant::now() + self.supervision.grace());
        loop {
            match self.turn(None, deadline, sink)? {
                Turn::Ended => break,
                Turn::TimedOut => {
                    self.signal(Signal::KILL);
                    deadline = None;
                }
                Turn::Running | Turn::Cancelled => {}
            }
        }
        self.finish(sink).map(drop)
    }

    /// One turn under a cancel and a deadline; `true` if the process has ended.
    fn attend(
        &mut self,
        cancel: &Cancel,
        deadline: Option<Deadline>,
        sink: &mut dyn OutputSink,
    ) -> Result<Turn, SandboxError> {
        let program = self.program.clone();
        let turn = self.turn(Some(cancel), deadline.and_then(|deadline| deadline.at), sink);
        let failed = |source| SandboxError::Watch { action: "watch", program: program.clone(), source };
        match turn.map_err(failed)? {
            Turn::Cancelled => {
                self.stop(sink).map_err(failed)?;
                Err(SandboxError::Cancelled { program })
            }
            Turn::TimedOut => {
                self.stop(sink).map_err(failed)?;
                let limit = deadline.map(|deadline| deadline.limit).unwrap_or_default();
                Err(SandboxError::TimedOut { program, limit })
            }
            turn @ (Turn::Running | Turn::Ended) => Ok(turn),
        }
    }
}

impl Running for Process {
    fn stdin(&mut self) -> Option<&mut dyn Write> {
        self.stdin.as_mut().map(|stdin| stdin as &mut dyn Write)
    }

    fn close_stdin(&mut self) {
        self.stdin = None;
    }

    fn answer(
        &mut self,
        cancel: &Cancel,
        deadline: Option<Deadline>,
        sink: &mut dyn OutputSink,
    ) -> Result<Option<Vec<u8>>, SandboxError> {
        let program = self.program.clone();
        let failed =
            |source| SandboxError::Watch { action: "read the output of", program: program.clone(), source };
        loop {
            if let Some(line) = self.take_answer() {
                // The pipes were read one after the other: what was written before the answer may have come after its
                // pipe was looked at.
                self.pass_on(Amount::Everything, sink).map_err(failed)?;
                return Ok(Some(line));
            }
            if self.answers.is_none() || self.status.is_some() {
                return Ok(None);
            }
            if self.attend(cancel, deadline, sink)? == Turn::Ended {
                self.finish(sink).map_err(failed)?;
            }
        }
    }

    fn wait(
        mut self: Box<Self>,
        cancel: &Cancel,
        deadline: Option<Deadline>,
        sink: &mut dyn OutputSink,
    ) -> Result<ExitStatus, SandboxError> {
        self.stdin = None;
        while self.status.is_none() && self.attend(cancel, deadline, sink)? != Turn::Ended {
            self.answered.clear();
        }
        let program = self.program.clone();
        let failed = |source| SandboxError::Watch { action: "read the last output of", program, source };
        self.finish(sink).map_err(failed)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // There is nobody left to tell.
        let _stopped = self.stop(&mut Nowhere);
    }
}

/// How much to take out of a pipe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Amount {
    OneChunk,
    Everything,
}

/// Takes out of a non-blocking pipe what is there; closes it at its end.
fn drain(pipe: &mut Option<OwnedFd>, amount: Amount, take: &mut dyn FnMut(&[u8])) -> io::Result<()> {
    let mut buffer = [0; 16 << 10];
    let chunks = match amount {
        Amount::OneChunk => 1,
        // More than a pipe holds; bounded, for somebody may still be writing.
        Amount::Everything => 128,
    };
    for _ in 0..chunks {
        let Some(descriptor) = pipe else { break };
        match rustix::io::read(descriptor.as_fd(), &mut buffer) {
            Ok(0) => *pipe = None,
            Ok(length) => take(&buffer[..length]),
            Err(rustix::io::Errno::AGAIN) => break,
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Runs `job` on a thread that lives as long as the process.
///
/// The kernel sends the signal of a parent's death when the *thread* ends that started the child; a worker thread of
/// a pool may end at any time.
pub(crate) fn on_lasting_thread<T: Send + 'static>(
    job: impl FnOnce() -> T + Send + 'static,
) -> io::Result<T> {
    type Job = Box<dyn FnOnce() + Send>;
    static STARTER: OnceLock<io::Result<mpsc::Sender<Job>>> = OnceLock::new();
    let starter = STARTER.get_or_init(|| {
        let (sender, jobs) = mpsc::channel::<Job>();
        let run = move || jobs.into_iter().for_each(|job| job());
        std::thread::Builder::new().name("process-starter".to_owned()).spawn(run).map(|_detached| sender)
    });
    let starter = starter.as_ref().map_err(|error| io::Error::from(error.kind()))?;
    let (sender, result) = mpsc::sync_channel(1);
    let gone = |_| io::Error::from(io::ErrorKind::BrokenPipe);
    let job: Job = Box::new(move || drop(sender.send(job())));
    starter.send(job).map_err(|_unsent| io::Error::from(io::ErrorKind::BrokenPipe))?;
    result.recv().map_err(gone)
}
