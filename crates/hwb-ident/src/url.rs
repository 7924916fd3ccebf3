//! A URL that never prints its credentials.

use std::fmt;
use std::str::FromStr;

use serde::{Serialize, Serializer};
use url::Url;

/// A URL; shown without its user name and password wherever it is printed or serialised.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RedactedUrl(Url);

/// A text that is not a URL. It is not repeated in the message: it might hold a password.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a valid URL: {reason}")]
pub struct ParseUrlError {
    reason: url::ParseError,
}

impl RedactedUrl {
    /// The URL with its credentials, for the one who opens the connection.
    pub fn expose(&self) -> &Url {
        &self.0
    }

    /// The last part of its path, decoded; `None` if the path ends with a slash.
    pub fn file_name(&self) -> Option<String> {
        let name = self.0.path_segments()?.next_back()?;
        let name = percent_decode(name);
        (!name.is_empty()).then_some(name)
    }

    /// The same URL without its fragment.
    pub fn without_fragment(&self) -> Self {
        let mut url = self.0.clone();
        url.set_fragment(None);
        Self(url)
    }
}

/// Decodes `%XX`; what is not valid UTF-8 then is left encoded.
fn percent_decode(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        let escape = tail
            .get(..2)
            .filter(|_| first == b'%')
            .and_then(|hex| std::str::from_utf8(hex).ok())
            .and_then(|hex| u8::from_str_radix(hex, 16).ok());
        bytes.push(escape.unwrap_or(first));
        rest = if escape.is_some() { &tail[2..] } else { tail };
    }
    String::from_utf8(bytes).unwrap_or_else(|_| text.to_owned())
}

impl From<Url> for RedactedUrl {
    fn from(url: Url) -> Self {
        Self(url)
    }
}

impl FromStr for RedactedUrl {
    type Err = ParseUrlError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Url::parse(text).map(Self).map_err(|reason| ParseUrlError { reason })
    }
}

impl fmt::Display for RedactedUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // `git` in `ssh://git@host` is an account name, no secret.
        let keeps_user = self.0.password().is_none() && self.0.scheme().contains("ssh");
        if keeps_user || (self.0.username().is_empty() && self.0.password().is_none()) {
            return fmt::Display::fmt(&self.0, f);
        }
        let mut url = self.0.clone();
        if url.set_username("").is_ok() && url.set_password(None).is_ok() {
            fmt::Display::fmt(&url, f)
        } else {
            write!(f, "{}://****", self.0.scheme())
        }
    }
}

impl fmt::Debug for RedactedUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for RedactedUrl {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prints_no_credentials() {
        for (text, printed) in [
            ("https://example.org/a.tar.gz", "https://example.org/a.tar.gz"),
            ("https://user:secret@example.org/a", "https://example.org/a"),
            ("https://token@example.org/a", "https://example.org/a"),
            ("ssh://git@example.org/a", "ssh://git@example.org/a"),
        ] {
            let url: RedactedUrl = text.parse().unwrap();
            assert_eq!(url.to_string(), printed);
            assert_eq!(format!("{url:?}"), printed);
            assert_eq!(url.expose().as_str(), text);
        }
        let error = "https://user:secret@[".parse::<RedactedUrl>().unwrap_err();
        assert!(!error.to_string().contains("secret"));
    }

    #[test]
    fn names_its_file() {
        let name = |text: &str| text.parse::<RedactedUrl>().unwrap().file_name();
        assert_eq!(name("https://example.org/a/b%2B1-1.0.tar.gz#sha256=00").unwrap(), "b+1-1.0.tar.gz");
        assert_eq!(name("https://example.org/a/"), None);
    }
}
