//! The oldest C library that something runs on, and which distributions have it.

use std::fmt;
use std::sync::OnceLock;

use serde::Deserialize;

use crate::object::Object;
use crate::policy::Libc;
use crate::version::LibraryVersion;

/// The oldest C library that something runs on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Floor {
    /// Which C library.
    pub libc: Libc,
    /// Its oldest version.
    pub version: LibraryVersion,
    /// The first release of each distribution that has it, and a libstdc++ that is new enough.
    pub distributions: Vec<String>,
}

impl fmt::Display for Floor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} >= {}", self.libc, self.version)?;
        if !self.distributions.is_empty() {
            write!(f, ": {} and newer", self.distributions.join(", "))?;
        }
        Ok(())
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    distribution: Vec<Distribution>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Distribution {
    name: String,
    releases: Vec<Release>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Release {
    release: String,
    glibc: Option<LibraryVersion>,
    musl: Option<LibraryVersion>,
    libstdcxx: Option<LibraryVersion>,
}

fn distributions() -> &'static [Distribution] {
    static TABLE: OnceLock<Table> = OnceLock::new();
    let text = include_str!("../data/distributions.toml");
    let read = || toml::from_str(text).expect("the distributions of this crate are read by its tests");
    &TABLE.get_or_init(read).distribution
}

/// The floor of some files on glibc; `None` where none of them needs a version of it.
pub fn glibc_floor<'a>(objects: impl Iterator<Item = &'a Object> + Clone) -> Option<Floor> {
    let versions = || objects.clone().flat_map(|object| &object.versions);
    let highest = |namespace: &str| {
        let numbers = versions().filter_map(|needed| number(namespace, &needed.version));
        numbers.max()
    };
    let version = highest("GLIBC_")?;
    let libstdcxx = highest("GLIBCXX_");
    let distributions = first_releases(|release| {
        release.glibc.as_ref() >= Some(&version) && (libstdcxx.is_none() || release.libstdcxx >= libstdcxx)
    });
    Some(Floor { libc: Libc::Glibc, version, distributions })
}

/// The floor of what a policy of musl admits: musl has no symbol versions that would say more.
pub fn musl_floor(version: &LibraryVersion) -> Floor {
    let distributions = first_releases(|release| release.musl.as_ref() >= Some(version));
    Floor { libc: Libc::Musl, version: version.clone(), distributions }
}

fn number(namespace: &str, version: &str) -> Option<LibraryVersion> {
    // The marker of packed relocations has no number; glibc 2.36 was the first to have it.
    match version {
        "GLIBC_ABI_DT_RELR" if namespace == "GLIBC_" => "2.36".parse().ok(),
        version => version.strip_prefix(namespace)?.parse().ok(),
    }
}

fn first_releases(fits: impl Fn(&Release) -> bool) -> Vec<String> {
    let first = distributions().iter().filter_map(|distribution| {
        let release = distribution.releases.iter().find(|release| fits(release))?;
        Some(format!("{} {}", distribution.name, release.release))
    });
    first.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_grow() {
        for distribution in distributions() {
            let libraries = distribution
                .releases
                .iter()
                .map(|release| (&release.glibc, &release.libstdcxx, &release.musl));
            assert!(libraries.is_sorted(), "{}", distribution.name);
        }
    }

    #[test]
    fn names_the_first_release_of_each() {
        let floor = musl_floor(&"1.2".parse().unwrap());
        assert_eq!(floor.to_string(), "musl >= 1.2: Alpine 3.13 and newer");
    }
}
