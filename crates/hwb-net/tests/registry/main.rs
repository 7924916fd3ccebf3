//! Images from and to a registry on loopback that misbehaves when it is told to.

#![expect(clippy::unwrap_used, reason = "helpers of tests are not tests to clippy")]

mod access;
mod pull;
mod push;

use std::collections::BTreeMap;
use std::error::Error as _;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hwb_ident::{Digest, ImagePlatform, ImageReference, Timestamp};
use hwb_net::registry::{
    CredentialSources, Patience, Proxies, Registry, RegistryError, RegistryEvent, RegistrySettings,
    RemoteImage, Transport, Upload,
};
use hwb_oci::{Descriptor, Dialect, ImageConfig, LayerCompression, Manifest, MediaType};
use hwb_sandbox::Cancel;
use hwb_testkit::registry::Registry as Server;

/// A layer; nothing here looks into one.
const LAYER: &[u8] = b"0123456789abcdefghijklmnopqrstuvwxyz";

/// A client, and what it told meanwhile.
struct Client {
    registry: Registry<'static>,
    events: Arc<Mutex<Vec<String>>>,
    cancel: Cancel,
}

impl Client {
    /// A client for the servers, which it speaks to by plain HTTP.
    fn of<'s>(servers: impl IntoIterator<Item = &'s Server>) -> Self {
        Self::with(settings(servers))
    }

    fn with(settings: RegistrySettings) -> Self {
        let events: Arc<Mutex<Vec<String>>> = Arc::default();
        let (told, cancel) = (Arc::clone(&events), Cancel::new().unwrap());
        let registry = Registry::open(settings, &cancel, move |event| {
            told.lock().unwrap().push(match event {
                RegistryEvent::Again { failure, .. } => format!("again: {failure}"),
                RegistryEvent::Elsewhere { failure, .. } => format!("elsewhere: {failure}"),
            });
        });
        Self { registry: registry.unwrap(), events, cancel }
    }

    /// How often something was asked for again, or elsewhere.
    fn events(&self) -> usize {
        self.events.lock().unwrap().len()
    }
}

fn settings<'s>(servers: impl IntoIterator<Item = &'s Server>) -> RegistrySettings {
    RegistrySettings {
        mirrors: Vec::new(),
        transports: servers
            .into_iter()
            .map(|server| (server.address().to_string(), Transport::Plain))
            .collect(),
        proxies: Proxies::default(),
        credentials: CredentialSources::default(),
        patience: Patience {
            attempts: 4,
            pause: Duration::ZERO,
            longest_pause: Duration::from_secs(2),
            ..Patience::default()
        },
        upload: Upload::Whole,
        user_agent: "hwb-test".to_owned(),
    }
}

/// An image at a server: its name there.
fn image(server: &Server, name: &str) -> ImageReference {
    format!("{}/{name}", server.address()).parse().unwrap()
}

fn layer_type() -> MediaType {
    MediaType::Layer(Dialect::Oci, LayerCompression::None)
}

/// The descriptor of [`LAYER`].
fn layer() -> Descriptor {
    Descriptor::of(layer_type(), LAYER)
}

/// The documents of an image with one layer: config and manifest.
fn documents(platform: &str) -> (Vec<u8>, Vec<u8>) {
    let platform: ImagePlatform = platform.parse().unwrap();
    let mut config = ImageConfig::new(&platform, Timestamp::from_seconds(0));
    config.rootfs.diff_ids.push(Digest::of(LAYER));
    let config = config.to_bytes();
    let manifest = Manifest {
        dialect: Dialect::Oci,
        config: Descriptor::of(MediaType::Config(Dialect::Oci), &config),
        layers: vec![layer()],
        annotations: BTreeMap::new(),
    };
    (config, manifest.to_bytes())
}

/// Puts an image with [`LAYER`] at a server; gives its digest.
fn put_image(server: &Server, repository: &str, tag: &str) -> String {
    let (config, manifest) = documents("linux/amd64");
    server.put_blob(repository, LAYER);
    server.put_blob(repository, config);
    server.put_manifest(repository, tag, MediaType::Manifest(Dialect::Oci).as_str(), &manifest)
}

/// Fetches all of an image but its layers.
fn fetch_image(client: &Client, reference: &ImageReference) -> Result<RemoteImage, RegistryError> {
    client.registry.image(reference, &"linux/amd64".parse().unwrap())
}

/// Opens some bytes, as an upload does.
fn opener(bytes: &'static [u8]) -> impl Fn(u64) -> io::Result<Box<dyn Read>> {
    move |from| Ok(Box::new(&bytes[usize::try_from(from).unwrap()..]))
}

/// What went wrong, with all reasons; the server's address and digests as words.
fn explain(error: &RegistryError, server: &Server) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(": ");
        text.push_str(&error.to_string());
        source = error.source();
    }
    text.replace(&server.address().to_string(), "HOST")
        .replace(&Digest::of(LAYER).to_string(), "LAYER")
        .replace(&Digest::of(LAYER).hex(), "LAYER")
}

/// A file of credentials.
fn auth_file(folder: &Path, text: &str) -> PathBuf {
    let path = folder.join("config.json");
    hwb_store::fs::write_atomic(&path, text.as_bytes()).unwrap();
    path
}
