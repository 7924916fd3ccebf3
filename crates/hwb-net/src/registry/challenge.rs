//! What a registry asks for when it does not know who asks (RFC 9110, section 11).

use std::collections::BTreeMap;

use reqwest::header::{HeaderMap, WWW_AUTHENTICATE};

/// A way to say who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Challenge {
    /// A user name and a password, each time.
    Basic,
    /// A token, which another server gives out.
    Bearer {
        /// The URL of that server.
        realm: String,
        /// What the registry calls itself there.
        service: Option<String>,
        /// What the request takes.
        scope: Option<String>,
    },
}

impl Challenge {
    /// Finds the best of those that an answer offers, of which most are not for us.
    pub(super) fn choose(headers: &HeaderMap) -> Option<Self> {
        let offered: Vec<Self> = headers
            .get_all(WWW_AUTHENTICATE)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(split)
            .filter_map(|(scheme, parameters)| Self::understand(&scheme, parameters))
            .collect();
        let bearer = offered.iter().find(|challenge| matches!(challenge, Self::Bearer { .. }));
        bearer.or(offered.first()).cloned()
    }

    /// The same, whatever the request takes.
    pub(super) fn without_scope(self) -> Self {
        match self {
            Self::Bearer { realm, service, .. } => Self::Bearer { realm, service, scope: None },
            Self::Basic => Self::Basic,
        }
    }

    fn understand(scheme: &str, mut parameters: BTreeMap<String, String>) -> Option<Self> {
        match scheme.to_ascii_lowercase().as_str() {
            "basic" => Some(Self::Basic),
            "bearer" => Some(Self::Bearer {
                realm: parameters.remove("realm")?,
                service: parameters.remove("service"),
                scope: parameters.remove("scope"),
            }),
            _ => None,
        }
    }
}

/// Takes a header apart: schemes, each with its parameters by lower-case name.
fn split(value: &str) -> Vec<(String, BTreeMap<String, String>)> {
    let mut found: Vec<(String, BTreeMap<String, String>)> = Vec::new();
    let mut rest = value;
    loop {
        rest = rest.trim_start_matches([' ', '\t', ',']);
        let end = rest.find([' ', '\t', ',', '=']).unwrap_or(rest.len());
        if end == 0 {
            return found;
        }
        let (word, behind) = rest.split_at(end);
        match behind.trim_start().strip_prefix('=') {
            // A scheme is followed by a blank, a parameter by its value. What follows a scheme and is neither is a
            // token of a scheme that is not ours.
            Some(value) if !found.is_empty() => {
                let (value, behind) = read_value(value.trim_start());
                if let Some((_, parameters)) = found.last_mut() {
                    parameters.insert(word.to_ascii_lowercase(), value);
                }
                rest = behind;
            }
            Some(value) => rest = value,
            None => {
                found.push((word.to_owned(), BTreeMap::new()));
                rest = behind;
            }
        }
    }
}

/// Reads a value, quoted or not; also gives what is behind it.
fn read_value(text: &str) -> (String, &str) {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find([',', ' ', '\t']).unwrap_or(text.len());
        return (text[..end].to_owned(), &text[end..]);
    };
    let (mut value, mut letters) = (String::new(), quoted.char_indices());
    while let Some((at, letter)) = letters.next() {
        match letter {
            '"' => return (value, &quoted[at + 1..]),
            '\\' => value.extend(letters.next().map(|(_, letter)| letter)),
            letter => value.push(letter),
        }
    }
    (value, "")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(values: &[&str], expect: Option<Challenge>) {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(WWW_AUTHENTICATE, value.parse().unwrap());
        }
        assert_eq!(Challenge::choose(&headers), expect, "{values:?}");
    }

    fn bearer(realm: &str, service: Option<&str>, scope: Option<&str>) -> Option<Challenge> {
        let owned = |text: Option<&str>| text.map(str::to_owned);
        Some(Challenge::Bearer { realm: realm.to_owned(), service: owned(service), scope: owned(scope) })
    }

    #[test]
    fn finds_the_best_of_what_is_offered() {
        check(
            &[
                r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:library/debian:pull,push""#,
            ],
            bearer(
                "https://auth.docker.io/token",
                Some("registry.docker.io"),
                Some("repository:library/debian:pull,push"),
            ),
        );
        check(&[r#"Basic realm="a, Bearer realm=x""#], Some(Challenge::Basic));
        check(&["basic"], Some(Challenge::Basic));
        check(
            &[r#"Basic realm="a", BEARER Realm = "https://b" , service=c"#],
            bearer("https://b", Some("c"), None),
        );
        check(&["Negotiate", r#"Bearer realm="x\"y\\z""#], bearer(r#"x"y\z"#, None, None));
        check(&["Negotiate YWJj=, Basic realm=x"], Some(Challenge::Basic));
    }

    #[test]
    fn understands_nothing_where_there_is_nothing_for_us() {
        for value in
            ["", ",", "=", "=,=", "Negotiate", "Bearer", "Bearer service=x", "Digest realm=\"x", "\"", "a=b"]
        {
            check(&[value], None);
        }
    }
}
