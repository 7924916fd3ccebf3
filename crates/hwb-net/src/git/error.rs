//! Why a checkout failed, and what may help.

use std::fmt;
use std::io;
use std::path::PathBuf;

use hwb_ident::RedactedUrl;
use hwb_sandbox::{ExitStatus, SandboxError};
use hwb_store::TreeError;
use hwb_store::fs::FsError;

/// Failure to check out a commit.
#[derive(Debug, thiserror::Error)]
pub enum GitError {
    /// This machine has no git.
    #[error("git sources need the program `git`, which is not in PATH")]
    NoGit(#[source] SandboxError),
    /// The reference could never be one.
    #[error("`{reference}` is not a tag, branch or commit of git")]
    InvalidReference {
        /// As it was written.
        reference: String,
    },
    /// The repository has no such tag, branch or commit.
    #[error("`{repository}` has no tag, branch or commit `{reference}`")]
    UnknownReference {
        /// The repository.
        repository: Box<RedactedUrl>,
        /// What was asked for.
        reference: String,
    },
    /// More than one commit begins like this.
    #[error("more than one commit of `{repository}` begins with `{reference}`")]
    Ambiguous {
        /// The repository.
        repository: Box<RedactedUrl>,
        /// What was asked for.
        reference: String,
    },
    /// The network may not be used, and not everything is cached.
    #[error("`{reference}` of `{repository}` is not in the cache, and the network is off")]
    NotCached {
        /// The repository.
        repository: Box<RedactedUrl>,
        /// What was asked for.
        reference: String,
    },
    /// The server did not answer.
    #[error("cannot reach `{repository}`")]
    Unreachable {
        /// The repository.
        repository: Box<RedactedUrl>,
        /// What git said.
        source: GitFailure,
    },
    /// The server wants to know who asks.
    #[error("`{repository}` needs credentials")]
    Authentication {
        /// The repository.
        repository: Box<RedactedUrl>,
        /// What git said.
        source: GitFailure,
    },
    /// The server was told who asks, and does not like the answer.
    #[error("`{repository}` refuses the credentials")]
    Refused {
        /// The repository.
        repository: Box<RedactedUrl>,
        /// What git said.
        source: GitFailure,
    },
    /// There is no repository at this URL.
    #[error("there is no git repository at `{repository}`")]
    NoRepository {
        /// The URL.
        repository: Box<RedactedUrl>,
        /// What git said.
        source: GitFailure,
    },
    /// Git failed for a reason of its own.
    #[error("failed to {action} `{repository}`")]
    Failed {
        /// What was attempted.
        action: &'static str,
        /// The repository.
        repository: Box<RedactedUrl>,
        /// What git said.
        source: GitFailure,
    },
    /// Git could not be run to its end.
    #[error("failed to {action} `{repository}`")]
    Run {
        /// What was attempted.
        action: &'static str,
        /// The repository.
        repository: Box<RedactedUrl>,
        /// Why.
        source: SandboxError,
    },
    /// The lock of a cached repository cannot be taken.
    #[error("cannot lock `{}`", path.display())]
    Lock {
        /// The lock file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Something on disk cannot be made or removed.
    #[error("cannot prepare a place for the checkout")]
    Disk(#[source] FsError),
    /// Something of the cached repository cannot be written.
    #[error("cannot keep a copy of the repository")]
    Keep(#[source] io::Error),
    /// The cached repository cannot be copied.
    #[error("cannot copy the repository out of the cache")]
    Copy {
        /// Why.
        source: Box<TreeError>,
    },
}

/// How git ended, and what it wrote about it; without credentials.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GitFailure {
    status: ExitStatus,
    said: String,
}

impl std::error::Error for GitFailure {}

impl fmt::Display for GitFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.status {
            ExitStatus::Code(_) if !self.said.is_empty() => write!(f, "git: {}", self.said),
            ExitStatus::Code(code) => write!(f, "git exited with code {code}"),
            ExitStatus::Signal(signal) => write!(f, "git was killed by signal {signal}"),
        }
    }
}

/// What git's own words amount to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cause {
    Authentication,
    Refused,
    NoRepository,
    Unreachable,
    Other,
}

/// Words of git, ssh and curl (in the locale `C`), the telling ones first.
const CAUSES: [(&str, Cause); 26] = [
    ("could not read Username", Cause::Authentication),
    ("could not read Password", Cause::Authentication),
    ("terminal prompts disabled", Cause::Authentication),
    ("Authentication failed", Cause::Refused),
    ("Permission denied (", Cause::Authentication),
    ("Host key verification failed", Cause::Authentication),
    ("returned error: 401", Cause::Authentication),
    ("returned error: 403", Cause::Authentication),
    ("Invalid username or", Cause::Refused),
    ("HTTP Basic: Access denied", Cause::Refused),
    ("does not appear to be a git repository", Cause::NoRepository),
    ("epository not found", Cause::NoRepository),
    ("returned error: 404", Cause::NoRepository),
    ("' not found", Cause::NoRepository),
    ("' does not exist", Cause::NoRepository),
    ("not valid: is this a git repository", Cause::NoRepository),
    ("Could not resolve", Cause::Unreachable),
    ("Couldn't connect", Cause::Unreachable),
    ("Failed to connect", Cause::Unreachable),
    ("Connection refused", Cause::Unreachable),
    ("Connection timed out", Cause::Unreachable),
    ("Connection reset", Cause::Unreachable),
    ("Connection closed", Cause::Unreachable),
    ("Network is unreachable", Cause::Unreachable),
    ("unable to access", Cause::Unreachable),
    ("Operation too slow", Cause::Unreachable),
];

impl GitFailure {
    pub(super) fn new(status: ExitStatus, stderr: &[u8]) -> Self {
        Self { status, said: condense(&String::from_utf8_lossy(stderr)) }
    }

    pub(super) fn is_ambiguous(&self) -> bool {
        self.said.contains("is ambiguous")
    }

    fn cause(&self) -> Cause {
        let told = CAUSES.iter().find(|(words, _)| self.said.contains(words));
        told.map_or(Cause::Other, |&(_, cause)| cause)
    }

    /// The error that this failure of `action` amounts to.
    pub(super) fn into_error(self, action: &'static str, repository: Box<RedactedUrl>) -> GitError {
        let source = self;
        match source.cause() {
            // Git itself says that it would ask for others.
            Cause::Authentication if bears_credentials(&repository) => {
                GitError::Refused { repository, source }
            }
            Cause::Authentication => GitError::Authentication { repository, source },
            Cause::Refused => GitError::Refused { repository, source },
            Cause::NoRepository => GitError::NoRepository { repository, source },
            Cause::Unreachable => GitError::Unreachable { repository, source },
            Cause::Other => GitError::Failed { action, repository, source },
        }
    }
}

/// Whether the URL says who asks; the user of an ssh URL has his keys elsewhere.
fn bears_credentials(repository: &RedactedUrl) -> bool {
    let url = repository.expose();
    url.scheme().starts_with("http") && (!url.username().is_empty() || url.password().is_some())
}

/// The last telling lines of what git wrote, in one line, without the credentials of any URL in it.
fn condense(stderr: &str) -> String {
    const LINES: usize = 6;
    let is_telling = |line: &&str| !line.is_empty() && !line.starts_with("hint:");
    let lines: Vec<&str> = stderr.lines().map(str::trim).filter(is_telling).collect();
    let last = &lines[lines.len().saturating_sub(LINES)..];
    redact(&last.join("; "))
}

/// Drops `user:password@` behind each `://`.
fn redact(text: &str) -> String {
    let mut parts = text.split("://");
    let mut redacted = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        redacted.push_str("://");
        let end = part.find(|c: char| c == '/' || c == '\'' || c == '"' || c.is_whitespace());
        let (authority, rest) = part.split_at(end.unwrap_or(part.len()));
        redacted.push_str(authority.rsplit_once('@').map_or(authority, |(_, host)| host));
        redacted.push_str(rest);
    }
    redacted
}

impl GitError {
    /// What may help, as one sentence.
    pub fn hint(&self) -> Option<&'static str> {
        Some(match self {
            Self::NoGit(_) => "install git, or build from an archive or a directory",
            Self::InvalidReference { .. } => {
                "name a tag, a branch, or at least four digits of a commit behind `@`"
            }
            Self::UnknownReference { .. } => {
                "`git ls-remote <url>` lists the tags and branches of a repository"
            }
            Self::Ambiguous { .. } => "give more digits of the commit",
            Self::NotCached { .. } => "run once with the network on",
            Self::Unreachable { .. } => "check the host's name, the network and the proxy settings",
            Self::Authentication { .. } => {
                "git asks nobody: set up a credential helper or an SSH agent, and check that the repository exists"
            }
            Self::Refused { .. } => {
                "check the user name and the password or token, in the URL or with the credential helper"
            }
            Self::NoRepository { .. } => {
                "check the URL; private repositories may look missing without credentials"
            }
            Self::Failed { .. }
            | Self::Run { .. }
            | Self::Lock { .. }
            | Self::Disk(_)
            | Self::Keep(_)
            | Self::Copy { .. } => return None,
        })
    }

    /// Whether a damaged cache could be the reason.
    pub(super) fn may_be_the_cache(&self) -> bool {
        matches!(self, Self::Failed { .. })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_the_reasons_of_git() {
        let check = |stderr: &str, expect: &str| {
            let failure = GitFailure::new(ExitStatus::Code(128), stderr.as_bytes());
            let error = failure.into_error("fetch from", Box::new("https://example.org/r".parse().unwrap()));
            assert_eq!(error.to_string(), expect, "{stderr}");
        };
        let credentials = "`https://example.org/r` needs credentials";
        check(
            "fatal: could not read Username for 'https://example.org': terminal prompts disabled",
            credentials,
        );
        check(
            "git@example.org: Permission denied (publickey).\nfatal: Could not read from remote repository.",
            credentials,
        );
        check(
            "fatal: unable to access 'https://example.org/r/': The requested URL returned error: 403",
            credentials,
        );
        check(
            "fatal: unable to access 'https://example.org/r/': Could not resolve host: example.org",
            "cannot reach `https://example.org/r`",
        );
        check(
            "fatal: '/r' does not appear to be a git repository",
            "there is no git repository at `https://example.org/r`",
        );
        check(
            "remote: HTTP Basic: Access denied\nfatal: Authentication failed for 'https://example.org/r/'",
            "`https://example.org/r` refuses the credentials",
        );
        check("fatal: index file corrupt", "failed to fetch from `https://example.org/r`");
    }

    #[test]
    fn repeats_no_credentials() {
        let said = condense("hint: x\nfatal: unable to access 'https://user:p@ss@example.org/r@1/': gone\n");
        assert_eq!(said, "fatal: unable to access 'https://example.org/r@1/': gone");
    }
}
