//! Isolation `none` and `venv`: plain processes of the host, ended with everything they started.

use std::path::PathBuf;

use crate::process::{Channels, Launch, Process, Supervision};
use crate::session::{Guarantees, Running, Sandbox, SandboxError, Session, Visibility};
use crate::spec::{Control, ExecSpec, Network, SessionSpec};

/// Runs commands as processes of the host.
///
/// Each command has a session and process group of its own, no terminal, and umask 022. When it ends, when it is
/// stopped, and when hwb itself dies, what it started ends with it.
#[derive(Debug, Clone)]
pub struct HostProcess {
    #[expect(dead_code, reason = "namespaces come next")]
    helper: Option<PathBuf>,
}

impl HostProcess {
    /// A strategy that needs no help: it can enforce neither a network policy nor mounts.
    pub fn plain() -> Self {
        Self { helper: None }
    }

    /// A strategy with `helper`, a binary that calls `helper_main` when its first argument is
    /// `__hwb-sandbox`.
    pub fn with_helper(helper: impl Into<PathBuf>) -> Self {
        Self { helper: Some(helper.into()) }
    }
}

const NAME: &str = "host process";

impl Sandbox for HostProcess {
    fn name(&self) -> &'static str {
        NAME
    }

    fn guarantees(&self) -> Guarantees {
        Guarantees { network: Network::Host, filesystem: Visibility::WholeHost }
    }

    fn start(&self, spec: &SessionSpec) -> Result<Box<dyn Session>, SandboxError> {
        let refuse = |demand| Err(SandboxError::Unsupported { sandbox: NAME, demand, source: None });
        match spec {
            SessionSpec { network: Network::Denied, .. } => refuse("a build without network"),
            SessionSpec { mounts, .. } if !mounts.is_empty() => refuse("private mounts"),
            SessionSpec { .. } => Ok(Box::new(HostSession {})),
        }
    }
}

/// A session of plain processes.
#[derive(Debug)]
struct HostSession {}

impl Session for HostSession {
    fn start(&mut self, spec: &ExecSpec) -> Result<Box<dyn Running>, SandboxError> {
        let mut argv = spec.argv.iter().cloned();
        let program = argv.next().unwrap_or_default();
        let shown = program.display().to_string();
        let process = Process::start(Launch {
            program,
            arguments: argv.collect(),
            env: spec.env.clone(),
            cwd: spec.cwd.as_path().to_owned(),
            channels: match spec.control {
                Control::None => Channels::Input,
                Control::Pipe => Channels::InputAndAnswers,
            },
            supervision: Supervision::Group,
            shown,
        })?;
        Ok(Box::new(process))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::ffi::OsString;
    use std::time::Instant;

    use hwb_ident::GuestPath;

    use super::*;
    use crate::{Cancel, ExitStatus, OutputSink, Stream};

    /// What a command wrote, and somebody who is told of each chunk.
    #[derive(Default)]
    struct Transcript {
        stdout: Vec<u8>,
        stderr: Vec<u8>,
        cancel_on: Option<(&'static str, Cancel)>,
    }

    impl OutputSink for Transcript {
        fn write(&mut self, stream: Stream, bytes: &[u8]) {
            match stream {
                Stream::Stdout => self.stdout.extend_from_slice(bytes),
                Stream::Stderr => self.stderr.extend_from_slice(bytes),
            }
            if let Some((text, cancel)) = &self.cancel_on
                && self.stdout() == *text
            {
                cancel.cancel();
            }
        }
    }

    impl Transcript {
        fn stdout(&self) -> &str {
            std::str::from_utf8(&self.stdout).unwrap()
        }
    }

    fn shell(script: &str, control: Control) -> ExecSpec {
        ExecSpec {
            argv: ["sh", "-c", script].map(OsString::from).into(),
            cwd: GuestPath::new("/"),
            env: BTreeMap::from([("PATH".into(), "/usr/bin:/bin".into())]),
            control,
        }
    }

    fn start(spec: &ExecSpec) -> Result<Box<dyn Running>, SandboxError> {
        let session = SessionSpec { mounts: Vec::new(), network: Network::Host };
        HostProcess::plain().start(&session)?.start(spec)
    }

    fn check(script: &str, status: ExitStatus, stdout: &str, stderr: &str) {
        let mut transcript = Transcript::default();
        let running = start(&shell(script, Control::None)).unwrap();
        let ended = running.wait(&Cancel::new().unwrap(), None, &mut transcript).unwrap();
        assert_eq!(ended, status, "{script}");
        assert_eq!(transcript.stdout(), stdout, "{script}");
        assert_eq!(String::from_utf8(transcript.stderr).unwrap(), stderr, "{script}");
    }

    #[test]
    fn says_how_a_command_ended_and_what_it_wrote() {
        check("echo out; echo err >&2", ExitStatus::Code(0), "out\n", "err\n");
        check("exit 7", ExitStatus::Code(7), "", "");
        check("printf part; kill -9 $$", ExitStatus::Signal(9), "part", "");
        check(
            "cat; pwd; umask; env | grep -v -e ^PWD= -e ^_= -e ^SHLVL= -e ^OLDPWD=",
            ExitStatus::Code(0),
            "/\n0022\nPATH=/usr/bin:/bin\n",
            "",
        );
        let long = "x".repeat(300_000);
        check(
            "i=0; while [ $i -lt 300000 ]; do echo xxxxxxxxx; i=$((i+10)); done | tr -d '\\n'; echo y",
            ExitStatus::Code(0),
            &format!("{}y\n", &long[..270_000]),
            "",
        );
    }

    #[test]
    fn does_not_wait_for_what_a_command_leaves_behind() {
        check("sleep 600 & echo $?", ExitStatus::Code(0), "0\n", "");
    }

    #[test]
    fn keeps_other_descriptors_from_a_command() {
        let leaky = std::fs::File::open("/dev/null").unwrap();
        rustix::io::fcntl_setfd(&leaky, rustix::io::FdFlags::empty()).unwrap();
        check("ls /proc/$$/fd | sort -n | tr '\\n' ' '", ExitStatus::Code(0), "0 1 2 ", "");
    }

    #[test]
    fn holds_a_conversation() {
        let cancel = Cancel::new().unwrap();
        let mut transcript = Transcript::default();
        let script = "while read line; do echo \"heard $line\"; printf 'to %s\\n' \"$line\" >&3; done; echo bye; exit 3";
        let mut running = start(&shell(script, Control::Pipe)).unwrap();
        for word in ["one", "two"] {
            writeln!(running.stdin().unwrap(), "{word}").unwrap();
            let answer = running.answer(&cancel, None, &mut transcript).unwrap().unwrap();
            assert_eq!(String::from_utf8(answer).unwrap(), format!("to {word}"));
        }
        running.close_stdin();
        assert!(running.stdin().is_none());
        assert_eq!(running.answer(&cancel, None, &mut transcript).unwrap(), None);
        assert_eq!(running.wait(&cancel, None, &mut transcript).unwrap(), ExitStatus::Code(3));
        assert_eq!(transcript.stdout(), "heard one\nheard two\nbye\n");
    }

    #[test]
    fn keeps_answers_that_were_given_before_the_end() {
        let cancel = Cancel::new().unwrap();
        let mut transcript = Transcript::default();
        let mut running = start(&shell("printf 'a\\nb\\nrest' >&3", Control::Pipe)).unwrap();
        let mut answers = Vec::new();
        while let Some(answer) = running.answer(&cancel, None, &mut transcript).unwrap() {
            answers.push(answer);
        }
        assert_eq!(answers, [b"a", b"b"]);
        assert_eq!(running.wait(&cancel, None, &mut transcript).unwrap(), ExitStatus::Code(0));
    }

    #[test]
    fn is_stopped_by_a_cancel() {
        let cancel = Cancel::new().unwrap();
        let mut transcript =
            Transcript { cancel_on: Some(("ready\n", cancel.clone())), ..Transcript::default() };
        let script = "trap 'echo stopping; exit 0' TERM; sleep 600 & echo ready; wait";
        let running = start(&shell(script, Control::None)).unwrap();
        let error = running.wait(&cancel, None, &mut transcript).unwrap_err();
        assert!(matches!(error, SandboxError::Cancelled { .. }), "{error:?}");
        assert_eq!(transcript.stdout(), "ready\nstopping\n");
    }

    #[test]
    fn is_stopped_by_a_deadline() {
        let cancel = Cancel::new().unwrap();
        let mut transcript = Transcript::default();
        let mut running = start(&shell("trap '' TERM; echo >&3; sleep 600", Control::Pipe)).unwrap();
        assert_eq!(running.answer(&cancel, None, &mut transcript).unwrap().unwrap(), b"");
        let error = running.answer(&cancel, Some(Instant::now()), &mut transcript).unwrap_err();
        assert!(matches!(error, SandboxError::TimedOut { .. }), "{error:?}");
        let status = running.wait(&cancel, None, &mut transcript).unwrap();
        assert_eq!(status, ExitStatus::Signal(9));
    }

    #[test]
    fn says_what_could_not_be_started() {
        let check = |argv: &[&str], cwd: &str, expect: &str| {
            let spec = ExecSpec {
                argv: argv.iter().map(Into::into).collect(),
                cwd: GuestPath::new(cwd),
                ..shell("", Control::Pipe)
            };
            assert_eq!(start(&spec).unwrap_err().to_string(), expect);
        };
        check(&["/nonexistent/program"], "/", "failed to start `/nonexistent/program`");
        check(&["no-such-program"], "/", "failed to start `no-such-program`");
        check(&["sh"], "/nonexistent", "failed to enter `/nonexistent` for `sh`");
        check(&[], "/", "failed to start ``");
    }

    #[test]
    fn refuses_what_it_cannot_enforce() {
        let spec = SessionSpec { mounts: Vec::new(), network: Network::Denied };
        let error = HostProcess::plain().start(&spec).unwrap_err();
        assert!(matches!(error, SandboxError::Unsupported { .. }), "{error:?}");
    }

    #[test]
    fn prints_no_value_of_the_environment() {
        let mut spec = shell("", Control::None);
        spec.env.insert("TOKEN".into(), "secret".into());
        assert!(!format!("{spec:?}").contains("secret"));
    }
}
