//! Who is let in, and how he says who he is.

use std::collections::BTreeSet;

use super::{Answer, Pages, Request, error, parameter};

/// Who is let in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Access {
    /// Whoever comes.
    Everybody,
    /// Who knows the password.
    Password(&'static str, &'static str),
    /// Who has a token, which everybody gets for pulling, and who knows the password for the rest.
    Token(&'static str, &'static str),
    /// Who has a token, which is got for the identity token alone.
    Identity(&'static str),
}

impl Pages {
    /// Lets a request in or answers it.
    pub(super) fn admit(&self, request: &Request, rest: &str) -> Result<(), Box<Answer>> {
        let given = request.headers.get("authorization").map_or("", String::as_str);
        match &self.access {
            Access::Everybody => Ok(()),
            Access::Password(user, password) if given == basic(user, password) => Ok(()),
            Access::Password(..) => {
                Err(Box::new(refusal().header("WWW-Authenticate", "Basic realm=\"registry, of a test\"")))
            }
            Access::Token(..) | Access::Identity(_) => {
                let right = needed(request, rest);
                let token = given.strip_prefix("Bearer ").unwrap_or_default();
                if let Some(granted) = self.lock().issued.get(token) {
                    let has = |(name, actions): (&str, &[&str])| {
                        actions.iter().all(|action| granted.contains(&format!("repository:{name}:{action}")))
                    };
                    if right.is_none_or(has) {
                        return Ok(());
                    }
                }
                let host = request.headers.get("host").map_or("", String::as_str);
                let scope = right.map_or_else(String::new, |(name, actions)| {
                    format!(",scope=\"repository:{name}:{}\"", actions.join(","))
                });
                let challenge = format!("Bearer realm=\"http://{host}/token\",service=\"test\"{scope}");
                Err(Box::new(refusal().header("WWW-Authenticate", &challenge)))
            }
        }
    }

    /// Gives out a token for what is asked, as far as who asks may have it.
    pub(super) fn token(&self, request: &Request, query: &str) -> Answer {
        let given = request.headers.get("authorization").map_or("", String::as_str);
        let form = String::from_utf8_lossy(&request.body).into_owned();
        let (known, scopes) = match &self.access {
            Access::Token(user, password) if request.method == "GET" => {
                if !given.is_empty() && given != basic(user, password) {
                    return refusal();
                }
                (!given.is_empty(), query)
            }
            Access::Identity(identity) if request.method == "POST" => {
                if parameter(&form, "refresh_token") != Some(*identity) {
                    return refusal();
                }
                (true, form.as_str())
            }
            _ => return error(405, "UNSUPPORTED"),
        };
        let mut granted = BTreeSet::new();
        for scope in scopes.split('&').filter_map(|pair| pair.strip_prefix("scope=")) {
            let scope = scope.replace("%3A", ":").replace("%2F", "/").replace("%2C", ",").replace('+', " ");
            for scope in scope.split(' ') {
                let Some((name, actions)) = scope.rsplit_once(':') else { continue };
                let actions = actions.split(',').filter(|action| known || *action == "pull");
                granted.extend(actions.map(|action| format!("{name}:{action}")));
            }
        }
        let mut state = self.lock();
        state.tokens += 1;
        let token = format!("token-{}", state.tokens);
        state.issued.insert(token.clone(), granted);
        drop(state);
        let body = serde_json::json!({ "token": token, "expires_in": 300 });
        Answer::new(200, "application/json", body.to_string())
    }
}

fn refusal() -> Answer {
    error(401, "UNAUTHORIZED")
}

fn basic(user: &str, password: &str) -> String {
    let mut text = crate::wheel::base64(format!("{user}:{password}").as_bytes(), b'+', b'/');
    while !text.len().is_multiple_of(4) {
        text.push('=');
    }
    format!("Basic {text}")
}

/// The repository that a request touches, and what it does there.
fn needed<'r>(request: &Request, rest: &'r str) -> Option<(&'r str, &'static [&'static str])> {
    let (name, _) = rest.split_once("/blobs/").or_else(|| rest.split_once("/manifests/"))?;
    let writes = !matches!(request.method.as_str(), "GET" | "HEAD") || rest.contains("/blobs/uploads/");
    Some((name, if writes { &["pull", "push"] } else { &["pull"] }))
}
