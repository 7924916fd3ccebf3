//! What some bytes are said to be.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Who wrote down a format: it has another name there, and is otherwise the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Dialect {
    /// The OCI image specification, version 1.
    Oci,
    /// Docker's image manifest, version 2, schema 2.
    Docker,
}

/// How the tar archive of a layer is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum LayerCompression {
    /// Not at all.
    None,
    /// RFC 1952, one or more members.
    Gzip,
    /// RFC 8878, one or more frames.
    Zstd,
}

/// A media type, as manifests and registries name it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", from = "String")]
pub enum MediaType {
    /// Images for several platforms; Docker's "manifest list".
    Index(Dialect),
    /// One image.
    Manifest(Dialect),
    /// How it is run.
    Config(Dialect),
    /// What one of its layers changes.
    Layer(Dialect, LayerCompression),
    /// Anything else; [`MediaType::refusal`] knows what some of it is.
    Other(String),
}

/// Every name that is understood. Docker never gave names to layers that are not gzip; these are what tools write.
const NAMES: [(&str, MediaType); 12] = {
    use Dialect::{Docker, Oci};
    use LayerCompression::{Gzip, None, Zstd};
    use MediaType::{Config, Index, Layer, Manifest};
    [
        ("application/vnd.oci.image.index.v1+json", Index(Oci)),
        ("application/vnd.docker.distribution.manifest.list.v2+json", Index(Docker)),
        ("application/vnd.oci.image.manifest.v1+json", Manifest(Oci)),
        ("application/vnd.docker.distribution.manifest.v2+json", Manifest(Docker)),
        ("application/vnd.oci.image.config.v1+json", Config(Oci)),
        ("application/vnd.docker.container.image.v1+json", Config(Docker)),
        ("application/vnd.oci.image.layer.v1.tar", Layer(Oci, None)),
        ("application/vnd.oci.image.layer.v1.tar+gzip", Layer(Oci, Gzip)),
        ("application/vnd.oci.image.layer.v1.tar+zstd", Layer(Oci, Zstd)),
        ("application/vnd.docker.image.rootfs.diff.tar", Layer(Docker, None)),
        ("application/vnd.docker.image.rootfs.diff.tar.gzip", Layer(Docker, Gzip)),
        ("application/vnd.docker.image.rootfs.diff.tar.zstd", Layer(Docker, Zstd)),
    ]
};

impl MediaType {
    /// Reads a name; parameters behind a semicolon tell nothing.
    pub fn parse(text: &str) -> Self {
        let name = text.split(';').next().unwrap_or(text).trim().to_ascii_lowercase();
        let known = NAMES.iter().find(|(known, _)| *known == name);
        known.map_or(Self::Other(name), |(_, media_type)| media_type.clone())
    }

    /// Its name.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Other(name) => name,
            known => NAMES.iter().find(|(_, media_type)| media_type == known).map_or("", |(name, _)| name),
        }
    }

    /// How a layer of this type is compressed; `None` for what is not said to be a layer.
    pub const fn compression(&self) -> Option<LayerCompression> {
        match self {
            Self::Layer(_, compression) => Some(*compression),
            _ => None,
        }
    }

    /// The names of everything that a reference may lead to: what a client accepts.
    pub fn accepted_manifests() -> impl Iterator<Item = &'static str> {
        NAMES
            .iter()
            .filter(|(_, kind)| matches!(kind, Self::Index(_) | Self::Manifest(_)))
            .map(|(name, _)| *name)
    }

    /// Why hwb does not take this one; `None` where that is not for the name to say.
    pub fn refusal(&self) -> Option<&'static str> {
        let Self::Other(name) = self else { return None };
        if name.starts_with("application/vnd.docker.distribution.manifest.v1+") {
            return Some(
                "a manifest of schema 1, which has no config and no checked layers; push the image again with a newer tool",
            );
        }
        let is_foreign = name.starts_with("application/vnd.oci.image.layer.nondistributable.")
            || name == "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip";
        is_foreign.then_some("a layer that lies elsewhere and may not be passed on (Windows bases have such)")
    }
}

impl fmt::Display for LayerCompression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "uncompressed",
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
        })
    }
}

impl fmt::Display for MediaType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl From<String> for MediaType {
    fn from(name: String) -> Self {
        Self::parse(&name)
    }
}

impl From<MediaType> for String {
    fn from(media_type: MediaType) -> Self {
        media_type.as_str().to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prints_what_it_parses() {
        for (name, media_type) in &NAMES {
            assert_eq!(MediaType::parse(name), *media_type);
            assert_eq!(media_type.to_string(), *name);
        }
        let gzip = MediaType::Layer(Dialect::Oci, LayerCompression::Gzip);
        assert_eq!(MediaType::parse("Application/vnd.oci.image.layer.v1.tar+gzip; charset=utf-8"), gzip);
        assert_eq!(MediaType::parse("text/html"), MediaType::Other("text/html".to_owned()));
        assert_eq!(MediaType::accepted_manifests().count(), 4);
    }

    #[test]
    fn refuses_by_name() {
        for (name, expect) in [
            ("application/vnd.docker.distribution.manifest.v1+prettyjws", "schema 1"),
            ("application/vnd.docker.distribution.manifest.v1+json", "schema 1"),
            ("application/vnd.oci.image.layer.nondistributable.v1.tar+zstd", "elsewhere"),
            ("application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", "elsewhere"),
        ] {
            assert!(MediaType::parse(name).refusal().unwrap().contains(expect), "{name}");
        }
        assert_eq!(MediaType::parse("text/html").refusal(), None);
        assert_eq!(MediaType::Index(Dialect::Oci).refusal(), None);
    }
}
