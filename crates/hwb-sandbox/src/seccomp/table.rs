//! The table of calls, and what a policy makes of it.

use super::{Owners, Policy, Verdict};
use crate::container::{Capability, OldSockets};

/// One line for each call that the kernel has; the file says what stands in it.
const TABLE: &str = include_str!("../../data/syscalls.txt");

/// Where the private calls of arm begin, far behind the others.
const PRIVATE: u32 = 0xf_0000;

/// A calling convention.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Architecture {
    X86_64,
    X86,
    Aarch64,
    Arm,
}

impl Architecture {
    /// Those that this machine runs, its own first; none if there is no table of it.
    pub(crate) fn here() -> &'static [Self] {
        if cfg!(target_arch = "x86_64") {
            &[Self::X86_64, Self::X86]
        } else if cfg!(target_arch = "aarch64") {
            &[Self::Aarch64, Self::Arm]
        } else {
            &[]
        }
    }

    /// What the kernel calls it; linux/audit.h.
    pub(super) fn audit_number(self) -> u32 {
        match self {
            Self::X86_64 => 0xC000_003E,
            Self::X86 => 0x4000_0003,
            Self::Aarch64 => 0xC000_00B7,
            Self::Arm => 0x4000_0028,
        }
    }

    /// Whether its oldest calls have ids of 16 bits.
    pub(crate) fn has_short_ids(self) -> bool {
        matches!(self, Self::X86 | Self::Arm)
    }

    /// The call of this number, of the architecture that the kernel calls so.
    pub(crate) fn name_of(audit: u32, number: u32) -> Option<(Self, &'static str)> {
        let architecture = *Self::here().iter().find(|known| known.audit_number() == audit)?;
        let name = lines().find_map(|(name, columns)| {
            (columns.split_ascii_whitespace().nth(architecture.column() - 1)?.parse() == Ok(number))
                .then_some(name)
        })?;
        Some((architecture, name))
    }

    /// Its column in the table.
    fn column(self) -> usize {
        match self {
            Self::X86_64 => 1,
            Self::X86 => 2,
            Self::Aarch64 => 3,
            Self::Arm => 4,
        }
    }
}

/// Calls that give a file to somebody.
fn gives_a_file(name: &str) -> bool {
    matches!(name.strip_suffix("32").unwrap_or(name), "chown" | "lchown" | "fchown" | "fchownat")
}

/// Calls by which the caller becomes somebody.
fn gives_itself(name: &str) -> bool {
    let ids = ["uid", "gid", "reuid", "regid", "resuid", "resgid", "fsuid", "fsgid", "groups"];
    let name = name.strip_suffix("32").unwrap_or(name);
    name.strip_prefix("set").is_some_and(|id| ids.contains(&id))
}

/// `EPERM` and `ENOSYS`, which are the same on all four.
const REFUSED: Verdict = Verdict::Errno(1);
const MISSING: Verdict = Verdict::Errno(38);

fn verdict(name: &str, rule: &str, policy: Policy) -> Verdict {
    let has = |capability: &str| {
        capability.parse::<Capability>().is_ok_and(|capability| policy.capabilities.contains(capability))
    };
    match policy.owners {
        Owners::Recorded if gives_a_file(name) => return Verdict::Ask,
        Owners::Forged if gives_a_file(name) => return Verdict::Errno(0),
        Owners::Forged | Owners::Recorded if gives_itself(name) => return Verdict::Errno(0),
        Owners::Real | Owners::Forged | Owners::Recorded => {}
    }
    match rule {
        "allow" => Verdict::Allow,
        "clone" | "clone3" if has("SYS_ADMIN") => Verdict::Allow,
        "clone" => Verdict::Clone,
        "clone3" => MISSING,
        "personality" => Verdict::Personality,
        "socket" => Verdict::Socket,
        "socketcall" if policy.old_sockets == OldSockets::Made => Verdict::Allow,
        "socketcall" => Verdict::SocketCall,
        capabilities if capabilities.split('+').any(has) => Verdict::Allow,
        _ => REFUSED,
    }
}

/// The names of the table, with what stands behind each.
fn lines() -> impl Iterator<Item = (&'static str, &'static str)> {
    TABLE.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.split_once(' '))
}

/// The calls of `architecture` with their numbers, in the order of these, and what is answered to each.
pub(super) fn calls(architecture: Architecture, policy: Policy) -> Vec<(u32, &'static str, Verdict)> {
    let mut calls: Vec<_> = lines()
        .filter_map(|(name, columns)| {
            let number = columns.split_ascii_whitespace().nth(architecture.column() - 1)?.parse().ok()?;
            Some((number, name, verdict(name, columns.rsplit(' ').next()?, policy)))
        })
        .collect();
    calls.sort_unstable_by_key(|(number, ..)| *number);
    calls
}

/// Where an answer begins that holds until the next one; the first begins at 0.
pub(super) fn runs(architecture: Architecture, policy: Policy) -> Vec<(u32, Verdict)> {
    let calls = calls(architecture, policy);
    let newest =
        calls.iter().map(|(number, ..)| *number).filter(|number| *number < PRIVATE).max().unwrap_or(0);
    // What the kernel has no call for is refused up to the newest that is known here, and missing behind it.
    let gap = |start: u32| if start <= newest { REFUSED } else { MISSING };
    let mut runs: Vec<(u32, Verdict)> = Vec::new();
    let mut add = |start, verdict| {
        if runs.last().is_none_or(|(_, last)| *last != verdict) {
            runs.push((start, verdict));
        }
    };
    let mut next = 0;
    for (number, _, verdict) in calls {
        if next < number {
            add(next, gap(next));
        }
        add(number, verdict);
        next = number + 1;
    }
    add(next, MISSING);
    runs
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::container::Capabilities;

    const DEFAULT: Policy =
        Policy { capabilities: Capabilities::DOCKER, owners: Owners::Real, old_sockets: OldSockets::Refused };

    #[test]
    fn numbers_are_those_of_this_machine() {
        let Some(&own) = Architecture::here().first() else { return };
        let calls = calls(own, DEFAULT);
        for (name, number) in [
            ("read", libc::SYS_read),
            ("clone", libc::SYS_clone),
            ("clone3", libc::SYS_clone3),
            ("unshare", libc::SYS_unshare),
            ("fchownat", libc::SYS_fchownat),
            ("keyctl", libc::SYS_keyctl),
            ("mount_setattr", libc::SYS_mount_setattr),
        ] {
            let found = calls.iter().find(|(_, known, _)| *known == name).unwrap();
            assert_eq!(i64::from(found.0), number, "{name}");
        }
    }

    #[test]
    fn every_line_of_the_table_is_understood() {
        let rules = ["allow", "refuse", "clone", "clone3", "personality", "socket", "socketcall"];
        for line in TABLE.lines().filter(|line| !line.starts_with('#')) {
            let columns: Vec<_> = line.split_ascii_whitespace().collect();
            assert_eq!(columns.len(), 6, "{line}");
            for number in &columns[1..5] {
                assert!(*number == "-" || number.parse::<u32>().is_ok(), "{line}");
            }
            let is_capability = |text: &str| text.parse::<Capability>().is_ok();
            assert!(rules.contains(&columns[5]) || columns[5].split('+').all(is_capability), "{line}");
        }
        for architecture in
            [Architecture::X86_64, Architecture::X86, Architecture::Aarch64, Architecture::Arm]
        {
            let calls = calls(architecture, DEFAULT);
            assert!(calls.len() > 300, "{architecture:?}");
            assert!(
                calls.windows(2).all(|pair| pair[0].0 < pair[1].0),
                "{architecture:?}: a number stands twice"
            );
        }
    }

    #[test]
    fn owners_are_forged_where_there_is_one_id() {
        let forged = Policy { owners: Owners::Forged, ..DEFAULT };
        let recorded = Policy { owners: Owners::Recorded, ..DEFAULT };
        let asked =
            calls(Architecture::X86, recorded).into_iter().filter(|(.., verdict)| *verdict == Verdict::Ask);
        let names: Vec<_> = asked.map(|(_, name, _)| name).collect();
        assert_eq!(names, ["lchown", "fchown", "chown", "lchown32", "fchown32", "chown32", "fchownat"]);
        let count = |architecture| {
            calls(architecture, forged).iter().filter(|(.., verdict)| *verdict == Verdict::Errno(0)).count()
        };
        // 4 of files, and 9 of the process; twice where there are forms of 16 bits.
        assert_eq!(count(Architecture::X86_64), 13);
        assert_eq!(count(Architecture::Aarch64), 11);
        assert_eq!(count(Architecture::X86), 25);
        assert_eq!(count(Architecture::Arm), 25);
    }

    #[test]
    fn capabilities_open_calls() {
        let admin = Policy { capabilities: Capabilities::ALL, ..DEFAULT };
        for name in ["mount", "clone3", "bpf", "unshare", "init_module"] {
            let verdict = |policy| {
                calls(Architecture::X86_64, policy)
                    .into_iter()
                    .find(|(_, known, _)| *known == name)
                    .unwrap()
                    .2
            };
            assert_ne!(verdict(DEFAULT), Verdict::Allow, "{name}");
            assert_eq!(verdict(admin), Verdict::Allow, "{name}");
        }
    }
}
