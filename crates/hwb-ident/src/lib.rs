//! The words of hwb: every name that travels between its crates, each a type that parses and prints.
//!
//! A type belongs here if and only if it is a name. Package names, versions, requirements, tags and wheel file
//! names are uv's, taken over as they are; the rest is ours:
//!
//! - [`digest`]: content digests, `sha256:<hex>`.
//! - [`image`]: what images are called.
//! - [`path`]: paths inside archives, on the host, and as a sandboxed process sees them.
//! - [`platform`]: what machines an image is for.
//! - [`time`]: the only clock a build sees.
//! - [`url`]: a URL that never prints its credentials.
//! - [`source`]: where a build starts from, as the user says it.

pub mod digest;
pub mod image;
pub mod path;
pub mod platform;
pub mod source;
pub mod time;
pub mod url;

pub use self::digest::{Digest, Hasher};
pub use self::image::ImageReference;
pub use self::path::{ArchivePath, GuestPath, HostPath};
pub use self::platform::ImagePlatform;
pub use self::source::{GitSource, PathSource, SourceSpec, UrlSource};
pub use self::time::Timestamp;
pub use self::url::RedactedUrl;

pub use uv_distribution_filename::{SourceDistFilename, WheelFilename};
pub use uv_normalize::{ExtraName, PackageName};
pub use uv_pep440::{Version, VersionSpecifiers};
pub use uv_pep508::{MarkerEnvironment, MarkerTree, VersionOrUrl};
pub use uv_platform_tags::{AbiTag, LanguageTag, PlatformTag};

/// A PEP 508 requirement, with the URL of a direct reference kept as it was written.
pub type Requirement = uv_pep508::Requirement<uv_pypi_types::VerbatimParsedUrl>;
