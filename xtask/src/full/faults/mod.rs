//! Commands on images that are disturbed: by each other, by SIGKILL, by a full disk.
//!
//! All of it happens in a namespace of processes and mounts of its own, so that whatever is left there is hwb's.
//!
//! - [`stage`]: a cache, somebody who uses it, and what must be true of it at any time.
//! - [`operation`]: what is disturbed.
//! - [`together`]: several commands at once.
//! - [`kills`]: commands that are killed at random instants.
//! - [`space`]: commands on a disk without space.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::Context as _;

use super::FaultOptions;
use super::image::origin::Origin;
use super::image::person::Who;
use crate::evidence::Section;
use crate::programs::{program, run as run_program};
use crate::workspace::Workspace;

mod kills;
mod operation;
mod space;
mod stage;
mod together;

use self::stage::Stage;

/// What came of it for one of them.
#[derive(Debug)]
struct Outcome {
    who: Who,
    together: anyhow::Result<together::Tried>,
    kills: anyhow::Result<kills::Tried>,
    space: anyhow::Result<space::Tried>,
}

/// Whether this process is in a namespace of its own: it is the first one there.
pub(super) fn is_apart() -> bool {
    std::process::id() == 1
}

/// Runs this part again in a namespace of its own (needs root).
pub(super) fn go_apart(options: &FaultOptions) -> anyhow::Result<()> {
    let itself = fs_err::read_link("/proc/self/exe")?;
    let mut command = program("unshare");
    command.args(["--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "--"]).arg(itself);
    command.args(["full", "image-faults", "--kills", &options.kills.to_string()]);
    command.args(["--seed", &options.seed.to_string()]);
    if let Some(binary) = &options.program.binary {
        command.arg("--binary").arg(binary);
    }
    run_program(&mut command)
}

/// Runs all of it.
pub(super) fn run(workspace: &Workspace, options: &FaultOptions) -> anyhow::Result<Section> {
    let hwb = workspace.hwb(options.program.binary.clone())?;
    let origin = Origin::start(workspace, &["busybox-static"])?;
    let base = stage::base(&origin)?;
    let mut outcomes = Vec::new();
    for who in Who::ALL {
        println!("{}:", who.name());
        outcomes.push(disturb(&origin, &hwb, (who, &base), options)?);
    }
    Ok(report(&outcomes, options))
}

fn disturb(
    origin: &Origin,
    hwb: &Path,
    (who, base): (Who, &str),
    options: &FaultOptions,
) -> anyhow::Result<Outcome> {
    let stage = Stage::set(origin, who, hwb, base).with_context(|| who.name())?;
    let said = |what: &str, error: Option<&anyhow::Error>| {
        println!(
            "  {what}: {}",
            error.map_or_else(|| "right".to_owned(), |error| format!("WRONG: {error:#}"))
        );
    };
    let together = together::run(&stage);
    said("together", together.as_ref().err());
    let kills = kills::run(&stage, options);
    said("kills", kills.as_ref().err());
    let space = space::run(&stage);
    said("space", space.as_ref().err());
    Ok(Outcome { who, together, kills, space })
}

fn report(outcomes: &[Outcome], options: &FaultOptions) -> Section {
    let (mut text, mut failed) = (String::new(), Vec::new());
    for Outcome { who, together, kills, space } in outcomes {
        let mut row = vec![who.name().to_owned()];
        let cells = [
            ("together", together.as_ref().map(ToString::to_string)),
            ("kills", kills.as_ref().map(ToString::to_string)),
            ("space", space.as_ref().map(ToString::to_string)),
        ];
        for (what, cell) in cells {
            row.push(cell.unwrap_or_else(|error| {
                failed.push(format!("{what} as {}", who.name()));
                format!("WRONG: {error:#}").replace('\n', " / ")
            }));
        }
        writeln!(text, "| {} |", row.join(" | ")).expect("writing to a string succeeds");
    }
    let body = format!(
        "An image of two layers (1,500 files and 24 MB that do not compress) from Debian's docker-registry on loopback, \
         in a namespace of processes and mounts that nobody else is in. After each disturbance the same command is given \
         again and must succeed; every blob is read and has the digest that it is called by; no process, no mount, and \
         after `hwb cache prune` no scratch space and no lock is left; after `hwb cache clean` nothing but the store's \
         own marks. The seed of the instants is {}.\n\n\
         | as | at once | SIGKILL | a full disk |\n| --- | --- | --- | --- |\n{text}",
        options.seed
    );
    let command = "cargo xtask full image-faults".to_owned();
    Section { part: "image-faults", command, body, failed }
}
