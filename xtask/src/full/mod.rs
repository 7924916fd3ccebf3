//! The third tier: by hand, never in CI; each part writes its section of `docs/evidence.md`.

use std::path::PathBuf;

use anyhow::bail;
use clap::{Args, Subcommand};

use crate::evidence;
use crate::workspace::Workspace;

mod audit;
mod bench;
mod concurrency;
mod corpus;
mod debian;
mod edit;
mod faults;
mod findings;
mod fuzz;
mod hostile;
mod image;
mod repair;
mod repro;

/// A part of the third tier.
#[derive(Debug, Subcommand)]
pub(crate) enum Part {
    /// Audits wheels with hwb and with auditwheel and compares the verdicts.
    Audit(AuditOptions),
    /// Builds the corpus with hwb and with uv and compares the wheels.
    Corpus(Selection),
    /// Measures whole commands against the peers, in pairs.
    Bench(BenchOptions),
    /// Builds pure and compiled sdists twice in surroundings that differ in everything, and compares the bytes.
    Repro(Selection),
    /// Builds side by side in one cache, kills one, and looks at what is left.
    Concurrency(Program),
    /// Offers hostile archives and wheels.
    Hostile(Program),
    /// Repairs wheels of the corpus with hwb and with auditwheel, compares them, and runs them elsewhere.
    Repair(RepairOptions),
    /// Runs commands in images with hwb as root and as ordinary users, and looks at what they can do.
    Image(Program),
    /// Disturbs commands on images: by each other, by SIGKILL, by a full disk; looks at what is left.
    ImageFaults(FaultOptions),
    /// Changes ELF files of other machines and linkers, and runs them.
    Edit,
    /// Runs each fuzz target for a while.
    Fuzz {
        /// Seconds for each target.
        #[arg(long, default_value_t = 60)]
        seconds: u64,
        /// Only these targets; what was found of the others stays in the evidence.
        #[arg(long, value_name = "NAME,…", value_delimiter = ',')]
        only: Vec<String>,
    },
}

/// What is audited.
#[derive(Debug, Args)]
pub(crate) struct AuditOptions {
    #[command(flatten)]
    pub(crate) program: Program,
    /// Wheels below this folder too, such as the ones that were built from the corpus; repeatable.
    #[arg(long, value_name = "FOLDER")]
    pub(crate) wheels: Vec<PathBuf>,
}

/// What is repaired.
#[derive(Debug, Args)]
pub(crate) struct RepairOptions {
    #[command(flatten)]
    pub(crate) program: Program,
    /// The folder that wheels of the corpus lie below [default: those that hwb built last].
    #[arg(long, value_name = "FOLDER")]
    pub(crate) wheels: Option<PathBuf>,
    /// Only these projects.
    #[arg(long, value_delimiter = ',', value_name = "NAME,…")]
    pub(crate) only: Vec<String>,
}

/// How commands on images are disturbed.
#[derive(Debug, Args)]
pub(crate) struct FaultOptions {
    #[command(flatten)]
    pub(crate) program: Program,
    /// How many commands are killed, as each user.
    #[arg(long, default_value_t = 50)]
    pub(crate) kills: usize,
    /// What the instants follow from at which they are killed.
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
}

/// The program that is looked at.
#[derive(Debug, Args)]
pub(crate) struct Program {
    /// The hwb program [default: the release build].
    #[arg(long, value_name = "PATH")]
    pub(crate) binary: Option<PathBuf>,
}

/// Which rows of the corpus.
#[derive(Debug, Args)]
pub(crate) struct Selection {
    #[command(flatten)]
    pub(crate) program: Program,
    /// Only these projects.
    #[arg(long, value_delimiter = ',', value_name = "NAME,…")]
    pub(crate) only: Vec<String>,
    /// Only this kind.
    #[arg(long)]
    pub(crate) kind: Option<crate::corpus::Kind>,
    /// Forgets earlier results instead of going on where they end.
    #[arg(long)]
    pub(crate) again: bool,
}

impl Selection {
    /// Whether a row is asked for; heavy ones are only when they are named or their kind is.
    pub(crate) fn wants(&self, row: &crate::corpus::Row) -> bool {
        let named = self.only.iter().any(|name| name == &row.name);
        let by_kind = self.kind.is_none_or(|kind| kind == row.kind);
        let light = row.kind != crate::corpus::Kind::Heavy || self.kind.is_some();
        named || (self.only.is_empty() && by_kind && light)
    }
}

/// What is measured, and how often.
#[derive(Debug, Args)]
pub(crate) struct BenchOptions {
    /// What is measured.
    #[arg(value_enum)]
    pub(crate) what: Bench,
    #[command(flatten)]
    pub(crate) program: Program,
    /// Rounds; in each every tool runs once.
    #[arg(long, default_value_t = 15)]
    pub(crate) rounds: usize,
    /// The folder that projects, outputs and caches stand in [default: below the target folder; for `tree`, `run` and
    /// `layers` in an ext4 with a journal that is made there].
    #[arg(long, value_name = "FOLDER")]
    pub(crate) place: Option<PathBuf>,
    /// Only these projects.
    #[arg(long, value_delimiter = ',', value_name = "NAME,…")]
    pub(crate) only: Vec<String>,
}

/// What can be measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Bench {
    /// `hwb build` against `uv build` and `build`.
    Build,
    /// The same around a checkout of 20,000 files and 500 MB.
    Tree,
    /// `hwb audit` against `auditwheel show` on large public wheels.
    Audit,
    /// `hwb repair` against `auditwheel repair` and `repairwheel`.
    Repair,
    /// `hwb image run` against `runc run`, `podman run` and `docker run`.
    Run,
    /// `hwb image pull`, `run`, `commit` and `push` against docker, skopeo and umoci.
    Layers,
}

/// Runs one part and writes its section, if it was the release build that was looked at.
pub(crate) fn run(workspace: &Workspace, part: Part) -> anyhow::Result<()> {
    if let Part::ImageFaults(options) = &part
        && !faults::is_apart()
    {
        return faults::go_apart(options);
    }
    let other = match &part {
        Part::Audit(AuditOptions { program, .. })
        | Part::Corpus(Selection { program, .. })
        | Part::Repro(Selection { program, .. })
        | Part::Bench(BenchOptions { program, .. })
        | Part::Repair(RepairOptions { program, .. })
        | Part::Concurrency(program)
        | Part::Image(program)
        | Part::ImageFaults(FaultOptions { program, .. })
        | Part::Hostile(program) => program.binary.clone(),
        Part::Edit | Part::Fuzz { .. } => None,
    };
    let section = match part {
        Part::Audit(options) => audit::run(workspace, &options),
        Part::Corpus(selection) => corpus::run(workspace, &selection),
        Part::Bench(options) => bench::run(workspace, &options),
        Part::Repro(selection) => repro::run(workspace, &selection),
        Part::Concurrency(program) => concurrency::run(workspace, program),
        Part::Repair(options) => repair::run(workspace, &options),
        Part::Hostile(program) => hostile::run(workspace, program),
        Part::Image(program) => image::run(workspace, program),
        Part::ImageFaults(options) => faults::run(workspace, &options),
        Part::Edit => edit::run(workspace),
        Part::Fuzz { seconds, only } => fuzz::run(workspace, seconds, &only),
    }?;
    println!("\n{}", section.body);
    match other {
        None => evidence::write(workspace, &section)?,
        Some(binary) => println!("not written as evidence: {} is not the release build", binary.display()),
    }
    if !section.failed.is_empty() {
        bail!("{} failed: {}", section.part, section.failed.join(", "));
    }
    Ok(())
}
