//! uv's places, for what concerns indexes: `uv.toml`, `[tool.uv]` and `UV_*`.

use std::path::{Path, PathBuf};
use std::str::FromStr as _;

use hwb_ident::RedactedUrl;

use super::key::{Assignment, Entry, Key};
use super::value::{Base, Raw};
use super::{Origin, SettingsError, ValueError, own, project_directories, read_optional};
use crate::ambient::Ambient;

/// uv's names of our keys in its files.
const NAMES: [(&str, Key); 13] = [
    ("index-url", Key::IndexUrl),
    ("extra-index-url", Key::ExtraIndexUrl),
    ("find-links", Key::FindLinks),
    ("no-index", Key::NoIndex),
    ("offline", Key::Offline),
    ("index-strategy", Key::IndexStrategy),
    ("exclude-newer", Key::ExcludeNewer),
    ("keyring-provider", Key::KeyringProvider),
    ("allow-insecure-host", Key::AllowInsecureHost),
    ("native-tls", Key::SystemCerts),
    ("system-certs", Key::SystemCerts),
    ("no-binary-package", Key::NoBinary),
    ("build-constraint-dependencies", Key::Constraints),
];

/// uv's variables with the key of each, weakest first.
const VARIABLES: [(&str, Key); 18] = [
    ("UV_INDEX_URL", Key::IndexUrl),
    ("UV_EXTRA_INDEX_URL", Key::ExtraIndexUrl),
    ("UV_DEFAULT_INDEX", Key::IndexUrl),
    ("UV_INDEX", Key::ExtraIndexUrl),
    ("UV_FIND_LINKS", Key::FindLinks),
    ("UV_NO_INDEX", Key::NoIndex),
    ("UV_OFFLINE", Key::Offline),
    ("UV_EXCLUDE_NEWER", Key::ExcludeNewer),
    ("UV_INDEX_STRATEGY", Key::IndexStrategy),
    ("UV_KEYRING_PROVIDER", Key::KeyringProvider),
    ("UV_INSECURE_HOST", Key::AllowInsecureHost),
    ("UV_NO_BINARY_PACKAGE", Key::NoBinary),
    ("UV_BUILD_CONSTRAINT", Key::ConstraintFiles),
    ("UV_REQUIRE_HASHES", Key::RequireHashes),
    ("UV_HTTP_TIMEOUT", Key::HttpTimeout),
    ("UV_NATIVE_TLS", Key::SystemCerts),
    ("UV_SYSTEM_CERTS", Key::SystemCerts),
    ("SSL_CERT_FILE", Key::CaCertificates),
];

/// Reads uv's files of the system, the user and the project, weakest first, or the one that `UV_CONFIG_FILE` names.
pub(super) fn files(
    system: &Path,
    ambient: &Ambient,
    project: Option<&Path>,
) -> Result<Vec<Assignment>, SettingsError> {
    let mut found = Vec::new();
    for path in paths(system, ambient)? {
        if let Some(text) = read_optional(&path)? {
            found.extend(table(ambient, &path, &own::parse(&path, &text)?)?);
        }
    }
    let is_complete = ambient.var("UV_CONFIG_FILE").is_some() || ignores_files(ambient)?;
    if let Some(project) = project.filter(|_| !is_complete)
        && let Some((path, settings)) = nearest(project)?
    {
        found.extend(table(ambient, &path, &settings)?);
    }
    Ok(found)
}

fn paths(system: &Path, ambient: &Ambient) -> Result<Vec<PathBuf>, SettingsError> {
    if let Some(path) = ambient.var("UV_CONFIG_FILE") {
        return Ok(vec![ambient.absolute(Path::new(path))]);
    }
    if ignores_files(ambient)? {
        return Ok(Vec::new());
    }
    let user = ambient.config_home().map(|directory| directory.join("uv/uv.toml"));
    Ok([Some(system.join("uv/uv.toml")), user].into_iter().flatten().collect())
}

fn ignores_files(ambient: &Ambient) -> Result<bool, SettingsError> {
    let name = "UV_NO_CONFIG";
    let flag = ambient.var(name).map(|text| Raw::Words(text).flag()).transpose();
    flag.map(Option::unwrap_or_default).map_err(|source| SettingsError::Value {
        key: name.to_owned(),
        origin: Origin::Variable(name.to_owned()),
        source,
    })
}

/// The nearest directory with a `uv.toml` or, weaker, a `[tool.uv]`.
fn nearest(project: &Path) -> Result<Option<(PathBuf, toml::Table)>, SettingsError> {
    for directory in project_directories(project) {
        let path = directory.join("uv.toml");
        if let Some(text) = read_optional(&path)? {
            let settings = own::parse(&path, &text)?;
            return Ok(Some((path, settings)));
        }
        let path = directory.join("pyproject.toml");
        if let Some(settings) = own::tool_table(&path, "uv")? {
            return Ok(Some((path, settings)));
        }
    }
    Ok(None)
}

fn table(ambient: &Ambient, path: &Path, settings: &toml::Table) -> Result<Vec<Assignment>, SettingsError> {
    let base = Base::beside(ambient, path);
    let mut found = Vec::new();
    for (name, key) in NAMES {
        let Some(value) = settings.get(name) else { continue };
        let origin = Origin::File(path.to_owned());
        match key.entry(Raw::Toml(value), base) {
            Ok(entry) => found.push(Assignment { origin, entry }),
            Err(source) => return Err(SettingsError::Value { key: name.to_owned(), origin, source }),
        }
    }
    let tables = settings.get("index").and_then(toml::Value::as_array).into_iter().flatten();
    let mut extra = Vec::new();
    for index in tables.filter_map(toml::Value::as_table) {
        let Some(entry) = index_entry(ambient, base, index) else { continue };
        let origin = Origin::File(path.to_owned());
        match entry {
            Entry::ExtraIndexUrls(urls) => extra.extend(urls),
            entry => found.push(Assignment { origin, entry }),
        }
    }
    if !extra.is_empty() {
        let origin = Origin::File(path.to_owned());
        found.push(Assignment { origin, entry: Entry::ExtraIndexUrls(extra) });
    }
    Ok(found)
}

/// One `[[index]]`. An explicit one serves only the projects that name it, which build requirements cannot.
fn index_entry(ambient: &Ambient, base: Base<'_>, index: &toml::Table) -> Option<Entry> {
    let flag = |name: &str| index.get(name).and_then(toml::Value::as_bool).unwrap_or(false);
    let text = |name: &str| index.get(name).and_then(toml::Value::as_str);
    if flag("explicit") {
        return None;
    }
    let url = with_credentials(ambient, text("name"), base.location(text("url")?));
    if text("format") == Some("flat") {
        return Some(Entry::FindLinks(vec![url]));
    }
    Some(if flag("default") { Entry::IndexUrl(url) } else { Entry::ExtraIndexUrls(vec![url]) })
}

/// Reads `UV_*`.
pub(super) fn variables(ambient: &Ambient) -> Result<Vec<Assignment>, SettingsError> {
    let mut found = Vec::new();
    for (name, key) in VARIABLES {
        let Some(text) = ambient.var(name) else { continue };
        let origin = Origin::Variable(name.to_owned());
        match variable(ambient, name, key, text) {
            Ok(entry) => found.push(Assignment { origin, entry }),
            Err(source) => return Err(SettingsError::Value { key: key.name().to_owned(), origin, source }),
        }
    }
    Ok(found)
}

fn variable(ambient: &Ambient, name: &str, key: Key, text: &str) -> Result<Entry, ValueError> {
    let base = Base::cwd(ambient);
    match name {
        "UV_DEFAULT_INDEX" => Ok(Entry::IndexUrl(named(ambient, base, text.trim()))),
        "UV_INDEX" => {
            let urls = text.split_whitespace().map(|index| named(ambient, base, index)).collect();
            Ok(Entry::ExtraIndexUrls(urls))
        }
        "UV_FIND_LINKS" => key.entry(Raw::Commas(text), base),
        _ => key.entry(Raw::Words(text), base),
    }
}

/// `name=url` or `url`.
fn named(ambient: &Ambient, base: Base<'_>, text: &str) -> String {
    let is_name = |name: &str| {
        !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))
    };
    match text.split_once('=').filter(|(name, _)| is_name(name)) {
        Some((name, url)) => with_credentials(ambient, Some(name), base.location(url)),
        None => base.location(text),
    }
}

/// Puts `UV_INDEX_<NAME>_USERNAME` and `_PASSWORD` into the URL of the index of that name.
fn with_credentials(ambient: &Ambient, name: Option<&str>, location: String) -> String {
    let Some(name) = name else { return location };
    let name: String =
        name.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' }).collect();
    let username = ambient.var(&format!("UV_INDEX_{name}_USERNAME"));
    let password = ambient.var(&format!("UV_INDEX_{name}_PASSWORD"));
    if username.is_none() && password.is_none() {
        return location;
    }
    let Ok(url) = RedactedUrl::from_str(&location) else { return location };
    let mut url = url.expose().clone();
    // A URL that cannot bear credentials (`file:`) stays as it is.
    let set = url.set_username(username.unwrap_or_default()).and_then(|()| url.set_password(password));
    if set.is_ok() { url.into() } else { location }
}
