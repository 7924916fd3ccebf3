//! Who asks: from the files of container tools, and from the programs that these name.
//!
//! The files are Docker's `config.json` and the `auth.json` of Podman and its kin, which have the same form. The first
//! file that knows a registry decides.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use hwb_sandbox::{Cancel, SandboxError};
use hwb_store::FsError;

use self::file::AuthFile;
use super::endpoint::DOCKER;
use super::secret::Secret;

mod file;
mod program;

/// Where it stands who asks.
#[derive(Clone, Default)]
pub struct CredentialSources {
    /// Files of the form of Docker's `config.json`, in the order in which they are asked; they may be missing.
    pub files: Vec<PathBuf>,
    /// The environment of credential helpers: `PATH`, `HOME`, and what they talk to.
    pub env: BTreeMap<OsString, OsString>,
}

/// Names the variables without their values: one of them may be a secret.
impl fmt::Debug for CredentialSources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CredentialSources")
            .field("files", &self.files)
            .field("env", &self.env.keys())
            .finish()
    }
}

/// A user name and a password.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Login {
    /// The name.
    pub user: String,
    /// The password, or the token that stands for one.
    pub password: Secret,
}

/// What is known of who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Identity {
    /// A user name and a password.
    Login(Login),
    /// What the server of tokens takes instead of them.
    Refresh(Secret),
    /// What the registry itself takes.
    Bearer(Secret),
}

/// What is known, and from where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Credentials {
    pub(super) identity: Identity,
    pub(super) origin: CredentialOrigin,
}

/// From where credentials are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CredentialOrigin {
    /// This file.
    File(PathBuf),
    /// A program.
    Helper {
        /// Its name.
        program: String,
        /// The file that names it.
        file: PathBuf,
    },
    /// They were just entered.
    Given,
}

impl fmt::Display for CredentialOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "`{}`", path.display()),
            Self::Helper { program, file } => {
                write!(f, "`{program}`, which `{}` names", file.display())
            }
            Self::Given => f.write_str("this login"),
        }
    }
}

/// Why credentials cannot be read or kept.
#[derive(Debug, thiserror::Error)]
pub enum CredentialError {
    /// A file cannot be read or written.
    #[error(transparent)]
    File(#[from] FsError),
    /// A file cannot be written.
    #[error("cannot write `{}`", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file is not of the form that is expected.
    #[error("`{}` is not the configuration of a container tool", path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// Where and why.
        source: serde_json::Error,
    },
    /// What stands for a registry cannot be understood. It is not repeated: it is a secret.
    #[error("what `{}` has for `{key}` is not a user name and a password", path.display())]
    Entry {
        /// The file.
        path: PathBuf,
        /// The registry, as the file names it.
        key: String,
    },
    /// The name of a helper is a path or empty.
    #[error("`{}` names the credential helper `{name}`, which is not the name of a program", path.display())]
    HelperName {
        /// The file.
        path: PathBuf,
        /// The name.
        name: String,
    },
    /// A helper cannot be run to its end.
    #[error("cannot ask `{program}` for credentials")]
    Run {
        /// Its name.
        program: String,
        /// Why.
        source: SandboxError,
    },
    /// A helper failed.
    #[error("`{program}` failed to {action} the credentials of `{server}`: {said}")]
    Helper {
        /// Its name.
        program: String,
        /// What it was to do.
        action: &'static str,
        /// The registry.
        server: String,
        /// What it wrote, or how it ended.
        said: String,
    },
}

impl CredentialError {
    /// What may help, as one sentence.
    pub(super) fn hint(&self) -> Option<&'static str> {
        Some(match self {
            Self::Run { .. } | Self::HelperName { .. } => {
                "install the helper, or remove `credsStore` or its line under `credHelpers` from the file"
            }
            Self::Json { .. } | Self::Entry { .. } => "mend the file, or log in again",
            Self::File(_) | Self::Write { .. } | Self::Helper { .. } => return None,
        })
    }
}

impl CredentialSources {
    /// Finds what is known about who asks `host` for `repository`.
    ///
    /// What is kept for a longer beginning of the repository's name goes before what is kept for a shorter one.
    pub(super) fn find(
        &self,
        host: &str,
        repository: &str,
        cancel: &Cancel,
    ) -> Result<Option<Credentials>, CredentialError> {
        let keys = keys(host, repository);
        for path in &self.files {
            let Some(file) = AuthFile::read(path)? else { continue };
            for key in &keys {
                // Not every helper understands more than the name of a registry: what else it has the file notes.
                let is_asked = key == host || file.notes(key);
                if let Some(name) = file.helper(key).filter(|_| is_asked) {
                    let helper = program::Helper::new(name, path, &self.env)?;
                    if let Some(identity) = helper.get(&server_name(key), cancel)? {
                        let origin = CredentialOrigin::Helper { program: helper.program, file: path.clone() };
                        return Ok(Some(Credentials { identity, origin }));
                    }
                }
                if let Some(identity) = file.find(key)? {
                    return Ok(Some(Credentials { identity, origin: CredentialOrigin::File(path.clone()) }));
                }
            }
        }
        Ok(None)
    }

    /// Keeps credentials in `path`, or with the helper that it names. Says where they are now.
    pub(super) fn store(
        &self,
        path: &Path,
        host: &str,
        login: &Login,
        cancel: &Cancel,
    ) -> Result<CredentialOrigin, CredentialError> {
        let mut file = AuthFile::read(path)?.unwrap_or_else(|| AuthFile::empty(path));
        let server = server_name(host);
        let Some(name) = file.helper(host) else {
            file.set(&server, Some(login));
            file.write()?;
            return Ok(CredentialOrigin::File(path.to_owned()));
        };
        let helper = program::Helper::new(name, path, &self.env)?;
        helper.store(&server, login, cancel)?;
        // An empty entry tells other tools, and us, that there is something.
        file.set(&server, None);
        file.write()?;
        Ok(CredentialOrigin::Helper { program: helper.program, file: path.to_owned() })
    }

    /// Forgets the credentials of a registry in every file and with every helper. Says where some were.
    pub(super) fn erase(
        &self,
        host: &str,
        cancel: &Cancel,
    ) -> Result<Vec<CredentialOrigin>, CredentialError> {
        let mut erased = Vec::new();
        for path in &self.files {
            let Some(mut file) = AuthFile::read(path)? else { continue };
            if let Some(name) = file.helper(host) {
                let helper = program::Helper::new(name, path, &self.env)?;
                if helper.get(&server_name(host), cancel)?.is_some() {
                    helper.erase(&server_name(host), cancel)?;
                    erased.push(CredentialOrigin::Helper { program: helper.program, file: path.clone() });
                }
            }
            if file.remove(host) {
                file.write()?;
                erased.push(CredentialOrigin::File(path.clone()));
            }
        }
        Ok(erased)
    }
}

/// The names under which credentials for a repository may be kept, the longest first.
fn keys(host: &str, repository: &str) -> Vec<String> {
    let mut name = format!("{host}/{repository}");
    let mut found = Vec::new();
    while name.len() > host.len() {
        found.push(name.clone());
        name.truncate(name.rfind('/').unwrap_or_default());
    }
    found.push(host.to_owned());
    found
}

/// What a registry is called where credentials are kept: Docker's has a URL of old.
fn server_name(host: &str) -> String {
    if host == DOCKER { "https://index.docker.io/v1/".to_owned() } else { host.to_owned() }
}

/// The name of a registry, or of repositories of one, in any of the ways in which files write it.
pub(super) fn normal(key: &str) -> String {
    let name = key.strip_prefix("https://").or_else(|| key.strip_prefix("http://")).unwrap_or(key);
    let name = name.strip_suffix('/').unwrap_or(name);
    // Of URLs only: in a plain name this may be a repository.
    let is_url = name.len() < key.len();
    let name =
        ["/v1", "/v2"].iter().find_map(|end| name.strip_suffix(end)).filter(|_| is_url).unwrap_or(name);
    let (host, rest) = name.find('/').map_or((name, ""), |at| name.split_at(at));
    match host {
        "index.docker.io" | "registry-1.docker.io" => format!("{DOCKER}{rest}"),
        host => format!("{}{rest}", host.to_ascii_lowercase()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn longer_names_go_first() {
        assert_eq!(
            keys("quay.io", "pypa/many/a"),
            ["quay.io/pypa/many/a", "quay.io/pypa/many", "quay.io/pypa", "quay.io"]
        );
        assert_eq!(keys("localhost:5000", "a"), ["localhost:5000/a", "localhost:5000"]);
    }

    #[test]
    fn a_registry_has_one_name() {
        for (key, expect) in [
            ("https://index.docker.io/v1/", "docker.io"),
            ("index.docker.io", "docker.io"),
            ("docker.io/library", "docker.io/library"),
            ("https://Quay.io", "quay.io"),
            ("http://localhost:5000/v2/", "localhost:5000"),
            ("quay.io/v2", "quay.io/v2"),
            ("quay.io/pypa/", "quay.io/pypa"),
            ("", ""),
        ] {
            assert_eq!(normal(key), expect, "{key}");
        }
    }
}
