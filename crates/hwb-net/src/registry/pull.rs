//! From a registry.

use std::io::{self, Write};

use hwb_ident::{Digest, Hasher, ImagePlatform, ImageReference};
use hwb_oci::{Descriptor, Document, ImageConfig, MAX_DOCUMENT, Manifest, MediaType};
use reqwest::header::{ACCEPT, CONTENT_RANGE, CONTENT_TYPE, HeaderName, RANGE};
use reqwest::{Method, StatusCode};

use super::contact::{Action, Contact};
use super::endpoint::{Endpoint, Role};
use super::error::{Failure, RegistryError, Size};
use super::message::{Ask, Reply, shown};
use super::{Registry, RegistryEvent, Tries};

/// What a registry says the digest of its answer is.
pub(super) const CONTENT_DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");

/// After so many bytes more it is no longer the same failure.
const PROGRESS: u64 = 1 << 20;

/// An image at a registry: everything but its layers.
#[derive(Debug, Clone)]
pub struct RemoteImage {
    /// What the reference leads to: the manifest itself, or an index that has it.
    pub digest: Digest,
    /// The descriptor of the manifest.
    pub descriptor: Descriptor,
    /// The manifest.
    pub manifest: Manifest,
    /// Its bytes.
    pub manifest_bytes: Vec<u8>,
    /// The config.
    pub config: ImageConfig,
    /// Its bytes.
    pub config_bytes: Vec<u8>,
}

impl Registry<'_> {
    /// Fetches the manifest and the config of the image for a platform. An index may lead to a further index once.
    ///
    /// # Errors
    ///
    /// [`RegistryError::Pull`]
    pub fn image(
        &self,
        reference: &ImageReference,
        platform: &ImagePlatform,
    ) -> Result<RemoteImage, RegistryError> {
        self.pull(reference, async |contact| get_image(contact, reference, platform).await)
    }

    /// Fetches a blob into what `create` gives, and gives that back once size and digest are checked.
    ///
    /// A connection that breaks is made anew, and goes on where it broke. `create` is called once for each place where
    /// the blob may lie, until one has it whole.
    ///
    /// # Errors
    ///
    /// [`RegistryError::Pull`]; then what was written is worth nothing.
    pub fn blob<W: Write>(
        &self,
        reference: &ImageReference,
        blob: &Descriptor,
        create: &dyn Fn() -> io::Result<W>,
    ) -> Result<W, RegistryError> {
        self.pull(reference, async |contact| {
            let sink = create().map_err(Failure::Write)?;
            Download::new(contact, blob, sink).run().await
        })
    }

    /// Does something at each place where an image may lie, until it succeeds at one.
    fn pull<T>(
        &self,
        reference: &ImageReference,
        task: impl AsyncFn(&Contact<'_>) -> Result<T, Failure>,
    ) -> Result<T, RegistryError> {
        let endpoints = Endpoint::all(reference, &self.settings.mirrors);
        let pulled = self.wire.block_on(async {
            let mut last = None;
            for endpoint in &endpoints {
                let host = self.host(&endpoint.host);
                if endpoint.role == Role::Mirror && host.is_given_up() {
                    continue;
                }
                let contact = async || self.contact(endpoint, Action::Pull).await;
                let contact = self.persist(endpoint.role, contact).await;
                let done = match contact {
                    Ok(contact) => task(&contact).await,
                    Err(failure) => Err(failure),
                };
                match done {
                    Err(failure) if endpoint.role == Role::Mirror && !failure.is_ours() => {
                        if failure.is_unreachable() {
                            host.give_up();
                        }
                        (self.events)(RegistryEvent::Elsewhere { host: &endpoint.host, failure: &failure });
                        last = Some(failure);
                    }
                    done => return done,
                }
            }
            Err(last.unwrap_or(Failure::Cancelled))
        });
        pulled.map_err(|failure| RegistryError::Pull {
            reference: Box::new(reference.clone()),
            source: failure.into(),
        })
    }
}

/// What names an image within its repository.
fn name_of(reference: &ImageReference) -> String {
    match (reference.digest(), reference.tag()) {
        (Some(digest), _) => digest.to_string(),
        (None, tag) => tag.unwrap_or("latest").to_owned(),
    }
}

/// A manifest or an index.
struct Pulled {
    descriptor: Descriptor,
    document: Document,
    /// Its bytes, of which the digest is.
    bytes: Vec<u8>,
}

async fn get_manifest(contact: &Contact<'_>, name: &str, wanted: Option<Digest>) -> Result<Pulled, Failure> {
    let accepted = MediaType::accepted_manifests().collect::<Vec<_>>().join(", ");
    let url = contact.url(&format!("manifests/{name}"));
    let ask = Ask::new(Method::GET, url).header(ACCEPT, &accepted);
    contact
        .persist(async || {
            let mut reply = contact.ask(&ask).await?.expect(&[StatusCode::OK]).await?;
            let bytes = read_document(&mut reply).await?;
            let url = shown(&reply.url);
            let (came, said) = (Digest::of(&bytes), said_digest(&reply));
            if let Some(wanted) = wanted.or(said).filter(|wanted| *wanted != came) {
                return Err(Failure::WrongDigest { url, wanted, came });
            }
            let media_type = said_media_type(&reply);
            let document = Document::parse(&bytes, media_type.as_ref());
            let document = document.map_err(|source| Failure::Document { url, source })?;
            let media_type = match &document {
                Document::Index(index) => index.media_type(),
                Document::Manifest(manifest) => manifest.media_type(),
            };
            let descriptor = Descriptor::new(media_type, came, bytes.len() as u64);
            Ok(Pulled { descriptor, document, bytes })
        })
        .await
}

async fn get_image(
    contact: &Contact<'_>,
    reference: &ImageReference,
    platform: &ImagePlatform,
) -> Result<RemoteImage, Failure> {
    let mut pulled = get_manifest(contact, &name_of(reference), reference.digest()).await?;
    let digest = pulled.descriptor.digest;
    // An index of indexes is allowed, one of indexes of indexes is a game.
    for _ in 0..2 {
        let Document::Index(index) = &pulled.document else { break };
        let chosen = index.choose(platform)?.digest;
        pulled = get_manifest(contact, &chosen.to_string(), Some(chosen)).await?;
    }
    let url = || shown(&contact.url(&format!("manifests/{}", pulled.descriptor.digest)));
    let Document::Manifest(manifest) = pulled.document else {
        let what = "leads from index to index".to_owned();
        return Err(Failure::Nonsense { url: url(), what });
    };
    if manifest.config.size > MAX_DOCUMENT as u64 {
        let (wanted, came) = (MAX_DOCUMENT as u64, Size::Bytes(manifest.config.size));
        return Err(Failure::WrongSize { url: url(), wanted, came });
    }
    let config_bytes = Download::new(contact, &manifest.config, Vec::new()).run().await?;
    let config = ImageConfig::parse(&config_bytes)
        .and_then(|config| manifest.check_config(&config).map(|()| config))
        .map_err(|source| Failure::Document { url: url(), source })?;
    let (descriptor, manifest_bytes) = (pulled.descriptor, pulled.bytes);
    Ok(RemoteImage { digest, descriptor, manifest: *manifest, manifest_bytes, config, config_bytes })
}

/// Reads a body that is a document.
async fn read_document(reply: &mut Reply) -> Result<Vec<u8>, Failure> {
    let (url, most) = (shown(&reply.url), MAX_DOCUMENT as u64);
    let too_long = |came| Failure::WrongSize { url: url.clone(), wanted: most, came };
    if let Some(length) = reply.length().filter(|length| *length > most) {
        return Err(too_long(Size::Bytes(length)));
    }
    reply.read(MAX_DOCUMENT).await?.ok_or_else(|| too_long(Size::More))
}

/// The digest that a registry gives for its answer, if it is one that can be checked.
pub(super) fn said_digest(reply: &Reply) -> Option<Digest> {
    Digest::parse_qualified(reply.header(CONTENT_DIGEST)?).ok()
}

/// The media type of an answer; some that registries send where they do not know better tell nothing.
fn said_media_type(reply: &Reply) -> Option<MediaType> {
    let media_type = MediaType::parse(reply.header(CONTENT_TYPE)?);
    let says_nothing =
        ["", "application/json", "application/octet-stream", "text/plain"].contains(&media_type.as_str());
    (!says_nothing).then_some(media_type)
}

/// A blob on its way.
struct Download<'a, W> {
    contact: &'a Contact<'a>,
    blob: &'a Descriptor,
    sink: W,
    hasher: Hasher,
    /// So many bytes are written.
    at: u64,
}

impl<'a, W: Write> Download<'a, W> {
    fn new(contact: &'a Contact<'a>, blob: &'a Descriptor, sink: W) -> Self {
        Self { contact, blob, sink, hasher: Hasher::new(), at: 0 }
    }

    /// Fetches all of it, however often that takes.
    async fn run(mut self) -> Result<W, Failure> {
        let (mut tries, mut mark) = (Tries::default(), 0);
        while let Err(failure) = self.go_on().await {
            if self.at - mark >= PROGRESS {
                (tries, mark) = (Tries::default(), self.at);
            }
            self.contact.pause(&mut tries, failure).await?;
        }
        let (wanted, came) = (self.blob.digest, self.hasher.finish());
        if wanted != came {
            let url = shown(&self.contact.url(&format!("blobs/{wanted}")));
            return Err(Failure::WrongDigest { url, wanted, came });
        }
        self.sink.flush().map_err(Failure::Write)?;
        Ok(self.sink)
    }

    /// Fetches what is missing, by one request.
    async fn go_on(&mut self) -> Result<(), Failure> {
        let wanted = self.blob.size;
        if self.at > 0 && self.at == wanted {
            // The connection broke behind the last byte.
            return Ok(());
        }
        let mut ask = Ask::new(Method::GET, self.contact.url(&format!("blobs/{}", self.blob.digest)));
        if self.at > 0 {
            ask = ask.header(RANGE, &format!("bytes={}-", self.at));
        }
        let answered = self.contact.ask(&ask).await?;
        let mut reply = answered.expect(&[StatusCode::OK, StatusCode::PARTIAL_CONTENT]).await?;
        let url = shown(&reply.url);
        let mut skip = self.first_byte(&reply)?;
        let size = |came| Failure::WrongSize { url: url.clone(), wanted, came };
        let announced = reply.length().map(|length| (self.at - skip).saturating_add(length));
        if let Some(announced) = announced.filter(|announced| *announced != wanted) {
            return Err(size(Size::Bytes(announced)));
        }
        while let Some(piece) = reply.piece().await? {
            let piece = piece.as_ref();
            // What is written already comes again from those who know no ranges.
            let known = skip.min(piece.len() as u64);
            skip -= known;
            let piece = &piece[usize::try_from(known).unwrap_or(piece.len())..];
            if self.at + piece.len() as u64 > wanted {
                return Err(size(Size::More));
            }
            self.hasher.update(piece);
            self.sink.write_all(piece).map_err(Failure::Write)?;
            self.at += piece.len() as u64;
        }
        if self.at < wanted {
            return Err(Failure::Short { url, came: self.at, wanted });
        }
        Ok(())
    }

    /// How many bytes of an answer are there already.
    fn first_byte(&self, reply: &Reply) -> Result<u64, Failure> {
        if reply.status() == StatusCode::OK {
            return Ok(self.at);
        }
        let range = reply.header(CONTENT_RANGE).and_then(|range| range.strip_prefix("bytes "));
        let first = range.and_then(|range| range.split('-').next()?.parse().ok());
        if first == Some(self.at) && self.at > 0 {
            return Ok(0);
        }
        let what = format!("is not the part from byte {} on", self.at);
        Err(Failure::Nonsense { url: shown(&reply.url), what })
    }
}
