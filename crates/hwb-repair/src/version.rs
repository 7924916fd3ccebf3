//! Versions as libraries number them: `2.17`, `3.4.19`.

use std::fmt;
use std::str::FromStr;

use serde::Deserialize;

/// Numbers with dots between, which are ordered as numbers.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "String")]
pub struct LibraryVersion(Vec<u32>);

/// A text that is no version.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a version of a library, such as `2.17`")]
pub struct ParseLibraryVersionError(String);

impl FromStr for LibraryVersion {
    type Err = ParseLibraryVersionError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let number = |part: &str| {
            let is_number = !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
            is_number.then(|| part.parse().ok()).flatten()
        };
        let parts: Option<Vec<u32>> = text.split('.').map(number).collect();
        parts.map(Self).ok_or_else(|| ParseLibraryVersionError(text.chars().take(100).collect()))
    }
}

impl TryFrom<String> for LibraryVersion {
    type Error = ParseLibraryVersionError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl fmt::Display for LibraryVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, part) in self.0.iter().enumerate() {
            write!(f, "{}{part}", if place == 0 { "" } else { "." })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_as_numbers() {
        let version = |text: &str| text.parse::<LibraryVersion>().unwrap();
        assert!(version("2.9") < version("2.17") && version("2.17") < version("2.17.1"));
        assert_eq!(version("3.4.19").to_string(), "3.4.19");
        for text in ["", "2.", ".2", "2.x", "+2", "TM_1", "99999999999"] {
            assert!(text.parse::<LibraryVersion>().is_err(), "{text}");
        }
    }
}
