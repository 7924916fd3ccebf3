//! What is disturbed.

use std::path::PathBuf;
use std::process::Command;

use super::stage::{Place, WORK};

/// The run that is kept.
const RUN: &str = "kept";

/// A command of hwb.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Operation {
    Pull,
    Run,
    Commit,
    Push,
    Export,
    Import,
    Prune,
}

impl Operation {
    pub(super) const ALL: [Self; 7] =
        [Self::Pull, Self::Run, Self::Commit, Self::Push, Self::Export, Self::Import, Self::Prune];

    /// As the command line has it.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Pull => "pull",
            Self::Run => "run",
            Self::Commit => "commit",
            Self::Push => "push",
            Self::Export => "export",
            Self::Import => "import",
            Self::Prune => "prune",
        }
    }

    /// Makes what it needs, and takes away what it would find done.
    pub(super) fn prepare(self, place: &Place<'_>) -> anyhow::Result<()> {
        match self {
            Self::Pull => place.must(&["cache", "clean"]).map(drop),
            Self::Run => {
                place.must(&["image", "pull", &place.stage.image])?;
                place.must(&["cache", "prune", "--all", "--kind", "snapshots"])?;
                self.make_room(place)
            }
            Self::Commit => make_run(place),
            Self::Push | Self::Export => make_changed(place),
            Self::Import => {
                let source = place.file("source.tar");
                if !source.exists() {
                    make_changed(place)?;
                    place.must(&["image", "export", "-o", &source.display().to_string(), &changed(place)])?;
                }
                place.must(&["cache", "clean"]).map(drop)
            }
            Self::Prune => {
                make_changed(place)?;
                if place.has_run(RUN)? {
                    place.must(&["image", "rm", "--run", RUN])?;
                }
                place.must(&["image", "run", "--rm", &changed(place), "true"]).map(drop)
            }
        }
    }

    /// The command; a `turn` tells what it publishes from what others do.
    pub(super) fn command(self, place: &Place<'_>, turn: usize) -> Command {
        let (image, changed) = (place.stage.image.as_str(), changed(place));
        match self {
            Self::Pull => place.hwb(&["image", "pull", image]),
            Self::Run => place.hwb(&["image", "run", "--name", RUN, image, "sh", "-c", WORK]),
            Self::Commit => place.hwb(&["image", "commit", RUN, &changed]),
            Self::Push => place.hwb(&["image", "push", &changed, &place.name(&format!("pushed{turn}"))]),
            Self::Export => {
                let archive = self.published(place, turn).unwrap_or_default().display().to_string();
                place.hwb(&["image", "export", "-o", &archive, &changed])
            }
            Self::Import => place.hwb(&["image", "import", &place.file("source.tar").display().to_string()]),
            Self::Prune => place.hwb(&["cache", "prune", "--all"]),
        }
    }

    /// The file that it writes.
    pub(super) fn published(self, place: &Place<'_>, turn: usize) -> Option<PathBuf> {
        (self == Self::Export).then(|| place.file(&format!("archive{turn}.tar")))
    }

    /// Takes away what is no fault if it is there, but is in the way of the same command given again.
    pub(super) fn make_room(self, place: &Place<'_>) -> anyhow::Result<()> {
        if self == Self::Run && place.has_run(RUN)? {
            place.must(&["image", "rm", "--run", RUN])?;
        }
        Ok(())
    }
}

/// The name of an image that is made of the run.
fn changed(place: &Place<'_>) -> String {
    place.name("changed")
}

fn make_run(place: &Place<'_>) -> anyhow::Result<()> {
    if !place.has_run(RUN)? {
        place.must(&["image", "run", "--name", RUN, &place.stage.image, "sh", "-c", WORK])?;
    }
    place.must(&["image", "pull", &place.stage.image]).map(drop)
}

fn make_changed(place: &Place<'_>) -> anyhow::Result<()> {
    if !place.has_image(&changed(place))? {
        make_run(place)?;
        place.must(&["image", "commit", RUN, &changed(place)])?;
    }
    Ok(())
}
