//! `WHEEL`: what a wheel says of itself (PEP 427).

use std::fmt;

use crate::headers::Headers;
use crate::tags::{TagError, TagSet};

/// The `WHEEL` file of a wheel; prints in its usual order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WheelFile {
    /// `Wheel-Version`: before the dot, and behind it.
    pub wheel_version: (u32, u32),
    /// `Generator`.
    pub generator: Option<String>,
    /// `Root-Is-Purelib`.
    pub root: Root,
    /// `Tag`, expanded.
    pub tags: TagSet,
    /// `Build`.
    pub build: Option<String>,
}

/// Where the root of a wheel is installed to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Root {
    /// `purelib`.
    Purelib,
    /// `platlib`.
    Platlib,
}

/// What is wrong with a `WHEEL` file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WheelFileError {
    /// A field that must be there is not.
    #[error("WHEEL has no `{0}`")]
    Missing(&'static str),
    /// A field has a value that it cannot have.
    #[error("WHEEL has the {field} `{value}`")]
    Value {
        /// The field.
        field: &'static str,
        /// Its value.
        value: String,
    },
    /// A tag that is none.
    #[error("WHEEL has an unusable `Tag`")]
    Tag(#[source] TagError),
}

impl WheelFile {
    /// Reads a `WHEEL` file; unknown fields are passed over.
    ///
    /// # Errors
    ///
    /// If version, root or tags are missing or malformed.
    pub fn parse(bytes: &[u8]) -> Result<Self, WheelFileError> {
        let headers = Headers::parse(bytes);
        let required = |key: &str, name| headers.first(key).ok_or(WheelFileError::Missing(name));
        let text = required("wheel-version", "Wheel-Version")?;
        let wheel_version = text
            .split_once('.')
            .and_then(|(major, minor)| Some((major.parse().ok()?, minor.parse().ok()?)))
            .ok_or_else(|| WheelFileError::Value { field: "Wheel-Version", value: text.to_owned() })?;
        let text = required("root-is-purelib", "Root-Is-Purelib")?;
        let root = match text.to_ascii_lowercase().as_str() {
            "true" => Root::Purelib,
            "false" => Root::Platlib,
            _ => return Err(WheelFileError::Value { field: "Root-Is-Purelib", value: text.to_owned() }),
        };
        let mut tags = TagSet::default();
        for tag in headers.all("tag") {
            tags.insert(tag).map_err(WheelFileError::Tag)?;
        }
        if tags.is_empty() {
            return Err(WheelFileError::Missing("Tag"));
        }
        let text = |name| headers.first(name).filter(|text| !text.is_empty()).map(str::to_owned);
        Ok(Self { wheel_version, generator: text("generator"), root, tags, build: text("build") })
    }
}

impl fmt::Display for WheelFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { wheel_version: (major, minor), generator, root, tags, build } = self;
        writeln!(f, "Wheel-Version: {major}.{minor}")?;
        if let Some(generator) = generator {
            writeln!(f, "Generator: {generator}")?;
        }
        writeln!(f, "Root-Is-Purelib: {}", *root == Root::Purelib)?;
        for tag in tags.iter() {
            writeln!(f, "Tag: {tag}")?;
        }
        match build {
            Some(build) => writeln!(f, "Build: {build}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expect: &str) {
        let found = WheelFile::parse(text.as_bytes());
        if let Ok(file) = &found {
            assert_eq!(WheelFile::parse(file.to_string().as_bytes()).as_ref(), Ok(file));
        }
        assert_eq!(found.map_or_else(|error| error.to_string(), |file| file.to_string()), expect);
    }

    #[test]
    fn prints_what_it_parses() {
        check(
            "Wheel-Version: 1.0\r\nGenerator: g (1)\r\nRoot-Is-Purelib: TRUE\r\nTag: py2.py3-none-any\r\nBuild: 1a\r\nOther: x\r\n",
            "Wheel-Version: 1.0\nGenerator: g (1)\nRoot-Is-Purelib: true\nTag: py2-none-any\nTag: py3-none-any\nBuild: 1a\n",
        );
        check(
            "Wheel-Version: 1.0\nRoot-Is-Purelib: false\nTag: a-b-c\n",
            "Wheel-Version: 1.0\nRoot-Is-Purelib: false\nTag: a-b-c\n",
        );
    }

    #[test]
    fn says_what_is_wrong() {
        check("", "WHEEL has no `Wheel-Version`");
        check("Wheel-Version: one\n", "WHEEL has the Wheel-Version `one`");
        check("Wheel-Version: 1.0\n", "WHEEL has no `Root-Is-Purelib`");
        check("Wheel-Version: 1.0\nRoot-Is-Purelib: 1\n", "WHEEL has the Root-Is-Purelib `1`");
        check("Wheel-Version: 1.0\nRoot-Is-Purelib: true\n", "WHEEL has no `Tag`");
        check("Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: x\n", "WHEEL has an unusable `Tag`");
    }
}
