//! PEP 517 builds: what a project asks for, and its hooks called in a session.
//!
//! The engine is given the world: an unpacked source tree, a session of the sandbox with an environment in it, and
//! variables as values. It knows no index, no interpreter search and no cache.
//!
//! - [`project`]: `pyproject.toml` as far as a build needs it, and what counts without one.
//! - [`environment`]: the variables that a hook sees.
//! - [`hooks`]: calls hooks; [`log`]: what the backend prints meanwhile.
//! - [`installed`]: what an interpreter that is used as it is has, and what a build lacks there.
//! - [`diagnosis`]: what to try after a failed hook.

pub mod diagnosis;
pub mod environment;
pub mod hooks;
pub mod installed;
pub mod log;
pub mod project;

pub use self::hooks::{Artifact, HookError, Hooks, HooksSpec};
pub use self::project::{BuildSystem, Project, ProjectError, read_project};
