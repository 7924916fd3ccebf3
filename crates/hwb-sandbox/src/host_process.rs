//! Isolation `none` and `venv`: plain processes of the host, ended with everything they started.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::path::PathBuf;

use crate::helper::Guarantee;
use crate::process::{Channels, Launch, Process, Way};
use crate::session::{Guarantees, Running, Sandbox, SandboxError, Session, Visibility};
use crate::spec::{Control, ExecSpec, Network, SessionSpec};

/// Runs commands as processes of the host.
///
/// Each command has a session and process group of its own, no terminal, and umask 022. When it ends, when it is
/// stopped, and when hwb itself dies, what it started ends with it.
#[derive(Debug, Clone)]
pub struct HostProcess {
    helper: Option<PathBuf>,
}

pub(crate) const NAME: &str = "host process";

impl HostProcess {
    /// A strategy without helper: it can enforce neither a network policy nor mounts, and a descendant that left the
    /// session of its command outlives it.
    pub fn plain() -> Self {
        Self { helper: None }
    }

    /// A strategy with `helper`, the path of a binary that calls [`helper_main`](crate::helper_main) when its first
    /// argument is [`HELPER_ARGUMENT`](crate::HELPER_ARGUMENT).
    pub fn with_helper(helper: impl Into<PathBuf>) -> Self {
        Self { helper: Some(helper.into()) }
    }

    /// Tries whether this machine can enforce `spec`, by entering such a session and leaving it: every mount is made,
    /// layered ones too, and the network is left. Takes milliseconds.
    ///
    /// # Errors
    ///
    /// Those of a command in such a session, [`SandboxError::Unsupported`] above all.
    pub fn probe(&self, spec: &SessionSpec) -> Result<(), SandboxError> {
        self.check(spec)?;
        let Some(helper) = &self.helper else {
            return Ok(());
        };
        let mut process = Process::start(&Launch {
            program: OsString::new(),
            arguments: Vec::new(),
            env: BTreeMap::new(),
            cwd: "/".into(),
            channels: Channels::Closed,
            way: Way::Helper { helper: helper.clone(), session: spec.clone() },
        })?;
        process.close_stdin();
        Ok(())
    }

    /// Refuses what needs a helper that is not there.
    fn check(&self, spec: &SessionSpec) -> Result<(), SandboxError> {
        let demand = match (&self.helper, spec.network, spec.mounts.as_slice()) {
            (_, Network::Isolated, _) => Guarantee::IsolatedNetwork.demand(),
            (Some(_), _, _) | (None, Network::Host, []) => return Ok(()),
            (None, Network::Denied, _) => Guarantee::NoNetwork.demand(),
            (None, Network::Host, _) => Guarantee::PrivateMounts.demand(),
        };
        Err(SandboxError::Unsupported { sandbox: NAME, demand, source: None })
    }
}

impl Sandbox for HostProcess {
    fn name(&self) -> &'static str {
        NAME
    }

    fn guarantees(&self) -> Guarantees {
        let network = if self.helper.is_some() { Network::Denied } else { Network::Host };
        Guarantees { network, filesystem: Visibility::WholeHost }
    }

    fn start(&self, spec: &SessionSpec) -> Result<Box<dyn Session>, SandboxError> {
        self.check(spec)?;
        let way = match &self.helper {
            None => Way::Direct,
            Some(helper) => Way::Helper { helper: helper.clone(), session: spec.clone() },
        };
        Ok(Box::new(HostSession { way }))
    }
}

/// A session of processes of the host; each command enters the namespaces anew.
#[derive(Debug)]
struct HostSession {
    way: Way,
}

impl Session for HostSession {
    fn start(&mut self, spec: &ExecSpec) -> Result<Box<dyn Running>, SandboxError> {
        let mut argv = spec.argv.iter().cloned();
        let program = argv.next().filter(|program| !program.is_empty()).ok_or_else(|| {
            let source = io::ErrorKind::InvalidInput.into();
            SandboxError::Spawn { program: String::new(), source }
        })?;
        let process = Process::start(&Launch {
            program,
            arguments: argv.collect(),
            env: spec.env.clone(),
            cwd: spec.cwd.as_path().to_owned(),
            channels: match spec.control {
                Control::None => Channels::Input,
                Control::Pipe => Channels::InputAndAnswers,
            },
            way: self.way.clone(),
        })?;
        Ok(Box::new(process))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use hwb_ident::GuestPath;

    use super::*;
    use crate::{Cancel, Deadline, ExitStatus, OutputSink, Stream};

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
        check(
            "for fd in 3 4 5 6 7 8 9; do [ -e /proc/$$/fd/$fd ] && echo $fd; done; true",
            ExitStatus::Code(0),
            "",
            "",
        );
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
        let error =
            running.answer(&cancel, Some(Deadline::after(Duration::ZERO)), &mut transcript).unwrap_err();
        assert_eq!(error.to_string(), "`sh` was stopped after 0 s");
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
