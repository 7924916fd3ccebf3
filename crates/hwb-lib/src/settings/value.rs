//! How values are written: in TOML with its types, in variables and ini files as plain text.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::ambient::Ambient;

/// Why a text is no value of its setting.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ValueError {
    /// Another type is wanted.
    #[error("expected {expected}, found {found}")]
    Type {
        /// What is wanted.
        expected: &'static str,
        /// What stands there.
        found: &'static str,
    },
    /// Not a truth value.
    #[error("`{0}` is neither `true` nor `false`")]
    Flag(String),
    /// None of the words that are understood.
    #[error("`{given}` is none of {}", choices.join(", "))]
    Choice {
        /// What stands there.
        given: String,
        /// What may stand there.
        choices: Vec<&'static str>,
    },
    /// Not a whole number.
    #[error("`{0}` is not a whole number of seconds")]
    Seconds(String),
    /// Not a whole number, or none at all.
    #[error("`{0}` is not a whole number of MiB from 1 on")]
    Mebibytes(String),
    /// Not a duration.
    #[error("`{0}` is not a duration such as `90`, `90s`, `10m` or `1h30m`")]
    Duration(String),
    /// Not a requirement.
    #[error("`{text}` is not a requirement: {reason}")]
    Requirement {
        /// What stands there.
        text: String,
        /// Why not.
        reason: String,
    },
}

/// A value as it was found.
#[derive(Debug, Clone, Copy)]
pub(super) enum Raw<'a> {
    /// Text in which white space separates the elements of a list.
    Words(&'a str),
    /// Text in which commas separate the elements of a list.
    Commas(&'a str),
    /// With the types of TOML.
    Toml(&'a toml::Value),
}

/// What relative paths in values are relative to.
#[derive(Debug, Clone, Copy)]
pub(super) struct Base<'a> {
    directory: &'a Path,
    home: Option<&'a Path>,
}

impl<'a> Base<'a> {
    /// For values of variables and arguments.
    pub(super) fn cwd(ambient: &'a Ambient) -> Self {
        Self { directory: &ambient.cwd, home: ambient.home.as_deref() }
    }

    /// For values of a file.
    pub(super) fn beside(ambient: &'a Ambient, file: &'a Path) -> Self {
        Self { directory: file.parent().unwrap_or(&ambient.cwd), home: ambient.home.as_deref() }
    }

    /// A path, with `~/` meant as a shell means it.
    pub(super) fn path(&self, text: &str) -> PathBuf {
        match (text.strip_prefix("~/"), self.home) {
            (Some(rest), Some(home)) => home.join(rest),
            _ => self.directory.join(text),
        }
    }

    /// A URL as it is, or a path made absolute.
    pub(super) fn location(&self, text: &str) -> String {
        if text.contains("://") || text.starts_with("file:") {
            return text.to_owned();
        }
        self.path(text).to_string_lossy().into_owned()
    }
}

impl Raw<'_> {
    pub(super) fn text(self) -> Result<String, ValueError> {
        match self {
            Self::Words(text) | Self::Commas(text) => Ok(text.trim().to_owned()),
            Self::Toml(toml::Value::String(text)) => Ok(text.clone()),
            Self::Toml(other) => Err(wrong_type("a string", other)),
        }
    }

    /// A list; a single string is a list of one.
    pub(super) fn list(self) -> Result<Vec<String>, ValueError> {
        let owned = |text: &str| text.to_owned();
        match self {
            Self::Words(text) => Ok(text.split_whitespace().map(owned).collect()),
            Self::Commas(text) => {
                Ok(text.split(',').map(str::trim).filter(|part| !part.is_empty()).map(owned).collect())
            }
            Self::Toml(toml::Value::Array(elements)) => {
                elements.iter().map(|element| Raw::Toml(element).text()).collect()
            }
            Self::Toml(toml::Value::String(text)) => Ok(vec![text.clone()]),
            Self::Toml(other) => Err(wrong_type("a list of strings", other)),
        }
    }

    pub(super) fn flag(self) -> Result<bool, ValueError> {
        let text = match self {
            Self::Words(text) | Self::Commas(text) => text.trim(),
            Self::Toml(toml::Value::Boolean(flag)) => return Ok(*flag),
            Self::Toml(other) => return Err(wrong_type("true or false", other)),
        };
        match text.to_ascii_lowercase().as_str() {
            "1" | "true" | "t" | "yes" | "y" | "on" => Ok(true),
            "0" | "false" | "f" | "no" | "n" | "off" => Ok(false),
            _ => Err(ValueError::Flag(text.to_owned())),
        }
    }

    /// One of the words of `choices`.
    pub(super) fn choice<T: Copy>(self, choices: &[(&'static str, T)]) -> Result<T, ValueError> {
        let given = self.text()?;
        let found = choices.iter().find(|(word, _)| *word == given).map(|(_, meaning)| *meaning);
        found.ok_or_else(|| ValueError::Choice {
            given,
            choices: choices.iter().map(|(word, _)| *word).collect(),
        })
    }

    pub(super) fn seconds(self) -> Result<u64, ValueError> {
        match self {
            Self::Toml(toml::Value::Integer(number)) => {
                u64::try_from(*number).map_err(|_| ValueError::Seconds(number.to_string()))
            }
            _ => self.text().and_then(|text| text.parse().map_err(|_| ValueError::Seconds(text))),
        }
    }

    pub(super) fn mebibytes(self) -> Result<u64, ValueError> {
        let number = match self {
            Self::Toml(toml::Value::Integer(number)) => number.to_string(),
            _ => self.text()?,
        };
        let parsed = number.parse().ok().filter(|mebibytes| *mebibytes > 0);
        parsed.ok_or(ValueError::Mebibytes(number))
    }

    pub(super) fn duration(self) -> Result<Duration, ValueError> {
        match self {
            Self::Toml(toml::Value::Integer(_)) => self.seconds().map(Duration::from_secs),
            _ => parse_duration(&self.text()?),
        }
    }

    /// A table of strings; numbers and truth values are taken as they are written.
    pub(super) fn map(self) -> Result<BTreeMap<String, String>, ValueError> {
        let table = match self {
            Self::Toml(toml::Value::Table(table)) => table,
            Self::Toml(other) => return Err(wrong_type("a table of strings", other)),
            Self::Words(_) | Self::Commas(_) => {
                return Err(ValueError::Type { expected: "a table of strings", found: "text" });
            }
        };
        let text = |value: &toml::Value| match value {
            toml::Value::Integer(number) => Ok(number.to_string()),
            toml::Value::Boolean(flag) => Ok(flag.to_string()),
            value => Raw::Toml(value).text(),
        };
        table.iter().map(|(name, value)| Ok((name.clone(), text(value)?))).collect()
    }
}

fn wrong_type(expected: &'static str, found: &toml::Value) -> ValueError {
    ValueError::Type { expected, found: found.type_str() }
}

/// Parses seconds (`90`) or parts with units, largest first (`90s`, `10m`, `1h30m`).
///
/// # Errors
///
/// [`ValueError::Duration`] if it is neither, or no time at all.
pub fn parse_duration(text: &str) -> Result<Duration, ValueError> {
    let wrong = || ValueError::Duration(text.to_owned());
    let mut rest = text.trim();
    if let Ok(seconds) = rest.parse::<u64>() {
        return if seconds == 0 { Err(wrong()) } else { Ok(Duration::from_secs(seconds)) };
    }
    let mut total = 0_u64;
    let mut smallest = u64::MAX;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
        let (number, tail) = rest.split_at(digits);
        let mut letters = tail.chars();
        let unit = match letters.next() {
            Some('h') => 3600,
            Some('m') => 60,
            Some('s') => 1,
            _ => return Err(wrong()),
        };
        if unit >= smallest {
            return Err(wrong());
        }
        smallest = unit;
        let part =
            number.parse::<u64>().ok().and_then(|number| number.checked_mul(unit)).ok_or_else(wrong)?;
        total = total.checked_add(part).ok_or_else(wrong)?;
        rest = letters.as_str();
    }
    if total == 0 { Err(wrong()) } else { Ok(Duration::from_secs(total)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_durations() {
        let check = |text: &str, seconds: Option<u64>| {
            assert_eq!(parse_duration(text).ok().map(|duration| duration.as_secs()), seconds, "{text}");
        };
        check("90", Some(90));
        check("90s", Some(90));
        check("10m", Some(600));
        check("1h30m", Some(5400));
        check("2h5s", Some(7205));
        for wrong in ["", "0", "0s", "m", "10x", "5s1h", "1m1m", "-5", "1.5m", "99999999999999999999s"] {
            check(wrong, None);
        }
    }
}
