//! For which policy a wheel is repaired, and what its platform tags are then.

use std::collections::{BTreeMap, BTreeSet};

use super::{Platform, RepairError, Tags};
use crate::architecture::Architecture;
use crate::audit::Blocker;
use crate::code::{Accepted, Lack, is_libpython};
use crate::policy::{Libc, Policy};

/// How a wheel stands to one policy.
#[derive(Debug)]
pub(super) struct Standing<'a> {
    pub(super) policy: &'static Policy,
    /// What it needs from outside and the policy does not allow.
    pub(super) lacks: Vec<Lack<'a>>,
    /// What no library mends.
    blockers: Vec<Blocker>,
    /// Where the libraries are that would come along.
    grafts: BTreeSet<&'a str>,
}

/// The policy, and every platform tag that the wheel is to have, sorted.
#[derive(Debug)]
pub(super) struct Choice<'a> {
    pub(super) standing: Standing<'a>,
    pub(super) platforms: BTreeSet<String>,
}

/// Chooses; `had` are the platform tags that the wheel has.
pub(super) fn choose<'a>(
    accepted: &Accepted<'a>,
    platform: &Platform,
    tags: Tags,
    had: &BTreeSet<&str>,
) -> Result<Choice<'a>, RepairError> {
    let architecture = accepted.architecture;
    let mut standings: Vec<Standing<'a>> =
        accepted.policies().map(|policy| Standing::new(accepted, policy)).collect();
    let place = match platform {
        Platform::Auto => oldest(accepted, &standings, architecture)?,
        Platform::Named(asked) => named(accepted, &standings, asked)?,
    };
    let platforms = {
        let chosen = &standings[place];
        let is_deserved = |other: &&Standing<'_>| {
            other.blockers.is_empty()
                && other.grafts.is_subset(&chosen.grafts)
                && accepted.is_plausible(other.policy)
        };
        let deserved: Vec<&Standing<'_>> = standings.iter().filter(is_deserved).collect();
        let mut platforms = tags_of(chosen.policy, architecture);
        if tags == Tags::Deserved {
            platforms.extend(
                deserved.first().map(|oldest| tags_of(oldest.policy, architecture)).into_iter().flatten(),
            );
            let true_ones = deserved.iter().flat_map(|other| tags_of(other.policy, architecture));
            platforms.extend(true_ones.filter(|tag| had.contains(tag.as_str())));
        }
        platforms
    };
    Ok(Choice { standing: standings.swap_remove(place), platforms })
}

impl<'a> Standing<'a> {
    fn new(accepted: &Accepted<'a>, policy: &'static Policy) -> Self {
        let mut lacks = accepted.lacks(Some(policy));
        take_what_is_loaded(&mut lacks);
        let mut blockers = accepted.unmendable(policy, &lacks);
        let missing = lacks.iter().filter(|lack| lack.found().is_none() && !is_libpython(lack.library));
        blockers.extend(missing.map(|lack| missing_blocker(accepted, lack)));
        let grafts = lacks.iter().filter_map(|lack| Some(lack.found()?.path.as_str())).collect();
        Self { policy, lacks, blockers, grafts }
    }
}

/// Finds what no run path leads to, but what the same file loads anyhow: the loader takes that, as it has the name.
fn take_what_is_loaded(lacks: &mut [Lack<'_>]) {
    let place =
        |lack: &Lack<'_>| lack.chain.first().map(|root| ((*root).to_owned(), lack.library.to_owned()));
    let found = lacks.iter().filter(|lack| lack.found().is_some());
    let loaded: BTreeMap<_, _> = found.map(|lack| (place(lack), lack.known)).collect();
    for lack in lacks.iter_mut().filter(|lack| lack.found().is_none()) {
        lack.known = loaded.get(&place(lack)).copied().unwrap_or(lack.known);
    }
}

/// A library that was looked for and not found, as something that is in the way.
fn missing_blocker(accepted: &Accepted<'_>, lack: &Lack<'_>) -> Blocker {
    let blocker = accepted.missing(lack);
    if accepted.members().any(|object| object.file_name() == lack.library) {
        return blocker;
    }
    let architecture = accepted.architecture;
    Blocker { remedy: format!("no folder that was searched has it for {architecture}"), ..blocker }
}

/// The oldest policy that nothing is in the way of, of those that the fewest libraries have to come along for.
fn oldest(
    accepted: &Accepted<'_>,
    standings: &[Standing<'_>],
    architecture: Architecture,
) -> Result<usize, RepairError> {
    let reached = standings
        .iter()
        .enumerate()
        .filter(|(_, standing)| standing.blockers.is_empty() && accepted.is_plausible(standing.policy));
    // Of equals the first.
    let best = reached.min_by_key(|(_, standing)| standing.grafts.len());
    best.map(|(place, _)| place).ok_or_else(|| match standings.last() {
        Some(newest) => newest.blocked(architecture),
        None => RepairError::NoPolicy(platform(accepted)),
    })
}

fn named(accepted: &Accepted<'_>, standings: &[Standing<'_>], asked: &str) -> Result<usize, RepairError> {
    let architecture = accepted.architecture;
    let is_asked = |standing: &Standing<'_>| is_named(standing.policy, architecture, asked);
    let Some(place) = standings.iter().position(is_asked) else {
        let mut others = [Libc::Glibc, Libc::Musl].into_iter().flat_map(Libc::policies);
        let is_known = others
            .any(|policy| policy.architectures().any(|architecture| is_named(policy, architecture, asked)));
        let (asked, found) = (asked.to_owned(), platform(accepted));
        return Err(if is_known {
            RepairError::OtherPlatform { asked, found }
        } else {
            RepairError::UnknownTag(asked)
        });
    };
    if standings[place].blockers.is_empty() { Ok(place) } else { Err(standings[place].blocked(architecture)) }
}

impl Standing<'_> {
    fn blocked(&self, architecture: Architecture) -> RepairError {
        RepairError::Blocked { tag: self.policy.tag(architecture), blockers: self.blockers.clone() }
    }
}

/// For what the wheel is.
fn platform(accepted: &Accepted<'_>) -> String {
    format!("{} with {}", accepted.architecture, accepted.libc)
}

fn names(policy: &Policy) -> impl Iterator<Item = String> {
    policy.aliases().iter().cloned().chain([policy.name()])
}

fn is_named(policy: &Policy, architecture: Architecture, asked: &str) -> bool {
    names(policy).any(|name| asked == name || asked == format!("{name}_{architecture}"))
}

fn tags_of(policy: &Policy, architecture: Architecture) -> BTreeSet<String> {
    names(policy).map(|name| format!("{name}_{architecture}")).collect()
}
