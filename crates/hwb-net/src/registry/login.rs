//! To be known to a registry, and to be forgotten.

use std::path::Path;
use std::sync::Arc;

use reqwest::{Method, StatusCode};

use super::Registry;
use super::contact::{Action, Contact, Host};
use super::credentials::{CredentialOrigin, Login, normal};
use super::endpoint::{Endpoint, Role, place};
use super::error::{Failure, RegistryError};
use super::message::Ask;

impl Registry<'_> {
    /// Tries a user name and a password at a registry, and keeps them in `file` (one of the form of Docker's
    /// `config.json`), or with the helper that it names. Says where they are now.
    ///
    /// They may be for some repositories only: `quay.io/pypa` is a registry in this sense too.
    ///
    /// # Errors
    ///
    /// [`RegistryError::Login`]; then nothing is kept.
    pub fn login(
        &self,
        registry: &str,
        login: &Login,
        file: &Path,
    ) -> Result<CredentialOrigin, RegistryError> {
        let attempt = || {
            let name = place(&normal(registry))?;
            let host = name.split('/').next().unwrap_or_default();
            self.wire.block_on(self.persist(Role::Origin, async || self.enter(host, login).await))?;
            Ok(self.settings.credentials.store(file, &name, login, self.wire.cancel())?)
        };
        attempt().map_err(|failure: Failure| RegistryError::Login {
            registry: registry.to_owned(),
            source: failure.into(),
        })
    }

    /// Forgets the credentials of a registry, wherever they are. Says where some were.
    ///
    /// # Errors
    ///
    /// [`RegistryError::Logout`] if a file or a helper fails.
    pub fn logout(&self, registry: &str) -> Result<Vec<CredentialOrigin>, RegistryError> {
        let attempt = || {
            let name = place(&normal(registry))?;
            Ok(self.settings.credentials.erase(&name, self.wire.cancel())?)
        };
        attempt().map_err(|failure: Failure| RegistryError::Logout {
            registry: registry.to_owned(),
            source: failure.into(),
        })
    }

    async fn enter(&self, host: &str, login: &Login) -> Result<(), Failure> {
        let endpoint = Endpoint { host: host.to_owned(), repository: String::new(), role: Role::Origin };
        // What is known of the registry was got as somebody else.
        let contact = Contact::make(self, Arc::<Host>::default(), &endpoint, Action::Enter(login)).await?;
        let answered = contact.ask(&Ask::new(Method::GET, contact.root())).await?;
        answered.expect(&[StatusCode::OK]).await.map(drop)
    }
}
