//! Commands in images, as root, as a user with ranges of ids and as one without.
//!
//! A Debian of debootstrap is pushed by skopeo into Debian's registry on loopback; from there on everything is hwb's:
//! it is pulled, and each of the [`checks`] runs in a container of its own.
//!
//! - [`origin`]: the registry, and what is in it.
//! - [`person`]: who runs hwb.
//! - [`checks`]: what is run, and what must come of it.
//! - [`committed`]: what a run changed, as an image, and what [`engines`] of others make of it.
//! - [`network`]: what is reached from networks of a container's own.
//! - [`foreign`]: programs of other machines.
//! - [`escapes`]: ways out of a container, which the tests of the sandbox try.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::Stdio;

use anyhow::Context as _;

use super::Program;
use super::debian::{Debians, RELEASE};
use crate::evidence::Section;
use crate::fetch::Index;
use crate::programs::{capture, tail};
use crate::workspace::{Workspace, ambient};

mod checks;
mod committed;
pub(super) mod engines;
mod escapes;
mod foreign;
mod network;
pub(super) mod origin;
pub(super) mod person;

use self::checks::{CHECKS, Check};
use self::committed::{Judges, LOOKS};
use self::origin::Origin;
use self::person::{Person, Who};

/// What the image has besides a minimal Debian.
pub(super) const PACKAGES: [&str; 2] = ["libcap2-bin", "python3-pip"];

/// Where the certificates of the machine stand in the container, for the package index.
const CERTIFICATES: &str = "/run/certificates.pem";

/// How a cell begins that does not say what it must.
const WRONG: &str = "WRONG";

/// What everybody runs.
#[derive(Debug)]
struct Setting {
    hwb: PathBuf,
    image: String,
    index: Index,
    certificates: Option<PathBuf>,
}

/// What came of it for one of them.
#[derive(Debug)]
struct Outcome {
    who: Who,
    /// In the order of [`CHECKS`], [`network::names`] and [`foreign::names`].
    found: Vec<Found>,
    /// In the order of [`LOOKS`].
    seen: Vec<Found>,
    /// How many programs' worth of ways out were tried.
    escapes: anyhow::Result<escapes::Tried>,
}

/// What came of one check.
#[derive(Debug)]
enum Found {
    /// What is expected everywhere.
    Same,
    /// What is expected where there is one id.
    Different,
    /// Something else.
    Wrong(String),
}

/// Runs all of it.
pub(super) fn run(workspace: &Workspace, program: Program) -> anyhow::Result<Section> {
    let origin = Origin::start(
        workspace,
        &["docker.io", "passt", "podman", "qemu-user-static", "runc", "slirp4netns", "umoci"],
    )?;
    let tree = Debians::new(workspace).with(&PACKAGES.into())?;
    let setting = Setting {
        hwb: workspace.hwb(program.binary)?,
        image: origin.push(&tree, "debian")?,
        index: Index::configured()?,
        certificates: ambient("PIP_CERT").or_else(|| ambient("SSL_CERT_FILE")).map(PathBuf::from),
    };
    let escaping = escapes::Tests::build(workspace)?;
    let judges = Judges::gather(&setting.image)?;
    let mut outcomes = Vec::new();
    for who in Who::ALL {
        let person = Person::create(who, &setting.hwb)?;
        let mut found = examine(&setting, &person, who).with_context(|| who.name())?;
        found.extend(network::examine(&setting, &person).with_context(|| who.name())?);
        found.extend(foreign::examine(&person, who));
        let seen = be_seen(&judges, &origin, &setting, (&person, who));
        outcomes.push(Outcome { who, found, seen, escapes: escaping.run(who, &person) });
    }
    Ok(report(&outcomes))
}

/// Pulls the image and runs everything in it.
fn examine(setting: &Setting, person: &Person, who: Who) -> anyhow::Result<Vec<Found>> {
    println!("{}:", who.name());
    capture(person.command(&person.hwb()).args(["image", "pull", "--quiet", &setting.image]))?;
    let mut found = Vec::new();
    for check in CHECKS {
        let one = attempt(setting, person, check, who)?;
        println!("  {:60} {}", check.name, one.shown());
        found.push(one);
    }
    Ok(found)
}

/// Commits and pushes what a run changed, and lets the others look at it.
fn be_seen(judges: &Judges, origin: &Origin, setting: &Setting, (person, who): (&Person, Who)) -> Vec<Found> {
    let name = origin.reference(&format!("changed/{}", format!("{who:?}").to_lowercase()));
    let offered = judges.offer(person, &setting.image, &name);
    let look = |look: &committed::Look| match &offered {
        Ok(()) => look(judges, &name),
        Err(error) => Err(anyhow::anyhow!("{error:#}")),
    };
    let found = |(name, way): &(&str, committed::Look)| {
        let found = match look(way) {
            Ok(()) => Found::Same,
            Err(error) => Found::Wrong(format!("{error:#}").replace('\n', " / ")),
        };
        println!("  {name:60} {}", found.shown());
        found
    };
    LOOKS.iter().map(found).collect()
}

fn attempt(setting: &Setting, person: &Person, check: &Check, who: Who) -> anyhow::Result<Found> {
    let mut command = person.command(&person.hwb());
    command.args(["image", "run", "--rm", "--pull", "never"]).args(check.options);
    command.env("PIP_INDEX_URL", &setting.index.url);
    if let Some(certificates) = setting.certificates.as_deref().filter(|_| check.needs_index()) {
        command.env("PIP_CERT", CERTIFICATES);
        command.arg("--volume").arg(format!("{}:{CERTIFICATES}:ro", certificates.display()));
    }
    command.arg(&setting.image).args(check.argv).stdin(Stdio::null());
    let output = command.output().context("hwb did not start")?;
    let code = output.status.code().map_or_else(|| output.status.to_string(), |code| code.to_string());
    let said = String::from_utf8_lossy(&output.stdout).trim_end().replace('\n', " / ");
    let said = format!("{code} {said}");
    Ok(match &check.one_id {
        _ if said.trim_end() == check.expected => Found::Same,
        Some(difference) if who == Who::OneId && said.trim_end() == difference.found => Found::Different,
        _ => {
            let complaint = tail(&String::from_utf8_lossy(&output.stderr), 4).replace('\n', " / ");
            Found::Wrong(format!("{said} ({complaint})"))
        }
    })
}

impl Check {
    /// Whether it takes something from the package index.
    fn needs_index(&self) -> bool {
        self.options.contains(&"PIP_INDEX_URL")
    }
}

impl Found {
    fn shown(&self) -> String {
        match self {
            Self::Same => "as expected".to_owned(),
            Self::Different => "differs, as documented".to_owned(),
            Self::Wrong(what) => format!("{WRONG}: {what}"),
        }
    }
}

fn report(outcomes: &[Outcome]) -> Section {
    let (mut text, mut failed) = (String::new(), Vec::new());
    let mut line = |line: String| writeln!(text, "{line}").expect("writing to a string succeeds");
    let names: Vec<_> = outcomes.iter().map(|outcome| outcome.who.name()).collect();
    line(format!("| | {} |\n| --- |{}", names.join(" | "), " --- |".repeat(names.len())));
    let checks =
        CHECKS.iter().map(|check| check.name.to_owned()).chain(network::names()).chain(foreign::names());
    let rows = checks.chain(LOOKS.iter().map(|(name, _)| (*name).to_owned()));
    let rows: Vec<String> = rows.collect();
    for (number, name) in rows.iter().enumerate() {
        let of = |outcome: &Outcome| outcome.found.iter().chain(&outcome.seen).nth(number).map(Found::shown);
        let cells: Vec<_> = outcomes.iter().filter_map(of).collect();
        line(format!("| {name} | {} |", cells.join(" | ")));
        let wrong = outcomes.iter().zip(&cells).filter(|(_, cell)| cell.starts_with(WRONG));
        failed.extend(wrong.map(|(outcome, _)| format!("{name} as {}", outcome.who.name())));
    }
    line("\nWith one id this differs:\n".to_owned());
    for check in CHECKS {
        if let Some(difference) = &check.one_id {
            line(format!(
                "- {}: `{}` in place of `{}`: {}.",
                check.name, difference.found, check.expected, difference.why
            ));
        }
    }
    let wrong = failed.len();
    line("\nWays out of a container that were tried from inside:\n".to_owned());
    for outcome in outcomes {
        match &outcome.escapes {
            Ok(tried) => line(format!("- {}: none led anywhere: {tried}", outcome.who.name())),
            Err(error) => {
                line(format!("- {}: FAILED: {error:#}", outcome.who.name()));
                failed.push(format!("escapes as {}", outcome.who.name()));
            }
        }
    }
    let body = format!(
        "**{} checks as {}, {wrong} of them wrong.** A {RELEASE} that debootstrap made (minbase with {}), pushed by \
         skopeo into Debian's docker-registry on loopback, pulled by each of them into a cache of their own; each check \
         is one `hwb image run --rm`, with everything on that it has by default. The last {} look at an image that `hwb \
         image commit` made of a run of all kinds of changes, and pushed there, beside one of the same change that \
         `docker commit` made: with podman, docker, skopeo and umoci of Debian.\n\n{text}",
        rows.len(),
        names.join(", "),
        PACKAGES.join(" and "),
        LOOKS.len(),
    );
    Section { part: "image", command: "cargo xtask full image".to_owned(), body, failed }
}
