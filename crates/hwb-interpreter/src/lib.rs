//! Interpreters and the environments that builds run in.
//!
//! - [`environment`]: a virtual environment with what a build needs, made, handed out and dropped.

pub mod environment;

mod bytecode;

pub use self::environment::{
    ENVIRONMENT, Environment, EnvironmentError, Privacy, Workshop, make_environment,
};
