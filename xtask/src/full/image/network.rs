//! Networks of a container's own: what is reached from one, what is not, and what is left of it.
//!
//! Servers of this process stand on the machine's loopback, on its address to others, and under an abstract name; a
//! command in a container asks them all.

use std::io::{BufRead as _, BufReader, Read, Write};
use std::net::{IpAddr, Ipv4Addr, TcpListener, UdpSocket};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, ensure};

use super::person::Person;
use super::{Found, Setting};
use crate::ordinary_user::PATH;
use crate::programs::capture;

/// What is to be looked at, each for [`PROGRAMS`].
const LOOKS: [(&str, Look); 2] =
    [("what is reached, and what is not", reaches), ("nothing is left when hwb is killed", leaves_nothing)];

type Look = fn(&Setting, &Person, &Network) -> anyhow::Result<()>;

/// What connects a network.
const PROGRAMS: [&str; 2] = ["pasta", "slirp4netns"];

/// The device that they need; open to everybody where udev runs.
const DEVICE: &str = "/dev/net/tun";

/// Asks every server, and says what each answered.
const QUESTIONS: &str = r"
import os, socket
outside, open_port, own_port, name = os.environ['SERVERS'].split()
def ask(kind, address, family=socket.AF_INET):
    try:
        asking = socket.socket(family, kind)
        asking.settimeout(3)
        asking.connect(address)
        asking.send(b'?')
        said = asking.recv(9).decode()
    except OSError:
        said = 'nothing'
    # A gateway of the network may say something of its own.
    return said if said in ('tcp', 'udp', 'unix') else 'no'
kinds = socket.SOCK_STREAM, socket.SOCK_DGRAM
print('outside:', *(ask(kind, (outside, int(open_port))) for kind in kinds))
print('loopback:', *(ask(kind, (address, int(own_port)))
    for address in ('127.0.0.1', '10.0.2.2', '10.0.2.3', outside) for kind in kinds))
print('abstract:', ask(socket.SOCK_STREAM, '\0' + name, socket.AF_UNIX))
try: socket.socket(socket.AF_INET, socket.SOCK_RAW, 1); print('raw')
except PermissionError: print('not raw')
";

/// What it says if all is well.
const ANSWERS: &str = "outside: tcp udp\nloopback: no no no no no no no no\nabstract: no\nnot raw\n";

/// Servers, and one of the programs for whoever looks at them.
#[derive(Debug)]
struct Network {
    /// What [`QUESTIONS`] reads.
    servers: String,
    /// A folder with nothing but the program.
    path: String,
}

/// The names of all looks.
pub(super) fn names() -> impl Iterator<Item = String> {
    let named = |program: &'static str| {
        LOOKS.into_iter().map(move |(name, _)| format!("`--network isolated` by {program}: {name}"))
    };
    PROGRAMS.into_iter().flat_map(named)
}

/// Looks at everything as `person`, in the order of [`names`].
pub(super) fn examine(setting: &Setting, person: &Person) -> anyhow::Result<Vec<Found>> {
    open_device()?;
    let servers = serve()?;
    let mut found = Vec::new();
    for program in PROGRAMS {
        let folder = person.hwb().with_file_name(program);
        fs_err::create_dir_all(&folder)?;
        let at = PATH.split(':').map(|folder| Path::new(folder).join(program)).find(|path| path.is_file());
        fs_err::os::unix::fs::symlink(
            at.with_context(|| format!("there is no {program}"))?,
            folder.join(program),
        )?;
        let path = folder.display().to_string();
        let network = Network { servers: servers.clone(), path };
        found.extend(LOOKS.map(|(_, look)| match look(setting, person, &network) {
            Ok(()) => Found::Same,
            Err(error) => Found::Wrong(format!("{error:#}").replace('\n', " / ")),
        }));
    }
    for (name, one) in names().zip(&found) {
        println!("  {name:60} {}", one.shown());
    }
    Ok(found)
}

/// Lets everybody make interfaces, as a machine with udev does.
fn open_device() -> anyhow::Result<()> {
    let mode = fs_err::metadata(DEVICE).context("the kernel has no tap devices")?.permissions().mode();
    if mode & 0o006 != 0o006 {
        println!("  opens {DEVICE} to everybody");
        fs_err::set_permissions(DEVICE, PermissionsExt::from_mode(mode | 0o666))?;
    }
    Ok(())
}

/// Starts the servers, which end with this process, and says where they are.
fn serve() -> anyhow::Result<String> {
    let outside = outside()?;
    let open = both(outside)?;
    let own = both(IpAddr::V4(Ipv4Addr::LOCALHOST))?;
    let name = format!("hwb-{}-{open}", std::process::id());
    let abstract_server = UnixListener::bind_addr(&SocketAddr::from_abstract_name(&name)?)?;
    thread::spawn(move || {
        for stream in abstract_server.incoming() {
            let _gone = stream.and_then(|stream| answer(stream, b"unix"));
        }
    });
    Ok(format!("{outside} {open} {own} {name}"))
}

/// The machine's address to others. Nothing is sent to the one that is asked for.
fn outside() -> anyhow::Result<IpAddr> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    socket.connect(("192.0.2.1", 9)).context("the machine is in no network")?;
    Ok(socket.local_addr()?.ip())
}

/// A server for TCP and one for UDP at the same port.
fn both(address: IpAddr) -> anyhow::Result<u16> {
    let listener = TcpListener::bind((address, 0))?;
    let port = listener.local_addr()?.port();
    let socket = UdpSocket::bind((address, port))?;
    thread::spawn(move || {
        for stream in listener.incoming() {
            let _gone = stream.and_then(|stream| answer(stream, b"tcp"));
        }
    });
    thread::spawn(move || {
        while let Ok((_, sender)) = socket.recv_from(&mut [0; 9]) {
            let _gone = socket.send_to(b"udp", sender);
        }
    });
    Ok(port)
}

/// Hears the question, as an end with unheard ones is no answer, and answers it.
fn answer(mut stream: impl Read + Write, with: &[u8]) -> std::io::Result<()> {
    stream.read_exact(&mut [0])?;
    stream.write_all(with)
}

fn command(setting: &Setting, person: &Person, network: &Network) -> Command {
    let mut command = person.command(&person.hwb());
    command.args(["image", "run", "--rm", "--pull", "never", "--network", "isolated", "--env", "SERVERS"]);
    command.arg(&setting.image).env("SERVERS", &network.servers);
    // What maps ids is found elsewhere.
    command.env("PATH", &network.path);
    command
}

fn reaches(setting: &Setting, person: &Person, network: &Network) -> anyhow::Result<()> {
    let said = capture(command(setting, person, network).args(["python3", "-c", QUESTIONS]))?;
    ensure!(said == ANSWERS, "it said {said}");
    Ok(())
}

fn leaves_nothing(setting: &Setting, person: &Person, network: &Network) -> anyhow::Result<()> {
    let before = attached()?;
    let mut command = command(setting, person, network);
    command.args(["sh", "-c", "echo begun; sleep 600"]).stdout(Stdio::piped());
    let mut child = command.spawn().context("hwb did not start")?;
    let mut line = String::new();
    BufReader::new(child.stdout.take().context("it has no output")?).read_line(&mut line)?;
    let during = attached()?;
    child.kill()?;
    child.wait()?;
    ensure!(
        line == "begun\n" && during > before,
        "{line:?} was said with {during} programs, {before} before"
    );
    // The kernel ends them one after the other.
    for _ in 0..50 {
        if attached()? == before {
            return Ok(());
        }
        thread::sleep(Duration::from_millis(100));
    }
    anyhow::bail!("{} programs are left", attached()? - before)
}

/// How many processes of this machine connect a network.
fn attached() -> anyhow::Result<usize> {
    let mut count = 0;
    for entry in fs_err::read_dir("/proc")? {
        // Who has ended meanwhile connects nothing.
        let words = fs_err::read(entry?.path().join("cmdline")).unwrap_or_default();
        let name = words.split(|byte| *byte == 0).next().unwrap_or_default();
        count += usize::from(PROGRAMS.iter().any(|program| name == program.as_bytes()));
    }
    Ok(count)
}
