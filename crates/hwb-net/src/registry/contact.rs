//! A repository at a registry, spoken to as somebody.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::header::{CONTENT_TYPE, HeaderValue};
use reqwest::{Method, StatusCode, Url};
use serde::Deserialize;
use tokio::sync::{Mutex, OnceCell};

use super::challenge::Challenge;
use super::credentials::{CredentialOrigin, Credentials, Identity, Login};
use super::endpoint::{Candidate, Endpoint, candidates};
use super::error::{Failure, Sent, is_about_certificates};
use super::said::Said;
use super::settings::Upload;
use super::wire::{Ask, Base, Payload, Reply, hop, is_same_server, shown};
use super::{Registry, Tries};

/// No token is longer.
const TOKEN_LIMIT: usize = 256 << 10;

/// How long a token is good where its server does not say.
const TOKEN_LIFE: u64 = 60;

/// What servers of tokens are told who the program is.
const CLIENT: &str = "hwb";

/// What is known of one registry.
#[derive(Debug, Default)]
pub(super) struct Host {
    base: OnceCell<Base>,
    access: Mutex<Access>,
}

/// How a registry lets us in.
#[derive(Debug, Default)]
struct Access {
    /// What it asked for the last time, without the scope.
    challenge: Option<Challenge>,
    /// What was got for which scopes.
    grants: BTreeMap<String, Grant>,
    /// What is known about who asks, by repository.
    credentials: BTreeMap<String, Option<Credentials>>,
}

/// What is sent so that a registry lets us in.
#[derive(Clone)]
pub(super) struct Grant {
    header: HeaderValue,
    sent: Sent,
    until: Option<Instant>,
}

impl std::fmt::Debug for Grant {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Grant").field("sent", &self.sent).field("until", &self.until).finish_non_exhaustive()
    }
}

impl Grant {
    fn new(scheme: &str, value: &str, sent: Sent) -> Option<Self> {
        let mut header: HeaderValue = format!("{scheme} {value}").parse().ok()?;
        header.set_sensitive(true);
        Some(Self { header, sent, until: None })
    }

    fn is_good(&self) -> bool {
        self.until.is_none_or(|until| Instant::now() < until)
    }

    /// The part of the header that is secret.
    fn secret(&self) -> Option<&str> {
        self.header.to_str().ok()?.split_once(' ').map(|(_, secret)| secret)
    }
}

/// What is to be done with a repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Action<'a> {
    Pull,
    Push {
        /// A repository from which something may be taken over.
        from: Option<&'a str>,
    },
    /// Nothing but to be let in.
    Enter(&'a Login),
}

/// A repository at a registry, spoken to as somebody.
pub(super) struct Contact<'a> {
    registry: &'a Registry,
    host: Arc<Host>,
    pub(super) name: &'a str,
    repository: &'a str,
    action: Action<'a>,
    base: Base,
}

/// An answer, and what was told to get it.
pub(super) struct Answered {
    pub(super) reply: Reply,
    grant: Option<Grant>,
}

#[derive(Deserialize)]
struct TokenReply {
    token: Option<String>,
    access_token: Option<String>,
    expires_in: Option<u64>,
}

impl<'a> Contact<'a> {
    /// Finds out where a registry answers.
    pub(super) async fn make(
        registry: &'a Registry,
        host: Arc<Host>,
        endpoint: &'a Endpoint,
        action: Action<'a>,
    ) -> Result<Self, Failure> {
        let (name, repository) = (endpoint.host.as_str(), endpoint.repository.as_str());
        let base = host.base.get_or_try_init(|| find(registry, name)).await?.clone();
        Ok(Self { registry, host, name, repository, action, base })
    }

    /// Tries something until it succeeds or it makes no sense to go on.
    pub(super) async fn persist<T>(
        &self,
        attempt: impl AsyncFnMut() -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        self.registry.persist(attempt).await
    }

    /// Waits before something is tried again that may then succeed.
    pub(super) async fn pause(&self, tries: &mut Tries, failure: Failure) -> Result<(), Failure> {
        self.registry.pause(tries, failure).await
    }

    /// Waits before something is tried again.
    pub(super) async fn wait(&self, tries: &mut Tries, failure: Failure) -> Result<(), Failure> {
        self.registry.wait(tries, failure).await
    }

    /// How blobs are uploaded.
    pub(super) const fn upload(&self) -> Upload {
        self.registry.settings.upload
    }

    /// The URL of something of the repository: `manifests/latest`.
    pub(super) fn url(&self, rest: &str) -> Url {
        let mut url = self.base.url.clone();
        // A name of an image has no character that would have to be escaped.
        url.set_path(&format!("/v2/{}/{rest}", self.repository));
        url
    }

    /// The URL at which every registry answers.
    pub(super) fn root(&self) -> Url {
        let mut url = self.base.url.clone();
        url.set_path("/v2/");
        url
    }

    /// Sends a request, and says who asks if that is asked.
    pub(super) async fn ask(&self, ask: &Ask<'_>) -> Result<Answered, Failure> {
        let wire = &self.registry.wire;
        let grant = self.known().await?;
        let reply = wire.send(ask, &self.base, grant.as_ref().map(|grant| &grant.header)).await?;
        let answered = Answered { reply, grant };
        let is_home = is_same_server(&answered.reply.url, &self.base.url);
        if answered.reply.status() != StatusCode::UNAUTHORIZED || !is_home {
            return Ok(answered);
        }
        let Some(challenge) = Challenge::choose(answered.reply.headers()) else {
            return Err(Failure::Challenge { url: shown(&answered.reply.url) });
        };
        let mut access = self.host.access.lock().await;
        let Some(grant) = self.obtain(&mut access, challenge, answered.grant.as_ref()).await? else {
            return Ok(answered);
        };
        drop(access);
        let reply = wire.send(ask, &self.base, Some(&grant.header)).await?;
        Ok(Answered { reply, grant: Some(grant) })
    }

    /// What is to be sent, as far as the registry has said already what it wants.
    async fn known(&self) -> Result<Option<Grant>, Failure> {
        let mut access = self.host.access.lock().await;
        if let Some(grant) = access.grants.get(&self.key()).filter(|grant| grant.is_good()) {
            return Ok(Some(grant.clone()));
        }
        match access.challenge.clone() {
            Some(challenge) => self.obtain(&mut access, challenge, None).await,
            None => Ok(None),
        }
    }

    /// Gets what a challenge asks for; `None` if there is nothing to say beyond what was `refused`.
    async fn obtain(
        &self,
        access: &mut Access,
        challenge: Challenge,
        refused: Option<&Grant>,
    ) -> Result<Option<Grant>, Failure> {
        let key = self.key();
        // Another thread was faster.
        let other = access.grants.get(&key).filter(|grant| grant.is_good());
        if let Some(grant) =
            other.filter(|grant| refused.is_none_or(|refused| refused.header != grant.header))
        {
            return Ok(Some(grant.clone()));
        }
        let credentials = self.credentials(access)?;
        let sent = credentials.as_ref().map_or(Sent::Nothing, |known| Sent::From(known.origin.clone()));
        let identity = credentials.map(|known| known.identity);
        let grant = match (&challenge, identity) {
            (_, Some(Identity::Bearer(token))) => Grant::new("Bearer", token.expose(), sent),
            (Challenge::Basic, Some(Identity::Login(login))) => Grant::new("Basic", &basic(&login), sent),
            (Challenge::Basic, Some(Identity::Refresh(_)) | None) => None,
            (Challenge::Bearer { realm, service, scope }, identity) => {
                let scopes = self.scopes().into_iter().chain(scope.clone()).collect();
                let request = TokenRequest { realm, service: service.as_deref(), scopes, identity, sent };
                Some(self.token(request).await?)
            }
        };
        access.challenge = Some(challenge.without_scope());
        let grant = grant.filter(|grant| refused.is_none_or(|refused| refused.header != grant.header));
        match &grant {
            Some(grant) => access.grants.insert(key, grant.clone()),
            None => access.grants.remove(&key),
        };
        Ok(grant)
    }

    /// What is known about who asks; looked up once.
    fn credentials(&self, access: &mut Access) -> Result<Option<Credentials>, Failure> {
        if let Action::Enter(login) = self.action {
            let identity = Identity::Login(login.clone());
            return Ok(Some(Credentials { identity, origin: CredentialOrigin::Given }));
        }
        if let Some(known) = access.credentials.get(self.repository) {
            return Ok(known.clone());
        }
        let sources = &self.registry.settings.credentials;
        let found = sources.find(self.name, self.repository, self.registry.wire.cancel())?;
        access.credentials.insert(self.repository.to_owned(), found.clone());
        Ok(found)
    }

    /// The rights that are asked for, as servers of tokens name them.
    fn scopes(&self) -> Vec<String> {
        match self.action {
            Action::Pull => vec![format!("repository:{}:pull", self.repository)],
            Action::Push { from } => {
                let own = format!("repository:{}:pull,push", self.repository);
                let other = from.map(|from| format!("repository:{from}:pull"));
                [own].into_iter().chain(other).collect()
            }
            Action::Enter(_) => Vec::new(),
        }
    }

    fn key(&self) -> String {
        self.scopes().join(" ")
    }

    /// Gets a token from the server that the registry names.
    async fn token(&self, request: TokenRequest<'_>) -> Result<Grant, Failure> {
        let realm = hop(&self.base.url, request.realm)?;
        let (shown, sent) = (shown(&realm), request.sent.clone());
        let failed = |source| Failure::Token { realm: shown.clone(), source: Box::new(source) };
        let mut answered = self.exchange(realm, request).await.map_err(failed)?;
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

    /// Asks for a token: by `GET`, or with an identity token by a form, as RFC 6749 has it.
    async fn exchange(&self, mut realm: Url, request: TokenRequest<'_>) -> Result<Answered, Failure> {
        let TokenRequest { service, scopes, identity, sent, .. } = request;
        let service = service.map(|service| ("service", service));
        let wire = &self.registry.wire;
        let home = |url: &Url| Base { url: url.clone(), trust: self.base.trust.clone() };
        if let Some(Identity::Refresh(token)) = &identity {
            let scopes = scopes.into_iter().collect::<Vec<_>>().join(" ");
            let fixed = [("grant_type", "refresh_token"), ("client_id", CLIENT), ("scope", &scopes)];
            let pairs = fixed.into_iter().chain(service).chain([("refresh_token", token.expose())]);
            let form = encode(pairs);
            let ask = Ask::new(Method::POST, realm.clone())
                .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
                .payload(Payload::Bytes(form.as_bytes()));
            let reply = wire.send(&ask, &home(&realm), None).await?;
            return Ok(Answered { reply, grant: Grant::new("Form", token.expose(), sent) });
        }
        let scopes = scopes.iter().map(|scope| ("scope", scope.as_str()));
        let query = encode(service.into_iter().chain(scopes));
        let query = [realm.query().unwrap_or_default(), &query];
        let query = query.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("&");
        realm.set_query(Some(&query));
        let grant = match identity {
            Some(Identity::Login(login)) => Grant::new("Basic", &basic(&login), sent),
            _ => None,
        };
        let ask = Ask::new(Method::GET, realm.clone());
        let reply = wire.send(&ask, &home(&realm), grant.as_ref().map(|grant| &grant.header)).await?;
        Ok(Answered { reply, grant })
    }
}

/// What a server of tokens is asked.
struct TokenRequest<'a> {
    realm: &'a str,
    service: Option<&'a str>,
    scopes: BTreeSet<String>,
    identity: Option<Identity>,
    sent: Sent,
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
        let said = Said::read(&body, self.grant.as_ref().and_then(Grant::secret));
        let sent = self.grant.map_or(Sent::Nothing, |grant| grant.sent);
        match status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Failure::Unauthorized { url, sent, said },
            StatusCode::NOT_FOUND | StatusCode::GONE => Failure::Missing { url, said },
            StatusCode::TOO_MANY_REQUESTS => Failure::TooMany { url, after, sent, said },
            status => Failure::Status { url, status, after, said },
        }
    }
}

/// Finds where a registry answers; asks only where there is a choice.
async fn find(registry: &Registry, name: &str) -> Result<Base, Failure> {
    let all = candidates(name, registry.settings.transports.get(name));
    let mut first = None;
    for Candidate { url, trust } in &all {
        let Ok(url) = Url::parse(url) else {
            return Err(Failure::Nonsense { url: url.clone(), what: "cannot come: it is no URL".to_owned() });
        };
        let base = Base { url, trust: trust.clone() };
        if all.len() == 1 {
            return Ok(base);
        }
        let mut root = base.url.clone();
        root.set_path("/v2/");
        match registry.wire.send(&Ask::new(Method::GET, root), &base, None).await {
            // A server with TLS says so to whoever comes without.
            Ok(reply) if base.url.scheme() == "http" && reply.status() == StatusCode::BAD_REQUEST => {}
            Ok(_) => return Ok(base),
            // Whoever speaks TLS and is not known is not spoken to without.
            Err(Failure::Unreachable { url, source }) if is_about_certificates(&source) => {
                return Err(Failure::Unreachable { url, source });
            }
            // A machine without certificates may still have a registry of its own.
            Err(failure @ (Failure::Unreachable { .. } | Failure::Client { .. })) => {
                first.get_or_insert(failure);
            }
            Err(failure) => return Err(failure),
        }
    }
    let url = name.to_owned();
    Err(first.unwrap_or_else(|| Failure::Nonsense { url, what: "is not that of a registry".to_owned() }))
}

fn basic(Login { user, password }: &Login) -> String {
    STANDARD.encode(format!("{user}:{}", password.expose()))
}

/// Names and values, as queries and forms have them.
fn encode<'t>(pairs: impl IntoIterator<Item = (&'t str, &'t str)>) -> String {
    let escaped = |text| utf8_percent_encode(text, NON_ALPHANUMERIC);
    let pair = |(name, value)| format!("{name}={}", escaped(value));
    pairs.into_iter().map(pair).collect::<Vec<_>>().join("&")
}
