//! What each platform tag promises: the policies of manylinux (PEP 600) and musllinux (PEP 656), kept as data.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::OnceLock;

use serde::Deserialize;

use crate::architecture::Architecture;
use crate::version::LibraryVersion;

/// A C library, and the family of policies that goes with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Libc {
    /// glibc: manylinux.
    Glibc,
    /// musl: musllinux.
    Musl,
}

/// What one platform tag without its architecture allows, for every architecture that it is known for.
#[derive(Debug)]
pub struct Policy {
    libc: Libc,
    version: LibraryVersion,
    aliases: Vec<String>,
    architectures: BTreeMap<Architecture, Allowed>,
    /// By library, the symbols of it that must not be used.
    forbidden: BTreeMap<String, BTreeSet<String>>,
}

/// What a policy allows on one architecture.
#[derive(Debug, Clone, Default)]
struct Allowed {
    libraries: BTreeSet<String>,
    /// By namespace (`GLIBC`) the highest version, and the versions that have no order.
    ceilings: BTreeMap<String, LibraryVersion>,
    extras: BTreeSet<String>,
}

impl Libc {
    /// The policies of this C library, from the oldest version to the newest.
    pub fn policies(self) -> &'static [Policy] {
        static GLIBC: OnceLock<Vec<Policy>> = OnceLock::new();
        static MUSL: OnceLock<Vec<Policy>> = OnceLock::new();
        match self {
            Self::Glibc => GLIBC.get_or_init(|| load(self, include_str!("../data/manylinux.toml"))),
            Self::Musl => MUSL.get_or_init(|| load(self, include_str!("../data/musllinux.toml"))),
        }
    }

    /// The beginning of its platform tags.
    pub const fn family(self) -> &'static str {
        match self {
            Self::Glibc => "manylinux",
            Self::Musl => "musllinux",
        }
    }
}

impl fmt::Display for Libc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Glibc => "glibc",
            Self::Musl => "musl",
        })
    }
}

impl Policy {
    /// Its C library.
    pub const fn libc(&self) -> Libc {
        self.libc
    }

    /// The version of the C library that it is named after.
    pub const fn version(&self) -> &LibraryVersion {
        &self.version
    }

    /// Its name, without an architecture: `manylinux_2_17`.
    pub fn name(&self) -> String {
        format!("{}_{}", self.libc.family(), self.version.to_string().replace('.', "_"))
    }

    /// Older names for the same, without an architecture: `manylinux2014`.
    pub fn aliases(&self) -> &[String] {
        &self.aliases
    }

    /// The architectures that it is known for.
    pub fn architectures(&self) -> impl Iterator<Item = Architecture> {
        self.architectures.keys().copied()
    }

    /// The platform tag for an architecture.
    pub fn tag(&self, architecture: Architecture) -> String {
        format!("{}_{architecture}", self.name())
    }

    /// Whether it is known for an architecture.
    pub fn covers(&self, architecture: Architecture) -> bool {
        self.architectures.contains_key(&architecture)
    }

    /// Whether a wheel may need a library of the system. The dynamic loader itself always may be needed.
    pub fn allows_library(&self, architecture: Architecture, library: &str) -> bool {
        is_loader(library) || self.on(architecture).is_some_and(|allowed| allowed.libraries.contains(library))
    }

    /// Whether a version of a symbol may be needed: `GLIBC_2.17`. Of a namespace that no policy knows, every one may.
    pub fn allows_version(&self, architecture: Architecture, version: &str) -> bool {
        let Some((namespace, number)) = version.split_once('_') else { return true };
        let Some(allowed) = self.on(architecture) else { return false };
        if !NAMESPACES.contains(&namespace) || self.libc == Libc::Musl || allowed.extras.contains(version) {
            return true;
        }
        let number = number.parse::<LibraryVersion>();
        allowed.ceilings.get(namespace).is_some_and(|highest| number.is_ok_and(|number| number <= *highest))
    }

    /// The symbols of an allowed library that must not be used all the same.
    pub fn forbidden(&self, library: &str) -> impl Iterator<Item = &str> {
        self.forbidden.get(library).into_iter().flatten().map(String::as_str)
    }

    /// Every forbidden symbol of every library.
    pub(crate) fn all_forbidden(&self) -> impl Iterator<Item = &str> {
        self.forbidden.values().flatten().map(String::as_str)
    }

    fn on(&self, architecture: Architecture) -> Option<&Allowed> {
        self.architectures.get(&architecture)
    }
}

/// The namespaces of symbol versions that policies speak of; a library of the wheel's own may have others.
const NAMESPACES: [&str; 6] = ["CXXABI", "GCC", "GLIBC", "GLIBCXX", "LIBATOMIC", "ZLIB"];

/// Whether a library is the dynamic loader, which is there before anything is loaded.
pub(crate) fn is_loader(library: &str) -> bool {
    library.contains("ld-linux")
        || matches!(library, "ld64.so.1" | "ld64.so.2")
        || library.starts_with("ld-musl-")
}

/// The data files, as they are written.
mod wire {
    use super::{BTreeMap, Deserialize, LibraryVersion};

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    pub(super) struct File {
        pub(super) architectures: BTreeMap<String, Span>,
        pub(super) policy: Vec<Policy>,
        pub(super) forbidden: Vec<Forbidden>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    pub(super) struct Span {
        pub(super) first: LibraryVersion,
        pub(super) last: Option<LibraryVersion>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    pub(super) struct Policy {
        pub(super) version: LibraryVersion,
        #[serde(default)]
        pub(super) aliases: Vec<String>,
        #[serde(default)]
        pub(super) libraries: Vec<String>,
        #[serde(default)]
        pub(super) own_libraries: Vec<Row>,
        #[serde(default)]
        pub(super) symbols: Vec<Row>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    pub(super) struct Row {
        #[serde(default)]
        pub(super) on: Vec<String>,
        pub(super) gives: Vec<String>,
    }

    impl Row {
        pub(super) fn holds_on(&self, architecture: &str) -> bool {
            self.on.is_empty() || self.on.iter().any(|name| name == architecture)
        }
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    pub(super) struct Forbidden {
        pub(super) library: String,
        pub(super) until: Option<LibraryVersion>,
        pub(super) symbols: Vec<String>,
    }
}

fn load(libc: Libc, text: &str) -> Vec<Policy> {
    let file: wire::File = toml::from_str(text).expect("the policies of this crate are read by its tests");
    let mut allowed: BTreeMap<Architecture, Allowed> = BTreeMap::new();
    let mut policies = Vec::new();
    for wire::Policy { version, aliases, libraries, own_libraries, symbols } in file.policy {
        for architecture in Architecture::ALL {
            let allowed = allowed.entry(architecture).or_default();
            allowed.libraries.extend(libraries.iter().cloned());
            let rows = |rows: &'_ [wire::Row]| {
                let rows = rows.iter().filter(|row| row.holds_on(architecture.name()));
                rows.flat_map(|row| row.gives.iter().cloned()).collect::<Vec<_>>()
            };
            allowed.libraries.extend(rows(&own_libraries));
            for gives in rows(&symbols) {
                allowed.admit(gives);
            }
        }
        let covered = allowed.iter().filter(|(architecture, _)| {
            let span = file.architectures.get(architecture.name());
            span.is_some_and(|span| {
                span.first <= version && span.last.as_ref().is_none_or(|last| version <= *last)
            })
        });
        let architectures = covered.map(|(architecture, allowed)| (*architecture, allowed.clone())).collect();
        let mut forbidden: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        let still = |row: &&wire::Forbidden| row.until.as_ref().is_none_or(|until| version <= *until);
        for row in file.forbidden.iter().filter(still) {
            forbidden.entry(row.library.clone()).or_default().extend(row.symbols.iter().cloned());
        }
        policies.push(Policy { libc, version, aliases, architectures, forbidden });
    }
    policies
}

impl Allowed {
    fn admit(&mut self, gives: String) {
        let parts = gives.split_once('_');
        let parts = parts.map(|(namespace, number)| (namespace.to_owned(), number.parse::<LibraryVersion>()));
        match parts {
            Some((namespace, Ok(number))) => {
                let highest = self.ceilings.entry(namespace).or_insert_with(|| number.clone());
                *highest = number.max(highest.clone());
            }
            _ => {
                self.extras.insert(gives);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn older_policies_are_inside_newer_ones() {
        for libc in [Libc::Glibc, Libc::Musl] {
            for pair in libc.policies().windows(2) {
                let [older, newer] = pair else { unreachable!("a window of two") };
                assert!(older.version < newer.version);
                for (architecture, old) in &older.architectures {
                    let Some(new) = newer.on(*architecture) else { continue };
                    assert!(old.libraries.is_subset(&new.libraries) && old.extras.is_subset(&new.extras));
                    for (namespace, highest) in &old.ceilings {
                        assert!(new.ceilings.get(namespace) >= Some(highest), "{} {namespace}", newer.name());
                    }
                }
                for (library, symbols) in &newer.forbidden {
                    assert!(older.forbidden[library].is_superset(symbols), "{} {library}", older.name());
                }
            }
        }
    }

    #[test]
    fn names_in_the_data_are_known() {
        for text in [include_str!("../data/manylinux.toml"), include_str!("../data/musllinux.toml")] {
            let file: wire::File = toml::from_str(text).unwrap();
            let rows =
                file.policy.iter().flat_map(|policy| policy.symbols.iter().chain(&policy.own_libraries));
            for name in rows.flat_map(|row| &row.on).chain(file.architectures.keys()) {
                name.parse::<Architecture>().unwrap();
            }
            let symbols = file.policy.iter().flat_map(|policy| &policy.symbols).flat_map(|row| &row.gives);
            for version in symbols {
                assert!(NAMESPACES.contains(&version.split_once('_').unwrap().0), "{version}");
            }
        }
    }

    #[test]
    fn policies_say_what_is_known_of_them() {
        let check = |name: &str, architecture: &str, version: &str, expect: bool| {
            let policies = Libc::Glibc.policies().iter().chain(Libc::Musl.policies());
            let policy = policies.into_iter().find(|policy| policy.name() == name).unwrap();
            let found = policy.allows_version(architecture.parse().unwrap(), version);
            assert_eq!(found, expect, "{name} {architecture} {version}");
        };
        check("manylinux_2_5", "x86_64", "GLIBC_2.5", true);
        check("manylinux_2_5", "x86_64", "GLIBC_2.6", false);
        check("manylinux_2_5", "x86_64", "ZLIB_1.2.0", false);
        check("manylinux_2_5", "aarch64", "GLIBC_2.5", false);
        check("manylinux_2_17", "x86_64", "GLIBCXX_3.4.19", true);
        check("manylinux_2_17", "x86_64", "GLIBCXX_3.4.20", false);
        check("manylinux_2_17", "aarch64", "GLIBC_2.18", true);
        check("manylinux_2_17", "s390x", "CXXABI_LDBL_1.3", true);
        check("manylinux_2_17", "x86_64", "CXXABI_LDBL_1.3", false);
        check("manylinux_2_26", "x86_64", "GCC_7.0.0", false);
        check("manylinux_2_26", "i686", "GCC_7.0.0", true);
        check("manylinux_2_35", "x86_64", "GLIBC_ABI_DT_RELR", false);
        check("manylinux_2_36", "x86_64", "GLIBC_ABI_DT_RELR", true);
        check("manylinux_2_36", "riscv64", "GLIBC_ABI_DT_RELR", false);
        check("manylinux_2_39", "loongarch64", "GLIBCXX_3.4.33", false);
        check("manylinux_2_41", "x86_64", "GLIBC_PRIVATE", false);
        check("manylinux_2_41", "x86_64", "GLIBCXX_3.4.34", false);
        check("manylinux_2_42", "x86_64", "GLIBCXX_3.4.34", true);
        check("manylinux_2_42", "loongarch64", "GLIBCXX_3.4.34", false);
        check("manylinux_2_42", "x86_64", "CXXABI_1.3.16", false);
        check("manylinux_2_5", "x86_64", "OPENSSL_1_1_0", true);
        check("musllinux_1_1", "x86_64", "GLIBCXX_3.4.33", true);
    }

    #[test]
    fn libraries_depend_on_the_policy_and_the_architecture() {
        let musl = &Libc::Musl.policies()[0];
        for (library, expect) in
            [("libc.so", true), ("libc.musl-x86_64.so.1", true), ("libc.musl-aarch64.so.1", false)]
        {
            assert_eq!(musl.allows_library(Architecture::X86_64, library), expect, "{library}");
        }
        let [oldest, next, ..] = Libc::Glibc.policies() else { unreachable!("there are more than two") };
        assert!(!oldest.allows_library(Architecture::X86_64, "libexpat.so.1"));
        assert!(next.allows_library(Architecture::X86_64, "libexpat.so.1"));
        assert!(oldest.allows_library(Architecture::X86_64, "ld-linux-x86-64.so.2"));
    }
}
