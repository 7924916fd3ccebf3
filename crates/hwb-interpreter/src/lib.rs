//! Interpreters and the environments that builds run in.
//!
//! - [`environment`]: a virtual environment with what a build needs, made, handed out and dropped.

pub mod environment;

pub use self::environment::{Environment, EnvironmentError, make_environment};
