//! The third tier.
use crate::workspace::Workspace;
/// A part of the third tier.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Part {
    /// Builds the corpus.
    Corpus,
}
pub(crate) fn run(workspace: &Workspace, part: Part) -> anyhow::Result<()> {
    anyhow::bail!("{part:?} {workspace:?}")
}
