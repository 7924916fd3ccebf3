//! A conversation with a command, which is the same in every sandbox.

use hwb_sandbox::{Cancel, Control, ExecSpec, ExitStatus, OutputSink, Session, Stream};

/// All that a command wrote.
#[derive(Default)]
pub(crate) struct Transcript(pub(crate) String);

impl OutputSink for Transcript {
    fn write(&mut self, _stream: Stream, bytes: &[u8]) {
        self.0.push_str(&String::from_utf8_lossy(bytes));
    }
}

/// Asks a command of `session` twice; `shell` is how one runs a script there.
pub(crate) fn hold(session: &mut dyn Session, shell: impl Fn(&str) -> ExecSpec) {
    let cancel = Cancel::new().unwrap();
    let mut transcript = Transcript::default();
    let spec = ExecSpec {
        control: Control::Pipe,
        ..shell("while read line; do echo heard; echo to $line >&3; done; exec 3>&-; read never; sleep 0")
    };
    let mut running = session.start(&spec).unwrap();
    for word in ["one", "two"] {
        writeln!(running.stdin().unwrap(), "{word}").unwrap();
        let answer = running.answer(&cancel, None, &mut transcript).unwrap().unwrap();
        assert_eq!(String::from_utf8(answer).unwrap(), format!("to {word}"));
    }
    running.close_stdin();
    assert_eq!(running.answer(&cancel, None, &mut transcript).unwrap(), None);
    assert_eq!(running.wait(&cancel, None, &mut transcript).unwrap(), ExitStatus::Code(0));
    assert_eq!(transcript.0, "heard\nheard\n");
}
