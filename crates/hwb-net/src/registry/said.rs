//! What a registry says about a failure.

use std::fmt::{self, Write as _};

use serde::Deserialize;

/// The most of it that is shown.
const LIMIT: usize = 300;

/// The words of a registry: short, in one line, without anything that a terminal would obey.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Said(String);

#[derive(Debug, Deserialize)]
struct Body {
    #[serde(default)]
    errors: Vec<Problem>,
    // What servers of tokens say instead.
    #[serde(default)]
    details: Option<String>,
    #[serde(default)]
    error_description: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Problem {
    #[serde(default)]
    code: String,
    #[serde(default)]
    message: String,
}

impl Said {
    /// Reads the body of an answer; of one that is not in the form of the specification nothing is repeated. What it
    /// has of `secrets` is left out.
    pub(super) fn read(body: &[u8], secrets: &[String]) -> Self {
        let Ok(Body { errors, details, error_description }) = serde_json::from_slice(body) else {
            return Self::default();
        };
        let problem = |Problem { code, message }: Problem| match (code.as_str(), message.as_str()) {
            (code, "") => code.to_owned(),
            ("", message) => message.to_owned(),
            (code, message) => format!("{code}: {message}"),
        };
        let told = errors.into_iter().map(problem).chain(details).chain(error_description);
        let mut text = told.filter(|text| !text.is_empty()).collect::<Vec<_>>().join("; ");
        for secret in secrets.iter().filter(|secret| !secret.is_empty()) {
            text = text.replace(secret, "…");
        }
        Self(plain(&text))
    }

    /// Its words; empty if it said nothing.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// As it continues a sentence.
impl fmt::Display for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() { Ok(()) } else { write!(f, " ({})", self.0) }
    }
}

/// A text of a stranger as it may be shown.
pub(super) fn plain(text: &str) -> String {
    let mut shown = String::new();
    for letter in text.chars() {
        if shown.len() >= LIMIT {
            shown.push('…');
            break;
        }
        // Control characters, and those that turn the direction of writing.
        if letter.is_control()
            || matches!(letter, '\u{200e}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
        {
            write!(shown, "{}", letter.escape_default()).expect("writing to a string succeeds");
        } else {
            shown.push(letter);
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_short_and_harmless() {
        let check = |body: &str, expect: &str| {
            let said = Said::read(body.as_bytes(), &["hunter2".to_owned()]);
            assert_eq!(said.to_string(), expect, "{body}");
        };
        check(
            r#"{"errors":[{"code":"NAME_UNKNOWN","message":"repository name not known to registry","detail":{"name":"a"}}]}"#,
            " (NAME_UNKNOWN: repository name not known to registry)",
        );
        check(r#"{"errors":[{"code":"DENIED"},{"message":"no"}]}"#, " (DENIED; no)");
        check(r#"{"details":"incorrect username or password"}"#, " (incorrect username or password)");
        check(r#"{"errors":[{"message":"you sent hunter2"}]}"#, " (you sent …)");
        check("{\"errors\":[{\"message\":\"a\\u001b[2Jb\\u202ec\\nd\"}]}", r" (a\u{1b}[2Jb\u{202e}c\nd)");
        for nothing in ["", "<html>404</html>", "[]", "{}", r#"{"errors":{}}"#, r#"{"errors":[{}]}"#] {
            check(nothing, "");
        }
        let long = format!(r#"{{"errors":[{{"message":"{}"}}]}}"#, "x".repeat(100_000));
        assert!(Said::read(long.as_bytes(), &[]).as_str().len() < LIMIT + 8);
    }
}
