//! What images are called.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::Digest;
use crate::digest::ParseQualifiedDigestError;

/// Where a name without a registry leads.
const DEFAULT_REGISTRY: &str = "docker.io";

/// What stands before a name of one part on [`DEFAULT_REGISTRY`].
const OFFICIAL: &str = "library";

/// What a name without tag and digest means.
const DEFAULT_TAG: &str = "latest";

/// The longest repository, its registry included.
const MAX_NAME: usize = 255;

/// The longest tag.
const MAX_TAG: usize = 128;

/// The name of an image: registry, repository, and a tag, a digest or both.
///
/// What a user leaves out is filled in as Docker does: `debian` is `docker.io/library/debian:latest`. It prints whole;
/// [`ImageReference::familiar`] leaves out again what need not be said.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct ImageReference {
    registry: String,
    repository: String,
    /// There is a tag, or a digest, or both.
    tag: Option<String>,
    digest: Option<Digest>,
}

/// Why a text names no image.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseImageReferenceError {
    /// Nothing is left of it.
    #[error("an image name is empty")]
    Empty,
    /// A URL was given.
    #[error("`{0}` is not an image name: no `https://` stands before one")]
    Url(String),
    /// The registry is no host.
    #[error("`{text}` is not an image name: `{registry}` is not a host with an optional port")]
    Registry {
        /// The whole name.
        text: String,
        /// The part before the first slash.
        registry: String,
    },
    /// The repository has letters that it may not have.
    #[error("`{0}` is not an image name: repositories are in lower case")]
    UpperCase(String),
    /// A part of the repository is malformed.
    #[error(
        "`{text}` is not an image name: `{part}` is not letters and digits with single `.`, `_`, `__` or `-`s between"
    )]
    Repository {
        /// The whole name.
        text: String,
        /// The part between two slashes.
        part: String,
    },
    /// The repository would be taken for the identifier of an image.
    #[error("`{0}` is 64 hexadecimal digits, which is no image name")]
    Identifier(String),
    /// It is longer than any registry takes.
    #[error("an image name has {0} characters; at most {MAX_NAME} are allowed")]
    TooLong(usize),
    /// The tag is malformed.
    #[error(
        "`{0}` is not a tag: at most {MAX_TAG} letters, digits, `_`, `.` and `-`, not starting with the last two"
    )]
    Tag(String),
    /// The digest is malformed.
    #[error("`{text}` does not name an image by a digest that can be checked")]
    Digest {
        /// The whole name.
        text: String,
        /// What is wrong with it.
        #[source]
        source: ParseQualifiedDigestError,
    },
}

impl ImageReference {
    /// The host that has the image, with its port if one was given: `docker.io`, `localhost:5000`.
    pub fn registry(&self) -> &str {
        &self.registry
    }

    /// Where the registry has it: `library/debian`.
    pub fn repository(&self) -> &str {
        &self.repository
    }

    /// Its tag; `None` only if it is named by a digest alone.
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// Its digest, which decides where there is a tag too.
    pub const fn digest(&self) -> Option<Digest> {
        self.digest
    }

    /// The same name, pinned to `digest`; a tag stays as a hint for people.
    #[must_use]
    pub fn with_digest(&self, digest: Digest) -> Self {
        Self { digest: Some(digest), ..self.clone() }
    }

    /// The same repository under `tag`. No digest stays: what it pinned was under another tag.
    ///
    /// # Errors
    ///
    /// If that is no tag.
    pub fn with_tag(&self, tag: &str) -> Result<Self, ParseImageReferenceError> {
        Ok(Self { tag: Some(check_tag(tag)?), digest: None, ..self.clone() })
    }

    /// The name as people write it: `debian:latest`, `quay.io/pypa/manylinux_2_28_x86_64:latest`.
    pub fn familiar(&self) -> String {
        let repository = match self.repository.split_once('/') {
            _ if self.registry != DEFAULT_REGISTRY => format!("{}/{}", self.registry, self.repository),
            Some((OFFICIAL, name)) if !name.contains('/') => name.to_owned(),
            // Without its registry the first part would be taken for one.
            Some((first, _)) if is_registry(first) => format!("{DEFAULT_REGISTRY}/{}", self.repository),
            _ => self.repository.clone(),
        };
        format!("{repository}{}", Suffix(self))
    }
}

/// What follows a repository.
struct Suffix<'a>(&'a ImageReference);

impl fmt::Display for Suffix<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(tag) = &self.0.tag {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = self.0.digest {
            write!(f, "@{digest}")?;
        }
        Ok(())
    }
}

impl fmt::Display for ImageReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}{}", self.registry, self.repository, Suffix(self))
    }
}

impl FromStr for ImageReference {
    type Err = ParseImageReferenceError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        use ParseImageReferenceError as Error;
        if text.is_empty() {
            return Err(Error::Empty);
        }
        if text.contains("://") {
            return Err(Error::Url(text.to_owned()));
        }
        let (name, digest) = match text.split_once('@') {
            Some((name, digest)) => {
                let error = |source| Error::Digest { text: text.to_owned(), source };
                (name, Some(Digest::parse_qualified(digest).map_err(error)?))
            }
            None => (text, None),
        };
        // A colon before the last slash belongs to a port.
        let (name, tag) = match name.rsplit_once(':') {
            Some((name, tag)) if !tag.contains('/') => (name, Some(check_tag(tag)?)),
            _ => (name, None),
        };
        let (registry, repository) = match name.split_once('/') {
            Some((first, rest)) if is_registry(first) => (first.to_ascii_lowercase(), rest.to_owned()),
            _ => (DEFAULT_REGISTRY.to_owned(), name.to_owned()),
        };
        // An old name of the same host.
        let registry = if registry == "index.docker.io" { DEFAULT_REGISTRY.to_owned() } else { registry };
        let is_official = registry == DEFAULT_REGISTRY && !repository.contains('/');
        if is_official && repository.len() == 64 && repository.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(Error::Identifier(text.to_owned()));
        }
        let repository = if is_official { format!("{OFFICIAL}/{repository}") } else { repository };
        check_registry(text, &registry)?;
        check_repository(text, &repository)?;
        let length = registry.len() + 1 + repository.len();
        if length > MAX_NAME {
            return Err(Error::TooLong(length));
        }
        let tag = tag.or_else(|| digest.is_none().then(|| DEFAULT_TAG.to_owned()));
        Ok(Self { registry, repository, tag, digest })
    }
}

/// Tells whether the first part of a name is a host: nothing else has a dot, a port or capitals.
fn is_registry(first: &str) -> bool {
    first == "localhost" || first.contains(['.', ':']) || first.bytes().any(|byte| byte.is_ascii_uppercase())
}

fn check_registry(text: &str, registry: &str) -> Result<(), ParseImageReferenceError> {
    let (host, port) = match registry.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (registry, None),
    };
    // `parse` alone would take a sign.
    let is_port = |port: &str| port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse::<u16>().is_ok();
    let is_label = |label: &str| {
        let inner = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        !label.is_empty() && label.bytes().all(inner) && !label.starts_with('-') && !label.ends_with('-')
    };
    let is_host = match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => host.split('.').all(is_label),
    };
    if is_host && port.is_none_or(is_port) {
        return Ok(());
    }
    Err(ParseImageReferenceError::Registry { text: text.to_owned(), registry: registry.to_owned() })
}

fn check_repository(text: &str, repository: &str) -> Result<(), ParseImageReferenceError> {
    if repository.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return Err(ParseImageReferenceError::UpperCase(text.to_owned()));
    }
    match repository.split('/').find(|part| !is_repository_part(part)) {
        None => Ok(()),
        Some(part) => {
            Err(ParseImageReferenceError::Repository { text: text.to_owned(), part: part.to_owned() })
        }
    }
}

/// Runs of letters and digits, with `.`, `_`, `__` or any number of `-` between two of them.
fn is_repository_part(part: &str) -> bool {
    let is_word = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = part.as_bytes();
    let ends_are_words =
        bytes.first().is_some_and(|&byte| is_word(byte)) && bytes.last().is_some_and(|&byte| is_word(byte));
    ends_are_words
        && bytes.split(|&byte| is_word(byte)).all(|between| {
            matches!(between, b"" | b"." | b"_" | b"__") || between.iter().all(|&byte| byte == b'-')
        })
}

fn check_tag(tag: &str) -> Result<String, ParseImageReferenceError> {
    let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    let starts = tag.bytes().next().is_some_and(is_word);
    if starts && tag.len() <= MAX_TAG && tag.bytes().all(|byte| is_word(byte) || matches!(byte, b'.' | b'-'))
    {
        return Ok(tag.to_owned());
    }
    Err(ParseImageReferenceError::Tag(tag.to_owned()))
}

impl From<ImageReference> for String {
    fn from(reference: ImageReference) -> Self {
        reference.to_string()
    }
}

impl TryFrom<String> for ImageReference {
    type Error = ParseImageReferenceError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST: &str = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    fn check(text: &str, whole: &str, familiar: &str) {
        let (text, whole, familiar) = (
            text.replace("DIGEST", DIGEST),
            whole.replace("DIGEST", DIGEST),
            familiar.replace("DIGEST", DIGEST),
        );
        let reference: ImageReference = text.parse().unwrap();
        assert_eq!(
            (reference.to_string(), reference.familiar()),
            (whole.clone(), familiar.clone()),
            "{text}"
        );
        assert_eq!(whole.parse(), Ok(reference.clone()), "{text}");
        assert_eq!(familiar.parse(), Ok(reference), "{text}");
    }

    #[test]
    fn fills_in_what_is_left_out() {
        check("debian", "docker.io/library/debian:latest", "debian:latest");
        check("debian:12", "docker.io/library/debian:12", "debian:12");
        check("debian@DIGEST", "docker.io/library/debian@DIGEST", "debian@DIGEST");
        check("debian:12@DIGEST", "docker.io/library/debian:12@DIGEST", "debian:12@DIGEST");
        check("library/debian", "docker.io/library/debian:latest", "debian:latest");
        check("docker.io/debian", "docker.io/library/debian:latest", "debian:latest");
        check("index.docker.io/library/debian", "docker.io/library/debian:latest", "debian:latest");
        check("moby/buildkit:rootless", "docker.io/moby/buildkit:rootless", "moby/buildkit:rootless");
        check("library/a/b", "docker.io/library/a/b:latest", "library/a/b:latest");
        check("docker.io/localhost/a", "docker.io/localhost/a:latest", "docker.io/localhost/a:latest");
        check("quay.io/pypa/a", "quay.io/pypa/a:latest", "quay.io/pypa/a:latest");
        check("GHCR.IO/a/b:V1", "ghcr.io/a/b:V1", "ghcr.io/a/b:V1");
        check("localhost/a", "localhost/a:latest", "localhost/a:latest");
        check("localhost:5000/a/b:t@DIGEST", "localhost:5000/a/b:t@DIGEST", "localhost:5000/a/b:t@DIGEST");
        check("host:5000", "docker.io/library/host:5000", "host:5000");
        check("[::1]:5000/a", "[::1]:5000/a:latest", "[::1]:5000/a:latest");
        check("[::1]/a", "[::1]/a:latest", "[::1]/a:latest");
        check(
            "127.0.0.1:1/a__b/c--d.e_f",
            "127.0.0.1:1/a__b/c--d.e_f:latest",
            "127.0.0.1:1/a__b/c--d.e_f:latest",
        );
    }

    #[test]
    fn says_what_is_wrong() {
        let sha512 = format!("a@sha512:{}", "0".repeat(128));
        let (long, identifier) = (format!("a/{}", "b".repeat(254)), "0a".repeat(32));
        for (text, expect) in [
            ("", "an image name is empty"),
            ("https://quay.io/a", "no `https://` stands before one"),
            ("Debian", "repositories are in lower case"),
            ("quay.io/Pypa/a", "repositories are in lower case"),
            ("a..b/c", "`a..b` is not a host"),
            ("-a.b/c", "`-a.b` is not a host"),
            ("a.b:/c", "`a.b:` is not a host"),
            ("a.b:+1/c", "`a.b:+1` is not a host"),
            ("a.b:65536/c", "`a.b:65536` is not a host"),
            ("[::g]/c", "`[::g]` is not a host"),
            ("a//b", "`` is not letters and digits"),
            ("a/", "`` is not letters and digits"),
            ("/a", "`` is not letters and digits"),
            ("a/../b", "`..` is not letters and digits"),
            ("a/b___c", "`b___c` is not letters and digits"),
            ("a/b._c", "`b._c` is not letters and digits"),
            ("a/_b", "`_b` is not letters and digits"),
            ("a b", "`a b` is not letters and digits"),
            ("ä", "`ä` is not letters and digits"),
            ("a:", "`` is not a tag"),
            ("a:.b", "`.b` is not a tag"),
            ("a:b:c", "`a:b` is not letters and digits"),
            ("a@", "by a digest that can be checked"),
            ("a@sha256:00", "by a digest that can be checked"),
            (&sha512, "by a digest that can be checked"),
            (&long, "an image name has 266 characters"),
            (&identifier, "64 hexadecimal digits"),
        ] {
            let error = text.parse::<ImageReference>().unwrap_err().to_string();
            assert!(error.contains(expect), "{text}: {error}");
        }
    }

    #[test]
    fn changes_one_part() {
        let digest: Digest = DIGEST.parse().unwrap();
        let reference: ImageReference = "quay.io/a/b:1".parse().unwrap();
        let pinned = reference.with_digest(digest);
        assert_eq!(pinned.to_string(), format!("quay.io/a/b:1@{DIGEST}"));
        assert_eq!(pinned.with_tag("2").unwrap().to_string(), "quay.io/a/b:2");
        assert!(pinned.with_tag("a/b").is_err());
        assert_eq!(
            (pinned.registry(), pinned.repository(), pinned.tag(), pinned.digest()),
            ("quay.io", "a/b", Some("1"), Some(digest))
        );
    }
}
