//! Programs that keep credentials: `docker-credential-<name>`, with a verb as argument, told on standard input.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::Path;
use std::time::Duration;

use hwb_sandbox::host::{self, HostCommand, HostOutput};
use hwb_sandbox::{Cancel, ExitStatus};
use serde::{Deserialize, Serialize};

use super::super::said::plain;
use super::{CredentialError, Identity, Login, Secret};

/// It may ask somebody in a window.
const TIMEOUT: Duration = Duration::from_secs(120);

/// The user name behind which the secret is an identity token.
const TOKEN: &str = "<token>";

/// What helpers write where they have nothing; it goes to standard output, with a failure.
const NOTHING: [&str; 2] = ["credentials not found", "no credentials server URL"];

/// A program that keeps credentials.
pub(super) struct Helper<'a> {
    /// Its name.
    pub(super) program: String,
    env: &'a BTreeMap<OsString, OsString>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Entry {
    #[serde(default, rename = "ServerURL")]
    server_url: String,
    #[serde(default)]
    username: String,
    #[serde(default)]
    secret: String,
}

impl<'a> Helper<'a> {
    /// The helper that `file` names.
    pub(super) fn new(
        name: &str,
        file: &Path,
        env: &'a BTreeMap<OsString, OsString>,
    ) -> Result<Self, CredentialError> {
        if name.is_empty() || name.contains(['/', '\0']) {
            return Err(CredentialError::HelperName { path: file.to_owned(), name: name.to_owned() });
        }
        Ok(Self { program: format!("docker-credential-{name}"), env })
    }

    /// What it keeps for a server.
    pub(super) fn get(&self, server: &str, cancel: &Cancel) -> Result<Option<Identity>, CredentialError> {
        let output = self.run("get", server.as_bytes().to_vec(), cancel)?;
        let said = String::from_utf8_lossy(&output.stdout);
        if !output.status.is_success() {
            if NOTHING.iter().any(|nothing| said.contains(nothing)) {
                return Ok(None);
            }
            return Err(self.failed("get", server, &output));
        }
        let Ok(Entry { username, secret, .. }) = serde_json::from_slice(&output.stdout) else {
            // What it wrote is not repeated: it may be the secret in another form.
            return Err(self.said("get", server, "its answer is not of the form that was agreed on"));
        };
        Ok(match (username.as_str(), secret.as_str()) {
            (_, "") => None,
            (TOKEN, token) => Some(Identity::Refresh(Secret::new(token))),
            (user, password) => {
                let login = Login { user: user.to_owned(), password: Secret::new(password) };
                Some(Identity::Login(login))
            }
        })
    }

    /// Lets it keep a login.
    pub(super) fn store(&self, server: &str, login: &Login, cancel: &Cancel) -> Result<(), CredentialError> {
        let entry = Entry {
            server_url: server.to_owned(),
            username: login.user.clone(),
            secret: login.password.expose().to_owned(),
        };
        let input = serde_json::to_vec(&entry).expect("three texts can be written");
        let output = self.run("store", input, cancel)?;
        if output.status.is_success() { Ok(()) } else { Err(self.failed("store", server, &output)) }
    }

    /// Lets it forget what it keeps for a server.
    pub(super) fn erase(&self, server: &str, cancel: &Cancel) -> Result<(), CredentialError> {
        let output = self.run("erase", server.as_bytes().to_vec(), cancel)?;
        if output.status.is_success() { Ok(()) } else { Err(self.failed("erase", server, &output)) }
    }

    fn run(&self, verb: &str, mut input: Vec<u8>, cancel: &Cancel) -> Result<HostOutput, CredentialError> {
        input.push(b'\n');
        let command = HostCommand {
            program: self.program.clone().into(),
            args: vec![verb.into()],
            env: self.env.clone(),
            cwd: "/".into(),
            input,
            timeout: Some(TIMEOUT),
        };
        host::run(&command, cancel)
            .map_err(|source| CredentialError::Run { program: self.program.clone(), source })
    }

    fn failed(&self, action: &'static str, server: &str, output: &HostOutput) -> CredentialError {
        let text = |bytes: &[u8]| plain(String::from_utf8_lossy(bytes).trim());
        let (stderr, stdout) = (text(&output.stderr), text(&output.stdout));
        // By custom the reason is on standard output.
        let said = [stdout, stderr].into_iter().find(|said| !said.is_empty());
        let ended = || match output.status {
            ExitStatus::Code(code) => format!("it exited with code {code}"),
            ExitStatus::Signal(signal) => format!("it was killed by signal {signal}"),
        };
        self.said(action, server, &said.unwrap_or_else(ended))
    }

    fn said(&self, action: &'static str, server: &str, said: &str) -> CredentialError {
        let (program, server, said) = (self.program.clone(), server.to_owned(), said.to_owned());
        CredentialError::Helper { program, action, server, said }
    }
}
