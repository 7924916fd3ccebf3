//! To a registry; never to a mirror.

use std::io::{self, Read};

use hwb_ident::{Digest, ImageReference};
use hwb_oci::{Descriptor, MediaType};
use reqwest::header::{CONTENT_RANGE, CONTENT_TYPE, HeaderName, LOCATION, RANGE};
use reqwest::{Method, StatusCode, Url};

use super::contact::{Action, Contact};
use super::endpoint::Endpoint;
use super::error::{Failure, RegistryError};
use super::message::{Ask, Payload, Reply, hop, shown};
use super::pull::said_digest;
use super::settings::Upload;
use super::{Registry, Tries};

/// The smallest chunk that a registry takes.
const CHUNK_MIN_LENGTH: HeaderName = HeaderName::from_static("oci-chunk-min-length");

/// A blob that is to be at a registry.
pub struct BlobUpload<'a> {
    /// Its digest and size.
    pub blob: &'a Descriptor,
    /// A repository of the same registry that may have it, so that it need not be sent.
    pub from: Option<&'a str>,
    /// Opens its bytes, from one on; called again if they have to be sent again.
    pub open: &'a dyn Fn(u64) -> io::Result<Box<dyn Read>>,
}

impl std::fmt::Debug for BlobUpload<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BlobUpload")
            .field("blob", &self.blob)
            .field("from", &self.from)
            .finish_non_exhaustive()
    }
}

/// How a blob got to a registry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pushed {
    /// It was there.
    Present,
    /// It was taken over from another repository.
    Mounted,
    /// It was sent.
    Uploaded,
}

impl Registry<'_> {
    /// Brings a blob into the repository of a reference, if it is not there.
    ///
    /// # Errors
    ///
    /// [`RegistryError::Push`]
    pub fn push_blob(
        &self,
        reference: &ImageReference,
        upload: &BlobUpload<'_>,
    ) -> Result<Pushed, RegistryError> {
        self.push(reference, upload.from, async |contact| Transfer::new(contact, upload).run().await)
    }

    /// Puts a manifest or an index under the tag of a reference, or where that has none, under its digest. What it
    /// names must be there already.
    ///
    /// # Errors
    ///
    /// [`RegistryError::Push`]
    pub fn push_manifest(
        &self,
        reference: &ImageReference,
        media_type: &MediaType,
        bytes: &[u8],
    ) -> Result<Digest, RegistryError> {
        let digest = Digest::of(bytes);
        self.push(reference, None, async |contact| {
            if let Some(wanted) = reference.digest().filter(|wanted| *wanted != digest) {
                return Err(Failure::Pinned { wanted, came: digest });
            }
            let name = reference.tag().map_or_else(|| digest.to_string(), str::to_owned);
            let ask = Ask::new(Method::PUT, contact.url(&format!("manifests/{name}")))
                .header(CONTENT_TYPE, media_type.as_str())
                .payload(Payload::Bytes(bytes));
            let taken = [StatusCode::CREATED, StatusCode::OK, StatusCode::ACCEPTED];
            let reply = contact.persist(async || contact.ask(&ask).await?.expect(&taken).await).await?;
            check(&reply, digest)?;
            Ok(digest)
        })
    }

    fn push<T>(
        &self,
        reference: &ImageReference,
        from: Option<&str>,
        task: impl AsyncFn(&Contact<'_>) -> Result<T, Failure>,
    ) -> Result<T, RegistryError> {
        let endpoint = Endpoint::origin(reference);
        let pushed = self.wire.block_on(async {
            let action = Action::Push { from };
            let contact =
                self.persist(endpoint.role, async || self.contact(&endpoint, action.clone()).await).await?;
            task(&contact).await
        });
        pushed.map_err(|failure| RegistryError::Push {
            reference: Box::new(reference.clone()),
            source: failure.into(),
        })
    }
}

/// Compares the digest that a registry gives for what it took.
fn check(reply: &Reply, wanted: Digest) -> Result<(), Failure> {
    match said_digest(reply) {
        Some(came) if came != wanted => Err(Failure::WrongDigest { url: shown(&reply.url), wanted, came }),
        _ => Ok(()),
    }
}

/// A blob on its way.
struct Transfer<'a> {
    contact: &'a Contact<'a>,
    upload: &'a BlobUpload<'a>,
    state: State,
}

/// How far it came.
enum State {
    /// The registry was not asked yet, or knows nothing of it any more.
    New,
    /// The registry has it up to a byte, and takes the next at a place.
    Open { place: Url, at: u64, least: u64 },
}

impl<'a> Transfer<'a> {
    fn new(contact: &'a Contact<'a>, upload: &'a BlobUpload<'a>) -> Self {
        Self { contact, upload, state: State::New }
    }

    async fn run(mut self) -> Result<Pushed, Failure> {
        let (mut tries, mut farthest) = (Tries::default(), 0);
        loop {
            match self.step().await {
                // What was completed before the connection broke is no surprise.
                Ok(Some(Pushed::Present)) if tries.0 > 0 => return Ok(Pushed::Uploaded),
                Ok(Some(pushed)) => return Ok(pushed),
                // Where it was before it is not further, however often it begins anew.
                Ok(None) if self.at() > farthest => (tries, farthest) = (Tries::default(), self.at()),
                Ok(None) => {}
                Err(failure) => {
                    if !failure.is_transient() && !self.is_lost(&failure) {
                        return Err(failure);
                    }
                    self.contact.wait(&mut tries, failure).await?;
                    self.find_place().await;
                }
            }
        }
    }

    const fn at(&self) -> u64 {
        match self.state {
            State::New => 0,
            State::Open { at, .. } => at,
        }
    }

    /// Whether the registry knows nothing of the upload, or has another part of it than we thought.
    fn is_lost(&self, failure: &Failure) -> bool {
        let is_open = matches!(self.state, State::Open { .. });
        let range = StatusCode::RANGE_NOT_SATISFIABLE;
        is_open
            && match failure {
                Failure::Missing { .. } => true,
                Failure::Status { status, .. } => *status == range,
                _ => false,
            }
    }

    /// Makes the next request; gives how the blob got there once it is.
    async fn step(&mut self) -> Result<Option<Pushed>, Failure> {
        let State::Open { place, at, least } = &self.state else { return self.begin().await };
        let (place, at, least) = (place.clone(), *at, *least);
        let rest = self.upload.blob.size - at;
        let length = match self.contact.upload() {
            Upload::Whole => rest,
            Upload::Chunks(size) => rest.min(size.max(least).max(1)),
        };
        if length < rest || at > 0 && rest > 0 {
            return self.send_part(place, at, length, least).await.map(|()| None);
        }
        self.complete(place, at, rest).await.map(|()| Some(Pushed::Uploaded))
    }

    /// Looks whether the blob is there or can be taken over; else opens an upload.
    async fn begin(&mut self) -> Result<Option<Pushed>, Failure> {
        let (contact, digest) = (self.contact, self.upload.blob.digest);
        let ask = Ask::new(Method::HEAD, contact.url(&format!("blobs/{digest}")));
        let there = contact.ask(&ask).await?;
        if there.reply.status() != StatusCode::NOT_FOUND {
            there.expect(&[StatusCode::OK]).await?;
            return Ok(Some(Pushed::Present));
        }
        let mut url = contact.url("blobs/uploads/");
        if let Some(from) = self.upload.from {
            url.query_pairs_mut().append_pair("mount", &digest.to_string()).append_pair("from", from);
        }
        let opened = contact.ask(&Ask::new(Method::POST, url)).await?;
        let reply = opened.expect(&[StatusCode::ACCEPTED, StatusCode::CREATED]).await?;
        if reply.status() == StatusCode::CREATED {
            return Ok(Some(Pushed::Mounted));
        }
        let least = reply.header(CHUNK_MIN_LENGTH).and_then(|least| least.parse().ok()).unwrap_or(0);
        self.state = State::Open { place: location(&reply)?, at: 0, least };
        Ok(None)
    }

    /// Sends a part that is not the last word.
    async fn send_part(&mut self, place: Url, at: u64, length: u64, least: u64) -> Result<(), Failure> {
        let payload = Payload::Part { open: self.upload.open, from: at, length };
        let ask = Ask::new(Method::PATCH, place)
            .header(CONTENT_TYPE, "application/octet-stream")
            .header(CONTENT_RANGE, &format!("{at}-{}", at + length - 1))
            .payload(payload);
        let reply = self.contact.ask(&ask).await?.expect(&[StatusCode::ACCEPTED]).await?;
        let reached = taken(&reply).unwrap_or(at + length).min(self.upload.blob.size);
        if reached <= at {
            let what = format!("takes a part, and has no more than the {at} bytes before it");
            return Err(Failure::Nonsense { url: shown(&reply.url), what });
        }
        self.state = State::Open { place: location(&reply)?, at: reached, least };
        Ok(())
    }

    /// Sends what is left, and says that it was all.
    async fn complete(&self, mut place: Url, at: u64, rest: u64) -> Result<(), Failure> {
        let digest = self.upload.blob.digest;
        place.query_pairs_mut().append_pair("digest", &digest.to_string());
        let mut ask = Ask::new(Method::PUT, place).header(CONTENT_TYPE, "application/octet-stream");
        if rest > 0 {
            ask = ask.payload(Payload::Part { open: self.upload.open, from: at, length: rest });
        }
        let reply = self.contact.ask(&ask).await?.expect(&[StatusCode::CREATED]).await?;
        check(&reply, digest)
    }

    /// Asks how far an upload came that was disturbed. Where nobody knows, it begins anew.
    async fn find_place(&mut self) {
        let State::Open { place, least, .. } = &self.state else { return };
        let (place, least) = (place.clone(), *least);
        self.state = State::New;
        let Ok(answered) = self.contact.ask(&Ask::new(Method::GET, place.clone())).await else { return };
        let Ok(reply) = answered.expect(&[StatusCode::NO_CONTENT, StatusCode::OK]).await else { return };
        // One byte is said in the same way as none.
        let Some(at) = taken(&reply).filter(|at| (2..=self.upload.blob.size).contains(at)) else { return };
        self.state = State::Open { place: location(&reply).unwrap_or(place), at, least };
    }
}

/// Where the upload goes on.
fn location(reply: &Reply) -> Result<Url, Failure> {
    let Some(location) = reply.header(LOCATION) else {
        let what = "does not say where the upload goes on".to_owned();
        return Err(Failure::Nonsense { url: shown(&reply.url), what });
    };
    hop(&reply.url, location)
}

/// How many bytes the registry has.
fn taken(reply: &Reply) -> Option<u64> {
    let range = reply.header(RANGE)?;
    let range = range.strip_prefix("bytes=").unwrap_or(range);
    range.strip_prefix("0-")?.parse().ok().and_then(|last: u64| last.checked_add(1))
}
