//! Core metadata: `METADATA` of a wheel, `PKG-INFO` of a source distribution.

use std::fmt;
use std::str::FromStr as _;

use hwb_ident::{ExtraName, PackageName, Requirement, Version, VersionSpecifiers};

use crate::headers::Headers;

/// Core metadata, versions 1.0 to 2.6 (PEP 241, 314, 345, 566, 643, 639, 794, 808).
///
/// What identifies the distribution and what it needs is read strictly; the rest as far as it goes.
#[derive(Debug, Clone)]
pub struct Metadata {
    /// `Metadata-Version`.
    pub metadata_version: MetadataVersion,
    /// `Name`, normalised.
    pub name: PackageName,
    /// `Name` as it is written.
    pub name_text: String,
    /// `Version`.
    pub version: Version,
    /// `Requires-Dist`.
    pub requires_dist: Vec<Requirement>,
    /// `Requires-Python`; `None` also if it cannot be read, see [`Metadata::oddities`].
    pub requires_python: Option<VersionSpecifiers>,
    /// `Provides-Extra`.
    pub provides_extra: Vec<ExtraName>,
    /// `Summary`.
    pub summary: Option<String>,
    /// `Keywords`, separated by commas or blanks.
    pub keywords: Option<String>,
    /// `Author`.
    pub author: Option<String>,
    /// `Author-email`.
    pub author_email: Option<String>,
    /// `Maintainer`.
    pub maintainer: Option<String>,
    /// `Maintainer-email`.
    pub maintainer_email: Option<String>,
    /// `License`, any text.
    pub license: Option<String>,
    /// `License-Expression` (PEP 639), an SPDX expression.
    pub license_expression: Option<String>,
    /// `License-File` (PEP 639).
    pub license_files: Vec<String>,
    /// `Classifier`.
    pub classifiers: Vec<String>,
    /// `Home-page`.
    pub home_page: Option<String>,
    /// `Project-URL`: label and URL.
    pub project_urls: Vec<(String, String)>,
    /// `Dynamic` (PEP 643, PEP 808): fields that a build may fill in, in lower case.
    pub dynamic: Vec<String>,
    /// `Import-Name` (PEP 794).
    pub import_names: Vec<String>,
    /// `Import-Namespace` (PEP 794).
    pub import_namespaces: Vec<String>,
    /// `Description-Content-Type`.
    pub description_content_type: Option<String>,
    /// `Description`, or what follows the fields.
    pub description: Option<String>,
    /// What is wrong, but not so wrong that the metadata is of no use.
    pub oddities: Vec<Oddity>,
}

/// The version of the core metadata itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct MetadataVersion {
    /// Before the dot.
    pub major: u32,
    /// Behind it.
    pub minor: u32,
}

/// Metadata that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Oddity {
    /// `Requires-Python` is not a version specifier.
    RequiresPython(String),
    /// `Provides-Extra` is not a name.
    ProvidesExtra(String),
    /// `Project-URL` without a label.
    ProjectUrl(String),
    /// A version of the metadata that is newer than this crate.
    MetadataVersion(MetadataVersion),
}

/// Why metadata cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum MetadataError {
    /// A field that must be there is not.
    #[error("the metadata has no `{0}`")]
    Missing(&'static str),
    /// A field that identifies the distribution is there twice.
    #[error("the metadata has more than one `{0}`")]
    Repeated(&'static str),
    /// It is of a version that has other rules.
    #[error("the metadata has version `{0}`, and versions 1 and 2 are understood")]
    Version(String),
    /// A field has a value that it cannot have.
    #[error("the metadata has the {field} `{value}`")]
    Value {
        /// The field.
        field: &'static str,
        /// What it says.
        value: String,
        /// Why that cannot be.
        #[source]
        reason: Reason,
    },
}

/// The first line of why a value cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Reason(String);

impl Reason {
    /// The longer forms draw the value with a mark below it: of no use in one line.
    fn of(error: &impl fmt::Display) -> Self {
        Self(error.to_string().lines().next().unwrap_or("it is malformed").to_owned())
    }
}

impl Metadata {
    /// Reads metadata. Bytes that are not UTF-8 are taken as Latin-1, unknown fields are passed over.
    ///
    /// # Errors
    ///
    /// If version, name or version of the distribution are missing, repeated or malformed, or a `Requires-Dist` is
    /// not a PEP 508 requirement.
    pub fn parse(bytes: &[u8]) -> Result<Self, MetadataError> {
        let headers = Headers::parse(bytes);
        let mut oddities = Vec::new();
        let metadata_version = single(&headers, "metadata-version", "Metadata-Version")?;
        let metadata_version = MetadataVersion::parse(metadata_version)?;
        if metadata_version > (MetadataVersion { major: 2, minor: 6 }) {
            oddities.push(Oddity::MetadataVersion(metadata_version));
        }
        let name_text = single(&headers, "name", "Name")?;
        let name = PackageName::from_str(name_text).map_err(|error| fault("Name", name_text, &error))?;
        let version = single(&headers, "version", "Version")?;
        let version = Version::from_str(version).map_err(|error| fault("Version", version, &error))?;
        let requires_dist = headers
            .all("requires-dist")
            .map(|text| Requirement::from_str(text).map_err(|error| fault("Requires-Dist", text, &error)))
            .collect::<Result<_, _>>()?;
        let requires_python = optional(&headers, "requires-python").and_then(|text| {
            let parsed = VersionSpecifiers::from_str(&text).ok();
            if parsed.is_none() {
                oddities.push(Oddity::RequiresPython(text));
            }
            parsed
        });
        let mut provides_extra = Vec::new();
        for text in headers.all("provides-extra") {
            match ExtraName::from_str(text) {
                Ok(extra) => provides_extra.push(extra),
                Err(_) => oddities.push(Oddity::ProvidesExtra(text.to_owned())),
            }
        }
        let mut project_urls = Vec::new();
        for text in headers.all("project-url") {
            match text.split_once(',') {
                Some((label, url)) => project_urls.push((label.trim().to_owned(), url.trim().to_owned())),
                None => oddities.push(Oddity::ProjectUrl(text.to_owned())),
            }
        }
        let list = |name: &str| headers.all(name).map(str::to_owned).collect::<Vec<_>>();
        Ok(Self {
            metadata_version,
            name,
            name_text: name_text.to_owned(),
            version,
            requires_dist,
            requires_python,
            provides_extra,
            summary: optional(&headers, "summary"),
            keywords: optional(&headers, "keywords"),
            author: optional(&headers, "author"),
            author_email: optional(&headers, "author-email"),
            maintainer: optional(&headers, "maintainer"),
            maintainer_email: optional(&headers, "maintainer-email"),
            license: optional(&headers, "license"),
            license_expression: optional(&headers, "license-expression"),
            license_files: list("license-file"),
            classifiers: list("classifier"),
            home_page: optional(&headers, "home-page"),
            project_urls,
            dynamic: headers.all("dynamic").map(str::to_ascii_lowercase).collect(),
            import_names: list("import-name"),
            import_namespaces: list("import-namespace"),
            description_content_type: optional(&headers, "description-content-type"),
            description: description(&headers),
            oddities,
        })
    }
}

fn fault(field: &'static str, value: &str, error: &impl fmt::Display) -> MetadataError {
    MetadataError::Value { field, value: value.to_owned(), reason: Reason::of(error) }
}

fn single<'a>(headers: &'a Headers, key: &'a str, name: &'static str) -> Result<&'a str, MetadataError> {
    let mut values = headers.all(key);
    let value = values.next().filter(|value| !value.is_empty()).ok_or(MetadataError::Missing(name))?;
    if values.next().is_some() {
        return Err(MetadataError::Repeated(name));
    }
    Ok(value)
}

/// A field, unless it is empty or says `UNKNOWN`, as distutils did for want of a value.
fn optional(headers: &Headers, name: &str) -> Option<String> {
    headers.first(name).filter(|value| !value.is_empty() && *value != "UNKNOWN").map(str::to_owned)
}

/// The body; in metadata before 2.1 the field, without the eight blanks or the bar before each further line.
fn description(headers: &Headers) -> Option<String> {
    if !headers.body.trim().is_empty() {
        return Some(headers.body.clone());
    }
    let field = optional(headers, "description")?;
    let unfold = |line: &str| {
        let line = line.strip_prefix("       |").or_else(|| line.strip_prefix("        ")).unwrap_or(line);
        line.to_owned()
    };
    Some(field.lines().map(unfold).collect::<Vec<_>>().join("\n"))
}

impl MetadataVersion {
    fn parse(text: &str) -> Result<Self, MetadataError> {
        let fault = || MetadataError::Version(text.to_owned());
        let (major, minor) = text.split_once('.').ok_or_else(fault)?;
        let number = |text: &str| {
            if text.bytes().all(|byte| byte.is_ascii_digit()) { text.parse().ok() } else { None }
        };
        match (number(major), number(minor)) {
            (Some(major @ 1..=2), Some(minor)) => Ok(Self { major, minor }),
            _ => Err(fault()),
        }
    }
}

impl fmt::Display for MetadataVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

impl fmt::Display for Oddity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::RequiresPython(text) => {
                write!(f, "the metadata has the Requires-Python `{text}`, which is no version specifier")
            }
            Self::ProvidesExtra(text) => {
                write!(f, "the metadata provides the extra `{text}`, which is no name")
            }
            Self::ProjectUrl(text) => write!(f, "the metadata has the Project-URL `{text}`, without a label"),
            Self::MetadataVersion(version) => {
                write!(f, "the metadata has version {version}, which is newer than the newest known")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(bytes: &[u8], expect: &str) {
        let found = match Metadata::parse(bytes) {
            Ok(metadata) => {
                let requires: Vec<_> =
                    metadata.requires_dist.iter().map(|requirement| format!(" [{requirement}]")).collect();
                let oddities: Vec<_> =
                    metadata.oddities.iter().map(|oddity| format!(" ({oddity})")).collect();
                format!(
                    "{} {} {}{}{}",
                    metadata.metadata_version,
                    metadata.name,
                    metadata.version,
                    requires.concat(),
                    oddities.concat()
                )
            }
            Err(error) => error.to_string(),
        };
        assert_eq!(found, expect);
    }

    #[test]
    fn reads_real_metadata() {
        check(b"Metadata-Version: 2.4\nName: Foo.Bar\nVersion: 1.0\n", "2.4 foo-bar 1.0");
        check(b"metadata-version: 1.0\r\nNAME: a\r\nversion: 1\r\nPlatform: UNKNOWN\r\n", "1.0 a 1");
        check(
            b"Metadata-Version: 2.1\nName: a\nVersion: 1\nRequires-Dist: b (>=1,<2) ; extra == 'x'\nRequires-Dist: c[d]\n",
            "2.1 a 1 [b>=1,<2 ; extra == 'x'] [c[d]]",
        );
        check(
            b"Metadata-Version: 2.9\nName: a\nVersion: 1\nRequires-Python: >=x\nProvides-Extra: ?\nProject-URL: u\n",
            "2.9 a 1 (the metadata has version 2.9, which is newer than the newest known) \
             (the metadata has the Requires-Python `>=x`, which is no version specifier) \
             (the metadata provides the extra `?`, which is no name) \
             (the metadata has the Project-URL `u`, without a label)",
        );
    }

    #[test]
    fn is_strict_where_it_matters() {
        check(b"", "the metadata has no `Metadata-Version`");
        check(b"\x00\xff\xfe", "the metadata has no `Metadata-Version`");
        check(
            b"Metadata-Version: 3.0\n",
            "the metadata has version `3.0`, and versions 1 and 2 are understood",
        );
        check(b"Metadata-Version: 2\n", "the metadata has version `2`, and versions 1 and 2 are understood");
        check(b"Metadata-Version: 2.1\nVersion: 1\n", "the metadata has no `Name`");
        check(b"Metadata-Version: 2.1\nName: a\n", "the metadata has no `Version`");
        check(b"Metadata-Version: 2.1\nName:\nVersion: 1\n", "the metadata has no `Name`");
        check(
            b"Metadata-Version: 2.1\nName: a\nName: b\nVersion: 1\n",
            "the metadata has more than one `Name`",
        );
        check(b"Metadata-Version: 2.1\nName: -a\nVersion: 1\n", "the metadata has the Name `-a`");
        check(b"Metadata-Version: 2.1\nName: a\nVersion: one\n", "the metadata has the Version `one`");
        check(
            b"Metadata-Version: 2.1\nName: a\nVersion: 1\nRequires-Dist: b >>= 1\n",
            "the metadata has the Requires-Dist `b >>= 1`",
        );
    }

    #[test]
    fn finds_the_description() {
        let description = |rest: &str| {
            let text = format!("Metadata-Version: 1.1\nName: a\nVersion: 1\n{rest}");
            Metadata::parse(text.as_bytes()).unwrap().description
        };
        assert_eq!(description(""), None);
        assert_eq!(description("Description: UNKNOWN\n"), None);
        assert_eq!(description("\n# Title\n\nText\n").unwrap(), "# Title\n\nText\n");
        assert_eq!(
            description("Description: one\n        two\n          three\n").unwrap(),
            "one\ntwo\n  three"
        );
        assert_eq!(description("Description: one\n       |two\n").unwrap(), "one\ntwo");
    }

    #[test]
    fn keeps_the_rest() {
        let metadata = Metadata::parse(
            "Metadata-Version: 2.5\nName: a\nVersion: 1\nSummary: s\nLicense: UNKNOWN\nLicense-Expression: MIT\n\
             License-File: LICENSE\nClassifier: A\nClassifier: B\nProject-URL: Home, https://example.org/a,b\n\
             Dynamic: Requires-Dist\nImport-Name: a\nRequires-Python: >=3.9\n"
                .as_bytes(),
        )
        .unwrap();
        assert_eq!(metadata.summary.as_deref(), Some("s"));
        assert_eq!((metadata.license, metadata.license_expression.as_deref()), (None, Some("MIT")));
        assert_eq!(metadata.license_files, ["LICENSE"]);
        assert_eq!(metadata.classifiers, ["A", "B"]);
        assert_eq!(metadata.project_urls, [("Home".to_owned(), "https://example.org/a,b".to_owned())]);
        assert_eq!(metadata.dynamic, ["requires-dist"]);
        assert_eq!(metadata.import_names, ["a"]);
        assert_eq!(metadata.requires_python.unwrap().to_string(), ">=3.9");
    }
}
