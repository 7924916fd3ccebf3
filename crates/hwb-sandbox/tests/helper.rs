//! The helper, end to end: this binary has no test harness, so that it can be its own helper.
//!
//! What the machine refuses (a container without user namespaces) is said and skipped.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "without a harness these are no tests to clippy"
)]

#[path = "shared/conversation.rs"]
mod conversation;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{Read as _, Write as _};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use hwb_ident::{GuestPath, HostPath};
use hwb_sandbox::{
    Access, Cancel, Control, Deadline, ExecSpec, ExitStatus, HostProcess, Mount, Network, Running,
    Sandbox as _, SandboxError, SessionSpec,
};

use self::conversation::Transcript;

fn main() -> ExitCode {
    let mut args = std::env::args_os().skip(1);
    match args.next() {
        Some(first) if first == hwb_sandbox::HELPER_ARGUMENT => return hwb_sandbox::helper_main(args),
        Some(first) if first == "victim" => be_killed(&args.next().unwrap()),
        Some(first) if first == "signalled" => return be_signalled(),
        _ => {}
    }
    let tests: [(&str, fn()); 18] = [
        ("says_how_a_command_ended", says_how_a_command_ended),
        ("holds_a_conversation", holds_a_conversation),
        ("answers_after_what_was_written", answers_after_what_was_written),
        ("ends_what_left_the_session", ends_what_left_the_session),
        ("ends_everything_when_hwb_is_killed", ends_everything_when_hwb_is_killed),
        ("is_stopped_by_a_deadline", is_stopped_by_a_deadline),
        ("says_what_could_not_be_started", says_what_could_not_be_started),
        ("refuses_a_program_that_is_no_helper", refuses_a_program_that_is_no_helper),
        ("catches_signals", catches_signals),
        ("denies_the_network", denies_the_network),
        ("mounts_at_fixed_paths", mounts_at_fixed_paths),
        ("mounts_and_denies_together", mounts_and_denies_together),
        ("makes_nothing_on_the_host", makes_nothing_on_the_host),
        ("forgets_what_was_written_to_a_layered_mount", forgets_what_was_written_to_a_layered_mount),
        ("layers_a_directory_over_itself", layers_a_directory_over_itself),
        ("keeps_other_mounts_below_a_layered_one", keeps_other_mounts_below_a_layered_one),
        ("keeps_what_was_written_over_a_directory", keeps_what_was_written_over_a_directory),
        ("layers_directories_only", layers_directories_only),
    ];
    for (name, test) in tests {
        test();
        println!("test {name} ... ok");
    }
    ExitCode::SUCCESS
}

const HOST: SessionSpec = SessionSpec { mounts: Vec::new(), network: Network::Host };

fn sandbox() -> HostProcess {
    HostProcess::with_helper(std::env::current_exe().unwrap())
}

fn shell(script: &str) -> ExecSpec {
    ExecSpec {
        argv: ["sh", "-c", script].map(OsString::from).into(),
        cwd: GuestPath::new("/"),
        env: BTreeMap::from([("PATH".into(), "/usr/sbin:/usr/bin:/sbin:/bin".into())]),
        control: Control::None,
    }
}

fn start(session: &SessionSpec, spec: &ExecSpec) -> Result<Box<dyn Running>, SandboxError> {
    sandbox().start(session)?.start(spec)
}

/// Runs `script`; its standard output and error, and how it ended.
fn run(session: &SessionSpec, script: &str) -> (String, ExitStatus) {
    let mut transcript = Transcript::default();
    let running = start(session, &shell(script)).unwrap();
    let status = running.wait(&Cancel::new().unwrap(), None, &mut transcript).unwrap();
    (transcript.0, status)
}

fn check(session: &SessionSpec, script: &str, expect: &str) {
    let (output, status) = run(session, script);
    assert_eq!((output.as_str(), status), (expect, ExitStatus::Code(0)), "{script}");
}

/// Whether the machine gives such sessions.
fn is_supported(session: &SessionSpec) -> bool {
    match sandbox().probe(session) {
        Ok(()) => true,
        Err(SandboxError::Unsupported { demand, source, .. }) => {
            println!("skipped: no {demand} here: {source:?}");
            false
        }
        Err(error) => panic!("{error:?}"),
    }
}

fn says_how_a_command_ended() {
    check(&HOST, "echo out; cat; umask", "out\n0022\n");
    assert_eq!(run(&HOST, "exit 7"), (String::new(), ExitStatus::Code(7)));
    for signal in [9, 11, 15] {
        let script = format!("ulimit -c 0; kill -{signal} $$");
        assert_eq!(run(&HOST, &script), (String::new(), ExitStatus::Signal(signal)));
    }
    check(&HOST, "for fd in 3 4 5 6 7 8 9; do [ -e /proc/$$/fd/$fd ] && echo $fd; done; true", "");
}

fn holds_a_conversation() {
    conversation::hold(&mut *sandbox().start(&HOST).unwrap(), shell);
}

/// What was written before an answer was passed on when the answer comes.
fn answers_after_what_was_written() {
    let mut transcript = Transcript::default();
    let script = "printf '%040000d' 0 >&2; echo done >&3";
    let spec = ExecSpec { control: Control::Pipe, ..shell(script) };
    let mut running = start(&HOST, &spec).unwrap();
    let answer = running.answer(&Cancel::new().unwrap(), None, &mut transcript).unwrap();
    assert_eq!(answer.as_deref(), Some(&b"done"[..]));
    assert_eq!(transcript.0.len(), 40_000);
}

/// Makes a fifo; reading it to its end shows that nobody who could write is left.
fn fifo(directory: &Path) -> String {
    let path = directory.join("alive");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &path,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR,
        0,
    )
    .unwrap();
    path.to_str().unwrap().to_owned()
}

fn daemon(fifo: &str) -> String {
    format!(
        "setsid sh -c 'trap \"\" TERM HUP; echo alive; sleep 600 & wait' > {fifo} 2>/dev/null & echo ready"
    )
}

fn ends_what_left_the_session() {
    let directory = tempfile::tempdir().unwrap();
    let fifo = fifo(directory.path());
    check(&HOST, &format!("{}; read line < {fifo}; echo $line", daemon(&fifo)), "ready\nalive\n");
    let flags = rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::NONBLOCK;
    let left = rustix::fs::open(&fifo, flags, rustix::fs::Mode::empty()).unwrap();
    assert_eq!(rustix::io::read(left, &mut [0; 1]), Ok(0), "somebody could still write");
}

/// Runs a command that leaves a daemon, and waits for ever.
fn be_killed(fifo: &OsString) -> ! {
    let mut running =
        start(&HOST, &shell(&format!("{}; sleep 600", daemon(fifo.to_str().unwrap())))).unwrap();
    let _nobody = running.answer(&Cancel::new().unwrap(), None, &mut Transcript::default());
    loop {
        std::thread::park();
    }
}

#[expect(clippy::disallowed_methods, reason = "a process that is to be killed from outside")]
fn ends_everything_when_hwb_is_killed() {
    let directory = tempfile::tempdir().unwrap();
    let fifo = fifo(directory.path());
    let mut victim = std::process::Command::new(std::env::current_exe().unwrap());
    let mut victim = victim.args(["victim", &fifo]).spawn().unwrap();
    let mut alive = std::fs::File::open(&fifo).unwrap();
    let mut line = [0; 6];
    alive.read_exact(&mut line).unwrap();
    victim.kill().unwrap();
    victim.wait().unwrap();
    // Comes to its end only if the daemon did.
    assert_eq!(std::io::read_to_string(alive).unwrap(), "");
}

fn is_stopped_by_a_deadline() {
    let cancel = Cancel::new().unwrap();
    let mut transcript = Transcript::default();
    let spec = ExecSpec { control: Control::Pipe, ..shell("trap '' TERM; echo >&3; sleep 600") };
    let mut running = start(&HOST, &spec).unwrap();
    running.answer(&cancel, None, &mut transcript).unwrap().unwrap();
    let error = running.wait(&cancel, Some(Deadline::after(Duration::ZERO)), &mut transcript).unwrap_err();
    assert!(matches!(error, SandboxError::TimedOut { .. }), "{error:?}");
}

fn says_what_could_not_be_started() {
    let check = |argv: &[&str], cwd: &str, expect: &str| {
        let spec =
            ExecSpec { argv: argv.iter().map(Into::into).collect(), cwd: GuestPath::new(cwd), ..shell("") };
        assert_eq!(start(&HOST, &spec).unwrap_err().to_string(), expect);
    };
    check(&["no-such-program"], "/", "failed to start `no-such-program`");
    check(&["sh"], "/nonexistent", "failed to enter `/nonexistent` for `sh`");
    check(&[], "/", "failed to start ``");
}

fn refuses_a_program_that_is_no_helper() {
    for helper in ["/bin/true", "/nonexistent/helper"] {
        let error = HostProcess::with_helper(helper).start(&HOST).unwrap().start(&shell("")).unwrap_err();
        assert_eq!(error.to_string(), format!("failed to start `{helper}`"));
    }
}

fn be_signalled() -> ExitCode {
    let cancel = Cancel::new().unwrap();
    hwb_sandbox::signals::install(&cancel).unwrap();
    println!("installed");
    let error = hwb_sandbox::HostProcess::plain()
        .start(&HOST)
        .and_then(|mut session| session.start(&shell("sleep 600")))
        .and_then(|running| running.wait(&cancel, None, &mut Transcript::default()))
        .unwrap_err();
    println!("{error}");
    ExitCode::from(130)
}

#[expect(clippy::disallowed_methods, reason = "a process that is to be interrupted from outside")]
fn catches_signals() {
    let mut child = std::process::Command::new(std::env::current_exe().unwrap())
        .arg("signalled")
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdout = child.stdout.take().unwrap();
    let mut line = [0; 10];
    stdout.read_exact(&mut line).unwrap();
    rustix::process::kill_process(rustix::process::Pid::from_child(&child), rustix::process::Signal::INT)
        .unwrap();
    assert_eq!(std::io::read_to_string(stdout).unwrap(), "`sh` was interrupted\n");
    assert_eq!(child.wait().unwrap().code(), Some(130));
}

fn denies_the_network() {
    let denied = SessionSpec { network: Network::Denied, ..HOST };
    if !is_supported(&denied) {
        return;
    }
    // Interfaces other than the loopback, routes, and the loopback's state.
    check(&denied, "tail -n +3 /proc/net/dev | tr -d ' ' | cut -d: -f1; tail -n +2 /proc/net/route", "lo\n");
    check(&denied, "grep -q . /proc/net/fib_trie && echo routed", "routed\n");
    check(&denied, "id -u", &format!("{}\n", rustix::process::getuid().as_raw()));
}

fn mounts(directory: &Path) -> SessionSpec {
    let mount = |name: &str, guest: &str, access| {
        let host = directory.join(name);
        std::fs::create_dir_all(&host).unwrap();
        Mount { host: HostPath::new(host), guest: GuestPath::new(guest), access }
    };
    let file = directory.join("file");
    std::fs::File::create(&file).unwrap().write_all(b"content\n").unwrap();
    SessionSpec {
        mounts: vec![
            mount("work", "/hwb-test/src", Access::ReadWrite),
            mount("env", "/hwb-test/env", Access::ReadOnly),
            mount("work/inner", "/hwb-test/src/inner", Access::ReadOnly),
            Mount {
                host: HostPath::new(file),
                guest: GuestPath::new("/hwb-test/file"),
                access: Access::ReadOnly,
            },
        ],
        network: Network::Host,
    }
}

fn mounts_at_fixed_paths() {
    let directory = tempfile::tempdir().unwrap();
    let session = mounts(directory.path());
    if !is_supported(&session) {
        return;
    }
    check(
        &session,
        "echo new > /hwb-test/src/made && cat /hwb-test/src/made /hwb-test/file",
        "new\ncontent\n",
    );
    assert_eq!(fs_err::read_to_string(directory.path().join("work/made")).unwrap(), "new\n");
    for target in ["/hwb-test/env/x", "/hwb-test/src/inner/x", "/hwb-test/file", "/hwb-test/x", "/x-hwb"] {
        check(&session, &format!("(echo x > {target}) 2>/dev/null || echo refused"), "refused\n");
    }
    check(
        &session,
        "ls /hwb-test | tr '\\n' ' '; [ -c /dev/null ] && [ -d /proc/self ] && echo whole",
        "env file src whole\n",
    );
    let here = directory.path().join("work");
    let here = here.display();
    check(&session, &format!("echo y > {here}/y; cat {here}/y; ls -d /usr/bin"), "y\n/usr/bin\n");
    let spec = ExecSpec { cwd: GuestPath::new("/hwb-test/src"), ..shell("pwd -P") };
    let mut transcript = Transcript::default();
    start(&session, &spec).unwrap().wait(&Cancel::new().unwrap(), None, &mut transcript).unwrap();
    assert_eq!(transcript.0, "/hwb-test/src\n");
    assert!(!Path::new("/hwb-test").exists());
}

fn mounts_and_denies_together() {
    let directory = tempfile::tempdir().unwrap();
    let session = SessionSpec { network: Network::Denied, ..mounts(directory.path()) };
    if is_supported(&session) {
        check(
            &session,
            "ls /hwb-test/src; tail -n +3 /proc/net/dev | cut -d: -f1 | tr -d ' '",
            "inner\nlo\n",
        );
    }
}

fn makes_nothing_on_the_host() {
    let directory = tempfile::tempdir().unwrap();
    let mut session = mounts(directory.path());
    if !is_supported(&session) {
        return;
    }
    let missing = directory.path().join("missing");
    session.mounts[0].guest = GuestPath::new(&missing);
    let error = sandbox().probe(&session).unwrap_err();
    assert!(matches!(error, SandboxError::Setup { .. }), "{error:?}");
    assert!(!missing.exists());
    session.mounts[0].host = HostPath::new(&missing);
    let error = sandbox().probe(&session).unwrap_err();
    assert!(matches!(error, SandboxError::Setup { .. }), "{error:?}");
}

/// A directory whose name no mount option could hold as it is, and a layered mount of it at `guest`.
fn layered(directory: &Path, guest: Option<&str>) -> (std::path::PathBuf, SessionSpec) {
    let host = directory.join("a:b,c\\d e=\"f\"");
    for (name, content) in [("kept", "kept\n"), ("removed", ""), ("package/module", "old\n")] {
        let path = host.join(name);
        fs_err::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::File::create(path).unwrap().write_all(content.as_bytes()).unwrap();
    }
    let guest = guest.map_or_else(|| GuestPath::new(&host), GuestPath::new);
    let mount = Mount { host: HostPath::new(&host), guest, access: Access::Layered };
    (host, SessionSpec { mounts: vec![mount], network: Network::Host })
}

/// Changes every kind of thing that there is in the working directory, and shows what is there then.
const CHANGES: &str = "echo more >> kept; rm removed; echo new > made; rm -r package; mkdir package; \
     echo fresh > package/other; mv package moved; mkdir package; find . -type f | sort; cat kept moved/other";
const CHANGED: &str = "./kept\n./made\n./moved/other\nkept\nmore\nfresh\n";

fn is_unchanged(host: &Path) {
    let mut names: Vec<_> = fs_err::read_dir(host).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["kept", "package", "removed"]);
    assert_eq!(fs_err::read_to_string(host.join("kept")).unwrap(), "kept\n");
    assert_eq!(fs_err::read_to_string(host.join("package/module")).unwrap(), "old\n");
    assert!(!host.join("package/other").exists());
}

fn forgets_what_was_written_to_a_layered_mount() {
    let directory = tempfile::tempdir().unwrap();
    let (host, mut session) = layered(directory.path(), Some("/hwb-test/layer"));
    session.mounts.push(Mount { guest: GuestPath::new("/hwb-test/other"), ..session.mounts[0].clone() });
    if !is_supported(&session) {
        return;
    }
    // Twice: the second command finds nothing of what the first one did. Nor do the two views see each other.
    for _command in 0..2 {
        check(&session, &format!("cd /hwb-test/layer; {CHANGES}"), CHANGED);
        is_unchanged(&host);
        check(&session, "cd /hwb-test/layer; rm -r *; ls ../other", "kept\npackage\nremoved\n");
        is_unchanged(&host);
    }
    check(&session, "grep -c ' /hwb-test/' /proc/self/mounts; ls -A /hwb-test", "2\nlayer\nother\n");
    let denied = SessionSpec { network: Network::Denied, ..session };
    if is_supported(&denied) {
        check(&denied, &format!("cd /hwb-test/other; {CHANGES}"), CHANGED);
        is_unchanged(&host);
    }
}

fn layers_a_directory_over_itself() {
    let directory = tempfile::tempdir().unwrap();
    let (host, session) = layered(directory.path(), None);
    if !is_supported(&session) {
        return;
    }
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o751);
    std::fs::set_permissions(&host, mode).unwrap();
    let look = |session| {
        let spec = ExecSpec { cwd: GuestPath::new(&host), ..shell("stat -c '%a %u %g %Y' . kept package") };
        let mut transcript = Transcript::default();
        start(session, &spec).unwrap().wait(&Cancel::new().unwrap(), None, &mut transcript).unwrap();
        transcript.0
    };
    assert_eq!(look(&session), look(&HOST));
    let spec = ExecSpec { cwd: GuestPath::new(&host), ..shell(CHANGES) };
    let mut transcript = Transcript::default();
    start(&session, &spec).unwrap().wait(&Cancel::new().unwrap(), None, &mut transcript).unwrap();
    assert_eq!(transcript.0, CHANGED);
    is_unchanged(&host);
}

fn keeps_other_mounts_below_a_layered_one() {
    let directory = tempfile::tempdir().unwrap();
    let (host, mut session) = layered(directory.path(), Some("/hwb-test/layer"));
    for (name, access) in [("fixed", Access::ReadOnly), ("open", Access::ReadWrite)] {
        let bound = directory.path().join(name);
        fs_err::create_dir_all(&bound).unwrap();
        fs_err::create_dir_all(host.join("package").join(name)).unwrap();
        let guest = GuestPath::new(Path::new("/hwb-test/layer/package").join(name));
        session.mounts.push(Mount { host: HostPath::new(bound), guest, access });
    }
    if !is_supported(&session) {
        return;
    }
    check(
        &session,
        "cd /hwb-test/layer/package; echo x > open/x; echo x > x; (echo x > fixed/x) 2>/dev/null || echo refused",
        "refused\n",
    );
    assert!(directory.path().join("open/x").exists());
    assert!(!directory.path().join("fixed/x").exists());
    assert!(!host.join("package/x").exists());
}

fn keeps_what_was_written_over_a_directory() {
    let directory = tempfile::tempdir().unwrap();
    let (host, mut session) = layered(directory.path(), Some("/hwb-test/layer"));
    let changes = directory.path().join("changes:,\\");
    fs_err::create_dir(&changes).unwrap();
    session.mounts[0].access = Access::Overlaid { changes: HostPath::new(&changes) };
    if !is_supported(&session) {
        return;
    }
    check(&session, &format!("cd /hwb-test/layer; {CHANGES}"), CHANGED);
    is_unchanged(&host);
    let after = "kept\nmade\nmoved\npackage\nkept\nmore\n";
    check(&session, "cd /hwb-test/layer; ls; ls package; cat kept", after);
    assert_eq!(fs_err::read_to_string(changes.join(hwb_sandbox::UPPER).join("made")).unwrap(), "new\n");
    // What the host put there before is seen, and another directory holds none of it.
    let other = directory.path().join("other");
    fs_err::create_dir_all(other.join(hwb_sandbox::UPPER).join("lent")).unwrap();
    session.mounts[0].access = Access::Overlaid { changes: HostPath::new(&other) };
    check(&session, "ls /hwb-test/layer", "kept\nlent\npackage\nremoved\n");
}

fn layers_directories_only() {
    let directory = tempfile::tempdir().unwrap();
    let (host, mut session) = layered(directory.path(), Some("/hwb-test/layer"));
    if !is_supported(&session) {
        return;
    }
    session.mounts[0].host = HostPath::new(host.join("kept"));
    let error = sandbox().probe(&session).unwrap_err();
    assert!(matches!(error, SandboxError::Setup { .. }), "{error:?}");
}
