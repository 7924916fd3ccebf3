//! How registries are reached: values, which somebody else has looked up.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use hwb_ident::RedactedUrl;

use super::credentials::CredentialSources;
use super::endpoint::Mirror;

/// How registries are reached.
#[derive(Debug, Clone)]
pub struct RegistrySettings {
    /// Other places for what some registries have; asked before these.
    pub mirrors: Vec<Mirror>,
    /// How single registries are spoken to, by host with its port; the others by [`Transport::System`], and those of
    /// this machine by plain HTTP if they do not speak TLS.
    pub transports: BTreeMap<String, Transport>,
    /// What stands between.
    pub proxies: Proxies,
    /// Where it stands who asks.
    pub credentials: CredentialSources,
    /// How long answers are waited for.
    pub patience: Patience,
    /// How blobs are uploaded.
    pub upload: Upload,
    /// What the client calls itself.
    pub user_agent: String,
}

/// How one registry is spoken to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Transport {
    /// HTTPS, with the certificates that the system trusts. Where they are it says itself, or `SSL_CERT_FILE`.
    System,
    /// HTTPS, with those of this PEM file too.
    Authority(PathBuf),
    /// HTTPS with any certificate, or plain HTTP if it does not speak TLS: Docker's "insecure registries".
    Insecure,
    /// Plain HTTP.
    Plain,
}

/// Proxies, as the variables of the same names have them.
#[derive(Debug, Clone, Default)]
pub struct Proxies {
    /// `HTTP_PROXY`.
    pub http: Option<RedactedUrl>,
    /// `HTTPS_PROXY`.
    pub https: Option<RedactedUrl>,
    /// `NO_PROXY`: hosts, domains and networks, separated by commas.
    pub none: Option<String>,
}

/// How long answers are waited for, and how often they are asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Patience {
    /// Until a connection stands.
    pub connect: Duration,
    /// While nothing comes and nothing goes.
    pub stall: Duration,
    /// Until what was uploaded is acknowledged: registries read it again first.
    pub acknowledge: Duration,
    /// How often a request is made in all.
    pub attempts: u32,
    /// How long the first pause between two of them is; each further one is twice as long.
    pub pause: Duration,
    /// The longest pause, also where the registry asks for one.
    pub longest_pause: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(15),
            stall: Duration::from_secs(60),
            acknowledge: Duration::from_secs(300),
            attempts: 5,
            pause: Duration::from_millis(500),
            longest_pause: Duration::from_secs(60),
        }
    }
}

/// How blobs are uploaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Upload {
    /// Each in one request, which every registry takes. What is missing when that breaks goes in a second one, if the
    /// registry knows how far it came; Docker's own does not, and gets all of it again.
    #[default]
    Whole,
    /// In requests of so many bytes, for proxies that limit them. Not every registry takes these.
    Chunks(u64),
}
