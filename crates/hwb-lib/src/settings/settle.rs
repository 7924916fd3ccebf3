//! The fold over all that was found.

use std::collections::{BTreeMap, btree_map};
use std::path::PathBuf;
use std::str::FromStr as _;

use hwb_ident::RedactedUrl;
use hwb_uv::{
    Connectivity, Constraint, Hashes, IndexSettings, Indexes, Keyring, Strategy, SystemCertificates,
};
use serde_json::Value;

use super::key::{Assignment, Entry, ISOLATIONS, KEYRINGS, Key, NETWORKS, REPAIRS, STRATEGIES};
use super::{BuildSettings, Origin, RegistryChoices, Setting, Settings, SettingsError};
use crate::build::{Isolation, Network, Repairs};

/// Parts of a name of a variable whose value is nobody's business.
const SECRET: [&str; 7] = ["TOKEN", "SECRET", "PASSW", "KEY", "CREDENTIAL", "AUTH", "COOKIE"];

/// What holds so far, while the assignments are read from the strongest to the weakest.
#[derive(Debug, Default)]
struct Draft {
    cache_dir: Option<PathBuf>,
    index: IndexSettings,
    build: BuildSettings,
    registries: RegistryChoices,
    decided: Vec<(Key, Setting)>,
}

/// Settles what holds of `assignments`, which come weakest first.
pub(super) fn settle(assignments: Vec<Assignment>) -> Result<Settings, SettingsError> {
    let mut draft = Draft::default();
    for Assignment { origin, entry } in assignments.into_iter().rev() {
        draft.take(&origin, entry);
    }
    let Draft { cache_dir, index, build, registries, mut decided } = draft;
    for (key, value) in built_in() {
        if !decided.iter().any(|(decided, _)| *decided == key) {
            let setting = Setting { key: key.name().to_owned(), value, origin: Origin::BuiltIn };
            decided.push((key, setting));
        }
    }
    decided.sort_by_key(|(key, _)| *key);
    Ok(Settings {
        cache_dir: cache_dir.ok_or(SettingsError::NoCacheDir)?,
        index,
        build,
        registries,
        origins: decided.into_iter().map(|(_, setting)| setting).collect(),
    })
}

/// What holds where nobody says anything, so that it is shown too; the defaults of the types are the same.
fn built_in() -> [(Key, Value); 10] {
    [
        (Key::IndexUrl, text(&hwb_uv::default_index())),
        (Key::NoIndex, false.into()),
        (Key::Offline, false.into()),
        (Key::IndexStrategy, word(&STRATEGIES, Strategy::default())),
        (Key::KeyringProvider, word(&KEYRINGS, Keyring::default())),
        (Key::SystemCerts, false.into()),
        (Key::RequireHashes, false.into()),
        (Key::Network, word(&NETWORKS, Network::default())),
        (Key::Isolation, word(&ISOLATIONS, Isolation::default())),
        (Key::Repair, word(&REPAIRS, Repairs::default())),
    ]
}

impl Draft {
    fn take(&mut self, origin: &Origin, entry: Entry) {
        let key = entry.key();
        let adds_up = matches!(
            entry,
            Entry::ExtraIndexUrls(_)
                | Entry::FindLinks(_)
                | Entry::AllowInsecureHost(_)
                | Entry::NoBinary(_)
                | Entry::BuildConstraints(_)
                | Entry::ConstraintFiles(_)
                | Entry::Env(_)
                | Entry::Mirrors(_)
                | Entry::InsecureRegistries(_)
                | Entry::RegistryCertificates(_)
        );
        if !adds_up && self.decided.iter().any(|(decided, _)| *decided == key) {
            return;
        }
        for (suffix, value) in self.set(entry) {
            let name = format!("{}{suffix}", key.name());
            self.decided.push((key, Setting { key: name, value, origin: origin.clone() }));
        }
    }

    /// Takes what is said; gives what changed as it is shown, with what follows the key.
    fn set(&mut self, entry: Entry) -> Vec<(String, Value)> {
        let Self { cache_dir, index, build, registries, decided: _ } = self;
        let shown = match entry {
            Entry::CacheDir(path) => put(text(&path.display()), cache_dir, Some(path)),
            Entry::IndexUrl(url) => put(redacted(&url), &mut index.index_url, Some(url)),
            Entry::ExtraIndexUrls(urls) => append(&mut index.extra_index_urls, urls, |url| redacted(url)),
            Entry::FindLinks(links) => append(&mut index.find_links, links, |link| redacted(link)),
            Entry::Indexes(way) => put((way == Indexes::Ignored).into(), &mut index.indexes, way),
            Entry::Connectivity(way) => {
                put((way == Connectivity::Offline).into(), &mut index.connectivity, way)
            }
            Entry::Strategy(way) => put(word(&STRATEGIES, way), &mut index.strategy, way),
            Entry::ExcludeNewer(limit) => put(text(&limit), &mut index.exclude_newer, Some(limit)),
            Entry::Keyring(way) => put(word(&KEYRINGS, way), &mut index.keyring, way),
            Entry::AllowInsecureHost(hosts) => append(&mut index.allow_insecure_host, hosts, text),
            Entry::Certificates(path) => put(text(&path.display()), &mut index.certificates, Some(path)),
            Entry::SystemCertificates(way) => {
                put((way == SystemCertificates::System).into(), &mut index.system_certificates, way)
            }
            Entry::HttpTimeout(limit) => put(limit.into(), &mut index.timeout_seconds, Some(limit)),
            Entry::NoBinary(names) => append(&mut index.no_binary, names, text),
            Entry::BuildConstraints(more) => append(&mut index.build_constraints, more, constraint),
            // What they hold was put in their place when they were read.
            Entry::ConstraintFiles(_) => Vec::new(),
            Entry::Hashes(way) => put((way == Hashes::Required).into(), &mut index.hashes, way),
            Entry::Env(variables) => {
                return add_named(&mut build.env, variables, |name, value| variable(name, value));
            }
            Entry::Network(way) => put(word(&NETWORKS, way), &mut build.network, Some(way)),
            Entry::Isolation(way) => put(word(&ISOLATIONS, way), &mut build.isolation, Some(way)),
            Entry::Repair(way) => put(word(&REPAIRS, way), &mut build.repair, Some(way)),
            Entry::Timeout(limit) => put(limit.as_secs().into(), &mut build.timeout, Some(limit)),
            Entry::Mirrors(more) => {
                return add_named(&mut registries.mirrors, more, |_, location| text(location));
            }
            Entry::InsecureRegistries(hosts) => append(&mut registries.insecure, hosts, text),
            Entry::RegistryCertificates(more) => {
                return add_named(&mut registries.certificates, more, |_, path| text(&path.display()));
            }
            Entry::UploadChunk(size) => put(size.into(), &mut registries.upload_chunk, Some(size)),
        };
        shown.into_iter().map(|value| (String::new(), value)).collect()
    }
}

fn put<T>(shown: Value, slot: &mut T, value: T) -> Vec<Value> {
    *slot = value;
    vec![shown]
}

/// Adds what no stronger place has said something of.
fn add_named<T>(
    known: &mut BTreeMap<String, T>,
    more: BTreeMap<String, T>,
    show: impl Fn(&str, &T) -> Value,
) -> Vec<(String, Value)> {
    let mut shown = Vec::new();
    for (name, value) in more {
        if let btree_map::Entry::Vacant(slot) = known.entry(name.clone()) {
            shown.push((format!(".{name}"), show(&name, &value)));
            slot.insert(value);
        }
    }
    shown
}

/// Adds what is not there yet; gives what was added, as it is shown.
fn append<T: PartialEq>(list: &mut Vec<T>, more: Vec<T>, show: impl Fn(&T) -> Value) -> Vec<Value> {
    let mut shown = Vec::new();
    for element in more {
        if !list.contains(&element) {
            shown.push(show(&element));
            list.push(element);
        }
    }
    shown
}

/// The value of a variable, unless its name says that it is a secret.
fn variable(name: &str, value: &str) -> Value {
    let is_secret = SECRET.iter().any(|part| name.to_ascii_uppercase().contains(part));
    if is_secret { text("****") } else { redacted(value) }
}

fn text<T: ToString + ?Sized>(value: &T) -> Value {
    Value::String(value.to_string())
}

/// A URL without its credentials; anything else as it is.
fn redacted(value: &str) -> Value {
    RedactedUrl::from_str(value).map_or_else(|_| text(value), |url| text(&url))
}

fn constraint(constraint: &Constraint) -> Value {
    let hashes = constraint.hashes.iter().map(|hash| format!(" --hash={hash}"));
    Value::String(std::iter::once(constraint.requirement.clone()).chain(hashes).collect())
}

fn word<T: PartialEq>(words: &[(&'static str, T)], meaning: T) -> Value {
    words.iter().find(|(_, known)| *known == meaning).map_or(Value::Null, |(word, _)| text(*word))
}
