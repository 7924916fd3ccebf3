//! Registries of container images, by the OCI distribution specification 1.1.
//!
//! [`Registry`] is a client of all of them. In reading order:
//!
//! - [`settings`]: how registries are reached: mirrors, transports, proxies, how long it is waited.
//! - `endpoint`: from the name of an image to the places where it may lie.
//! - [`credentials`]: who asks, from the files and programs of container tools.
//! - `message`: requests and answers; `wire`: the connections that they take.
//! - `challenge`, `grant`: what a registry asks for, and what is sent so that it lets us in.
//! - `contact`: a repository at a registry, spoken to as somebody.
//! - [`pull`], [`push`], [`login`]: what can be done.
//!
//! # What is believed
//!
//! Nothing that a registry says. A manifest has at most 4 MiB and the digest that it was asked for by; a blob has the
//! size and the digest of its descriptor, or it is an error and whoever takes the bytes is told so before he uses
//! them. A body that goes on is cut off. Encryption is never given up on the way: no answer leads from HTTPS to HTTP.
//! The addresses that a manifest names for its layers are not gone to.
//!
//! # Who hears a secret
//!
//! The server that asked for it, over the connection that the settings allow, and nobody to whom that server sends us.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hwb_sandbox::Cancel;

use self::contact::{Action, Contact, Host};
use self::endpoint::{Endpoint, Role};
use self::wire::Wire;

mod challenge;
mod contact;
pub mod credentials;
mod endpoint;
mod error;
mod grant;
pub mod login;
mod message;
pub mod pull;
pub mod push;
mod said;
mod secret;
pub mod settings;
mod wire;

pub use self::credentials::{CredentialError, CredentialOrigin, CredentialSources, Login};
pub use self::endpoint::{Mirror, ParsePlaceError};
pub use self::error::{Failure, RegistryError, Sent, Size};
pub use self::pull::RemoteImage;
pub use self::push::{BlobUpload, Pushed};
pub use self::said::Said;
pub use self::secret::Secret;
pub use self::settings::{Patience, Proxies, RegistrySettings, Transport, Upload};

/// What happens meanwhile.
#[derive(Debug)]
pub enum RegistryEvent<'a> {
    /// Something failed, and is asked for again.
    Again {
        /// Why.
        failure: &'a Failure,
        /// After this time.
        pause: Duration,
    },
    /// A mirror did not serve an image, which is asked for elsewhere.
    Elsewhere {
        /// The mirror.
        host: &'a str,
        /// Why.
        failure: &'a Failure,
    },
}

/// A client of all registries; several threads may use it at once. What happens meanwhile is told to somebody who lives
/// for `'e`.
pub struct Registry<'e> {
    settings: RegistrySettings,
    wire: Wire,
    hosts: Mutex<BTreeMap<String, Arc<Host>>>,
    events: Box<dyn Fn(RegistryEvent<'_>) + Send + Sync + 'e>,
}

impl std::fmt::Debug for Registry<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Registry").field("settings", &self.settings).finish_non_exhaustive()
    }
}

/// How often something was tried.
#[derive(Debug, Default)]
struct Tries(u32);

impl<'e> Registry<'e> {
    /// Makes a client. Nobody is asked anything yet.
    ///
    /// # Errors
    ///
    /// [`RegistryError::Setup`] if the process has no thread left.
    pub fn open(
        settings: RegistrySettings,
        cancel: &Cancel,
        events: impl Fn(RegistryEvent<'_>) + Send + Sync + 'e,
    ) -> Result<Self, RegistryError> {
        let wire = Wire::open(&settings, cancel).map_err(|failure| RegistryError::Setup(failure.into()))?;
        Ok(Self { settings, wire, hosts: Mutex::default(), events: Box::new(events) })
    }

    /// Gets in touch with a repository.
    async fn contact<'a>(
        &'a self,
        endpoint: &'a Endpoint,
        action: Action<'a>,
    ) -> Result<Contact<'a>, Failure> {
        Contact::make(self, self.host(&endpoint.host), endpoint, action).await
    }

    fn host(&self, name: &str) -> Arc<Host> {
        let mut hosts = self.hosts.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(hosts.entry(name.to_owned()).or_default())
    }

    /// Tries something until it succeeds, it makes no sense to go on, or it was tried often enough.
    async fn persist<T>(
        &self,
        role: Role,
        mut attempt: impl AsyncFnMut() -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let mut tries = Tries::default();
        loop {
            match attempt().await {
                Err(failure) => self.pause(role, &mut tries, failure).await?,
                done => return done,
            }
        }
    }

    /// Waits before something is tried again; gives a failure back that would only be repeated. A mirror that cannot
    /// be reached is not waited for: there is another place.
    async fn pause(&self, role: Role, tries: &mut Tries, failure: Failure) -> Result<(), Failure> {
        let is_needless = role == Role::Mirror && failure.is_unreachable();
        if failure.is_transient() && !is_needless { self.wait(tries, failure).await } else { Err(failure) }
    }

    /// Waits before something is tried again; gives the failure back if it was tried often enough.
    async fn wait(&self, tries: &mut Tries, failure: Failure) -> Result<(), Failure> {
        let Patience { attempts, pause, longest_pause, .. } = self.wire.patience;
        tries.0 += 1;
        let asked = failure.after().unwrap_or_default();
        if tries.0 >= attempts || asked > longest_pause {
            return Err(failure);
        }
        let doubled = pause.saturating_mul(1 << (tries.0 - 1).min(16));
        let pause = doubled.min(longest_pause).max(asked);
        (self.events)(RegistryEvent::Again { failure: &failure, pause });
        tokio::time::sleep(pause).await;
        Ok(())
    }
}
