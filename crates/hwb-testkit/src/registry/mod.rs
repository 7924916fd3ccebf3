//! A registry of container images on loopback.
//!
//! It keeps what is pushed in memory and serves it by the OCI distribution specification 1.1: manifests, blobs with
//! ranges, uploads whole or in chunks, mounts; behind a password or tokens if it is told so, and with faults.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

pub use crate::http::Request;
use crate::http::{Answer, Delivery, Hearing, Server, Site};
use crate::sha256_hex;

mod access;
mod upload;

pub use self::access::Access;

/// What goes wrong with one request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// It is answered with this status, and an error of this code.
    Status(u16, &'static str),
    /// It is answered with this status, these header lines and this body.
    Answer(u16, Vec<(&'static str, String)>, String),
    /// It is sent elsewhere.
    Redirect(String),
    /// The connection ends after so many bytes of the body.
    Cut(usize),
    /// After so many bytes of the body there is silence.
    Stalled(usize),
    /// The body goes on for ever.
    Endless,
    /// The body is as long as it should be, and another.
    Garbled,
    /// A range is not understood: the whole body comes.
    WithoutRanges,
    /// Of what is uploaded so many bytes are read, then the connection ends.
    Deaf(u64),
    /// Before anything of what is uploaded is read, it is answered with this status and an error of this code.
    Early(u16, &'static str),
}

/// A fault, and the next request that it hits.
#[derive(Debug)]
struct Trap {
    /// How method and path begin.
    start: String,
    fault: Fault,
}

/// What a registry has of one repository.
#[derive(Debug, Default)]
struct Repository {
    blobs: BTreeMap<String, Arc<Vec<u8>>>,
    manifests: BTreeMap<String, (String, Arc<Vec<u8>>)>,
}

#[derive(Debug, Default)]
struct State {
    repositories: BTreeMap<String, Repository>,
    uploads: BTreeMap<String, Vec<u8>>,
    opened: usize,
    tokens: usize,
    issued: BTreeMap<String, BTreeSet<String>>,
    traps: Vec<Trap>,
}

/// What answers.
#[derive(Debug)]
struct Pages {
    access: Access,
    state: Mutex<State>,
}

/// A running registry; it stops when this value is dropped.
#[derive(Debug)]
pub struct Registry {
    server: Server,
    pages: Arc<Pages>,
}

impl Registry {
    /// An empty registry for everybody.
    pub fn open() -> Self {
        Self::with(Access::Everybody)
    }

    /// An empty registry.
    pub fn with(access: Access) -> Self {
        let pages = Arc::new(Pages { access, state: Mutex::default() });
        Self { server: Server::start(Arc::<Pages>::clone(&pages)), pages }
    }

    /// Host and port.
    pub const fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// What was asked so far, in order.
    pub fn requests(&self) -> Vec<Request> {
        self.server.requests()
    }

    /// The same as method, path without its query, and status.
    pub fn asked(&self) -> Vec<String> {
        let line = |Request { method, path, status, .. }: Request| {
            format!("{method} {} {status}", path.split('?').next().unwrap_or_default())
        };
        self.requests().into_iter().map(line).collect()
    }

    /// Lets the next request go wrong whose method and path begin with `start`; each fault hits once.
    pub fn fault(&self, start: &str, fault: Fault) {
        self.pages.lock().traps.push(Trap { start: start.to_owned(), fault });
    }

    /// Puts a blob; gives its digest.
    pub fn put_blob(&self, repository: &str, bytes: impl Into<Vec<u8>>) -> String {
        let bytes = bytes.into();
        let digest = format!("sha256:{}", sha256_hex(&bytes));
        let mut state = self.pages.lock();
        let repository = state.repositories.entry(repository.to_owned()).or_default();
        repository.blobs.insert(digest.clone(), Arc::new(bytes));
        digest
    }

    /// Puts a manifest under a tag and its digest; gives its digest.
    pub fn put_manifest(&self, repository: &str, tag: &str, media_type: &str, bytes: &[u8]) -> String {
        self.pages.put_manifest(repository, tag, media_type, bytes)
    }

    /// A blob that the registry has.
    pub fn blob(&self, repository: &str, digest: &str) -> Option<Vec<u8>> {
        self.pages.lock().repositories.get(repository)?.blobs.get(digest).map(|bytes| bytes.to_vec())
    }

    /// A manifest that the registry has under a tag or digest: its media type and its bytes.
    pub fn manifest(&self, repository: &str, reference: &str) -> Option<(String, Vec<u8>)> {
        let state = self.pages.lock();
        let (media_type, bytes) = state.repositories.get(repository)?.manifests.get(reference)?;
        Some((media_type.clone(), bytes.to_vec()))
    }

    /// Makes every token that was given out worthless.
    pub fn forget_tokens(&self) {
        self.pages.lock().issued.clear();
    }
}

impl Pages {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn put_manifest(&self, repository: &str, reference: &str, media_type: &str, bytes: &[u8]) -> String {
        let digest = format!("sha256:{}", sha256_hex(bytes));
        let entry = (media_type.to_owned(), Arc::new(bytes.to_vec()));
        let mut state = self.lock();
        let repository = state.repositories.entry(repository.to_owned()).or_default();
        repository.manifests.insert(digest.clone(), entry.clone());
        repository.manifests.insert(reference.to_owned(), entry);
        digest
    }

    /// Takes the fault that hits a request.
    fn spring(&self, request: &Request) -> Option<Fault> {
        let asked = format!("{} {}", request.method, request.path);
        let mut state = self.lock();
        let hit = state.traps.iter().position(|trap| asked.starts_with(&trap.start))?;
        Some(state.traps.remove(hit).fault)
    }

    fn manifest(&self, repository: &str, reference: &str) -> Answer {
        let state = self.lock();
        let found = state.repositories.get(repository).and_then(|found| found.manifests.get(reference));
        let Some((media_type, bytes)) = found else {
            return error(404, "MANIFEST_UNKNOWN");
        };
        let digest = format!("sha256:{}", sha256_hex(bytes));
        Answer::new(200, media_type, bytes.to_vec()).header("Docker-Content-Digest", &digest)
    }

    fn blob(&self, repository: &str, digest: &str, range: Option<&str>) -> Answer {
        let state = self.lock();
        let found = state.repositories.get(repository).and_then(|found| found.blobs.get(digest));
        let Some(bytes) = found else { return error(404, "BLOB_UNKNOWN") };
        let from = range.and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok());
        match from {
            Some(from) if from < bytes.len() => {
                let range = format!("bytes {from}-{}/{}", bytes.len() - 1, bytes.len());
                Answer::new(206, "application/octet-stream", &bytes[from..]).header("Content-Range", &range)
            }
            Some(_) => error(416, "RANGE_INVALID"),
            None => Answer::new(200, "application/octet-stream", bytes.to_vec()),
        }
    }

    /// What the registry answers when nothing goes wrong.
    fn respond(&self, request: &Request, ranges: bool) -> Answer {
        let (path, query) = request.path.split_once('?').unwrap_or((&request.path, ""));
        if path == "/token" {
            return self.token(request, query);
        }
        let Some(rest) = path.strip_prefix("/v2/") else { return Answer::plain(404, "nothing here") };
        if let Err(refusal) = self.admit(request, rest) {
            return *refusal;
        }
        let method = request.method.as_str();
        let reading = matches!(method, "GET" | "HEAD");
        if rest.is_empty() {
            return Answer::new(200, "application/json", "{}");
        }
        if let Some((repository, upload)) = rest.split_once("/blobs/uploads/") {
            return self.upload(request, repository, upload);
        }
        if let Some((repository, digest)) = rest.split_once("/blobs/") {
            let range = request.headers.get("range").map(String::as_str).filter(|_| ranges);
            return if reading { self.blob(repository, digest, range) } else { error(405, "UNSUPPORTED") };
        }
        let Some((repository, reference)) = rest.split_once("/manifests/") else {
            return error(404, "NAME_UNKNOWN");
        };
        match method {
            "GET" | "HEAD" => self.manifest(repository, reference),
            "PUT" => {
                let media_type = request.headers.get("content-type").map_or("", String::as_str);
                let digest = self.put_manifest(repository, reference, media_type, &request.body);
                Answer::new(201, "text/plain", "").header("Docker-Content-Digest", &digest)
            }
            _ => error(405, "UNSUPPORTED"),
        }
    }
}

impl Site for Pages {
    fn answer(&self, request: &Request) -> Answer {
        match self.spring(request) {
            None => self.respond(request, true),
            Some(Fault::Status(status, code) | Fault::Early(status, code)) => error(status, code),
            Some(Fault::Answer(status, headers, body)) => {
                headers.iter().fold(Answer::new(status, "application/json", body), |answer, (name, value)| {
                    answer.header(name, value)
                })
            }
            Some(Fault::Redirect(to)) => Answer::new(307, "text/plain", "").header("Location", &to),
            Some(Fault::Cut(length)) => deliver(self.respond(request, true), Delivery::Cut(length)),
            Some(Fault::Stalled(length)) => deliver(self.respond(request, true), Delivery::Stalled(length)),
            Some(Fault::Endless) => deliver(self.respond(request, true), Delivery::Endless),
            Some(Fault::Garbled) => {
                let mut answer = self.respond(request, true);
                answer.body.iter_mut().for_each(|byte| *byte = byte.wrapping_add(1));
                answer
            }
            Some(Fault::WithoutRanges) => self.respond(request, false),
            // What was heard is taken; the answer goes nowhere.
            Some(Fault::Deaf(_)) => self.respond(request, true),
        }
    }

    fn hearing(&self, head: &Request) -> Hearing {
        let asked = format!("{} {}", head.method, head.path);
        let state = self.lock();
        let hit = state.traps.iter().find(|trap| asked.starts_with(&trap.start));
        match hit.map(|trap| &trap.fault) {
            Some(Fault::Deaf(length)) => Hearing::Cut(*length),
            Some(Fault::Early(..)) => Hearing::Nothing,
            _ => Hearing::Whole,
        }
    }
}

fn deliver(answer: Answer, delivery: Delivery) -> Answer {
    Answer { delivery, ..answer }
}

/// An answer in the form that the specification gives to errors.
fn error(status: u16, code: &str) -> Answer {
    let errors = serde_json::json!({ "errors": [{ "code": code, "message": "as the test wants it" }] });
    Answer::new(status, "application/json", errors.to_string())
}

/// The value of a name in a query.
fn parameter<'q>(query: &'q str, name: &str) -> Option<&'q str> {
    query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))
}
