//! What the tests of hwb are made of, all of it synthesised in code:
//!
//! - [`tree`]: files in memory that become a folder, a tar.gz or a zip.
//! - [`project`]: small Python projects and their sdists, and [`backend`], the backend that builds them.
//! - [`wheel`]: wheels, right ones and wrong ones.
//! - [`program`]: programs of several machines.
//! - [`elf`]: native code that needs what it is told to; [`sections`]: such that is nothing but sections.
//! - [`hostile`]: archives that nobody should unpack.
//! - [`index`]: a package index on loopback that serves all these.
//! - [`image`]: container images.
//! - [`registry`]: a registry of container images on loopback; [`docker_registry`]: one that others wrote.
//! - [`command`]: runs the command line where nothing of this machine is seen.
//!
//! The archives are written by other code than hwb's own, so that a test never agrees with itself. Everything here
//! panics with a name when the machine does not play along: a test has nobody to hand an error to.

#![expect(clippy::panic, reason = "a test that cannot be set up ends with what was in the way")]

pub mod backend;
pub mod command;
pub mod docker_registry;
pub mod elf;
pub mod hostile;
mod http;
pub mod image;
pub mod index;
pub mod program;
pub mod project;
pub mod registry;
pub mod sections;
pub mod tree;
pub mod wheel;

pub use self::backend::{tiny_backend, tiny_backend_wheel};
pub use self::command::{CommandContext, Invocation, Outcome};
pub use self::elf::Elf;
pub use self::image::Image;
pub use self::index::{Fault, Index, IndexBuilder, Request};
pub use self::project::Project;
pub use self::sections::elf_of_sections;
pub use self::tree::{Artifact, Tree};
pub use self::wheel::Wheel;

/// The SHA-256 of some bytes, in hexadecimal digits.
pub fn sha256_hex(bytes: &[u8]) -> String {
    use sha2::Digest as _;
    sha2::Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}
