//! Who root of a container is outside, and which of the ways this machine gives.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::holder::Holder;
use crate::session::SandboxError;

/// Where ranges of users and of groups stand; subuid(5), subgid(5).
const USERS: &str = "/etc/subuid";
const GROUPS: &str = "/etc/subgid";

/// The first id that is given away, and how many at once: what useradd(8) does if nothing else is set.
const USUAL_FIRST: u32 = 100_000;
const USUAL_COUNT: u32 = 1 << 16;

/// The ids of a container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ids {
    /// Those of the host: for root only.
    Same,
    /// Root is the caller, others are of ranges that the system gave the caller.
    Ranges {
        /// Users.
        users: Vec<IdRange>,
        /// Groups.
        groups: Vec<IdRange>,
    },
    /// Root is the caller, and there is nobody else: calls that give something to others say that they did it, and do
    /// nothing.
    Single,
}

/// Ids that stand for others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdRange {
    /// The first one in the container.
    pub inside: u32,
    /// The first one outside.
    pub outside: u32,
    /// How many.
    pub count: u32,
}

/// Who asks for a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Person {
    /// The user id.
    pub uid: u32,
    /// The group id.
    pub gid: u32,
    /// The name under which the system may have given ranges.
    pub name: Option<String>,
}

impl Person {
    /// Whoever runs this process, with the name from `/etc/passwd`.
    pub fn current() -> Self {
        let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
        // Without the file nobody has a name.
        let users = fs_err::read_to_string("/etc/passwd").unwrap_or_default();
        let name = users.lines().find_map(|line| {
            let mut fields = line.split(':');
            let name = fields.next()?;
            (fields.nth(1)?.parse() == Ok(uid)).then(|| name.to_owned())
        });
        Self { uid, gid, name }
    }
}

/// Why ids are not to be had.
#[derive(Debug, thiserror::Error)]
pub enum IdsError {
    /// Only root keeps the ids of the host.
    #[error("only root can keep the ids of the host")]
    NotRoot,
    /// The system gave the caller no ranges.
    #[error("`{file}` has no range for `{person}`")]
    NoRange {
        /// Where it should stand.
        file: &'static str,
        /// For whom.
        person: String,
        /// Where a range of the usual length could begin: nobody has any of it, neither as users nor as groups.
        free: Option<u32>,
    },
    /// It was tried, and refused.
    #[error("the machine refuses it")]
    Refused(#[source] SandboxError),
}

impl IdsError {
    /// What would mend it, where that is known.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NotRoot => None,
            Self::NoRange { person, free, .. } => free.map(|first| {
                let range = format!("{first}-{}", first.saturating_add(USUAL_COUNT - 1));
                format!("as root: usermod --add-subuids {range} --add-subgids {range} {person}")
            }),
            Self::Refused(SandboxError::Spawn { program, .. })
                if program.starts_with("newuidmap") || program.starts_with("newgidmap") =>
            {
                Some("install newuidmap and newgidmap (Debian: apt install uidmap)".to_owned())
            }
            Self::Refused(SandboxError::Unsupported { .. }) => user_namespaces_hint(),
            Self::Refused(_) => None,
        }
    }
}

/// The switch that keeps ordinary users from namespaces, if one is set.
fn user_namespaces_hint() -> Option<String> {
    let switches = [
        ("/proc/sys/kernel/unprivileged_userns_clone", "0", "kernel.unprivileged_userns_clone=1"),
        (
            "/proc/sys/kernel/apparmor_restrict_unprivileged_userns",
            "1",
            "kernel.apparmor_restrict_unprivileged_userns=0",
        ),
        ("/proc/sys/user/max_user_namespaces", "0", "user.max_user_namespaces=15000"),
    ];
    switches.iter().find_map(|(file, closed, open)| {
        let value = fs_err::read_to_string(file).ok()?;
        (value.trim() == *closed).then(|| format!("as root: sysctl -w {open}"))
    })
}

/// One way, and whether it can be gone.
#[derive(Debug)]
pub struct IdsAnswer {
    /// The way; of ranges those that stand in the files, if any.
    pub ids: Ids,
    /// Whether a container of the kind begins here.
    pub result: Result<(), IdsError>,
}

/// Tries every way, the best first: a plan may take the first that succeeds.
pub fn available(helper: &Path, person: &Person) -> Vec<IdsAnswer> {
    let attempt = |ids: &Ids| Holder::start(helper, ids.clone()).map(drop).map_err(IdsError::Refused);
    if person.uid == 0 {
        let same = IdsAnswer { result: attempt(&Ids::Same), ids: Ids::Same };
        let single = IdsAnswer { result: attempt(&Ids::Single), ids: Ids::Single };
        return vec![same, single];
    }
    let (ranges, result) = match granted(person) {
        Ok(ranges) => {
            let result = attempt(&ranges);
            (ranges, result)
        }
        Err(error) => (Ids::Ranges { users: Vec::new(), groups: Vec::new() }, Err(error)),
    };
    vec![
        IdsAnswer { ids: Ids::Same, result: Err(IdsError::NotRoot) },
        IdsAnswer { ids: ranges, result },
        IdsAnswer { result: attempt(&Ids::Single), ids: Ids::Single },
    ]
}

/// The ways that come into question for `person`, the best first, or why one does not. Nothing is tried yet.
pub fn candidates(person: &Person) -> Vec<Result<Ids, IdsError>> {
    let best = if person.uid == 0 { Ok(Ids::Same) } else { granted(person) };
    vec![best, Ok(Ids::Single)]
}

/// The ranges that the system gave `person`.
fn granted(person: &Person) -> Result<Ids, IdsError> {
    // A system without the file gave nothing.
    let [users, groups] = [USERS, GROUPS].map(|file| fs_err::read_to_string(file).unwrap_or_default());
    let of = |file: &'static str, text: &str, own: u32| {
        let ranges = ranges(text, person, own);
        if ranges.len() > 1 {
            return Ok(ranges);
        }
        let person = person.name.clone().unwrap_or_else(|| person.uid.to_string());
        Err(IdsError::NoRange { file, person, free: first_free([&users, &groups]) })
    };
    Ok(Ids::Ranges { users: of(USERS, &users, person.uid)?, groups: of(GROUPS, &groups, person.gid)? })
}

/// The lines of a file of ranges: whose, the first id, how many.
fn lines(text: &str) -> impl Iterator<Item = (&str, u32, u32)> {
    text.lines().filter_map(|line| {
        let mut fields = line.trim().split(':');
        Some((fields.next()?, fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
    })
}

/// Where the usual number of ids begins that neither text gives to anybody.
fn first_free(texts: [&str; 2]) -> Option<u32> {
    let mut taken: Vec<(u64, u64)> =
        texts.into_iter().flat_map(lines).map(|(_, first, count)| (first.into(), count.into())).collect();
    taken.sort_unstable();
    let mut free = u64::from(USUAL_FIRST);
    for (first, count) in taken {
        if first < free + u64::from(USUAL_COUNT) {
            free = free.max(first + count);
        }
    }
    // The last number of all is nobody's.
    u32::try_from(free).ok().filter(|free| free.checked_add(USUAL_COUNT).is_some())
}

/// Root is `own`; the others follow in the order of the lines that are for `person`, by name or by number.
fn ranges(text: &str, person: &Person, own: u32) -> Vec<IdRange> {
    let mut ranges = vec![IdRange { inside: 0, outside: own, count: 1 }];
    let mut inside = 1_u32;
    let uid = person.uid.to_string();
    for (owner, outside, count) in lines(text) {
        if owner != uid && Some(owner) != person.name.as_deref() {
            continue;
        }
        let Some(next) = inside.checked_add(count).filter(|_| count > 0) else { continue };
        ranges.push(IdRange { inside, outside, count });
        inside = next;
    }
    ranges
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_found_by_name_and_by_number() {
        let person = Person { uid: 1500, gid: 1500, name: Some("dev".to_owned()) };
        let check = |text: &str, expect: &[(u32, u32, u32)]| {
            let found: Vec<_> = ranges(text, &person, 1500)
                .iter()
                .map(|range| (range.inside, range.outside, range.count))
                .collect();
            assert_eq!(found, expect, "{text}");
        };
        let root = (0, 1500, 1);
        check("", &[root]);
        check("other:100000:65536\n", &[root]);
        check("dev:100000:65536\n", &[root, (1, 100_000, 65536)]);
        check("1500:200000:10\ndev:100000:5", &[root, (1, 200_000, 10), (11, 100_000, 5)]);
        check("dev:x:5\ndev:1\ndev\n:::\ndev:1:0\ndev:7:4294967295\n", &[root]);
    }

    #[test]
    fn a_hint_gives_nobody_what_another_has() {
        let check = |users: &str, groups: &str, expect: Option<&str>| {
            let free = first_free([users, groups]);
            let hint = IdsError::NoRange { file: USERS, person: "dev".to_owned(), free }.hint();
            let expect = expect
                .map(|range| format!("as root: usermod --add-subuids {range} --add-subgids {range} dev"));
            assert_eq!(hint, expect, "{users:?} {groups:?}");
        };
        check("", "", Some("100000-165535"));
        check("a:100000:65536\n", "", Some("165536-231071"));
        check("a:100000:65536\n", "a:165536:65536", Some("231072-296607"));
        // In any order, over each other, with a hole that is too small and one that is not.
        check("b:200000:10\na:100000:65536\n", "", Some("200010-265545"));
        check("b:300000:10\na:100000:65536\n", "c:90000:20000\nc:100001:5", Some("165536-231071"));
        check("a:1000:5\nx\n:::", "a:165535:1", Some("165536-231071"));
        // There are no more.
        check("a:100000:4294867295", "", None);
        check("a:100000:4294801759", "", Some("4294901759-4294967294"));
        check("a:100000:4294801760", "", None);
    }
}
