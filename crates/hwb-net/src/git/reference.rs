//! What the text after `@` may mean.

use std::fmt;

use hwb_ident::Digest;

use super::error::GitError;

/// A reference to one commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Reference {
    /// The server's default branch.
    Default,
    /// The full name of a commit.
    Commit(String),
    /// A full name such as `refs/pull/7/head`.
    Full(String),
    /// A tag, else a branch, else the beginning of a commit's name.
    Named(String),
}

impl Reference {
    /// Parses what the user wrote.
    pub(super) fn parse(text: &str) -> Result<Self, GitError> {
        if !is_reference_name(text) {
            return Err(GitError::InvalidReference { reference: text.to_owned() });
        }
        let is_hex = text.bytes().all(|byte| byte.is_ascii_hexdigit());
        Ok(match text {
            "HEAD" => Self::Default,
            _ if is_hex && matches!(text.len(), 40 | 64) => Self::Commit(text.to_ascii_lowercase()),
            _ if text.starts_with("refs/") => Self::Full(text.to_owned()),
            _ => Self::Named(text.to_owned()),
        })
    }

    /// The names that a server may have for it, in git's own order of preference.
    pub(super) fn remote_names(&self) -> Vec<String> {
        match self {
            Self::Default => vec!["HEAD".to_owned()],
            Self::Commit(_) => Vec::new(),
            Self::Full(name) => vec![name.clone()],
            Self::Named(name) => vec![format!("refs/tags/{name}"), format!("refs/heads/{name}")],
        }
    }

    /// The text as a commit's name, or the beginning of one.
    pub(super) fn as_commit(&self) -> Option<&str> {
        match self {
            Self::Commit(name) => Some(name),
            Self::Named(name) if name.len() >= 4 && name.bytes().all(|byte| byte.is_ascii_hexdigit()) => {
                Some(name)
            }
            Self::Named(_) | Self::Default | Self::Full(_) => None,
        }
    }

    /// Whether only a repository of SHA-256 can have it.
    pub(super) fn is_sha256(&self) -> bool {
        matches!(self, Self::Commit(name) if name.len() == 64)
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("HEAD"),
            Self::Commit(name) | Self::Full(name) | Self::Named(name) => f.write_str(name),
        }
    }
}

/// Where the cached repository keeps what the server has under `remote`.
///
/// Tags keep their names, for `git describe`. Everything else gets one that can never be a directory of another.
pub(super) fn local_name(remote: &str) -> String {
    if remote.starts_with("refs/tags/") {
        remote.to_owned()
    } else {
        format!("refs/hwb/{}", Digest::of(remote.as_bytes()).hex())
    }
}

/// The rules of git-check-ref-format(1), and no leading dash: git would take it for an option.
fn is_reference_name(text: &str) -> bool {
    let is_forbidden = |character: char| character.is_ascii_control() || " ~^:?*[\\".contains(character);
    let is_part = |part: &str| !part.is_empty() && !part.starts_with('.') && !part.ends_with(".lock");
    !text.starts_with('-')
        && !text.ends_with('.')
        && text != "@"
        && !text.contains("..")
        && !text.contains("@{")
        && !text.contains(is_forbidden)
        && text.split('/').all(is_part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_references_apart() {
        let check = |text: &str, expect: Reference| assert_eq!(Reference::parse(text).unwrap(), expect);
        let sha1 = "0123456789abcdef0123456789abcdef01234567";
        check("HEAD", Reference::Default);
        check(sha1, Reference::Commit(sha1.into()));
        check(&sha1.to_uppercase(), Reference::Commit(sha1.into()));
        check(&sha1[..39], Reference::Named(sha1[..39].into()));
        check("refs/pull/7/head", Reference::Full("refs/pull/7/head".into()));
        check("v1.0", Reference::Named("v1.0".into()));
        check("feature/ünïcode", Reference::Named("feature/ünïcode".into()));
    }

    #[test]
    fn refuses_what_is_no_reference() {
        for text in [
            "",
            "-",
            "--upload-pack=x",
            "-v1",
            "a b",
            "a..b",
            "a~1",
            "a^",
            "a:b",
            "a*",
            "a?",
            "[a",
            "a\\b",
            "a\nb",
            "/a",
            "a/",
            "a//b",
            ".a",
            "a/.b",
            "a.",
            "a.lock",
            "a.lock/b",
            "@",
            "a@{1}",
        ] {
            assert!(Reference::parse(text).is_err(), "{text:?}");
        }
    }
}
