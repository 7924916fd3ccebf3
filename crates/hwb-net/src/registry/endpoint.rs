//! From the name of an image to the places where it may lie.

use std::net::IpAddr;
use std::path::PathBuf;

use hwb_ident::ImageReference;

use super::settings::Transport;

/// The registry whose name nobody says.
pub(super) const DOCKER: &str = "docker.io";

/// Another place for the repositories of some registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mirror {
    prefix: String,
    location: String,
}

/// A text that names neither a registry nor repositories of one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a registry with or without the beginning of a repository, such as `quay.io/pypa`")]
pub struct ParsePlaceError {
    text: String,
}

/// Checks the name of a registry, with or without the beginning of a repository; gives it in lower case and without a
/// slash at its end.
pub(super) fn place(text: &str) -> Result<String, ParsePlaceError> {
    let name = text.strip_suffix('/').unwrap_or(text);
    let host = name.split('/').next().unwrap_or_default();
    // Any repository below it must have a name.
    let probe: Result<ImageReference, _> = format!("{name}/a").parse();
    match probe {
        Ok(image) if image.registry() == host.to_ascii_lowercase() => Ok(name.to_ascii_lowercase()),
        _ => Err(ParsePlaceError { text: text.to_owned() }),
    }
}

impl Mirror {
    /// Lets repositories that begin with `prefix` be found at `location` instead: with `quay.io/pypa` at
    /// `mirror.example/quay`, the repository `quay.io/pypa/a` is `mirror.example/quay/a` there.
    ///
    /// # Errors
    ///
    /// If one of them names no place.
    pub fn new(prefix: &str, location: &str) -> Result<Self, ParsePlaceError> {
        Ok(Self { prefix: place(prefix)?, location: place(location)? })
    }

    /// Where `name` (registry and repository) is at this mirror.
    fn translate(&self, name: &str) -> Option<Endpoint> {
        let rest = name.strip_prefix(&self.prefix)?.strip_prefix('/')?;
        let place = format!("{}/{rest}", self.location);
        let (host, repository) = place.split_once('/')?;
        Some(Endpoint { host: host.to_owned(), repository: repository.to_owned(), role: Role::Mirror })
    }
}

/// What a place is for an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// Where its name says that it is.
    Origin,
    /// Another one, which somebody set up.
    Mirror,
}

/// A repository at a registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Endpoint {
    /// The registry, as names of images have it.
    pub(super) host: String,
    pub(super) repository: String,
    pub(super) role: Role,
}

impl Endpoint {
    /// Where the name says that the image is.
    pub(super) fn origin(reference: &ImageReference) -> Self {
        let (host, repository) = (reference.registry().to_owned(), reference.repository().to_owned());
        Self { host, repository, role: Role::Origin }
    }

    /// All places where an image may be pulled from, in the order in which they are asked: mirrors of the longest
    /// prefix first, the origin last.
    pub(super) fn all(reference: &ImageReference, mirrors: &[Mirror]) -> Vec<Self> {
        let origin = Self::origin(reference);
        let name = format!("{}/{}", origin.host, origin.repository);
        let mut found: Vec<(usize, Self)> = mirrors
            .iter()
            .filter_map(|mirror| Some((mirror.prefix.len(), mirror.translate(&name)?)))
            .collect();
        found.sort_by_key(|(length, _)| std::cmp::Reverse(*length));
        found.into_iter().map(|(_, endpoint)| endpoint).chain([origin]).collect()
    }
}

/// Whose word is taken for who a server is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Trust {
    /// Those that the system trusts.
    System,
    /// Those of this file too.
    Authority(PathBuf),
    /// Anybody's.
    Anybody,
    /// There is no TLS, and nobody is asked.
    Nobody,
}

/// Where a registry may answer, and who must vouch for it there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Candidate {
    /// Its URL without a path.
    pub(super) url: String,
    pub(super) trust: Trust,
}

/// Where a registry may answer, in the order in which it is tried.
pub(super) fn candidates(host: &str, transport: Option<&Transport>) -> Vec<Candidate> {
    // Its name is not where it answers.
    let server = if host == DOCKER { "registry-1.docker.io" } else { host };
    let https = |trust| Candidate { url: format!("https://{server}"), trust };
    let http = Candidate { url: format!("http://{server}"), trust: Trust::Nobody };
    match transport {
        None if is_this_machine(host) => vec![https(Trust::System), http],
        None | Some(Transport::System) => vec![https(Trust::System)],
        Some(Transport::Authority(file)) => vec![https(Trust::Authority(file.clone()))],
        Some(Transport::Insecure) => vec![https(Trust::Anybody), http],
        Some(Transport::Plain) => vec![http],
    }
}

/// Whether a host is reached without leaving this machine.
fn is_this_machine(host: &str) -> bool {
    if let Some((address, _)) = host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        return address.parse().is_ok_and(|address: IpAddr| address.is_loopback());
    }
    let name = host.split(':').next().unwrap_or(host);
    name == "localhost" || name.parse().is_ok_and(|address: IpAddr| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mirrors_of_the_longest_prefix_come_first_and_the_origin_last() {
        let mirrors = [
            Mirror::new("Quay.io", "Cache.example:5000").unwrap(),
            Mirror::new("quay.io/pypa/", "mirror.example/quay/pypa").unwrap(),
            Mirror::new("docker.io/library", "hub.example/official").unwrap(),
        ];
        let check = |image: &str, expect: &[&str]| {
            let endpoints = Endpoint::all(&image.parse().unwrap(), &mirrors);
            let shown: Vec<String> = endpoints
                .iter()
                .map(|Endpoint { host, repository, role }| format!("{host} {repository} {role:?}"))
                .collect();
            assert_eq!(shown, expect, "{image}");
        };
        check(
            "quay.io/pypa/a",
            &[
                "mirror.example quay/pypa/a Mirror",
                "cache.example:5000 pypa/a Mirror",
                "quay.io pypa/a Origin",
            ],
        );
        check("quay.io/pypa2/a", &["cache.example:5000 pypa2/a Mirror", "quay.io pypa2/a Origin"]);
        check("debian", &["hub.example official/debian Mirror", "docker.io library/debian Origin"]);
        check(
            "ghcr.io/a/b@sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
            &["ghcr.io a/b Origin"],
        );
    }

    #[test]
    fn a_mirror_names_two_places() {
        for text in
            ["", "https://quay.io", "quay.io/UPPER", "pypa", "quay.io:x", "quay.io/a:tag", "quay.io//a"]
        {
            assert!(Mirror::new(text, "mirror.example").is_err(), "{text}");
            assert!(Mirror::new("quay.io", text).is_err(), "{text}");
        }
    }

    #[test]
    fn plain_http_is_for_this_machine_or_on_request() {
        let check = |host: &str, transport: Option<Transport>, expect: &[&str]| {
            let found = candidates(host, transport.as_ref());
            let shown: Vec<String> =
                found.iter().map(|Candidate { url, trust }| format!("{url} {trust:?}")).collect();
            assert_eq!(shown, expect, "{host}");
        };
        check("docker.io", None, &["https://registry-1.docker.io System"]);
        check("quay.io", Some(Transport::System), &["https://quay.io System"]);
        for host in ["localhost", "localhost:5000", "127.0.0.1:5000", "127.1.2.3", "[::1]:5000"] {
            let (https, http) = (format!("https://{host} System"), format!("http://{host} Nobody"));
            check(host, None, &[&https, &http]);
        }
        check("localhost.example:5000", None, &["https://localhost.example:5000 System"]);
        check("[::2]", None, &["https://[::2] System"]);
        check("lan:5000", Some(Transport::Plain), &["http://lan:5000 Nobody"]);
        check("lan:5000", Some(Transport::Insecure), &["https://lan:5000 Anybody", "http://lan:5000 Nobody"]);
        let authority = Transport::Authority("/ca.pem".into());
        check("localhost", Some(authority), &[r#"https://localhost Authority("/ca.pem")"#]);
    }
}
