//! What is sent so that a registry lets us in: passwords, and tokens that another server gives out.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::header::{CONTENT_TYPE, HeaderValue};
use reqwest::{Method, StatusCode};
use serde::Deserialize;

use super::credentials::{Identity, Login};
use super::error::{Failure, Sent};
use super::message::{Ask, Base, Payload, Reply, hop, shown};
use super::said::Said;
use super::secret::Secret;
use super::wire::Wire;
/// No token is longer.
const TOKEN_LIMIT: usize = 256 << 10;

/// How long a token is good where its server does not say.
const TOKEN_LIFE: u64 = 60;

/// The scheme of RFC 7617.
const BASIC: &str = "Basic";

/// What servers of tokens are told who the program is.
const CLIENT: &str = "hwb";

/// What is sent so that a registry lets us in.
#[derive(Clone)]
pub(super) struct Grant {
    pub(super) header: HeaderValue,
    sent: Sent,
    until: Option<Instant>,
}

impl std::fmt::Debug for Grant {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Grant").field("sent", &self.sent).field("until", &self.until).finish_non_exhaustive()
    }
}

impl Grant {
    pub(super) fn new(scheme: &str, value: &str, sent: Sent) -> Option<Self> {
        let mut header: HeaderValue = format!("{scheme} {value}").parse().ok()?;
        header.set_sensitive(true);
        Some(Self { header, sent, until: None })
    }

    /// A user name and a password, as RFC 7617 has them.
    pub(super) fn basic(Login { user, password }: &Login, sent: Sent) -> Option<Self> {
        Self::new(BASIC, &STANDARD.encode(format!("{user}:{}", password.expose())), sent)
    }

    pub(super) fn is_good(&self) -> bool {
        self.until.is_none_or(|until| Instant::now() < until)
    }

    /// What of it is not to be shown, in any of its forms.
    fn secrets(&self) -> Vec<String> {
        let sent = self.header.to_str().ok().and_then(|header| header.split_once(' '));
        let Some((scheme, secret)) = sent else { return Vec::new() };
        let decoded = STANDARD.decode(secret).ok().filter(|_| scheme == BASIC);
        let login = decoded.and_then(|login| String::from_utf8(login).ok());
        let password = login.and_then(|login| login.split_once(':').map(|(_, password)| password.to_owned()));
        [secret.to_owned()].into_iter().chain(password).collect()
    }
}

/// An answer, and what was told to get it.
pub(super) struct Answered {
    pub(super) reply: Reply,
    pub(super) grant: Option<Grant>,
}

impl Answered {
    /// Gives the answer if it has one of these statuses, else says what it amounts to.
    pub(super) async fn expect(self, statuses: &[StatusCode]) -> Result<Reply, Failure> {
        if statuses.contains(&self.reply.status()) { Ok(self.reply) } else { Err(self.refusal().await) }
    }

    /// What an answer amounts to that is not the one that was hoped for.
    pub(super) async fn refusal(mut self) -> Failure {
        let (url, status, after) = (shown(&self.reply.url), self.reply.status(), self.reply.retry_after());
        let body = self.reply.explanation().await;
        let said = Said::read(&body, &self.grant.as_ref().map(Grant::secrets).unwrap_or_default());
        let sent = self.grant.map_or(Sent::Nothing, |grant| grant.sent);
        match status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Failure::Unauthorized { url, sent, said },
            StatusCode::NOT_FOUND | StatusCode::GONE => Failure::Missing { url, said },
            StatusCode::TOO_MANY_REQUESTS => Failure::TooMany { url, after, sent, said },
            status => Failure::Status { url, status, after, said },
        }
    }
}

/// What a server of tokens is asked.
pub(super) struct TokenRequest<'a> {
    /// Its URL.
    pub(super) realm: &'a str,
    pub(super) service: Option<&'a str>,
    pub(super) scopes: BTreeSet<String>,
    pub(super) identity: Option<Identity>,
    pub(super) sent: Sent,
}

#[derive(Deserialize)]
struct TokenReply {
    token: Option<String>,
    access_token: Option<String>,
    expires_in: Option<u64>,
}

impl TokenRequest<'_> {
    /// Gets a token from the server that a registry names.
    pub(super) async fn send(mut self, wire: &Wire, registry: &Base) -> Result<Grant, Failure> {
        let url = hop(&registry.url, self.realm)?;
        let (shown, sent) = (shown(&url), self.sent.clone());
        let realm = Base { url, trust: registry.trust.clone() };
        let failed = |source| Failure::Token { realm: shown.clone(), source: Box::new(source) };
        let asked = match self.identity.take() {
            Some(Identity::Refresh(token)) => self.ask_by_form(wire, &realm, &token).await,
            identity => self.ask_by_query(wire, &realm, identity).await,
        };
        let mut answered = asked.map_err(failed)?;
        if answered.reply.status() != StatusCode::OK {
            return Err(failed(answered.refusal().await));
        }
        let body = answered.reply.read(TOKEN_LIMIT).await.map_err(failed)?;
        let reply: Option<TokenReply> = body.and_then(|body| serde_json::from_slice(&body).ok());
        let life = reply.as_ref().and_then(|reply| reply.expires_in).unwrap_or(TOKEN_LIFE);
        let token = reply.and_then(|TokenReply { token, access_token, .. }| {
            token.or(access_token).filter(|token| !token.is_empty())
        });
        let grant = token.and_then(|token| Grant::new("Bearer", &token, sent));
        let Some(grant) = grant else {
            let what = "has no token in it".to_owned();
            return Err(Failure::Nonsense { url: shown, what });
        };
        // A request takes a while, and clocks differ.
        let life = Duration::from_secs(life.saturating_sub((life / 10).min(10)).min(24 * 60 * 60));
        Ok(Grant { until: Some(Instant::now() + life), ..grant })
    }

    /// Asks as RFC 6749 has it, which identity tokens are for.
    async fn ask_by_form(self, wire: &Wire, realm: &Base, token: &Secret) -> Result<Answered, Failure> {
        let scopes = self.scopes.into_iter().collect::<Vec<_>>().join(" ");
        let fixed = [("grant_type", "refresh_token"), ("client_id", CLIENT), ("scope", &scopes)];
        let service = self.service.map(|service| ("service", service));
        let form = encode(fixed.into_iter().chain(service).chain([("refresh_token", token.expose())]));
        let ask = Ask::new(Method::POST, realm.url.clone())
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
            .payload(Payload::Bytes(form.as_bytes()));
        let reply = wire.send(&ask, realm, None).await?;
        // What was sent is not to be shown, wherever in the request it was.
        Ok(Answered { reply, grant: Grant::new("Form", token.expose(), self.sent) })
    }

    /// Asks as Docker always did, with a password or as nobody.
    async fn ask_by_query(
        self,
        wire: &Wire,
        realm: &Base,
        identity: Option<Identity>,
    ) -> Result<Answered, Failure> {
        let service = self.service.map(|service| ("service", service));
        let scopes = self.scopes.iter().map(|scope| ("scope", scope.as_str()));
        let query = encode(service.into_iter().chain(scopes));
        let mut url = realm.url.clone();
        let query = [url.query().unwrap_or_default(), &query];
        let query = query.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("&");
        url.set_query(Some(&query));
        let grant = match identity {
            Some(Identity::Login(login)) => Grant::basic(&login, self.sent),
            _ => None,
        };
        let header = grant.as_ref().map(|grant| &grant.header);
        let reply = wire.send(&Ask::new(Method::GET, url), realm, header).await?;
        Ok(Answered { reply, grant })
    }
}

/// Names and values, as queries and forms have them.
fn encode<'t>(pairs: impl IntoIterator<Item = (&'t str, &'t str)>) -> String {
    let escaped = |text| utf8_percent_encode(text, NON_ALPHANUMERIC);
    let pair = |(name, value)| format!("{name}={}", escaped(value));
    pairs.into_iter().map(pair).collect::<Vec<_>>().join("&")
}
