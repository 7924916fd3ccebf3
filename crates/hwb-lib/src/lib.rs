//! The whole way from a source to an artifact, as functions: what every face of hwb calls.
//!
//! In reading order:
//!
//! - [`ambient`]: what a face captures of the world, once.
//! - [`settings`]: files, variables and arguments merged into settled settings, each with its origin.
//! - [`build`]: one call builds wheels and sdists. Inside, `source` brings the tree, `build::cell` makes the
//!   environment and calls the hooks, `artifact` checks, writes and publishes what came out.
//! - [`verify`]: builds again, and compares.
//! - [`audit`]: how portable native code is; [`repair`]: wheels that bring along what they need.
//! - [`image`]: container images.
//! - [`doctor`]: what this machine can do.
//! - [`event`]: what is said while it goes on; [`error`]: what went wrong, of which kind, and what to try.

pub mod ambient;
pub mod audit;
pub mod build;
pub mod cache;
pub mod doctor;
pub mod error;
pub mod event;
pub mod history;
pub mod image;
pub mod inspect;
pub mod python;
pub mod repair;
pub mod schema;
pub mod settings;
pub mod verify;

mod artifact;
mod source;
mod system;
mod world;

pub use self::ambient::Ambient;
pub use self::error::{Error, ErrorKind};
pub use self::event::Event;
pub use hwb_sandbox::helper::HELPER_ARGUMENT;
pub use hwb_sandbox::memory::give_back_early;
pub use hwb_sandbox::{Cancel, signals};

/// Acts as the helper that enters namespaces; `args` are those after [`HELPER_ARGUMENT`].
///
/// To be called first thing in `main`, before there is a second thread.
pub fn helper_main(args: impl IntoIterator<Item = std::ffi::OsString>) -> std::process::ExitCode {
    hwb_sandbox::helper_main_with(args, &[image::WORK])
}
