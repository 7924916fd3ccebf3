//! Where distributions come from, as settled values.

use std::path::PathBuf;

/// Indexes, links and limits of everything that is resolved or fetched.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct IndexSettings {
    /// The default index; `None` is the one that uv knows.
    pub index_url: Option<String>,
    /// Indexes that come before the default one, first wins.
    pub extra_index_urls: Vec<String>,
    /// Directories, files or pages that list distributions.
    pub find_links: Vec<String>,
    /// Whether indexes are asked at all.
    pub indexes: Indexes,
    /// Whether the network is reached at all.
    pub connectivity: Connectivity,
    /// How several indexes are searched.
    pub strategy: Strategy,
    /// Only files uploaded before this (RFC 3339 or a date) exist.
    pub exclude_newer: Option<String>,
    /// Constraints on everything in a build environment, as PEP 508 texts; hashes stand behind `--hash=`.
    pub build_constraints: Vec<Constraint>,
    /// Whether what is installed must be named with a hash.
    pub hashes: Hashes,
    /// Whether credentials are asked of the `keyring` program.
    pub keyring: Keyring,
    /// Hosts whose certificates are not checked, `host` or `host:port`.
    pub allow_insecure_host: Vec<String>,
    /// A bundle of trusted certificates instead of the built-in one (`SSL_CERT_FILE`).
    pub certificates: Option<PathBuf>,
    /// Trust the certificates of the system.
    pub system_certificates: SystemCertificates,
    /// Projects whose wheels are not used: their sdists are built.
    pub no_binary: Vec<String>,
    /// How long one request may take, in seconds.
    pub timeout_seconds: Option<u64>,
}

/// One line of a constraints file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Constraint {
    /// A PEP 508 requirement.
    pub requirement: String,
    /// `sha256:…` and the like; empty if none were given.
    pub hashes: Vec<String>,
}

/// Whether indexes are asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Indexes {
    /// They are.
    #[default]
    Used,
    /// Only find-links are (`--no-index`).
    Ignored,
}

/// Whether the network is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Connectivity {
    /// It is.
    #[default]
    Online,
    /// Only caches are used (`--offline`).
    Offline,
}

/// How several indexes are searched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Strategy {
    /// The first index that knows a project is the only one asked for it.
    #[default]
    FirstIndex,
    /// The best version of the first index that has a fitting one.
    UnsafeFirstMatch,
    /// The best version of all indexes.
    UnsafeBestMatch,
}

/// Whether hashes are demanded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Hashes {
    /// Those that the index gives are checked.
    #[default]
    Offered,
    /// Everything must be pinned with a hash (`--require-hashes`).
    Required,
}

/// Whether the `keyring` program is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Keyring {
    /// It is not.
    #[default]
    Disabled,
    /// It is run as a subprocess.
    Subprocess,
}

/// Which certificates are trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SystemCertificates {
    /// The bundled roots.
    #[default]
    Bundled,
    /// The roots of the system.
    System,
}
