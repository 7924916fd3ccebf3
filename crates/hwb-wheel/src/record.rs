//! `RECORD`: every file of a wheel with its hash and size (PEP 376, PEP 427, PEP 627).

use std::fmt;

use hwb_ident::path::ParseArchivePathError;
use hwb_ident::{ArchivePath, Digest};
use sha2::Digest as _;

use crate::base64;

/// The rows of a `RECORD`, in its order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Record {
    /// One row for each file.
    pub rows: Vec<Row>,
}

/// One file of a wheel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// Where it is.
    pub path: ArchivePath,
    /// What it holds; `RECORD` itself has none.
    pub hash: Option<Hash>,
    /// How long it is, where that is said.
    pub size: Option<u64>,
}

/// A hash of a kind that is good enough for a wheel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hash {
    algorithm: Algorithm,
    bytes: Vec<u8>,
}

/// SHA-256 or better.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Algorithm {
    Sha256,
    Sha384,
    Sha512,
}

/// What is wrong with a `RECORD`.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// It is not comma-separated text.
    #[error("RECORD is not a table")]
    Csv(#[source] csv::Error),
    /// A row has not path, hash and size.
    #[error("line {line} of RECORD has {fields} fields in place of 3")]
    Fields {
        /// The line.
        line: u64,
        /// How many there are.
        fields: usize,
    },
    /// A path that leads elsewhere.
    #[error("line {line} of RECORD does not name a file of the wheel")]
    Path {
        /// The line.
        line: u64,
        /// Why not.
        #[source]
        source: ParseArchivePathError,
    },
    /// A hash that is malformed, or too weak.
    #[error("line {line} of RECORD has the hash `{text}`, which is no SHA-256, SHA-384 or SHA-512")]
    Hash {
        /// The line.
        line: u64,
        /// The hash as written.
        text: String,
    },
    /// A size that is no number.
    #[error("line {line} of RECORD has the size `{text}`")]
    Size {
        /// The line.
        line: u64,
        /// The size as written.
        text: String,
    },
}

impl Record {
    /// Reads a `RECORD` with any line ending. Rows of directories, which some tools write, are passed over.
    ///
    /// # Errors
    ///
    /// The first row that is malformed.
    pub fn parse(bytes: &[u8]) -> Result<Self, RecordError> {
        let mut reader = csv::ReaderBuilder::new().has_headers(false).flexible(true).from_reader(bytes);
        let mut rows = Vec::new();
        for row in reader.records() {
            let row = row.map_err(RecordError::Csv)?;
            let line = row.position().map_or(0, csv::Position::line);
            let (Some(path), Some(hash), Some(size), 3) = (row.get(0), row.get(1), row.get(2), row.len())
            else {
                return Err(RecordError::Fields { line, fields: row.len() });
            };
            if path.ends_with('/') && hash.is_empty() {
                continue;
            }
            let path = path.parse().map_err(|source| RecordError::Path { line, source })?;
            let hash = match hash {
                "" => None,
                text => {
                    Some(Hash::parse(text).ok_or_else(|| RecordError::Hash { line, text: text.to_owned() })?)
                }
            };
            let size = match size {
                "" => None,
                text => Some(text.parse().map_err(|_| RecordError::Size { line, text: text.to_owned() })?),
            };
            rows.push(Row { path, hash, size });
        }
        Ok(Self { rows })
    }
}

impl Hash {
    /// Wraps a SHA-256.
    pub fn sha256(digest: &Digest) -> Self {
        Self { algorithm: Algorithm::Sha256, bytes: digest.as_bytes().to_vec() }
    }

    /// Tells whether `contents` have this hash.
    pub fn is_of(&self, contents: &[u8]) -> bool {
        match self.algorithm {
            Algorithm::Sha256 => sha2::Sha256::digest(contents)[..] == self.bytes,
            Algorithm::Sha384 => sha2::Sha384::digest(contents)[..] == self.bytes,
            Algorithm::Sha512 => sha2::Sha512::digest(contents)[..] == self.bytes,
        }
    }

    /// The SHA-256, if it is one.
    pub fn as_sha256(&self) -> Option<Digest> {
        let bytes = self.bytes.as_slice().try_into().ok()?;
        (self.algorithm == Algorithm::Sha256).then(|| Digest::from_bytes(bytes))
    }

    fn parse(text: &str) -> Option<Self> {
        let (name, encoded) = text.split_once('=')?;
        let (algorithm, length) = match name {
            "sha256" => (Algorithm::Sha256, 32),
            "sha384" => (Algorithm::Sha384, 48),
            "sha512" => (Algorithm::Sha512, 64),
            _ => return None,
        };
        let bytes = base64::decode(encoded).filter(|bytes| bytes.len() == length)?;
        Some(Self { algorithm, bytes })
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self.algorithm {
            Algorithm::Sha256 => "sha256",
            Algorithm::Sha384 => "sha384",
            Algorithm::Sha512 => "sha512",
        };
        write!(f, "{name}={}", base64::encode(&self.bytes))
    }
}

impl fmt::Display for Record {
    /// Writes the rows with LF behind each, and quotes only where CSV needs them (RFC 4180).
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Row { path, hash, size } in &self.rows {
            let path = path.as_str();
            if path.contains(['"', ',', '\n', '\r']) {
                write!(f, "\"{}\",", path.replace('"', "\"\""))?;
            } else {
                write!(f, "{path},")?;
            }
            if let Some(hash) = hash {
                write!(f, "{hash}")?;
            }
            f.write_str(",")?;
            if let Some(size) = size {
                write!(f, "{size}")?;
            }
            f.write_str("\n")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HASH: &str = "sha256=ungWv48Bz-pBQUDeXa4iI7ADYaOWF3qctBD_YfIAFa0";

    fn check(text: &str, expect: &str) {
        let found = Record::parse(text.as_bytes());
        assert_eq!(found.map_or_else(|error| error.to_string(), |record| record.to_string()), expect);
    }

    #[test]
    fn prints_what_it_parses() {
        let canonical = format!("a.py,{HASH},3\n\"b,\"\"c\"\".py\",{HASH},\nx.dist-info/RECORD,,\n");
        check(&canonical, &canonical);
        check(&canonical.replace('\n', "\r\n"), &canonical);
        check(&format!("\"a.py\",{HASH}=,3"), &format!("a.py,{HASH},3\n"));
        check("a/,,\n", "");
        check("", "");
    }

    #[test]
    fn says_what_is_wrong() {
        check("a\n", "line 1 of RECORD has 1 fields in place of 3");
        check("a,,\nb,,,\n", "line 2 of RECORD has 4 fields in place of 3");
        check("../a,,\n", "line 1 of RECORD does not name a file of the wheel");
        check("/a,,\n", "line 1 of RECORD does not name a file of the wheel");
        check(
            "a,md5=AAAA,\n",
            "line 1 of RECORD has the hash `md5=AAAA`, which is no SHA-256, SHA-384 or SHA-512",
        );
        check(
            "a,sha256=AAAA,\n",
            "line 1 of RECORD has the hash `sha256=AAAA`, which is no SHA-256, SHA-384 or SHA-512",
        );
        check("a,,-1\n", "line 1 of RECORD has the size `-1`");
        assert!(matches!(Record::parse(b"\xff,,\n"), Err(RecordError::Csv(_))));
    }

    #[test]
    fn knows_three_hashes() {
        let hash = Hash::parse(HASH).unwrap();
        assert!(hash.is_of(b"abc") && !hash.is_of(b"abd"));
        assert_eq!(hash.as_sha256(), Some(Digest::of(b"abc")));
        assert_eq!(Hash::sha256(&Digest::of(b"abc")).to_string(), HASH);
        let long = Hash::parse(&format!("sha512={}", base64::encode(&sha2::Sha512::digest(b"abc")))).unwrap();
        assert!(long.is_of(b"abc") && long.as_sha256().is_none());
        let middle =
            Hash::parse(&format!("sha384={}", base64::encode(&sha2::Sha384::digest(b"abc")))).unwrap();
        assert!(middle.is_of(b"abc") && !middle.is_of(b""));
    }
}
