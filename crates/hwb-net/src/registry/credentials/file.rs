//! One file of credentials.

use std::fs::{DirBuilder, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use hwb_store::FsError;
use hwb_store::fs;
use serde_json::{Map, Value, json};

use super::{CredentialError, Identity, Login, Secret, normal};

/// A file, whole: what hwb does not know in it stays as it is.
pub(super) struct AuthFile {
    path: PathBuf,
    contents: Map<String, Value>,
}

impl AuthFile {
    /// Reads a file; `None` if there is none.
    pub(super) fn read(path: &Path) -> Result<Option<Self>, CredentialError> {
        let bytes = match fs::read(path) {
            Ok(bytes) => bytes,
            Err(FsError::Open { source, .. }) if is_absence(&source) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        if bytes.iter().all(u8::is_ascii_whitespace) {
            return Ok(Some(Self::empty(path)));
        }
        let contents = serde_json::from_slice(&bytes)
            .map_err(|source| CredentialError::Json { path: path.to_owned(), source })?;
        Ok(Some(Self { path: path.to_owned(), contents }))
    }

    /// A file that has nothing yet.
    pub(super) fn empty(path: &Path) -> Self {
        Self { path: path.to_owned(), contents: Map::new() }
    }

    /// The end of the name of the program that keeps the credentials of a registry.
    pub(super) fn helper(&self, host: &str) -> Option<&str> {
        let helpers = self.contents.get("credHelpers").and_then(Value::as_object);
        let own = helpers.and_then(|helpers| helpers.iter().find(|(key, _)| normal(key) == host));
        let name = own.map(|(_, name)| name).or_else(|| self.contents.get("credsStore"));
        name.and_then(Value::as_str).filter(|name| !name.is_empty())
    }

    /// Whether something stands under a name, be it a note that a helper has it.
    pub(super) fn notes(&self, name: &str) -> bool {
        self.entries(name).next().is_some()
    }

    /// What stands under a name.
    pub(super) fn find(&self, name: &str) -> Result<Option<Identity>, CredentialError> {
        for (key, entry) in self.entries(name) {
            if let Some(identity) = self.understand(key, entry)? {
                return Ok(Some(identity));
            }
        }
        Ok(None)
    }

    fn entries(&self, name: &str) -> impl Iterator<Item = (&String, &Value)> {
        let entries = self.contents.get("auths").and_then(Value::as_object);
        entries.into_iter().flatten().filter(move |(key, _)| normal(key) == name)
    }

    fn understand(&self, key: &str, entry: &Value) -> Result<Option<Identity>, CredentialError> {
        let text = |name: &str| entry.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
        if let Some(token) = text("identitytoken") {
            return Ok(Some(Identity::Refresh(Secret::new(token))));
        }
        if let Some(token) = text("registrytoken") {
            return Ok(Some(Identity::Bearer(Secret::new(token))));
        }
        if let (Some(user), Some(password)) = (text("username"), text("password")) {
            let (user, password) = (user.to_owned(), Secret::new(password));
            return Ok(Some(Identity::Login(Login { user, password })));
        }
        let Some(auth) = text("auth") else { return Ok(None) };
        let malformed = || CredentialError::Entry { path: self.path.clone(), key: key.to_owned() };
        let decoded = STANDARD_NO_PAD.decode(auth.trim_end_matches('=')).map_err(|_| malformed())?;
        let decoded = String::from_utf8(decoded).map_err(|_| malformed())?;
        let (user, password) = decoded.split_once(':').ok_or_else(malformed)?;
        // Old versions of Docker wrote a zero behind it.
        let (user, password) = (user.to_owned(), Secret::new(password.trim_end_matches('\0')));
        Ok(Some(Identity::Login(Login { user, password })))
    }

    /// Puts a login in the place of everything that stands for a server; `None` leaves a note that a helper has it.
    pub(super) fn set(&mut self, server: &str, login: Option<&Login>) {
        self.remove(&normal(server));
        let entry = login.map_or_else(
            || json!({}),
            |Login { user, password }| {
                json!({ "auth": STANDARD.encode(format!("{user}:{}", password.expose())) })
            },
        );
        let entries = self.contents.entry("auths").or_insert_with(|| json!({}));
        // What is no object was no list of entries before either.
        if !entries.is_object() {
            *entries = json!({});
        }
        entries[server] = entry;
    }

    /// Removes everything that stands for a registry as a whole; says whether there was something.
    pub(super) fn remove(&mut self, host: &str) -> bool {
        let Some(entries) = self.contents.get_mut("auths").and_then(Value::as_object_mut) else {
            return false;
        };
        let before = entries.len();
        entries.retain(|key, _| normal(key) != host);
        entries.len() < before
    }

    /// Writes the file in one step; nobody else may read it.
    pub(super) fn write(&self) -> Result<(), CredentialError> {
        // A link stays one: it leads to where somebody wants to have his file.
        let path = fs_err::canonicalize(&self.path).unwrap_or_else(|_| self.path.clone());
        self.replace(&path).map_err(|source| CredentialError::Write { path, source })
    }

    fn replace(&self, path: &Path) -> io::Result<()> {
        let directory = path.parent().unwrap_or(Path::new("/"));
        DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
        let mut bytes = Vec::new();
        let format = serde_json::ser::PrettyFormatter::with_indent(b"\t");
        let mut serializer = serde_json::Serializer::with_formatter(&mut bytes, format);
        serde::Serialize::serialize(&self.contents, &mut serializer)?;
        bytes.push(b'\n');
        let mut file = tempfile::Builder::new()
            .prefix(".hwb-")
            .permissions(Permissions::from_mode(0o600))
            .tempfile_in(directory)?;
        file.write_all(&bytes)?;
        file.persist(path)?;
        Ok(())
    }
}

/// Whether a path leads nowhere.
fn is_absence(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(text: &str) -> AuthFile {
        AuthFile { path: "/config.json".into(), contents: serde_json::from_str(text).unwrap() }
    }

    #[test]
    fn understands_what_tools_write() {
        let check = |entry: &str, expect: &str| {
            let file = file(&format!(r#"{{"auths":{{"https://quay.io/v1/":{entry}}}}}"#));
            let shown = match file.find("quay.io") {
                Ok(Some(Identity::Login(Login { user, password }))) => {
                    format!("{user} {}", password.expose())
                }
                Ok(Some(Identity::Refresh(token))) => format!("identity {}", token.expose()),
                Ok(Some(Identity::Bearer(token))) => format!("registry {}", token.expose()),
                Ok(None) => "nothing".to_owned(),
                Err(error) => error.to_string(),
            };
            assert_eq!(shown, expect, "{entry}");
        };
        check(r#"{"auth":"bWU6c2VjOnJldA=="}"#, "me sec:ret");
        check(r#"{"auth":"bWU6c2VjOnJldA"}"#, "me sec:ret");
        check(r#"{"auth":"bWU6cAAA"}"#, "me p");
        check(r#"{"username":"me","password":"p"}"#, "me p");
        check(r#"{"auth":"bWU6","identitytoken":"t"}"#, "identity t");
        check(r#"{"registrytoken":"t"}"#, "registry t");
        for nothing in ["{}", "null", r#"{"auth":""}"#, r#"{"email":"a@b"}"#] {
            check(nothing, "nothing");
        }
        for malformed in [r#"{"auth":"%"}"#, r#"{"auth":"bWU="}"#, r#"{"auth":"/w=="}"#] {
            let expect =
                "what `/config.json` has for `https://quay.io/v1/` is not a user name and a password";
            check(malformed, expect);
        }
    }

    #[test]
    fn knows_who_keeps_the_credentials_of_a_registry() {
        let both = file(r#"{"credsStore":"all","credHelpers":{"https://index.docker.io/v1/":"hub","x":""}}"#);
        for (host, expect) in [("docker.io", Some("hub")), ("quay.io", Some("all")), ("x", None)] {
            assert_eq!(both.helper(host), expect, "{host}");
        }
        assert_eq!(file("{}").helper("quay.io"), None);
    }

    #[test]
    fn writes_its_own_and_leaves_the_rest() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new/config.json");
        let login = Login { user: "me".to_owned(), password: Secret::new("p") };
        let mut first = AuthFile::empty(&path);
        first.set("quay.io", Some(&login));
        first.write().unwrap();
        let text = || fs_err::read_to_string(&path).unwrap();
        assert_eq!(
            text(),
            "{\n\t\"auths\": {\n\t\t\"quay.io\": {\n\t\t\t\"auth\": \"bWU6cA==\"\n\t\t}\n\t}\n}\n"
        );
        let mode = |path: &Path| fs_err::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o600, 0o700));

        let link = folder.path().join("link.json");
        fs_err::os::unix::fs::symlink(&path, &link).unwrap();
        let foreign =
            r#"{"zeta":1,"auths":{"http://quay.io/v2/":{"auth":"x"},"quay.io/a":{}},"alpha":{"b":[2]}}"#;
        fs::write_atomic(&path, foreign.as_bytes()).unwrap();
        let mut second = AuthFile::read(&link).unwrap().unwrap();
        second.set("quay.io", None);
        second.write().unwrap();
        assert!(fs_err::symlink_metadata(&link).unwrap().is_symlink());
        let compact: Value = serde_json::from_str(&text()).unwrap();
        assert_eq!(
            compact.to_string(),
            r#"{"zeta":1,"auths":{"quay.io/a":{},"quay.io":{}},"alpha":{"b":[2]}}"#
        );

        let mut third = AuthFile::read(&path).unwrap().unwrap();
        assert!(third.remove("quay.io") && !third.remove("quay.io"));
    }

    #[test]
    fn a_missing_file_is_none_and_a_broken_one_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.json");
        assert!(AuthFile::read(&path).unwrap().is_none());
        assert!(AuthFile::read(&path.join("below")).unwrap().is_none());
        for (text, is_fine) in [("", true), (" \n", true), ("{}", true), ("[]", false), ("{", false)] {
            fs::write_atomic(&path, text.as_bytes()).unwrap();
            assert_eq!(AuthFile::read(&path).is_ok(), is_fine, "{text}");
        }
    }
}
