//! The settings there are.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::str::FromStr as _;
use std::time::Duration;

use hwb_ident::Requirement;
use hwb_uv::{Connectivity, Constraint, Hashes, Indexes, Keyring, Strategy, SystemCertificates};

use super::Origin;
use super::value::{Base, Raw, ValueError};
use crate::build::{Isolation, Network, Repairs};

/// Something that a place says.
#[derive(Debug, Clone)]
pub(super) struct Assignment {
    pub(super) origin: Origin,
    pub(super) entry: Entry,
}

/// A setting with its value.
#[derive(Debug, Clone)]
pub(super) enum Entry {
    CacheDir(PathBuf),
    IndexUrl(String),
    ExtraIndexUrls(Vec<String>),
    FindLinks(Vec<String>),
    Indexes(Indexes),
    Connectivity(Connectivity),
    Strategy(Strategy),
    ExcludeNewer(String),
    Keyring(Keyring),
    AllowInsecureHost(Vec<String>),
    Certificates(PathBuf),
    SystemCertificates(SystemCertificates),
    HttpTimeout(u64),
    NoBinary(Vec<String>),
    BuildConstraints(Vec<Constraint>),
    ConstraintFiles(Vec<PathBuf>),
    Hashes(Hashes),
    Env(BTreeMap<String, String>),
    Network(Network),
    Isolation(Isolation),
    Repair(Repairs),
    Timeout(Duration),
    Mirrors(BTreeMap<String, String>),
    InsecureRegistries(Vec<String>),
    RegistryCertificates(BTreeMap<String, PathBuf>),
    UploadChunk(u64),
}

/// The name of a setting.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Key {
    CacheDir,
    IndexUrl,
    ExtraIndexUrl,
    FindLinks,
    NoIndex,
    Offline,
    IndexStrategy,
    ExcludeNewer,
    KeyringProvider,
    AllowInsecureHost,
    CaCertificates,
    SystemCerts,
    HttpTimeout,
    NoBinary,
    Constraints,
    ConstraintFiles,
    RequireHashes,
    Env,
    Network,
    Isolation,
    Repair,
    Timeout,
    Mirrors,
    InsecureRegistries,
    RegistryCertificates,
    UploadChunk,
}

/// Every key, in the order in which they are shown.
pub(super) const ALL: [Key; 26] = [
    Key::CacheDir,
    Key::IndexUrl,
    Key::ExtraIndexUrl,
    Key::FindLinks,
    Key::NoIndex,
    Key::Offline,
    Key::IndexStrategy,
    Key::ExcludeNewer,
    Key::KeyringProvider,
    Key::AllowInsecureHost,
    Key::CaCertificates,
    Key::SystemCerts,
    Key::HttpTimeout,
    Key::NoBinary,
    Key::Constraints,
    Key::ConstraintFiles,
    Key::RequireHashes,
    Key::Env,
    Key::Network,
    Key::Isolation,
    Key::Repair,
    Key::Timeout,
    Key::Mirrors,
    Key::InsecureRegistries,
    Key::RegistryCertificates,
    Key::UploadChunk,
];

pub(super) const STRATEGIES: [(&str, Strategy); 3] = [
    ("first-index", Strategy::FirstIndex),
    ("unsafe-first-match", Strategy::UnsafeFirstMatch),
    ("unsafe-best-match", Strategy::UnsafeBestMatch),
];
pub(super) const KEYRINGS: [(&str, Keyring); 2] =
    [("disabled", Keyring::Disabled), ("subprocess", Keyring::Subprocess)];
pub(super) const NETWORKS: [(&str, Network); 2] = [("host", Network::Host), ("none", Network::None)];
pub(super) const ISOLATIONS: [(&str, Isolation); 2] = [("venv", Isolation::Venv), ("none", Isolation::None)];
pub(super) const REPAIRS: [(&str, Repairs); 3] =
    [("auto", Repairs::Auto), ("require", Repairs::Require), ("never", Repairs::Never)];

impl Entry {
    /// Which setting it is.
    pub(super) fn key(&self) -> Key {
        match self {
            Self::CacheDir(_) => Key::CacheDir,
            Self::IndexUrl(_) => Key::IndexUrl,
            Self::ExtraIndexUrls(_) => Key::ExtraIndexUrl,
            Self::FindLinks(_) => Key::FindLinks,
            Self::Indexes(_) => Key::NoIndex,
            Self::Connectivity(_) => Key::Offline,
            Self::Strategy(_) => Key::IndexStrategy,
            Self::ExcludeNewer(_) => Key::ExcludeNewer,
            Self::Keyring(_) => Key::KeyringProvider,
            Self::AllowInsecureHost(_) => Key::AllowInsecureHost,
            Self::Certificates(_) => Key::CaCertificates,
            Self::SystemCertificates(_) => Key::SystemCerts,
            Self::HttpTimeout(_) => Key::HttpTimeout,
            Self::NoBinary(_) => Key::NoBinary,
            Self::BuildConstraints(_) => Key::Constraints,
            Self::ConstraintFiles(_) => Key::ConstraintFiles,
            Self::Hashes(_) => Key::RequireHashes,
            Self::Env(_) => Key::Env,
            Self::Network(_) => Key::Network,
            Self::Isolation(_) => Key::Isolation,
            Self::Repair(_) => Key::Repair,
            Self::Timeout(_) => Key::Timeout,
            Self::Mirrors(_) => Key::Mirrors,
            Self::InsecureRegistries(_) => Key::InsecureRegistries,
            Self::RegistryCertificates(_) => Key::RegistryCertificates,
            Self::UploadChunk(_) => Key::UploadChunk,
        }
    }
}

impl Key {
    /// Its name in `hwb.toml`; what stands before the dot is the table.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::CacheDir => "cache-dir",
            Self::IndexUrl => "index-url",
            Self::ExtraIndexUrl => "extra-index-url",
            Self::FindLinks => "find-links",
            Self::NoIndex => "no-index",
            Self::Offline => "offline",
            Self::IndexStrategy => "index-strategy",
            Self::ExcludeNewer => "exclude-newer",
            Self::KeyringProvider => "keyring-provider",
            Self::AllowInsecureHost => "allow-insecure-host",
            Self::CaCertificates => "ca-certificates",
            Self::SystemCerts => "system-certs",
            Self::HttpTimeout => "http-timeout",
            Self::NoBinary => "no-binary",
            Self::Constraints => "build.constraints",
            Self::ConstraintFiles => "build.constraint-files",
            Self::RequireHashes => "build.require-hashes",
            Self::Env => "build.env",
            Self::Network => "build.network",
            Self::Isolation => "build.isolation",
            Self::Repair => "build.repair",
            Self::Timeout => "build.timeout",
            Self::Mirrors => "registries.mirrors",
            Self::InsecureRegistries => "registries.insecure",
            Self::RegistryCertificates => "registries.certificates",
            Self::UploadChunk => "registries.upload-chunk",
        }
    }

    /// Reads its value.
    pub(super) fn entry(self, raw: Raw<'_>, base: Base<'_>) -> Result<Entry, ValueError> {
        let path = || raw.text().map(|text| base.path(&text));
        let locations = || Ok(raw.list()?.iter().map(|text| base.location(text)).collect::<Vec<_>>());
        Ok(match self {
            Self::CacheDir => Entry::CacheDir(path()?),
            Self::IndexUrl => Entry::IndexUrl(base.location(&raw.text()?)),
            Self::ExtraIndexUrl => Entry::ExtraIndexUrls(locations()?),
            Self::FindLinks => Entry::FindLinks(locations()?),
            Self::NoIndex => Entry::Indexes(either(raw, Indexes::Ignored, Indexes::Used)?),
            Self::Offline => Entry::Connectivity(either(raw, Connectivity::Offline, Connectivity::Online)?),
            Self::IndexStrategy => Entry::Strategy(raw.choice(&STRATEGIES)?),
            Self::ExcludeNewer => Entry::ExcludeNewer(raw.text()?),
            Self::KeyringProvider => Entry::Keyring(raw.choice(&KEYRINGS)?),
            Self::AllowInsecureHost => Entry::AllowInsecureHost(raw.list()?),
            Self::CaCertificates => Entry::Certificates(path()?),
            Self::SystemCerts => Entry::SystemCertificates(either(
                raw,
                SystemCertificates::System,
                SystemCertificates::Bundled,
            )?),
            Self::HttpTimeout => Entry::HttpTimeout(raw.seconds()?),
            Self::NoBinary => Entry::NoBinary(raw.list()?),
            Self::Constraints => Entry::BuildConstraints(constraints(raw.list()?)?),
            Self::ConstraintFiles => {
                Entry::ConstraintFiles(raw.list()?.iter().map(|text| base.path(text)).collect())
            }
            Self::RequireHashes => Entry::Hashes(either(raw, Hashes::Required, Hashes::Offered)?),
            Self::Env => Entry::Env(raw.map()?),
            Self::Network => Entry::Network(raw.choice(&NETWORKS)?),
            Self::Isolation => Entry::Isolation(raw.choice(&ISOLATIONS)?),
            Self::Repair => Entry::Repair(raw.choice(&REPAIRS)?),
            Self::Timeout => Entry::Timeout(raw.duration()?),
            Self::Mirrors => Entry::Mirrors(raw.map()?),
            Self::InsecureRegistries => Entry::InsecureRegistries(raw.list()?),
            Self::RegistryCertificates => {
                let files = raw.map()?.into_iter();
                Entry::RegistryCertificates(files.map(|(host, file)| (host, base.path(&file))).collect())
            }
            Self::UploadChunk => Entry::UploadChunk(raw.mebibytes()?),
        })
    }
}

fn either<T>(raw: Raw<'_>, on: T, off: T) -> Result<T, ValueError> {
    raw.flag().map(|flag| if flag { on } else { off })
}

fn constraints(texts: Vec<String>) -> Result<Vec<Constraint>, ValueError> {
    texts
        .into_iter()
        .map(|text| match Requirement::from_str(&text) {
            Ok(_) => Ok(Constraint { requirement: text, hashes: Vec::new() }),
            Err(error) => Err(ValueError::Requirement { text, reason: first_line(&error) }),
        })
        .collect()
}

/// The message of a parser without the drawing below it.
pub(super) fn first_line(error: &dyn std::fmt::Display) -> String {
    error.to_string().lines().next().unwrap_or_default().to_owned()
}
