//! The helper: what hwb runs between itself and a command, to be its holder.
//!
//! It is the hwb binary itself under a hidden first argument, small and with one thread. It enters the namespaces that
//! the session asks for, starts the command, and stays until the end of the command *and of everything the command
//! started*, however deep and under whatever session: orphans become its children. So they end with the command, and
//! also when hwb is killed.
//!
//! It answers hwb once, on a pipe of its own, with a `Report`.

mod container;
mod emulators;
mod holder;
mod layer;
mod namespaces;
mod network;
mod request;
mod root;
mod supervise;
mod wakeup;
mod work;

use std::ffi::OsString;
use std::io::{self, Write as _};
use std::os::fd::{IntoRawFd as _, OwnedFd, RawFd};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, ExitCode};

use rustix::io::FdFlags;
use rustix::process::Signal;

use crate::cancel::Cancel;
use crate::os;
use crate::signals::{self, Again};

pub use self::work::Work;

pub(crate) use self::holder::{HOLDER, Mapping};
pub(crate) use self::namespaces::limit;
pub(crate) use self::request::{Guarantee, Report, Request};
pub(crate) use self::root::Kind;

/// The first argument of a process that is to be a helper.
pub const HELPER_ARGUMENT: &str = "__hwb-sandbox";

/// Acts as the helper; `args` are those after [`HELPER_ARGUMENT`].
///
/// To be called first thing in `main`, before there is a second thread. It ends as the command ended: with its code,
/// or by its signal.
pub fn helper_main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    helper_main_with(args, &[])
}

/// As [`helper_main`], of a program that has functions to run under the ids of a
/// [`Holder`](crate::container::Holder).
pub fn helper_main_with(args: impl IntoIterator<Item = OsString>, works: &[Work]) -> ExitCode {
    let mut args = args.into_iter().peekable();
    if args.next_if(|first| first == HOLDER).is_some() {
        return holder::main(args, works);
    }
    let Some(request) = Request::from_args(args) else {
        // Not started by hwb; there is nobody who listens.
        return ExitCode::from(2);
    };
    match prepare(&request) {
        Ok(held) => supervise::hold(held),
        Err(Unlistened) => ExitCode::from(2),
    }
}

/// A failure that was reported already, or could not be reported.
struct Unlistened;

/// A command under supervision.
struct Held {
    child: Child,
    parent: rustix::process::Pid,
    cancel: Cancel,
}

/// Makes the surroundings of the command, and starts it.
fn prepare(request: &Request) -> Result<Held, Unlistened> {
    // Out of the way of descriptor 3, and not for the command.
    let reports = os::adopt(request.reports);
    let reports = rustix::io::fcntl_dupfd_cloexec(reports, os::CONTROL_FD + 1).map_err(|_| Unlistened)?;
    let mut reports = std::fs::File::from(reports);
    match start(request) {
        Ok(Some(mut held)) => {
            if reports.write_all(&Report::Started.to_bytes()).is_ok() {
                return Ok(held);
            }
            // Killed meanwhile; the command may be far ahead.
            supervise::end(&mut held);
            Err(Unlistened)
        }
        Ok(None) => {
            let _nobody_listens = reports.write_all(&Report::Started.to_bytes());
            Err(Unlistened)
        }
        Err(report) => {
            let _nobody_listens = reports.write_all(&report.to_bytes());
            Err(Unlistened)
        }
    }
}

fn start(request: &Request) -> Result<Option<Held>, Report> {
    let failed = |step: &str| {
        let step = step.to_owned();
        move |error: io::Error| Report::setup(step, &error)
    };
    // First of all: anything that is opened could get number 3.
    if let Some(number) = request.control {
        place_control(number).map_err(failed("pass the control pipe on"))?;
    }
    let cancel = Cancel::new().map_err(failed("make an event descriptor"))?;
    signals::wake_on(&cancel, Again::SetsAgain).map_err(failed("catch signals"))?;
    rustix::process::set_child_subreaper(Some(rustix::process::getpid()))
        .map_err(|errno| failed("become a reaper")(errno.into()))?;
    namespaces::enter(request)?;
    // Entering a user namespace may have cleared it.
    rustix::process::set_parent_process_death_signal(Some(Signal::TERM))
        .map_err(|errno| failed("follow the parent")(errno.into()))?;
    if rustix::process::getppid() != Some(request.parent) {
        return Err(Report::setup("follow the parent".to_owned(), &io::ErrorKind::NotFound.into()));
    }
    let Some((program, arguments)) = request.argv.split_first() else {
        return Ok(None);
    };
    let child = spawn(program, arguments, request.cwd.as_path())?;
    let mut held = Held { child, parent: request.parent, cancel };
    if let Err(error) = let_go(request.control.is_some()) {
        supervise::end(&mut held);
        return Err(failed("let go of the streams of the command")(error));
    }
    Ok(Some(held))
}

fn spawn(program: &OsString, arguments: &[OsString], cwd: &Path) -> Result<Child, Report> {
    #[expect(clippy::disallowed_methods, reason = "this crate is where processes are started")]
    let mut command = Command::new(program);
    // The helper has the environment of the command already.
    command.arg0(program).args(arguments).current_dir(cwd);
    command.spawn().map_err(|error| {
        if error.kind() == io::ErrorKind::NotFound && !cwd.is_dir() {
            Report::setup(format!("enter `{}`", cwd.display()), &error)
        } else {
            Report::spawn(&error)
        }
    })
}

/// Makes `number` descriptor 3, and keeps it for the command.
fn place_control(number: RawFd) -> io::Result<()> {
    let control = os::adopt(number);
    if number == os::CONTROL_FD {
        rustix::io::fcntl_setfd(&control, FdFlags::empty())?;
        // Stays open: the command inherits it.
        let _number = control.into_raw_fd();
        return Ok(());
    }
    os::duplicate_to(&control, os::CONTROL_FD)
}

/// Leaves the streams of the command to the command: whoever has their other ends sees when it closes them.
fn let_go(has_control: bool) -> io::Result<()> {
    let nowhere: OwnedFd = std::fs::File::options().read(true).write(true).open("/dev/null")?.into();
    rustix::stdio::dup2_stdin(&nowhere)?;
    rustix::stdio::dup2_stdout(&nowhere)?;
    rustix::stdio::dup2_stderr(&nowhere)?;
    if has_control { os::duplicate_to(&nowhere, os::CONTROL_FD) } else { Ok(()) }
}
