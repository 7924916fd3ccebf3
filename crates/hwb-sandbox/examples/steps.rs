//! How long one command takes in a session that has begun: for each line of standard input one is run, and its time
//! printed in nanoseconds.
//!
//! `steps LOWER CHANGES PROGRAM [ARGUMENT…]`: the directory that a layer is unpacked in, an empty one on a file system
//! that an overlay can write to, and what is run. Everything is on that `hwb image run` has on by default.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "what an example has to say goes to the terminal"
)]

use std::collections::BTreeMap;
use std::error::Error;
use std::ffi::OsString;
use std::fs::File;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use hwb_ident::{GuestPath, HostPath};
use hwb_sandbox::container::{
    Capabilities, Container, ContainerCommand, ContainerSession, ContainerSpec, Holder, Limits, LostOwners,
    MissingCwd, OldSockets, Person, Place, Root, RootAccess, Streams, User, candidates,
};
use hwb_sandbox::{Cancel, Control, ExecSpec, Network, OutputSink, Running as _, SessionSpec, Stream};

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1).peekable();
    // The example is its own helper.
    if arguments.next_if(|first| first == hwb_sandbox::HELPER_ARGUMENT).is_some() {
        return hwb_sandbox::helper_main(arguments);
    }
    match answer_lines(arguments.collect()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn answer_lines(mut arguments: Vec<OsString>) -> Result<(), Box<dyn Error>> {
    if arguments.len() < 3 {
        return Err("usage: steps LOWER CHANGES PROGRAM [ARGUMENT…]".into());
    }
    let argv = arguments.split_off(2);
    let mut session = open(arguments)?;
    let command = ContainerCommand {
        exec: ExecSpec {
            argv,
            cwd: GuestPath::new("/"),
            env: BTreeMap::from([("PATH".into(), "/usr/sbin:/usr/bin:/sbin:/bin".into())]),
            control: Control::None,
        },
        user: User::ROOT,
        missing_cwd: MissingCwd::Refuse,
    };
    for line in std::io::stdin().lines() {
        line?;
        let start = Instant::now();
        step(&mut session, &command)?;
        println!("{}", start.elapsed().as_nanos());
    }
    Ok(())
}

/// Begins a session with the best ids that the caller has.
fn open(directories: Vec<OsString>) -> Result<ContainerSession, Box<dyn Error>> {
    let [lower, changes] = <[OsString; 2]>::try_from(directories).map_err(|_| "two directories")?;
    let ids = candidates(&Person::current()).into_iter().find_map(Result::ok).ok_or("no ids")?;
    let holder = Holder::start(&std::env::current_exe()?, ids)?;
    let file = |guest: &str| Place::File { guest: GuestPath::new(guest), contents: b"box\n".to_vec() };
    let spec = ContainerSpec {
        root: Root::Layers {
            lowers: vec![HostPath::new(PathBuf::from(lower))],
            changes: HostPath::new(PathBuf::from(changes)),
        },
        root_access: RootAccess::ReadWrite,
        places: ["/etc/hostname", "/etc/hosts", "/etc/resolv.conf"].map(file).into(),
        hostname: "box".to_owned(),
        capabilities: Capabilities::usual(Network::Host),
        limits: Limits::default(),
        process_limits: Vec::new(),
        shared_memory: 64 << 20,
        emulator: None,
        lost_owners: LostOwners::Recorded,
        old_sockets: OldSockets::Refused,
    };
    let session = SessionSpec { mounts: Vec::new(), network: Network::Host };
    Ok(Container::new(holder, spec).open(&session)?)
}

/// Runs the command to its end; it must succeed.
fn step(session: &mut ContainerSession, command: &ContainerCommand) -> Result<(), Box<dyn Error>> {
    let null = || File::options().read(true).write(true).open("/dev/null");
    let streams = Streams::Given { stdin: null()?.into(), stdout: null()?.into(), stderr: null()?.into() };
    let running = Box::new(session.run(command, streams)?);
    let status = running.wait(&Cancel::new()?, None, &mut Silence)?;
    if !status.is_success() {
        return Err(format!("the command ended with {status:?}").into());
    }
    Ok(())
}

/// Hears nothing: the streams lead elsewhere.
#[derive(Debug)]
struct Silence;

impl OutputSink for Silence {
    fn write(&mut self, _stream: Stream, _bytes: &[u8]) {}
}
