//! Running git: the same whoever runs it, apart from what reaches and trusts servers.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hwb_ident::RedactedUrl;
use hwb_sandbox::host::{self, HostCommand};
use hwb_sandbox::{Cancel, SandboxError};
use percent_encoding::percent_decode_str;

use super::CheckoutOptions;
use super::error::{GitError, GitFailure};

/// Settings that change what is checked out, or that wait for somebody.
const SETTINGS: [(&str, &str); 18] = [
    ("advice.detachedHead", "false"),
    ("core.attributesFile", "/dev/null"),
    ("core.autocrlf", "false"),
    ("core.eol", "lf"),
    ("core.fsmonitor", "false"),
    ("core.hooksPath", "/dev/null"),
    ("core.symlinks", "true"),
    ("fetch.prune", "false"),
    ("filter.lfs.clean", ""),
    ("filter.lfs.process", ""),
    ("filter.lfs.required", "false"),
    ("filter.lfs.smudge", ""),
    ("gc.auto", "0"),
    ("http.lowSpeedLimit", "1"),
    ("http.lowSpeedTime", "120"),
    ("init.templateDir", ""),
    ("maintenance.auto", "false"),
    ("submodule.recurse", "false"),
];

/// Variables that would make git work on another repository.
const MISLEADING: [&str; 9] = [
    "GIT_ALTERNATE_OBJECT_DIRECTORIES",
    "GIT_COMMON_DIR",
    "GIT_CONFIG_PARAMETERS",
    "GIT_DIR",
    "GIT_INDEX_FILE",
    "GIT_NAMESPACE",
    "GIT_OBJECT_DIRECTORY",
    "GIT_SHALLOW_FILE",
    "GIT_WORK_TREE",
];

/// Whom a call of git may talk to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reach {
    /// Nobody, not even for an object that is missing.
    Nowhere,
    /// Servers of the kinds that the repository's own URL admits.
    Servers,
}

/// One call of git.
#[derive(Debug)]
pub(super) struct Call {
    action: &'static str,
    reach: Reach,
    args: Vec<OsString>,
    env: BTreeMap<OsString, OsString>,
}

impl Call {
    fn new(action: &'static str, reach: Reach, args: impl IntoIterator<Item: Into<OsString>>) -> Self {
        Self { action, reach, args: args.into_iter().map(Into::into).collect(), env: BTreeMap::new() }
    }

    /// A call that needs no network; `action` is what it is for, as an infinitive before the repository's name.
    pub(super) fn local(action: &'static str, args: impl IntoIterator<Item: Into<OsString>>) -> Self {
        Self::new(action, Reach::Nowhere, args)
    }

    /// A call that may ask servers.
    pub(super) fn remote(action: &'static str, args: impl IntoIterator<Item: Into<OsString>>) -> Self {
        Self::new(action, Reach::Servers, args)
    }

    /// Adds an argument.
    pub(super) fn arg(mut self, argument: impl AsRef<OsStr>) -> Self {
        self.args.push(argument.as_ref().to_owned());
        self
    }

    /// Sets a variable.
    pub(super) fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.env.insert(name.into(), value.as_ref().to_owned());
        self
    }

    /// Says which repository it works on, instead of the one that the working directory is in.
    pub(super) fn within(self, repository: &Path) -> Self {
        self.env("GIT_DIR", repository)
    }
}

/// Git, as it is run for one repository.
#[derive(Debug)]
pub(super) struct Git<'a> {
    shown: Box<RedactedUrl>,
    /// Without credentials: every argument can be seen by every user of the machine.
    url: String,
    protocols: &'static str,
    env: BTreeMap<OsString, OsString>,
    cancel: &'a Cancel,
}

impl<'a> Git<'a> {
    pub(super) fn new(repository: &RedactedUrl, options: &CheckoutOptions<'a>) -> Self {
        let mut env = options.env.clone();
        env.retain(|name, _| !MISLEADING.iter().any(|misleading| name == misleading));
        for (name, value) in [
            ("GIT_ATTR_NOSYSTEM", "1"),
            ("GIT_LFS_SKIP_SMUDGE", "1"),
            ("GIT_TERMINAL_PROMPT", "0"),
            ("GCM_INTERACTIVE", "never"),
            ("LC_ALL", "C"),
            ("LANGUAGE", ""),
        ] {
            env.insert(name.into(), value.into());
        }
        // A program that asks in a window would wait for nobody.
        env.entry("GIT_ASKPASS".into()).or_default();
        let settings = SETTINGS.map(|(key, value)| (key.to_owned(), value.to_owned()));
        configure(&mut env, settings.into_iter().chain(authorization(repository)));
        let scheme = repository.expose().scheme();
        let protocols = match scheme {
            "file" => "file:https:http:ssh",
            "http" => "https:http:ssh",
            _ => "https:ssh",
        };
        let url = without_credentials(repository);
        Self { shown: Box::new(repository.clone()), url, protocols, env, cancel: options.cancel }
    }

    /// The URL without credentials.
    pub(super) fn url(&self) -> &str {
        &self.url
    }

    /// The URL for messages.
    pub(super) fn shown(&self) -> Box<RedactedUrl> {
        self.shown.clone()
    }

    /// Runs `call` in `directory`; its standard output.
    pub(super) fn run(&self, call: Call, directory: &Path) -> Result<Vec<u8>, GitError> {
        let Call { action, reach, args, env } = call;
        let mut complete = self.env.clone();
        match reach {
            Reach::Nowhere => {
                complete.insert("GIT_ALLOW_PROTOCOL".into(), "none".into());
                complete.insert("GIT_NO_LAZY_FETCH".into(), "1".into());
            }
            Reach::Servers => {
                complete.insert("GIT_ALLOW_PROTOCOL".into(), self.protocols.into());
            }
        }
        complete.extend(env);
        let command = HostCommand {
            program: "git".into(),
            args,
            env: complete,
            cwd: directory.into(),
            input: Vec::new(),
            timeout: None,
        };
        let output = host::run(&command, self.cancel).map_err(|source| match source {
            SandboxError::Spawn { source: ref reason, .. } if reason.kind() == io::ErrorKind::NotFound => {
                GitError::NoGit(source)
            }
            source => GitError::Run { action, repository: self.shown.clone(), source },
        })?;
        if output.status.is_success() {
            return Ok(output.stdout);
        }
        Err(GitFailure::new(output.status, &output.stderr).into_error(action, self.shown.clone()))
    }
}

/// Adds settings behind those that the environment has already.
fn configure(env: &mut BTreeMap<OsString, OsString>, settings: impl Iterator<Item = (String, String)>) {
    let count = env.get(OsStr::new("GIT_CONFIG_COUNT")).and_then(|count| count.to_str()?.parse().ok());
    let mut count: u32 = count.unwrap_or(0);
    for (key, value) in settings {
        env.insert(format!("GIT_CONFIG_KEY_{count}").into(), key.into());
        env.insert(format!("GIT_CONFIG_VALUE_{count}").into(), value.into());
        count += 1;
    }
    env.insert("GIT_CONFIG_COUNT".into(), count.to_string().into());
}

/// The URL as git may be given it: of SSH the user name stays, for it is no secret.
fn without_credentials(repository: &RedactedUrl) -> String {
    let mut url = repository.expose().clone();
    // Only URLs without a host cannot have either: then there is nothing to remove.
    let _no_host = url.set_password(None);
    if !url.scheme().contains("ssh") {
        let _no_host = url.set_username("");
    }
    url.to_string()
}

/// The header that says who asks, for this server alone.
fn authorization(repository: &RedactedUrl) -> Option<(String, String)> {
    let url = repository.expose();
    let (user, password) = (url.username(), url.password().unwrap_or_default());
    if !url.scheme().starts_with("http") || (user.is_empty() && password.is_empty()) {
        return None;
    }
    let mut credentials: Vec<u8> = percent_decode_str(user).collect();
    credentials.push(b':');
    credentials.extend(percent_decode_str(password));
    let server = url.origin().ascii_serialization();
    let value = format!("Authorization: Basic {}", STANDARD.encode(credentials));
    Some((format!("http.{server}/.extraHeader"), value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_credentials_out_of_the_url() {
        let check = |url: &str, clean: &str, header: Option<(&str, &str)>| {
            let url: RedactedUrl = url.parse().unwrap();
            assert_eq!(without_credentials(&url), clean);
            let header = header.map(|(key, value)| (key.to_owned(), value.to_owned()));
            assert_eq!(authorization(&url), header);
        };
        check(
            "https://user:p%40ss@example.org:8443/o/r",
            "https://example.org:8443/o/r",
            Some(("http.https://example.org:8443/.extraHeader", "Authorization: Basic dXNlcjpwQHNz")),
        );
        check(
            "https://token@example.org/r",
            "https://example.org/r",
            Some(("http.https://example.org/.extraHeader", "Authorization: Basic dG9rZW46")),
        );
        check("https://example.org/r", "https://example.org/r", None);
        check("ssh://git:secret@example.org/r", "ssh://git@example.org/r", None);
        check("file:///srv/r", "file:///srv/r", None);
    }

    #[test]
    fn adds_to_the_settings_of_the_environment() {
        let mut env = BTreeMap::from([("GIT_CONFIG_COUNT".into(), "1".into())]);
        configure(&mut env, [("a.b".to_owned(), "c".to_owned())].into_iter());
        let shown: Vec<String> =
            env.iter().map(|(name, value)| format!("{}={}", name.display(), value.display())).collect();
        assert_eq!(shown, ["GIT_CONFIG_COUNT=2", "GIT_CONFIG_KEY_1=a.b", "GIT_CONFIG_VALUE_1=c"]);
    }
}
