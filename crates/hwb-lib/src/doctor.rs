//! `hwb doctor`: what this machine can do, what is missing, and what would mend it.

use std::path::{Path, PathBuf};

use hwb_sandbox::container::{Ids, IdsAnswer, IdsError, Person, available, can_limit, probe_tap_device};
use schemars::JsonSchema;
use serde::Serialize;

use crate::ambient::Ambient;
use crate::image::{emulation, network};
use crate::python;
use crate::settings::Settings;

/// Below this much a build of any size fails.
const LITTLE: u64 = 1 << 30;

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Finding {
    /// For what it is needed.
    pub area: Area,
    /// What was looked at.
    pub what: String,
    /// Whether it is there.
    pub state: State,
    /// What was found.
    pub detail: String,
    /// What would mend it: a command, where there is one.
    pub mend: Option<String>,
}

/// What something is needed for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Area {
    /// Builds of wheels and sdists.
    Builds,
    /// Containers.
    Containers,
    /// Images for other processors.
    Emulation,
    /// The cache.
    Store,
}

/// Whether something is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// It is.
    Ready,
    /// It is not, and something is worse or impossible without it.
    Missing,
    /// It is not, and few miss it.
    Optional,
}

/// Looks at everything. What cannot be looked at is a finding too.
pub fn examine(settings: &Settings, ambient: &Ambient) -> Vec<Finding> {
    let mut findings = vec![interpreters(settings)];
    findings.extend(tools(ambient));
    findings.extend(containers(ambient));
    findings.push(control_groups());
    findings.push(isolated_networks(ambient));
    findings.extend(helpers(ambient));
    findings.push(emulators(ambient));
    findings.push(disk(settings));
    findings
}

fn interpreters(settings: &Settings) -> Finding {
    let (state, detail, mend) = match python::list(settings) {
        Ok(found) if found.is_empty() => {
            let mend = "install Python 3.9 or newer (Debian: apt install python3)";
            (State::Missing, "none found".to_owned(), Some(mend.to_owned()))
        }
        Ok(found) => {
            let versions: Vec<String> = found.into_iter().map(|interpreter| interpreter.version).collect();
            (State::Ready, versions.join(", "), None)
        }
        Err(error) => {
            let detail = error.chain().collect::<Vec<_>>().join(": ");
            (State::Missing, detail, error.hints().first().cloned())
        }
    };
    Finding { area: Area::Builds, what: "interpreters".to_owned(), state, detail, mend }
}

/// Programs that some builds need.
fn tools(ambient: &Ambient) -> Vec<Finding> {
    let tools = [
        ("C compiler", "cc", "apt install gcc python3-dev"),
        ("C++ compiler", "c++", "apt install g++"),
        ("Rust", "cargo", "see rustup.rs"),
        ("git", "git", "apt install git"),
    ];
    let found = tools.map(|(what, name, mend)| {
        let mend = if mend.starts_with("apt") { format!("Debian: {mend}") } else { mend.to_owned() };
        on_path(ambient, (Area::Builds, State::Optional), (what, name, mend))
    });
    found.into()
}

fn containers(ambient: &Ambient) -> Vec<Finding> {
    let answers = available(&ambient.executable, &Person::current());
    let best = answers.iter().position(|answer| answer.result.is_ok());
    let finding = |(number, IdsAnswer { ids, result }): (usize, &IdsAnswer)| Finding {
        area: Area::Containers,
        what: match ids {
            Ids::Same => "containers with the host's ids",
            Ids::Ranges { .. } => "containers with ranges of ids",
            Ids::Single => "containers with one id",
        }
        .to_owned(),
        state: match result {
            Ok(()) => State::Ready,
            // What is better is there.
            Err(_) if best.is_some_and(|best| best < number) => State::Optional,
            Err(IdsError::NotRoot) => State::Optional,
            Err(_) => State::Missing,
        },
        detail: match result {
            Ok(()) if best == Some(number) => "what `hwb image run` takes".to_owned(),
            Ok(()) => "would work".to_owned(),
            Err(error) => error.to_string(),
        },
        mend: result.as_ref().err().and_then(IdsError::hint),
    };
    answers.iter().enumerate().map(finding).collect()
}

/// Whether limits can be set.
fn control_groups() -> Finding {
    let (state, detail, mend) = match can_limit() {
        Ok(()) => (State::Ready, "--memory, --cpus and --pids-limit are enforced".to_owned(), None),
        Err(error) => {
            let detail = format!("--memory, --cpus and --pids-limit are refused: {error}");
            (State::Optional, detail, error.hint().map(str::to_owned))
        }
    };
    Finding { area: Area::Containers, what: "control groups".to_owned(), state, detail, mend }
}

/// Whether containers can have networks of their own with a way out.
fn isolated_networks(ambient: &Ambient) -> Finding {
    let (state, detail, mend) = match (network::installed(ambient), probe_tap_device()) {
        (None, _) => (
            State::Optional,
            "neither pasta nor slirp4netns is on the PATH".to_owned(),
            Some(network::PROGRAM_HINT),
        ),
        (Some(program), Ok(())) => (State::Ready, program.path.display().to_string(), None),
        (Some(program), Err(error)) => {
            let detail = format!("{} cannot open /dev/net/tun: {error}", program.path.display());
            (State::Optional, detail, Some(network::TAP_HINT))
        }
    };
    let what = "isolated networks".to_owned();
    Finding { area: Area::Containers, what, state, detail, mend: mend.map(str::to_owned) }
}

/// Programs beside hwb.
fn helpers(ambient: &Ambient) -> Vec<Finding> {
    let programs = [
        ("map ids of ranges", "newuidmap", "Debian: apt install uidmap"),
        ("Docker", "docker", "not needed: hwb runs images itself"),
        ("Podman", "podman", "not needed: hwb runs images itself"),
    ];
    let found = programs.map(|(what, name, mend)| {
        on_path(ambient, (Area::Containers, State::Optional), (what, name, mend.to_owned()))
    });
    found.into()
}

/// What the kernel runs for other processors.
fn emulators(ambient: &Ambient) -> Finding {
    let names = |machines: Vec<emulation::Machine>| {
        machines.iter().map(|machine| machine.name).collect::<Vec<_>>().join(", ")
    };
    let (registered, installed) = (names(emulation::registered()), names(emulation::installed(ambient)));
    let is_ready = !registered.is_empty();
    let mend = (!is_ready).then(|| emulation::mend_by(!installed.is_empty()).to_owned());
    Finding {
        area: Area::Emulation,
        what: "emulators".to_owned(),
        state: if is_ready { State::Ready } else { State::Optional },
        detail: match (is_ready, installed.is_empty()) {
            (true, _) => registered,
            (false, true) => "none registered".to_owned(),
            (false, false) => format!(
                "none registered; an ordinary user's containers register their own since Linux 6.7: {installed}"
            ),
        },
        mend,
    }
}

fn disk(settings: &Settings) -> Finding {
    let what = "room for the cache".to_owned();
    let place = existing(&settings.cache_dir);
    let (state, detail) = match hwb_store::fs::free_space(&place) {
        Ok(free) if free < LITTLE => (State::Missing, format!("{} MiB in {}", free >> 20, place.display())),
        Ok(free) => (State::Ready, format!("{} GiB in {}", free >> 30, place.display())),
        Err(error) => (State::Missing, error.to_string()),
    };
    let mend =
        (state == State::Missing).then(|| "`hwb cache clean`, or another place with --cache-dir".to_owned());
    Finding { area: Area::Store, what, state, detail, mend }
}

/// The nearest directory above that is there.
fn existing(path: &Path) -> PathBuf {
    path.ancestors().find(|place| place.is_dir()).unwrap_or(Path::new("/")).to_owned()
}

/// A program that is looked for; `state` is that of a missing one.
fn on_path(
    ambient: &Ambient,
    (area, state): (Area, State),
    (what, name, mend): (&str, &str, String),
) -> Finding {
    let folders = ambient.var("PATH").unwrap_or_default().split(':').map(Path::new);
    let found = folders.map(|folder| folder.join(name)).find(|place| place.is_file());
    let what = format!("{what} ({name})");
    match found {
        Some(place) => {
            Finding { area, what, state: State::Ready, detail: place.display().to_string(), mend: None }
        }
        None => Finding { area, what, state, detail: "not on the PATH".to_owned(), mend: Some(mend) },
    }
}
