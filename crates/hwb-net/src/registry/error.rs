//! Why a registry did not do what it was asked for, and what may help.

use std::fmt;
use std::io;
use std::time::Duration;

use hwb_ident::{Digest, ImageReference};
use hwb_oci::ParseError;
use hwb_oci::manifest::ChooseError;
use reqwest::StatusCode;

use super::credentials::{CredentialError, CredentialOrigin};
use super::endpoint::ParsePlaceError;
use super::said::Said;

/// Failure of one operation.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// Nothing can be asked at all.
    #[error("cannot set up the client of registries")]
    Setup(#[source] Box<Failure>),
    /// An image, or a part of it, did not come.
    #[error("Failed to pull image `{}`", reference.familiar())]
    Pull {
        /// The image.
        reference: Box<ImageReference>,
        /// Why.
        source: Box<Failure>,
    },
    /// An image, or a part of it, was not taken.
    #[error("Failed to push image `{}`", reference.familiar())]
    Push {
        /// The image.
        reference: Box<ImageReference>,
        /// Why.
        source: Box<Failure>,
    },
    /// Credentials cannot be forgotten.
    #[error("failed to log out of `{registry}`")]
    Logout {
        /// The registry.
        registry: String,
        /// Why.
        source: Box<Failure>,
    },
    /// A user name and a password were not accepted, or could not be tried.
    #[error("failed to log in to `{registry}`")]
    Login {
        /// The registry.
        registry: String,
        /// Why.
        source: Box<Failure>,
    },
}

/// Why one request, with everything that belongs to it, failed.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// Somebody set the cancel.
    #[error("it was interrupted")]
    Cancelled,
    /// Something that the client is made of is missing.
    #[error("cannot {action}")]
    Client {
        /// What was attempted.
        action: String,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// No connection, or none that can be trusted.
    #[error("cannot reach `{url}`")]
    Unreachable {
        /// What was asked for.
        url: String,
        /// Why.
        source: reqwest::Error,
    },
    /// The connection did not last.
    #[error("the connection to `{url}` broke")]
    Broken {
        /// What was asked for.
        url: String,
        /// Why.
        source: reqwest::Error,
    },
    /// The body ended early.
    #[error("`{url}` sent {came} of {wanted} bytes")]
    Short {
        /// What was asked for.
        url: String,
        /// Bytes that came.
        came: u64,
        /// Bytes that should have come.
        wanted: u64,
    },
    /// Nothing came, or nothing could be sent.
    #[error("`{url}` did nothing for {} seconds", limit.as_secs_f32())]
    Stalled {
        /// What was asked for.
        url: String,
        /// How long it was waited for.
        limit: Duration,
    },
    /// There is no such thing.
    #[error("`{url}` does not exist{said}")]
    Missing {
        /// What was asked for.
        url: String,
        /// What the registry says.
        said: Said,
    },
    /// The registry wants to know who asks, or does not like the answer.
    #[error("`{url}` was refused{said}; {sent}")]
    Unauthorized {
        /// What was asked for.
        url: String,
        /// What it was told.
        sent: Sent,
        /// What it says.
        said: Said,
    },
    /// Too many requests were made.
    #[error("`{url}` takes no more requests for now{said}; {sent}")]
    TooMany {
        /// What was asked for.
        url: String,
        /// How long it wants not to be asked.
        after: Option<Duration>,
        /// What it was told.
        sent: Sent,
        /// What it says.
        said: Said,
    },
    /// Another answer than was hoped for.
    #[error("`{url}` answered {status}{said}")]
    Status {
        /// What was asked for.
        url: String,
        /// The status.
        status: StatusCode,
        /// How long it wants not to be asked.
        after: Option<Duration>,
        /// What it says.
        said: Said,
    },
    /// The answer lacks something, or makes no sense.
    #[error("the answer of `{url}` {what}")]
    Nonsense {
        /// What was asked for.
        url: String,
        /// What is wrong with it.
        what: String,
    },
    /// The registry, as somebody named it, is none.
    #[error(transparent)]
    Place(#[from] ParsePlaceError),
    /// The registry wants an authentication of another kind.
    #[error("`{url}` asks for an authentication that hwb does not know")]
    Challenge {
        /// What was asked for.
        url: String,
    },
    /// No token.
    #[error("cannot get a token from `{realm}`")]
    Token {
        /// The server of tokens.
        realm: String,
        /// Why.
        source: Box<Self>,
    },
    /// What is known about who asks cannot be used.
    #[error(transparent)]
    Credentials(#[from] CredentialError),
    /// It is sent from one place to the next.
    #[error("`{url}` was redirected more than {limit} times")]
    Redirects {
        /// What was asked for.
        url: String,
        /// How often is often enough.
        limit: usize,
    },
    /// It is sent to where it will not go.
    #[error("`{url}` is redirected to `{to}`, which is not followed: {why}")]
    Redirect {
        /// What was asked for.
        url: String,
        /// Where it was to go.
        to: String,
        /// What is wrong with that.
        why: &'static str,
    },
    /// Other bytes came.
    #[error("`{url}` sent what has the digest {came}, not {wanted}")]
    WrongDigest {
        /// What was asked for.
        url: String,
        /// The digest that was asked for.
        wanted: Digest,
        /// The digest of what came.
        came: Digest,
    },
    /// The reference names other bytes.
    #[error("what is to be pushed has the digest {came}, not {wanted}, by which it is named")]
    Pinned {
        /// The digest in the reference.
        wanted: Digest,
        /// The digest of what is to be pushed.
        came: Digest,
    },
    /// More or other bytes than there should be.
    #[error("`{url}` sends {came} where {wanted} bytes should come")]
    WrongSize {
        /// What was asked for.
        url: String,
        /// How many there should be.
        wanted: u64,
        /// How many are announced, or that it does not end.
        came: Size,
    },
    /// A manifest or config is not right.
    #[error("`{url}` is not usable")]
    Document {
        /// What was asked for.
        url: String,
        /// Why.
        source: ParseError,
    },
    /// There is no image for this platform.
    #[error(transparent)]
    Platform(#[from] ChooseError),
    /// What came cannot be written.
    #[error("cannot write what was downloaded")]
    Write(#[source] io::Error),
    /// What is to be uploaded cannot be read.
    #[error("cannot read what is to be uploaded")]
    Read(#[source] io::Error),
}

/// How much an answer has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Size {
    /// So many bytes.
    Bytes(u64),
    /// More than it should.
    More,
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bytes(count) => write!(f, "{count}"),
            Self::More => f.write_str("more"),
        }
    }
}

/// What a server was told about who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sent {
    /// Nothing.
    Nothing,
    /// Credentials from here.
    From(CredentialOrigin),
}

impl fmt::Display for Sent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nothing => f.write_str("no credentials were sent"),
            Self::From(origin) => write!(f, "credentials were sent from {origin}"),
        }
    }
}

impl RegistryError {
    /// Why it failed.
    pub fn failure(&self) -> &Failure {
        match self {
            Self::Setup(source)
            | Self::Pull { source, .. }
            | Self::Push { source, .. }
            | Self::Login { source, .. }
            | Self::Logout { source, .. } => source,
        }
    }

    /// What may help, as one sentence.
    pub fn hint(&self) -> Option<&'static str> {
        self.failure().hint(self)
    }
}

impl Failure {
    fn hint(&self, operation: &RegistryError) -> Option<&'static str> {
        Some(match self {
            Self::Unreachable { .. } => {
                "check the registry's name, the network and the proxy; a registry without TLS or with a certificate of its own must be named under `[registries]`"
            }
            Self::Broken { .. } | Self::Short { .. } | Self::Stalled { .. } => "try again",
            Self::Missing { .. } if matches!(operation, RegistryError::Pull { .. }) => {
                "check the image's name and tag; private images may look missing without `hwb image login`"
            }
            Self::Unauthorized { sent: Sent::Nothing, .. } => {
                "`hwb image login` keeps credentials for a registry; without them, what does not exist may look private"
            }
            Self::Unauthorized { sent: Sent::From(_), .. } => {
                "check that these credentials are still good and allow this; `hwb image login` replaces them"
            }
            Self::TooMany { sent: Sent::Nothing, .. } => {
                "wait, or log in with `hwb image login`: registries allow more to whom they know"
            }
            Self::TooMany { .. } => "wait a while, or set up a mirror under `[registries]`",
            Self::Token { source, .. } => return source.hint(operation),
            Self::Credentials(error) => return error.hint(),
            Self::WrongDigest { .. } | Self::WrongSize { .. } => {
                "something between here and the registry changes what it sends, or the registry is damaged: try another mirror or network"
            }
            Self::Platform(_) => "ask for one of these with `--platform`",
            Self::Status { status, .. } if *status == StatusCode::PAYLOAD_TOO_LARGE => {
                "a proxy limits the size of a request: set `upload-chunk` under `[registries]`"
            }
            _ => return None,
        })
    }

    /// Whether asking again may help.
    pub(super) fn is_transient(&self) -> bool {
        match self {
            Self::Unreachable { source, .. } => !is_about_certificates(source),
            Self::Broken { .. } | Self::Short { .. } | Self::Stalled { .. } | Self::TooMany { .. } => true,
            Self::Status { status, .. } => {
                status.is_server_error() && *status != StatusCode::NOT_IMPLEMENTED
                    || *status == StatusCode::REQUEST_TIMEOUT
            }
            Self::Token { source, .. } => source.is_transient(),
            _ => false,
        }
    }

    /// Whether there was no connection.
    pub(super) fn is_unreachable(&self) -> bool {
        match self {
            Self::Unreachable { .. } => true,
            Self::Token { source, .. } => source.is_unreachable(),
            _ => false,
        }
    }

    /// Whether the trouble is ours, so that another registry would not help.
    pub(super) fn is_ours(&self) -> bool {
        matches!(self, Self::Cancelled | Self::Write(_) | Self::Read(_))
    }

    /// How long the registry wants not to be asked.
    pub(super) fn after(&self) -> Option<Duration> {
        match self {
            Self::TooMany { after, .. } | Self::Status { after, .. } => *after,
            Self::Token { source, .. } => source.after(),
            _ => None,
        }
    }
}

/// Whether a connection failed because nobody vouches for the server: it will not be otherwise the next time.
pub(super) fn is_about_certificates(error: &reqwest::Error) -> bool {
    let mut source = std::error::Error::source(error);
    while let Some(error) = source {
        if error.to_string().contains("invalid peer certificate") {
            return true;
        }
        source = error.source();
    }
    false
}
