//! Containers, end to end: this binary has no test harness, so that it can be its own helper, and the program that tries
//! to get out.
//!
//! The root of the containers is made of the host's own programs. Every test runs under all ids that the machine gives;
//! what it refuses is said.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "without a harness these are no tests to clippy"
)]

#[path = "../shared/conversation.rs"]
mod conversation;
mod escapes;
mod fixture;

use std::io::{Read as _, Write as _};
use std::os::fd::AsFd as _;
use std::path::Path;
use std::process::ExitCode;

use hwb_ident::{GuestPath, HostPath};
use hwb_sandbox::container::{
    Console, Limits, LostOwners, MissingCwd, NetworkProgram, NetworkProgramKind, OWNER_ATTRIBUTE, Place,
    ProcessLimit, Resource, Root, RootAccess, Streams, User,
};
use hwb_sandbox::{
    Access, Cancel, Control, ExitStatus, Mount, Network, Running as _, SandboxError, Session as _, UPPER,
    Work,
};

use hwb_sandbox::signals::Relay;
use rustix::process::Signal;

use self::conversation::Transcript;
use self::fixture::{Fixture, Witness};

type Test = fn(&Fixture);

const WORKS: &[Work] = &[
    Work {
        name: "count",
        run: |input, output| {
            let mut bytes = Vec::new();
            input.read_to_end(&mut bytes)?;
            write!(output, "{} of {}", bytes.len(), rustix::process::geteuid().as_raw())
        },
    },
    Work { name: "fail", run: |_, _| Err(std::io::ErrorKind::Other.into()) },
];

fn main() -> ExitCode {
    let mut args = std::env::args_os().skip(1);
    match args.next() {
        Some(first) if first == hwb_sandbox::HELPER_ARGUMENT => {
            return hwb_sandbox::helper_main_with(args, WORKS);
        }
        Some(first) if first == "escape" => return escapes::attempt_all(),
        Some(first) if first == "victim" => fixture::be_killed(&args.next().unwrap()),
        _ => {}
    }
    let tests: &[(&str, Test)] = &[
        ("says_how_a_command_ended", says_how_a_command_ended),
        ("has_a_root_of_its_own", has_a_root_of_its_own),
        ("keeps_what_is_written_apart", keeps_what_is_written_apart),
        ("stands_things_on_the_root", stands_things_on_the_root),
        ("follows_no_link_out", follows_no_link_out),
        ("may_be_read_only", may_be_read_only),
        ("becomes_another_user", becomes_another_user),
        ("records_owners", records_owners),
        ("sets_limits", sets_limits),
        ("says_what_could_not_be_started", says_what_could_not_be_started),
        ("holds_a_conversation", holds_a_conversation),
        ("passes_signals_on", passes_signals_on),
        ("ignores_no_signals", ignores_no_signals),
        ("has_a_terminal", has_a_terminal),
        ("keeps_a_terminal_that_nobody_uses", keeps_a_terminal_that_nobody_uses),
        ("lends_a_console", lends_a_console),
        ("relays_signals", relays_signals),
        ("has_the_network_that_was_asked_for", has_the_network_that_was_asked_for),
        ("shares_a_network_in_a_session", shares_a_network_in_a_session),
        ("says_what_the_network_program_said", says_what_the_network_program_said),
        ("runs_works_under_its_ids", runs_works_under_its_ids),
        ("uses_a_plain_directory", uses_a_plain_directory),
        ("stacks_many_layers", stacks_many_layers),
        ("ends_with_hwb", ends_with_hwb),
        ("lets_nothing_out", escapes::lets_nothing_out),
    ];
    for answer in fixture::answers() {
        let word = fixture::word(&answer.ids);
        if let Err(error) = answer.result {
            println!("skipped: {word}: {error:?}");
            continue;
        }
        for (name, test) in tests {
            test(&Fixture::new(&answer.ids));
            println!("test {name} ({word}) ... ok");
        }
    }
    ExitCode::SUCCESS
}

fn says_how_a_command_ended(fixture: &Fixture) {
    fixture.check("echo out; cat; umask; pwd", "out\n0022\n/\n");
    assert_eq!(fixture.run("exit 7"), (String::new(), ExitStatus::Code(7)));
    for signal in [9, 11, 15] {
        assert_eq!(fixture.run(&format!("kill -{signal} $$")), (String::new(), ExitStatus::Signal(signal)));
    }
    fixture.check("sleep 600 & echo left", "left\n");
    fixture.check("(setsid sleep 0.01 &); sleep 0.05; ls /proc | grep -c '^[0-9]'", "4\n");
}

fn has_a_root_of_its_own(fixture: &Fixture) {
    fixture.check("ls /", "bin\ndev\netc\nlib\nlib64\nproc\nsbin\nsys\ntmp\nusr\n");
    fixture.check("hostname 2>/dev/null || cat /proc/sys/kernel/hostname", "box\n");
    fixture.check(
        "ls /dev",
        "fd\nfull\nmqueue\nnull\nptmx\npts\nrandom\nshm\nstderr\nstdin\nstdout\ntty\nurandom\nzero\n"
            .replace("fd\nfull", if fixture.is_single() { "apt.conf\nfd\nfull" } else { "fd\nfull" })
            .as_str(),
    );
    fixture.check("id -u; echo $$; [ -t 0 ] || echo none", "0\n2\nnone\n");
    fixture
        .check("head -c 4 /dev/zero | od -An -tx1; echo x > /dev/null; : < /dev/urandom", " 00 00 00 00\n");
    // Nothing tells where the layers are.
    fixture.check(&format!("grep -c {} /proc/self/mountinfo", fixture.path().display()), "0\n");
}

fn keeps_what_is_written_apart(fixture: &Fixture) {
    fixture.check(
        "echo new > /etc/made; echo more >> /etc/kept; rm /etc/removed; mkdir /tmp/d; cat /etc/kept",
        "kept\nmore\n",
    );
    // The next command finds it; one at the same time does not begin.
    let mut session = fixture.open(fixture.spec(), Network::Host).unwrap();
    let running = session.run(&fixture.shell("sleep 600"), Streams::Piped).unwrap();
    let error = session.run(&fixture.shell(""), Streams::Piped).unwrap_err();
    assert!(error.to_string().contains("for one command"), "{error}");
    drop(running);
    fixture.check("ls /etc; cat /etc/made; ls -d /tmp/d", "kept\nmade\nnew\n/tmp/d\n");
    assert_eq!(fs_err::read_to_string(fixture.path().join("lower/etc/kept")).unwrap(), "kept\n");
    assert!(fixture.path().join("lower/etc/removed").exists());
    assert!(!fixture.path().join("lower/etc/made").exists());
    let upper = fixture.path().join("changes").join(UPPER);
    assert_eq!(fs_err::read_to_string(upper.join("etc/made")).unwrap(), "new\n");
    assert!(!upper.join("dev/null").exists());
}

fn stands_things_on_the_root(fixture: &Fixture) {
    let host = fixture.path().join("host");
    fs_err::create_dir(&host).unwrap();
    std::fs::File::create(host.join("file")).unwrap().write_all(b"host\n").unwrap();
    // What a caller names is what a link leads to.
    for (target, name) in [("file", "link"), (".", "directory-link")] {
        fs_err::os::unix::fs::symlink(target, host.join(name)).unwrap();
    }
    let mount = |name: &str, guest: &str, access| {
        Place::Host(Mount { host: HostPath::new(host.join(name)), guest: GuestPath::new(guest), access })
    };
    let mut spec = fixture.spec();
    spec.places.extend([
        Place::File { guest: GuestPath::new("/etc/hosts"), contents: b"127.0.0.1 localhost\n".to_vec() },
        Place::File { guest: GuestPath::new("/etc/deep/down/file"), contents: b"deep\n".to_vec() },
        Place::Memory { guest: GuestPath::new("/run"), size: Some(4096), mode: 0o1777 },
        mount("", "/run/rw", Access::ReadWrite),
        mount("", "/ro", Access::ReadOnly),
        mount("file", "/one", Access::ReadOnly),
        mount("", "/layered", Access::Layered),
        mount("link", "/linked", Access::ReadOnly),
        mount("directory-link", "/linked-directory", Access::ReadOnly),
    ]);
    let command = fixture.shell(
        "cat /etc/hosts /etc/deep/down/file /one /ro/file /linked /linked-directory/file; echo x > /run/rw/made; ls /ro; stat -c %a /run; \
         (echo x > /ro/x) 2>/dev/null || echo refused; (echo x > /one) 2>/dev/null || echo refused; \
         echo own >> /etc/hosts && tail -n 1 /etc/hosts; echo l > /layered/l; ls /layered; \
         (head -c 9000 /dev/zero > /run/big) 2>/dev/null || echo full",
    );
    let mut session = fixture.open(spec, Network::Host).unwrap();
    let running = session.run(&command, Streams::Piped).unwrap();
    let made: Vec<_> = running.made().iter().map(ToString::to_string).collect();
    assert_eq!(
        made,
        [
            "/etc/hosts",
            "/etc/deep",
            "/etc/deep/down",
            "/etc/deep/down/file",
            "/run",
            "/ro",
            "/one",
            "/layered",
            "/linked",
            "/linked-directory"
        ]
    );
    let mut transcript = Transcript::default();
    Box::new(running).wait(&Cancel::new().unwrap(), None, &mut transcript).unwrap();
    assert_eq!(
        transcript.0,
        "127.0.0.1 localhost\ndeep\nhost\nhost\nhost\nhost\ndirectory-link\nfile\nlink\nmade\n1777\nrefused\nrefused\nown\n\
         directory-link\nfile\nl\nlink\nmade\nfull\n"
    );
    assert!(host.join("made").exists());
    assert!(!host.join("l").exists());
}

/// Links of an image lead to places in the container, wherever they point.
fn follows_no_link_out(fixture: &Fixture) {
    let outside = fixture.path().join("outside");
    fs_err::create_dir(&outside).unwrap();
    std::fs::File::create(outside.join("target")).unwrap();
    let up = "../".repeat(40);
    let link = |name: &str, target: String| {
        fs_err::os::unix::fs::symlink(target, fixture.path().join("lower/etc").join(name)).unwrap();
    };
    link("absolute", outside.join("target").display().to_string());
    link("climbing", format!("{up}{}", outside.join("new").display()));
    link("magic", "/proc/self/cwd/etc/from-magic".to_owned());
    link("process", "/proc/1/cwd/tmp/from-process".to_owned());
    link("directory", outside.display().to_string());
    link("loop", "loop".to_owned());
    let place = |name: &str| Place::File {
        guest: GuestPath::new(Path::new("/etc").join(name)),
        contents: format!("{name}\n").into_bytes(),
    };
    let mut spec = fixture.spec();
    spec.places.extend(["absolute", "climbing", "magic", "process", "directory/below"].map(place));
    let (output, _) = fixture.run_in(
        spec,
        Network::Host,
        &fixture.shell(
            "cat /etc/absolute /etc/climbing /etc/directory/below; ls /proc/1 > /dev/null && echo whole",
        ),
    );
    assert_eq!(output, "absolute\nclimbing\ndirectory/below\nwhole\n");
    let left: Vec<_> = fs_err::read_dir(&outside).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["target"]);
    assert_eq!(fs_err::read_to_string(outside.join("target")).unwrap(), "");
    for guest in ["/etc/loop", "/proc/self/x", "/proc", "/", "/etc/..", "etc"] {
        let mut spec = fixture.spec();
        spec.places.push(Place::File { guest: GuestPath::new(guest), contents: Vec::new() });
        let error =
            fixture.open(spec, Network::Host).unwrap().run(&fixture.shell(""), Streams::Piped).unwrap_err();
        assert!(matches!(error, SandboxError::Setup { .. }), "{guest}: {error:?}");
    }
    // Nothing is made in a directory of the host.
    let mut spec = fixture.spec();
    spec.places.push(Place::Host(Mount {
        host: HostPath::new(&outside),
        guest: GuestPath::new("/out"),
        access: Access::ReadWrite,
    }));
    spec.places.push(Place::File { guest: GuestPath::new("/out/made"), contents: Vec::new() });
    fixture.open(spec, Network::Host).unwrap().run(&fixture.shell(""), Streams::Piped).unwrap_err();
    assert!(!outside.join("made").exists());
}

fn may_be_read_only(fixture: &Fixture) {
    let mut spec = fixture.spec();
    spec.root_access = RootAccess::ReadOnly;
    spec.places.push(Place::Memory { guest: GuestPath::new("/scratch"), size: None, mode: 0o755 });
    let script = "(echo x > /etc/x) 2>/dev/null || echo refused; (rm /etc/kept) 2>/dev/null || echo refused; \
                  echo fine > /scratch/x && cat /scratch/x";
    assert_eq!(fixture.run_in(spec, Network::Host, &fixture.shell(script)).0, "refused\nrefused\nfine\n");
}

fn becomes_another_user(fixture: &Fixture) {
    let mut command = fixture.shell("id -u; id -g; id -G; grep -e ^CapPrm -e ^CapEff /proc/self/status; (echo x > /etc/x) 2>/dev/null || echo refused");
    command.user = User { uid: 33, gid: 34, groups: vec![35, 36] };
    let mut session = fixture.open(fixture.spec(), Network::Host).unwrap();
    if fixture.is_single() {
        for streams in [Streams::Piped, Streams::Terminal { rows: 24, columns: 80 }] {
            assert_eq!(
                session.run(&command, streams).unwrap_err().to_string(),
                "sandbox `container` cannot enforce a user other than root on this machine"
            );
        }
    } else {
        let running = session.run(&command, Streams::Piped).unwrap();
        let mut transcript = Transcript::default();
        Box::new(running).wait(&Cancel::new().unwrap(), None, &mut transcript).unwrap();
        let none = "0000000000000000";
        assert_eq!(transcript.0, format!("33\n34\n34 35 36\nCapPrm:\t{none}\nCapEff:\t{none}\nrefused\n"));
    }
    for (uid, gid, groups) in [(u32::MAX, 0, vec![]), (0, u32::MAX, vec![]), (33, 34, vec![u32::MAX])] {
        command.user = User { uid, gid, groups };
        let mut session = fixture.open(fixture.spec(), Network::Host).unwrap();
        let error = session.run(&command, Streams::Piped).unwrap_err().to_string();
        let expect = format!("failed to become {uid}:{gid}: nobody can have the id 4294967295");
        assert!(error.starts_with(&expect), "{error}");
    }
    // Giving a file away succeeds everywhere, and does nothing where there is nobody to give it to.
    let owner = if fixture.is_single() { "0:0" } else { "33:34" };
    fixture.check("echo > /tmp/f; chown 33:34 /tmp/f && stat -c %u:%g /tmp/f", &format!("{owner}\n"));
}

/// Where there is one id, the owners of files are known nevertheless, wherever the files go.
fn records_owners(fixture: &Fixture) {
    let script = "cd /tmp; echo > a; chown 33:34 a; mv a b; ln b c; mkdir d; chown -R 5:6 d; echo > e; chown 7 e; \
                  chgrp 8 e; ln -s e l; chown -h 9:9 l; chown 10 l; chown 1:1 missing 2>/dev/null || echo missing; \
                  cd d; echo > f; chown 11:12 f ../d/f; chown 33:34 /etc/kept; stat -c %u:%g /tmp/b; \
                  chown 33:34 /dev/stdout /proc/self/fd/1 && echo streams";
    let owner = if fixture.is_single() { "0:0" } else { "33:34" };
    fixture.check(script, &format!("missing\n{owner}\nstreams\n"));
    let upper = fixture.path().join("changes").join(UPPER);
    for (name, expect) in [
        ("tmp/b", "33:34"),
        ("tmp/c", "33:34"),
        ("tmp/d", "5:6"),
        ("tmp/e", "10:8"),
        ("tmp/d/f", "11:12"),
        ("etc/kept", "33:34"),
    ] {
        let mut value = [0; 32];
        let read = rustix::fs::getxattr(upper.join(name), OWNER_ATTRIBUTE, &mut value[..]);
        let found = read.ok().map(|length| std::str::from_utf8(&value[..length]).unwrap());
        assert_eq!(found, fixture.is_single().then_some(expect), "{name}");
    }
    // Files that the host lent are in no layer, and stay as they are where there is one id.
    let lent = fixture.path().join("lent");
    fs_err::create_dir(&lent).unwrap();
    let mut spec = fixture.spec();
    spec.places.push(Place::Host(Mount {
        host: HostPath::new(&lent),
        guest: GuestPath::new("/lent"),
        access: Access::ReadWrite,
    }));
    let script = "echo > /lent/f; chown -R 33:34 /lent && stat -c %u:%g /lent/f; chown -R 0:0 /lent";
    assert_eq!(fixture.run_in(spec, Network::Host, &fixture.shell(script)).0, format!("{owner}\n"));
    for path in [lent.clone(), lent.join("f")] {
        let read = rustix::fs::getxattr(&path, OWNER_ATTRIBUTE, &mut [0; 32][..]);
        assert_eq!(read, Err(rustix::io::Errno::NODATA), "{}", path.display());
    }
    // What belongs to others by now is not the caller's to remove.
    fixture.check("rm -r /tmp/d", "");
    let mut spec = fixture.spec();
    spec.lost_owners = LostOwners::Forgotten;
    let script = "cd /tmp; echo > g; chown 33:34 g; stat -c %u:%g g";
    assert_eq!(fixture.run_in(spec, Network::Host, &fixture.shell(script)).0, format!("{owner}\n"));
    let read = rustix::fs::getxattr(upper.join("tmp/g"), OWNER_ATTRIBUTE, &mut [0; 32][..]);
    assert_eq!(read, Err(rustix::io::Errno::NODATA));
}

fn sets_limits(fixture: &Fixture) {
    let mut spec = fixture.spec();
    spec.process_limits =
        vec![ProcessLimit { resource: Resource::OpenFiles, soft: Some(77), hard: Some(99) }];
    let script = "ulimit -n; ulimit -H -n; (ulimit -n 100) 2>/dev/null || echo refused";
    assert_eq!(fixture.run_in(spec, Network::Host, &fixture.shell(script)).0, "77\n99\nrefused\n");
    let mut spec = fixture.spec();
    spec.limits = Limits { memory: Some(64 << 20), cpu_thousandths: Some(1500), pids: Some(10) };
    let script = "i=0; while [ $i -lt 30 ]; do sleep 5 & i=$((i+1)); done 2>/dev/null; echo all";
    match fixture.open(spec.clone(), Network::Host).unwrap().run(&fixture.shell(script), Streams::Piped) {
        Ok(running) => {
            let mut transcript = Transcript::default();
            let status = Box::new(running).wait(&Cancel::new().unwrap(), None, &mut transcript).unwrap();
            assert!(!status.is_success() && !transcript.0.contains("all"), "{status:?} {}", transcript.0);
            let script = "exec 2>/dev/null; head -c 300000000 /dev/zero | tail -c 299999999 | wc -c";
            let (output, _) = fixture.run_in(spec, Network::Host, &fixture.shell(script));
            assert_ne!(output, "299999999\n");
        }
        Err(SandboxError::Unsupported { demand, source, .. }) => {
            println!("skipped: no {demand} here: {source:?}");
        }
        Err(error) => panic!("{error:?}"),
    }
}

fn says_what_could_not_be_started(fixture: &Fixture) {
    let check = |argv: &[&str], cwd: &str, expect: (&str, std::io::ErrorKind)| {
        let mut command = fixture.shell("");
        command.exec.argv = argv.iter().map(Into::into).collect();
        command.exec.cwd = GuestPath::new(cwd);
        command.missing_cwd = MissingCwd::Refuse;
        let mut session = fixture.open(fixture.spec(), Network::Host).unwrap();
        let error = session.run(&command, Streams::Piped).unwrap_err();
        let (SandboxError::Spawn { source, .. } | SandboxError::Setup { source, .. }) = &error else {
            panic!("{error:?}")
        };
        assert_eq!((error.to_string().as_str(), source.kind()), expect);
    };
    use std::io::ErrorKind::{NotFound, PermissionDenied};
    check(&["no-such-program"], "/", ("failed to start `no-such-program`", NotFound));
    check(&["/no/such/program"], "/", ("failed to start `/no/such/program`", NotFound));
    check(&["/etc/kept"], "/", ("failed to start `/etc/kept`", PermissionDenied));
    check(&["/etc"], "/", ("failed to start `/etc`", PermissionDenied));
    check(&["sh"], "/missing", ("failed to enter `/missing` for `sh`", NotFound));
    check(&[], "/", ("failed to start ``", NotFound));
    let mut command = fixture.shell("pwd");
    command.exec.cwd = GuestPath::new("/made/for/it");
    command.missing_cwd = MissingCwd::Make;
    assert_eq!(fixture.run_in(fixture.spec(), Network::Host, &command).0, "/made/for/it\n");
}

fn holds_a_conversation(fixture: &Fixture) {
    let mut session = fixture.open(fixture.spec(), Network::Host).unwrap();
    conversation::hold(&mut session, |script| fixture.shell(script).exec);
    let cancel = Cancel::new().unwrap();
    cancel.cancel();
    let error = session.start(&fixture.shell("trap '' TERM; sleep 600").exec).unwrap().wait(
        &cancel,
        None,
        &mut Transcript::default(),
    );
    assert!(matches!(error, Err(SandboxError::Cancelled { .. })), "{error:?}");
}

fn passes_signals_on(fixture: &Fixture) {
    for (signal, word) in
        [(Signal::TERM, "TERM"), (Signal::INT, "INT"), (Signal::HUP, "HUP"), (Signal::USR1, "USR1")]
    {
        let mut command = fixture
            .shell(&format!("trap 'echo got {word}; exit 3' {word}; echo >&3; while :; do sleep 0.01; done"));
        command.exec.control = Control::Pipe;
        let mut session = fixture.open(fixture.spec(), Network::Host).unwrap();
        let mut running = session.run(&command, Streams::Piped).unwrap();
        let (cancel, mut transcript) = (Cancel::new().unwrap(), Transcript::default());
        running.answer(&cancel, None, &mut transcript).unwrap().unwrap();
        running.signal(signal);
        let status = Box::new(running).wait(&cancel, None, &mut transcript).unwrap();
        assert_eq!((transcript.0.as_str(), status), (format!("got {word}\n").as_str(), ExitStatus::Code(3)));
    }
}

/// What hwb was told to ignore when it was started, as by nohup, is not the container's to ignore.
fn ignores_no_signals(fixture: &Fixture) {
    // That of 32 is the C library's.
    let ignored =
        "read _ ignored <<E\n$(grep SigIgn /proc/self/status)\nE\necho $((0x$ignored & 0x7fffffff))";
    fixture.check(ignored, "0\n");
}

fn has_a_terminal(fixture: &Fixture) {
    let command = fixture.shell(
        "stty size; tty; [ -c /dev/console ] && read line && echo \"<$line>\"; : < /dev/tty && echo own",
    );
    let mut session = fixture.open(fixture.spec(), Network::Host).unwrap();
    let running = session.run(&command, Streams::Terminal { rows: 24, columns: 80 }).unwrap();
    let mut terminal = std::fs::File::from(running.terminal().unwrap().try_clone_to_owned().unwrap());
    terminal.write_all(b"typed\n").unwrap();
    let mut seen = Vec::new();
    let mut buffer = [0; 1024];
    // The end of a terminal is an error when nobody has its other end any more.
    while let Ok(length) = terminal.read(&mut buffer) {
        if length == 0 {
            break;
        }
        seen.extend_from_slice(&buffer[..length]);
    }
    let seen = String::from_utf8(seen).unwrap().replace("\r\n", "\n").replacen("typed\n", "", 1);
    assert_eq!(seen, "24 80\n/dev/pts/0\n<typed>\nown\n");
    let status = Box::new(running).wait(&Cancel::new().unwrap(), None, &mut Transcript::default()).unwrap();
    assert_eq!(status, ExitStatus::Code(0));
}

/// Whoever waits for output is not told of an end again and again while the command goes on without its terminal.
fn keeps_a_terminal_that_nobody_uses(fixture: &Fixture) {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let fifo = fixture.path().join("fifo");
    let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
    rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, mode, 0).unwrap();
    let mut spec = fixture.spec();
    spec.places.push(Place::Host(Mount {
        host: HostPath::new(&fifo),
        guest: GuestPath::new("/tmp/fifo"),
        access: Access::ReadWrite,
    }));
    let script =
        "exec < /dev/null > /dev/null 2>&1; echo > /tmp/fifo; read line < /tmp/fifo; echo back > /dev/tty";
    let running = fixture
        .open(spec, Network::Host)
        .unwrap()
        .run(&fixture.shell(script), Streams::Terminal { rows: 24, columns: 80 })
        .unwrap();
    assert_eq!(fs_err::read(&fifo).unwrap(), b"\n");
    let terminal = running.terminal().unwrap();
    let mut fds = [PollFd::new(&terminal, PollFlags::IN)];
    assert_eq!(poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })), Ok(0), "{:?}", fds[0].revents());
    fs_err::OpenOptions::new().write(true).open(&fifo).unwrap().write_all(b"\n").unwrap();
    let mut seen = [0; 6];
    std::fs::File::from(terminal.try_clone_to_owned().unwrap()).read_exact(&mut seen).unwrap();
    assert_eq!(&seen, b"back\r\n");
    let status = Box::new(running).wait(&Cancel::new().unwrap(), None, &mut Transcript::default()).unwrap();
    assert_eq!(status, ExitStatus::Code(0));
}

/// A person at a terminal, who types a line and makes the window larger.
fn lends_a_console(fixture: &Fixture) {
    use rustix::pty::OpenptFlags;
    use rustix::termios::{Winsize, tcgetattr, tcsetwinsize};
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let person = rustix::pty::openpt(flags).unwrap();
    rustix::pty::unlockpt(&person).unwrap();
    let own = rustix::pty::ioctl_tiocgptpeer(&person, flags).unwrap();
    tcsetwinsize(&own, Winsize { ws_row: 30, ws_col: 90, ws_xpixel: 0, ws_ypixel: 0 }).unwrap();
    let before = format!("{:?}", tcgetattr(&own).unwrap());
    let console = Console { input: Some(own.as_fd()), output: own.as_fd() };
    let (rows, columns) = console.size();
    let command = fixture.shell(
        "stty size; trap 'stty size; exit 5' WINCH; read line; echo \"<$line>\"; while :; do sleep 0.01; done",
    );
    let mut session = fixture.open(fixture.spec(), Network::Host).unwrap();
    let relay = Relay::install().unwrap();
    let running = session.run(&command, Streams::Terminal { rows, columns }).unwrap();
    let (status, (seen, _person)) = std::thread::scope(|scope| {
        let seen = scope.spawn(|| {
            let mut person = std::fs::File::from(person);
            let (mut seen, mut buffer) = (String::new(), [0; 256]);
            person.write_all(b"typed\n").unwrap();
            let mut until = |text: &str, seen: &mut String| {
                while !seen.contains(text) {
                    let length = person.read(&mut buffer).unwrap();
                    seen.push_str(std::str::from_utf8(&buffer[..length]).unwrap());
                }
            };
            until("<typed>", &mut seen);
            tcsetwinsize(&own, Winsize { ws_row: 40, ws_col: 100, ws_xpixel: 0, ws_ypixel: 0 }).unwrap();
            rustix::process::kill_process(rustix::process::getpid(), Signal::WINCH).unwrap();
            until("40 100", &mut seen);
            (seen, person)
        });
        (running.attend(&relay, Some(console)).unwrap(), seen.join().unwrap())
    });
    assert_eq!(status, ExitStatus::Code(5));
    assert!(seen.replace('\r', "").contains("30 90\n"), "{seen:?}");
    assert_eq!(format!("{:?}", tcgetattr(&own).unwrap()), before);
}

fn relays_signals(fixture: &Fixture) {
    let (read, write) = rustix::pipe::pipe().unwrap();
    let nothing = || std::fs::File::options().read(true).write(true).open("/dev/null").unwrap().into();
    let streams = Streams::Given { stdin: nothing(), stdout: write, stderr: nothing() };
    let command = fixture.shell("trap 'exit 9' TERM; echo ready; while :; do sleep 0.01; done");
    let relay = Relay::install().unwrap();
    let running = fixture.open(fixture.spec(), Network::Host).unwrap().run(&command, streams).unwrap();
    std::fs::File::from(read).read_exact(&mut [0; 6]).unwrap();
    rustix::process::kill_process(rustix::process::getpid(), Signal::TERM).unwrap();
    assert_eq!(running.attend(&relay, None).unwrap(), ExitStatus::Code(9));
    // A directory of the host is no stream.
    let streams = Streams::Given {
        stdin: std::fs::File::open("/").unwrap().into(),
        stdout: nothing(),
        stderr: nothing(),
    };
    let error = fixture.open(fixture.spec(), Network::Host).unwrap().run(&command, streams).unwrap_err();
    assert!(matches!(error, SandboxError::Spawn { .. }), "{error:?}");
}

fn has_the_network_that_was_asked_for(fixture: &Fixture) {
    let (output, status) = fixture.run_in(
        fixture.spec(),
        Network::Denied,
        &fixture.shell("tail -n +3 /proc/net/dev | cut -d: -f1 | tr -d ' '; ls /sys/class/net"),
    );
    assert_eq!((output.as_str(), status), ("lo\nlo\n", ExitStatus::Code(0)));
    assert_eq!(fixture.run_in(fixture.spec(), Network::Host, &fixture.shell("ls /sys")).0, "");
    let error = fixture.open(fixture.spec(), Network::Isolated).unwrap_err();
    assert!(matches!(error, SandboxError::Unsupported { .. }), "{error:?}");
}

fn shares_a_network_in_a_session(fixture: &Fixture) {
    let witness = Witness::make(fixture.path());
    let program = fixture.network_program(&Witness::held_by_a_daemon(fixture.path()));
    let mut session = fixture.open_isolated(program).unwrap();
    let mut run = |script: &str| fixture::finish(&mut session, &fixture.shell(script)).0;
    assert_eq!(run("tail -n +3 /proc/net/dev | cut -d: -f1 | tr -d ' '; ls /sys/class/net"), "lo\nlo\n");
    let (first, second) = (run("readlink /proc/self/ns/net"), run("readlink /proc/self/ns/net"));
    assert_eq!(first, second);
    let host = std::fs::read_link("/proc/self/ns/net").unwrap();
    assert_ne!(first.trim(), host.to_str().unwrap());
    drop(session);
    witness.wait();
}

fn says_what_the_network_program_said(fixture: &Fixture) {
    let check = |script: &str, expect: &str| {
        let program = fixture.network_program(script);
        let expect = expect.replace("PROGRAM", &program.path.display().to_string());
        let error = fixture.open_isolated(program.clone()).unwrap_err();
        assert_eq!(error.to_string(), expect);
        // The other kind speaks on a descriptor of its own.
        let program = NetworkProgram { kind: NetworkProgramKind::Slirp4netns, ..program };
        assert_eq!(fixture.open_isolated(program).unwrap_err().to_string(), expect);
    };
    check("echo 'no device' >&2; echo; echo 'here'; exit 1", "`PROGRAM` made no network: no device; here");
    check("kill -9 $$", "`PROGRAM` made no network: it said nothing");
    let missing = NetworkProgram { kind: NetworkProgramKind::Pasta, path: "/nowhere/pasta".into() };
    assert_eq!(
        fixture.open_isolated(missing).unwrap_err().to_string(),
        "`/nowhere/pasta` made no network: No such file or directory (os error 2)"
    );
}

fn runs_works_under_its_ids(fixture: &Fixture) {
    let mut work = fixture.holder().work("count").unwrap();
    work.stdin().unwrap().write_all(b"12345").unwrap();
    work.close_stdin();
    let mut output = String::new();
    work.stdout().read_to_string(&mut output).unwrap();
    work.wait().unwrap();
    assert_eq!(output, "5 of 0");
    assert!(matches!(fixture.holder().work("fail").unwrap().wait(), Err(SandboxError::Watch { .. })));
    assert!(matches!(fixture.holder().work("unknown"), Err(SandboxError::Spawn { .. })));
}

fn uses_a_plain_directory(fixture: &Fixture) {
    let mut spec = fixture.spec();
    let (directory, link) = (fixture.path().join("lower"), fixture.path().join("link"));
    fs_err::os::unix::fs::symlink("lower", &link).unwrap();
    for (root, name) in [(&directory, "direct"), (&link, "linked")] {
        spec.root = Root::Directory(HostPath::new(root));
        fixture.run_in(spec.clone(), Network::Host, &fixture.shell(&format!("echo x > /etc/{name}")));
        assert!(directory.join("etc").join(name).exists(), "{name}");
    }
}

fn stacks_many_layers(fixture: &Fixture) {
    let mut spec = fixture.spec();
    let Root::Layers { lowers, .. } = &mut spec.root else { panic!() };
    let base = lowers.pop().unwrap();
    for number in 0..150 {
        let layer = fixture.path().join(format!("layer:,\\{number}"));
        fs_err::create_dir_all(layer.join("etc")).unwrap();
        std::fs::File::create(layer.join(format!("etc/{number}"))).unwrap();
        lowers.push(HostPath::new(layer));
    }
    lowers.push(base);
    assert_eq!(fixture.run_in(spec, Network::Host, &fixture.shell("ls /etc | grep -c '^[0-9]'")).0, "150\n");
}

#[expect(clippy::disallowed_methods, reason = "a process that is to be killed from outside")]
fn ends_with_hwb(fixture: &Fixture) {
    let witness = Witness::make(fixture.path());
    let mut victim = std::process::Command::new(std::env::current_exe().unwrap());
    let mut victim = victim
        .args(["victim", fixture::word(fixture.holder().ids())])
        .env("TMPDIR", fixture.path())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut out = victim.stdout.take().unwrap();
    let mut line = [0; 6];
    out.read_exact(&mut line).unwrap();
    assert_eq!(&line, b"alive\n");
    victim.kill().unwrap();
    victim.wait().unwrap();
    // Comes to its end only if everything in the container did.
    assert_eq!(std::io::read_to_string(out).unwrap(), "");
    witness.wait();
}
