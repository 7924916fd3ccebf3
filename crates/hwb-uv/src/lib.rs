//! The seam to the uv crates: find interpreters, resolve, install, fetch sdists.
//!
//! The only package that names uv's resolver, client and installer. Their interface moves with every release and
//! they are slow to compile, so everything that crosses this line is a value of ours; some handles stay opaque
//! ([`Python`], [`Seam`], [`Resolved`]). The futures of uv stay inside as well: every function here blocks.
//!
//! - [`settings`](IndexSettings): where distributions come from.
//! - [`Python`]: an interpreter and what it says of itself.
//! - [`Seam`]: one process's view of the indexes; [`Seam::resolve`] gives [`Resolved`] with its [`Pin`]s,
//!   [`Seam::empty`] makes an environment for it, [`Seam::sdist`] and [`Seam::download`] bring sources.
//! - [`SdistBuilder`]: the one way back up, for a build requirement that has no wheel.
//! - [`direct`]: projects of the `uv_build` backend, built without an interpreter.

mod client;
mod context;
pub mod direct;
mod error;
mod install;
mod python;
mod resolve;
mod sdist;
mod settings;

pub use self::client::{Seam, default_index};
pub use self::context::{BuildFailure, SdistBuilder, SdistRequest};
pub use self::error::{SeamError, SeamErrorKind};
pub use self::install::{Empty, Filled, Links};
pub use self::python::{Python, discover, discover_all};
pub use self::resolve::{Pin, PinForm, Resolved};
pub use self::sdist::{Fetched, SdistChoice};
pub use self::settings::{
    Connectivity, Constraint, Hashes, IndexSettings, Indexes, Keyring, Strategy, SystemCertificates,
};
