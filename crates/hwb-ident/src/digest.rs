//! Content digests.

use std::fmt;
use std::io::{self, Read, Write};
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sha2::Digest as _;

/// The SHA-256 of some bytes; prints as `sha256:` and 64 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Digest([u8; 32]);

/// A text that is not a digest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a SHA-256 digest (64 hexadecimal digits, with or without `sha256:`)")]
pub struct ParseDigestError {
    text: String,
}

/// Why a text is not a digest as image formats write one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseQualifiedDigestError {
    /// It says no algorithm.
    #[error("`{0}` is not a digest: `sha256:` and 64 hexadecimal digits")]
    Malformed(String),
    /// Another algorithm than the one that is checked here.
    #[error("digests by {0} are not supported; only sha256 is")]
    Algorithm(String),
}

impl Digest {
    /// Parses `sha256:` and 64 lower-case digits and nothing else: what image formats and registries write, where one
    /// content must have one name.
    ///
    /// # Errors
    ///
    /// [`ParseQualifiedDigestError`] if the text is another one.
    pub fn parse_qualified(text: &str) -> Result<Self, ParseQualifiedDigestError> {
        let malformed = || ParseQualifiedDigestError::Malformed(text.to_owned());
        let (algorithm, hex) = text.split_once(':').ok_or_else(malformed)?;
        match algorithm {
            "sha256" if hex.len() == 64 && !hex.bytes().any(|byte| byte.is_ascii_uppercase()) => {
                hex.parse().map_err(|_| malformed())
            }
            "sha384" | "sha512" | "blake3" => Err(ParseQualifiedDigestError::Algorithm(algorithm.to_owned())),
            _ => Err(malformed()),
        }
    }

    /// Takes the digest of `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        let mut hasher = Hasher::new();
        hasher.update(bytes);
        hasher.finish()
    }

    /// Takes the digest of everything `reader` yields.
    ///
    /// # Errors
    ///
    /// What reading gives.
    pub fn of_reader(reader: &mut dyn Read) -> io::Result<Self> {
        let mut hasher = Hasher::new();
        io::copy(reader, &mut hasher)?;
        Ok(hasher.finish())
    }

    /// Wraps 32 bytes that are a digest already.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The 32 bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The 64 lower-case hexadecimal digits, without a prefix.
    pub fn hex(&self) -> String {
        use fmt::Write as _;
        self.0.iter().fold(String::with_capacity(64), |mut text, byte| {
            write!(text, "{byte:02x}").expect("writing to a string succeeds");
            text
        })
    }

    /// The first twelve hexadecimal digits: enough to tell things apart in a path or a message.
    pub fn short(&self) -> String {
        self.hex()[..12].to_owned()
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{}", self.hex())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Digest {
    type Err = ParseDigestError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = || ParseDigestError { text: text.to_owned() };
        let hex =
            text.strip_prefix("sha256:").or_else(|| text.strip_prefix("sha256=")).unwrap_or(text).as_bytes();
        if hex.len() != 64 {
            return Err(error());
        }
        let nibble = |byte: u8| char::from(byte).to_digit(16).and_then(|n| u8::try_from(n).ok());
        let mut bytes = [0; 32];
        for (byte, pair) in bytes.iter_mut().zip(hex.chunks_exact(2)) {
            let (Some(high), Some(low)) = (nibble(pair[0]), nibble(pair[1])) else {
                return Err(error());
            };
            *byte = high << 4 | low;
        }
        Ok(Self(bytes))
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> Self {
        digest.to_string()
    }
}

impl TryFrom<String> for Digest {
    type Error = ParseDigestError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

/// Takes a digest piece by piece; also a sink that can be written to.
#[derive(Debug, Clone, Default)]
pub struct Hasher(sha2::Sha256);

impl Hasher {
    /// Starts with no bytes seen.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes in more bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// Takes in a field whose end cannot be mistaken: its length, then its bytes.
    pub fn field(&mut self, bytes: &[u8]) {
        self.update(&(bytes.len() as u64).to_le_bytes());
        self.update(bytes);
    }

    /// The digest of everything taken in.
    pub fn finish(self) -> Digest {
        Digest(self.0.finalize().into())
    }
}

impl Write for Hasher {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prints_what_it_parses() {
        let digest = Digest::of(b"abc");
        assert_eq!(
            digest.to_string(),
            "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
        assert_eq!(digest.to_string().parse(), Ok(digest));
        assert_eq!(digest.hex().to_uppercase().parse(), Ok(digest));
    }

    #[test]
    fn refuses_what_is_no_digest() {
        for text in ["", "sha256:", "md5:00", &"g".repeat(64), &"a".repeat(63)] {
            assert!(text.parse::<Digest>().is_err(), "{text}");
        }
    }

    #[test]
    fn image_formats_write_one_form() {
        let digest = Digest::of(b"abc");
        assert_eq!(Digest::parse_qualified(&digest.to_string()), Ok(digest));
        let error = |text: &str| Digest::parse_qualified(text).unwrap_err().to_string();
        let other = format!("sha512:{}", "0".repeat(128));
        assert_eq!(error(&other), "digests by sha512 are not supported; only sha256 is");
        let upper = format!("sha256:{}", digest.hex().to_uppercase());
        for text in ["", "sha256:", &digest.hex(), &upper, &format!("sha256:{digest}"), "md5:00", "sha256:00"]
        {
            assert!(error(text).ends_with("is not a digest: `sha256:` and 64 hexadecimal digits"), "{text}");
        }
    }
}
