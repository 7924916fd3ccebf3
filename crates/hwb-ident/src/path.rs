//! Paths, told apart by where they mean something.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A relative path inside an archive or a source tree: UTF-8, `/` between its parts, no part empty, `.` or `..`.
///
/// Such a path cannot leave the directory it is joined to (as long as no link stands on the way).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct ArchivePath(String);

/// Why a text is not an [`ArchivePath`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseArchivePathError {
    /// Nothing is left of it.
    #[error("a member has an empty path")]
    Empty,
    /// It starts at a root or a drive.
    #[error("member `{0}` has an absolute path")]
    Absolute(String),
    /// It climbs out of its directory.
    #[error("member `{0}` leads out of the archive")]
    Escapes(String),
    /// It has a character that no file name has.
    #[error("member {0:?} has a character that no path may hold")]
    Character(String),
}

impl ArchivePath {
    /// The path as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Its last part.
    pub fn file_name(&self) -> &str {
        self.0.rsplit('/').next().unwrap_or(&self.0)
    }

    /// Everything before the last part; `None` at the top.
    pub fn parent(&self) -> Option<Self> {
        self.0.rsplit_once('/').map(|(parent, _)| Self(parent.to_owned()))
    }

    /// Its parts, outermost first.
    pub fn parts(&self) -> impl Iterator<Item = &str> {
        self.0.split('/')
    }

    /// What is left below `directory`; `None` if it is not below.
    pub fn strip_prefix(&self, directory: &str) -> Option<Self> {
        let rest = self.0.strip_prefix(directory)?.strip_prefix('/')?;
        Some(Self(rest.to_owned()))
    }

    /// The path of `child` below this one.
    pub fn join(&self, child: &Self) -> Self {
        Self(format!("{}/{}", self.0, child.0))
    }

    /// Where it is on disk below `directory`.
    pub fn below(&self, directory: &Path) -> PathBuf {
        directory.join(&self.0)
    }
}

impl FromStr for ArchivePath {
    type Err = ParseArchivePathError;

    /// Drops `.` parts, repeated and trailing slashes; refuses everything that could lead elsewhere.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let is_drive = |part: &str| part.len() == 2 && part.ends_with(':');
        if text.contains(['\0', '\\', '\n', '\r']) {
            return Err(ParseArchivePathError::Character(text.to_owned()));
        }
        if text.starts_with('/') {
            return Err(ParseArchivePathError::Absolute(text.to_owned()));
        }
        let mut parts = Vec::new();
        for part in text.split('/') {
            match part {
                "" | "." => {}
                ".." => return Err(ParseArchivePathError::Escapes(text.to_owned())),
                part => parts.push(part),
            }
        }
        // A drive is one wherever dots before it go.
        match parts.first() {
            None => return Err(ParseArchivePathError::Empty),
            Some(first) if is_drive(first) => return Err(ParseArchivePathError::Absolute(text.to_owned())),
            Some(_) => {}
        }
        Ok(Self(parts.join("/")))
    }
}

impl fmt::Display for ArchivePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<ArchivePath> for String {
    fn from(path: ArchivePath) -> Self {
        path.0
    }
}

impl TryFrom<String> for ArchivePath {
    type Error = ParseArchivePathError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

/// A path on the machine that runs hwb.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct HostPath(PathBuf);

/// A path as a sandboxed process sees it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct GuestPath(PathBuf);

macro_rules! located_path {
    ($name:ident) => {
        impl $name {
            /// Says where `path` means something.
            pub fn new(path: impl Into<PathBuf>) -> Self {
                Self(path.into())
            }

            /// The path itself.
            pub fn as_path(&self) -> &Path {
                &self.0
            }

            /// A path below this one, in the same place.
            pub fn join(&self, below: impl AsRef<Path>) -> Self {
                Self(self.0.join(below))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.display().fmt(f)
            }
        }
    };
}

located_path!(HostPath);
located_path!(GuestPath);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prints_what_it_parses() {
        for (text, printed) in
            [("a", "a"), ("./a//b/", "a/b"), ("a/./b.py", "a/b.py"), ("ünïcode/…", "ünïcode/…")]
        {
            let path: ArchivePath = text.parse().unwrap();
            assert_eq!(path.to_string(), printed);
            assert_eq!(path.to_string().parse(), Ok(path));
        }
    }

    #[test]
    fn refuses_what_leads_elsewhere() {
        for text in [
            "",
            ".",
            "/",
            "/etc/passwd",
            "../a",
            "a/../../b",
            "a/..",
            "C:/a",
            "./C:/a",
            ".//.:/",
            "a\\b",
            "a\0b",
            "a\nb",
        ] {
            assert!(text.parse::<ArchivePath>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn strips_whole_parts_only() {
        let path: ArchivePath = "pkg-1.0/src/a.py".parse().unwrap();
        assert_eq!(path.strip_prefix("pkg-1.0").unwrap().as_str(), "src/a.py");
        assert_eq!(path.strip_prefix("pkg-1"), None);
        assert_eq!(path.file_name(), "a.py");
        assert_eq!(path.parent().unwrap().as_str(), "pkg-1.0/src");
    }
}
