//! Automation of the project: `cargo xtask <task>`.
//!
//! - [`tiers`]: the first two tiers of tests, which CI runs.
//! - [`ordinary_user`]: the first tier again without root's rights.
//! - [`full`]: the third tier, by hand: corpus, benches, kill tests, hostile input, fuzzing.
//! - [`corpus`], [`fetch`], [`peers`], [`compare`], [`evidence`]: what the parts of the third tier share.
//! - [`mounts`]: file systems that a part of the third tier needs.
//! - [`programs`]: the one place where other programs are started.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "what a task has to say goes to the terminal")]

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

mod compare;
mod corpus;
mod evidence;
mod fetch;
mod full;
mod mounts;
mod ordinary_user;
mod peers;
mod programs;
mod tiers;
mod workspace;

use crate::full::Part;
use crate::tiers::Missing;
use crate::workspace::Workspace;

/// Tasks of the project.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Runs the tests: the first tier, or with `--system` the second.
    Test(TestArgs),
    /// Runs one part of the third tier and writes its section of docs/evidence.md.
    Full {
        #[command(subcommand)]
        part: Part,
    },
    /// Runs the first tier's test programs, already built, as a throw-away ordinary user (needs root).
    CiUser {
        /// Only these packages.
        #[arg(long = "package", value_name = "NAME")]
        packages: Vec<String>,
    },
    /// The half of `ci-user` that runs in a mount namespace of its own.
    #[command(hide = true)]
    CiUserInside {
        /// The user that the tests run as.
        user: String,
        /// Where that user may write.
        home: PathBuf,
        /// The packages; all where none is named.
        packages: Vec<String>,
    },
}

#[derive(Debug, Args)]
struct TestArgs {
    /// Runs the second tier: what needs root, Debian packages or the package index.
    #[arg(long)]
    system: bool,
    /// Installs the Debian packages that are missing.
    #[arg(long, requires = "system")]
    install: bool,
    /// The hwb program to test [default: the release build].
    #[arg(long, requires = "system", value_name = "PATH")]
    binary: Option<PathBuf>,
}

fn main() -> ExitCode {
    match run(Cli::parse().task) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(task: Task) -> anyhow::Result<()> {
    let workspace = Workspace::locate()?;
    match task {
        Task::Test(TestArgs { system: false, install: _, binary: _ }) => tiers::first(&workspace),
        Task::Test(TestArgs { system: true, install, binary }) => {
            let missing = if install { Missing::Install } else { Missing::Fail };
            tiers::second(&workspace, missing, binary)
        }
        Task::Full { part } => full::run(&workspace, part),
        Task::CiUser { packages } => ordinary_user::run(&packages),
        Task::CiUserInside { user, home, packages } => {
            ordinary_user::inside(&workspace, &ordinary_user::User { name: user, home }, &packages)
        }
    }
}
