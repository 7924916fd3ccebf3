//! Trusted programs of the host: git and the helpers that it asks for credentials.
//!
//! They see the whole host and its network, but nothing of hwb's own environment: it is built by the caller.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use crate::cancel::Cancel;
use crate::process::{Channels, Launch, Process, Way};
use crate::session::{Deadline, ExitStatus, OutputSink, Running as _, SandboxError, Stream};

/// One run of a trusted program.
#[derive(Clone, PartialEq, Eq)]
pub struct HostCommand {
    /// The program; without a slash it is looked for in the `PATH` of [`env`](Self::env).
    pub program: OsString,
    /// Its arguments. They can be seen by every user of the machine: no secret belongs here.
    pub args: Vec<OsString>,
    /// The complete environment: nothing is inherited.
    pub env: BTreeMap<OsString, OsString>,
    /// Working directory; absolute.
    pub cwd: PathBuf,
    /// Its standard input: where a secret may be told. A few lines, which a pipe holds whether they are read or not.
    pub input: Vec<u8>,
    /// How long it may take.
    pub timeout: Option<Duration>,
}

/// Names the variables without their values, and nothing of the input: there may be a secret in them.
impl fmt::Debug for HostCommand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HostCommand")
            .field("program", &self.program)
            .field("args", &self.args)
            .field("env", &self.env.keys())
            .field("cwd", &self.cwd)
            .field("timeout", &self.timeout)
            .finish()
    }
}

/// What a program wrote, and how it ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostOutput {
    /// How it ended.
    pub status: ExitStatus,
    /// Its standard output.
    pub stdout: Vec<u8>,
    /// Its standard error.
    pub stderr: Vec<u8>,
}

impl OutputSink for HostOutput {
    fn write(&mut self, stream: Stream, bytes: &[u8]) {
        match stream {
            Stream::Stdout => self.stdout.extend_from_slice(bytes),
            Stream::Stderr => self.stderr.extend_from_slice(bytes),
        }
    }
}

/// Runs a program to its end, without a terminal.
///
/// # Errors
///
/// [`SandboxError::Spawn`] if it cannot be started, [`SandboxError::Cancelled`] and [`SandboxError::TimedOut`] if it
/// was stopped. A program that fails by itself is no error here: look at [`HostOutput::status`].
pub fn run(command: &HostCommand, cancel: &Cancel) -> Result<HostOutput, SandboxError> {
    Started::new(command)?.finish(cancel)
}

/// A program that runs.
#[derive(Debug)]
pub(crate) struct Started {
    process: Process,
    deadline: Option<Deadline>,
}

impl Started {
    /// Starts it, and tells it its input.
    pub(crate) fn new(command: &HostCommand) -> Result<Self, SandboxError> {
        let mut process = Process::start(&Launch {
            program: command.program.clone(),
            arguments: command.args.clone(),
            env: command.env.clone(),
            cwd: command.cwd.clone(),
            channels: if command.input.is_empty() { Channels::Closed } else { Channels::Input },
            way: Way::Direct,
        })?;
        if let Some(stdin) = process.stdin() {
            // Who has heard enough may close his ears.
            let _closed = stdin.write_all(&command.input);
        }
        process.close_stdin();
        Ok(Self { process, deadline: command.timeout.map(Deadline::after) })
    }

    /// Waits for its end.
    pub(crate) fn finish(self, cancel: &Cancel) -> Result<HostOutput, SandboxError> {
        let Self { process, deadline } = self;
        let mut output = HostOutput { status: ExitStatus::Code(0), stdout: Vec::new(), stderr: Vec::new() };
        let status = Box::new(process).wait(cancel, deadline, &mut output)?;
        Ok(HostOutput { status, ..output })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(program: &str, args: &[&str], input: &str, cancel: &Cancel) -> String {
        let command = HostCommand {
            program: program.into(),
            args: args.iter().map(Into::into).collect(),
            env: BTreeMap::from([("PATH".into(), "/usr/bin:/bin".into())]),
            cwd: "/".into(),
            input: input.into(),
            timeout: Some(Duration::from_secs(300)),
        };
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        match run(&command, cancel) {
            Ok(HostOutput { status, stdout, stderr }) => {
                format!("{status:?} {:?} {:?}", text(&stdout), text(&stderr))
            }
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn gives_what_a_program_wrote() {
        let cancel = Cancel::new().unwrap();
        let expect =
            |program, args: &[&str], expect: &str| assert_eq!(check(program, args, "", &cancel), expect);
        expect("sh", &["-c", "echo out; echo err >&2; exit 2"], r#"Code(2) "out\n" "err\n""#);
        expect("cat", &[], r#"Code(0) "" """#);
        expect("sh", &["-c", "(: </dev/tty) 2>/dev/null || echo none"], r#"Code(0) "none\n" """#);
        assert_eq!(check("cat", &[], "told\n", &cancel), r#"Code(0) "told\n" """#);
        assert_eq!(check("true", &[], "told\n", &cancel), r#"Code(0) "" """#);
        cancel.cancel();
        expect("sleep", &["600"], "`sleep` was interrupted");
    }
}
