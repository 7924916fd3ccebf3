//! Who is known to a registry.

use hwb_net::registry::{CredentialOrigin, Login, Secret};
use hwb_sandbox::Cancel;
use schemars::JsonSchema;
use serde::Serialize;

use super::{ImageFault, registry};
use crate::ambient::Ambient;
use crate::error::{Error, ErrorKind};
use crate::event::EventSink;
use crate::settings::Settings;

/// Who logs in, and where.
#[derive(Debug, Clone)]
pub struct LoginRequest {
    /// The registry, with or without the beginning of a repository.
    pub registry: String,
    /// The name.
    pub user: String,
    /// The password, or the token that stands for one.
    pub password: Secret,
}

/// What became of a login.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct LoginReport {
    /// The registry.
    pub registry: String,
    /// Who is known there now.
    pub user: String,
    /// Where the credentials are kept, for people.
    pub kept: String,
}

/// What became of a logout.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct LogoutReport {
    /// The registry.
    pub registry: String,
    /// Where credentials for it were, for people; empty if there were none.
    pub removed: Vec<String>,
}

/// Tries a user name and a password at a registry, and keeps them where Docker does.
///
/// # Errors
///
/// If they make no sense, are not accepted, or cannot be kept. Then nothing is kept.
pub fn login(
    settings: &Settings,
    ambient: &Ambient,
    cancel: &Cancel,
    request: LoginRequest,
    events: EventSink<'_>,
) -> Result<LoginReport, Error> {
    let LoginRequest { registry, user, password } = request;
    // A colon would end the name where it is sent, and nothing invisible belongs into a header.
    if user.is_empty() || user.contains(|letter: char| letter == ':' || letter.is_control()) {
        return Err(Error::new(ErrorKind::Usage, ImageFault::User(user)));
    }
    if password.expose().is_empty() {
        return Err(Error::new(ErrorKind::Usage, ImageFault::Password));
    }
    let client = registry::open(settings, ambient, cancel, events)?;
    let login = Login { user, password };
    let kept =
        client.login(&registry, &login, &registry::docker_config(ambient)).map_err(registry::failed)?;
    Ok(LoginReport { registry, user: login.user, kept: kept.to_string() })
}

/// Forgets the credentials of a registry, wherever container tools keep some.
///
/// # Errors
///
/// If a file or a credential helper fails.
pub fn logout(
    settings: &Settings,
    ambient: &Ambient,
    cancel: &Cancel,
    registry: &str,
    events: EventSink<'_>,
) -> Result<LogoutReport, Error> {
    let client = registry::open(settings, ambient, cancel, events)?;
    let removed = client.logout(registry).map_err(registry::failed)?;
    let removed = removed.iter().map(CredentialOrigin::to_string).collect();
    Ok(LogoutReport { registry: registry.to_owned(), removed })
}
