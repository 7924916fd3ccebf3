//! A repository at a registry, spoken to as somebody.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use reqwest::{Method, StatusCode, Url};
use tokio::sync::{Mutex, OnceCell};

use super::challenge::Challenge;
use super::credentials::{CredentialOrigin, Credentials, Identity, Login};
use super::endpoint::{Candidate, Endpoint, candidates};
use super::error::{Failure, Sent, is_about_certificates};
use super::grant::{Answered, Grant, TokenRequest};
use super::message::{Ask, Base, is_same_server, shown};
use super::settings::Upload;
use super::{Registry, Tries};

/// What is known of one registry.
#[derive(Debug, Default)]
pub(super) struct Host {
    base: OnceCell<Base>,
    access: Mutex<Access>,
    /// Whether it could not be reached; as a mirror it is then left alone.
    given_up: AtomicBool,
}

impl Host {
    pub(super) fn give_up(&self) {
        self.given_up.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_given_up(&self) -> bool {
        self.given_up.load(Ordering::Relaxed)
    }
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
    registry: &'a Registry<'a>,
    host: Arc<Host>,
    endpoint: &'a Endpoint,
    action: Action<'a>,
    base: Base,
}

impl<'a> Contact<'a> {
    /// Finds out where a registry answers.
    pub(super) async fn make(
        registry: &'a Registry<'a>,
        host: Arc<Host>,
        endpoint: &'a Endpoint,
        action: Action<'a>,
    ) -> Result<Self, Failure> {
        let base = host.base.get_or_try_init(|| find(registry, &endpoint.host)).await?.clone();
        Ok(Self { registry, host, endpoint, action, base })
    }

    /// Tries something until it succeeds or it makes no sense to go on.
    pub(super) async fn persist<T>(
        &self,
        attempt: impl AsyncFnMut() -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        self.registry.persist(self.endpoint.role, attempt).await
    }

    /// Waits before something is tried again that may then succeed.
    pub(super) async fn pause(&self, tries: &mut Tries, failure: Failure) -> Result<(), Failure> {
        self.registry.pause(self.endpoint.role, tries, failure).await
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
        url.set_path(&format!("/v2/{}/{rest}", self.endpoint.repository));
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
            (Challenge::Basic, Some(Identity::Login(login))) => Grant::basic(&login, sent),
            (Challenge::Basic, Some(Identity::Refresh(_)) | None) => None,
            (Challenge::Bearer { realm, service, scope }, identity) => {
                let scopes = self.scopes().into_iter().chain(scope.clone()).collect();
                let request = TokenRequest { realm, service: service.as_deref(), scopes, identity, sent };
                Some(request.send(&self.registry.wire, &self.base).await?)
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
        if let Some(known) = access.credentials.get(&self.endpoint.repository) {
            return Ok(known.clone());
        }
        let sources = &self.registry.settings.credentials;
        let found =
            sources.find(&self.endpoint.host, &self.endpoint.repository, self.registry.wire.cancel())?;
        access.credentials.insert(self.endpoint.repository.clone(), found.clone());
        Ok(found)
    }

    /// The rights that are asked for, as servers of tokens name them.
    fn scopes(&self) -> Vec<String> {
        match self.action {
            Action::Pull => vec![format!("repository:{}:pull", self.endpoint.repository)],
            Action::Push { from } => {
                let own = format!("repository:{}:pull,push", self.endpoint.repository);
                let other = from.map(|from| format!("repository:{from}:pull"));
                [own].into_iter().chain(other).collect()
            }
            Action::Enter(_) => Vec::new(),
        }
    }

    fn key(&self) -> String {
        self.scopes().join(" ")
    }
}

/// Finds where a registry answers; asks only where there is a choice.
async fn find(registry: &Registry<'_>, name: &str) -> Result<Base, Failure> {
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
