//! Processes: every program that hwb starts is started here.
//!
//! Foreign code (build backends, compilers, shells of a recipe) runs in a session of a [`Sandbox`]; the few trusted
//! programs of the host (git, credential helpers) run through [`host`]. Both end with everything they started: by
//! their own end, by a [`Cancel`], by a deadline, or because hwb itself was killed.
//!
//! A session may see directories of the host at paths of its own ([`Mount`]): to read, to write, or as a writable view
//! that is forgotten ([`Access::Layered`]) or kept elsewhere ([`Access::Overlaid`]). What the kernel at hand cannot do
//! is refused; [`HostProcess::probe`] tells beforehand.
//!
//! In reading order:
//!
//! - [`spec`]: what a session may see and what a command is, as plain values.
//! - [`session`]: the traits of a strategy, how a command ends, what can go wrong.
//! - [`cancel`]: stopping a command from another thread; [`signals`]: doing so for Ctrl-C.
//! - [`host_process`]: the strategy behind isolation `none` and `venv`.
//! - [`container`]: the strategy behind container images.
//! - [`helper`]: what stands between hwb and a command: namespaces, mounts, and the end of all descendants.
//! - [`host`]: trusted programs.
//! - [`memory`]: how hwb's own process gives memory back.
//!
//! The calls that the compiler cannot check stand in the private module `os`, one in each function.

pub mod cancel;
pub mod container;
pub mod helper;
pub mod host;
pub mod host_process;
pub mod memory;
pub mod session;
pub mod signals;
pub mod spec;

mod held;
mod os;
mod process;
mod seccomp;

pub use self::cancel::Cancel;
pub use self::helper::{HELPER_ARGUMENT, Work, helper_main, helper_main_with};
pub use self::host_process::HostProcess;
pub use self::session::{
    Deadline, ExitStatus, Guarantees, OutputSink, Running, Sandbox, SandboxError, Session, Stream, Visibility,
};
pub use self::spec::{Access, Control, ExecSpec, Mount, Network, SessionSpec, UPPER};
