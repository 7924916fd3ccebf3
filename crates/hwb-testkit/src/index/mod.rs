//! A package index on loopback.
//!
//! It speaks HTTP/1.1 with connections that are kept, serves pages as HTML (PEP 503) or JSON (PEP 691) and files with
//! the headers that caches live by, keeps a log of what was asked, and can be told to misbehave.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::tree::Artifact;

mod pages;

/// One request, as the server saw it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// `GET` or `HEAD`.
    pub method: String,
    /// The path, as it was sent.
    pub path: String,
    /// The header lines by lower-case name.
    pub headers: BTreeMap<String, String>,
    /// What was answered.
    pub status: u16,
}

/// How pages are answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pages {
    /// In the best format that the client accepts.
    Negotiated,
    /// In HTML whatever is accepted.
    HtmlOnly,
}

/// Whether a wheel's metadata is served by itself (PEP 658).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Metadata {
    /// It is announced and served.
    Served,
    /// It is in the wheel only.
    InWheelOnly,
}

/// What goes wrong with one file, named by its file name, or one page, named by its project.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// It is answered with this status.
    Status(u16),
    /// The page gives another digest than the file has.
    WrongHash,
    /// The page gives no digest.
    NoHash,
    /// The body ends half way, and the connection with it.
    Truncated,
    /// The body begins after a while.
    Slow(Duration),
}

/// An index in the making.
#[derive(Debug, Clone)]
pub struct IndexBuilder {
    files: BTreeMap<String, Artifact>,
    uploaded: BTreeMap<String, String>,
    faults: BTreeMap<String, Fault>,
    credentials: Option<(String, String)>,
    pages: Pages,
    metadata: Metadata,
}

impl IndexBuilder {
    /// Adds a wheel or an sdist.
    #[must_use]
    pub fn file(mut self, artifact: Artifact) -> Self {
        self.files.insert(artifact.name.clone(), artifact);
        self
    }

    /// Adds a file that was uploaded at an RFC 3339 time, which the JSON pages give.
    #[must_use]
    pub fn file_uploaded(mut self, artifact: Artifact, time: &str) -> Self {
        self.uploaded.insert(artifact.name.clone(), time.to_owned());
        self.file(artifact)
    }

    /// Lets one file or one project's page go wrong.
    #[must_use]
    pub fn fault(mut self, name: &str, fault: Fault) -> Self {
        self.faults.insert(name.to_owned(), fault);
        self
    }

    /// Asks for a user name and a password.
    #[must_use]
    pub fn credentials(mut self, user: &str, password: &str) -> Self {
        self.credentials = Some((user.to_owned(), password.to_owned()));
        self
    }

    /// Sets how pages are answered.
    #[must_use]
    pub fn pages(mut self, pages: Pages) -> Self {
        self.pages = pages;
        self
    }

    /// Sets whether metadata is served by itself.
    #[must_use]
    pub fn metadata(mut self, metadata: Metadata) -> Self {
        self.metadata = metadata;
        self
    }

    /// Starts to serve on a free port of 127.0.0.1.
    pub fn serve(self) -> Index {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port of loopback is free");
        let address = listener.local_addr().expect("a bound socket has an address");
        let shared = Arc::new(Shared {
            builder: self,
            log: Mutex::default(),
            streams: Mutex::default(),
            stopped: AtomicBool::new(false),
        });
        let accepting = Arc::clone(&shared);
        let acceptor = std::thread::spawn(move || accept(&listener, &accepting));
        Index { address, shared, acceptor: Some(acceptor) }
    }
}

/// A running index; it stops when this value is dropped.
#[derive(Debug)]
pub struct Index {
    address: SocketAddr,
    shared: Arc<Shared>,
    acceptor: Option<JoinHandle<()>>,
}

impl Index {
    /// An index with nothing in it yet: pages negotiated, metadata in the wheels only, everybody let in.
    pub const fn builder() -> IndexBuilder {
        IndexBuilder {
            files: BTreeMap::new(),
            uploaded: BTreeMap::new(),
            faults: BTreeMap::new(),
            credentials: None,
            pages: Pages::Negotiated,
            metadata: Metadata::InWheelOnly,
        }
    }

    /// Serves these files.
    pub fn of(files: impl IntoIterator<Item = Artifact>) -> Self {
        files.into_iter().fold(Self::builder(), IndexBuilder::file).serve()
    }

    /// The URL of the simple index, without a slash at the end.
    pub fn url(&self) -> String {
        format!("http://{}/simple", self.address)
    }

    /// The same with credentials in it.
    pub fn url_for(&self, user: &str, password: &str) -> String {
        format!("http://{user}:{password}@{}/simple", self.address)
    }

    /// The URL of one file.
    pub fn file_url(&self, name: &str) -> String {
        format!("http://{}/files/{name}", self.address)
    }

    /// Host and port.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// What was asked so far, in order.
    pub fn requests(&self) -> Vec<Request> {
        self.shared.log.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The paths that were asked so far, in order.
    pub fn paths(&self) -> Vec<String> {
        self.requests().into_iter().map(|request| request.path).collect()
    }
}

impl Drop for Index {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::SeqCst);
        // Wakes the acceptor, which then sees that it is over.
        drop(TcpStream::connect(self.address));
        if let Some(acceptor) = self.acceptor.take() {
            drop(acceptor.join());
        }
        for stream in self.shared.streams.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            drop(stream.shutdown(Shutdown::Both));
        }
    }
}

#[derive(Debug)]
struct Shared {
    builder: IndexBuilder,
    log: Mutex<Vec<Request>>,
    streams: Mutex<Vec<TcpStream>>,
    stopped: AtomicBool,
}

/// What is sent back.
#[derive(Debug)]
struct Answer {
    status: u16,
    content_type: &'static str,
    /// Header lines beyond the usual ones, each with its line end.
    more: String,
    body: Vec<u8>,
    delivery: Delivery,
}

#[derive(Debug)]
enum Delivery {
    Whole,
    Truncated,
    After(Duration),
}

impl Answer {
    fn new(status: u16, content_type: &'static str, body: impl Into<Vec<u8>>) -> Self {
        Self { status, content_type, more: String::new(), body: body.into(), delivery: Delivery::Whole }
    }

    fn plain(status: u16, text: &str) -> Self {
        Self::new(status, "text/plain; charset=utf-8", format!("{text}\n"))
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    for stream in listener.incoming() {
        if shared.stopped.load(Ordering::SeqCst) {
            return;
        }
        let Ok(stream) = stream else { continue };
        if let Ok(kept) = stream.try_clone() {
            shared.streams.lock().unwrap_or_else(PoisonError::into_inner).push(kept);
        }
        let shared = Arc::clone(shared);
        std::thread::spawn(move || {
            // A client may leave whenever it likes.
            drop(converse(&stream, &shared));
            drop(stream.shutdown(Shutdown::Both));
        });
    }
}

/// Answers the requests of one connection until the client leaves.
fn converse(stream: &TcpStream, shared: &Shared) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut reader = BufReader::new(stream);
    while let Some(mut request) = read_request(&mut reader)? {
        let answer = respond(&shared.builder, &request);
        request.status = answer.status;
        let head_only = request.method == "HEAD";
        shared.log.lock().unwrap_or_else(PoisonError::into_inner).push(request);
        if !send(stream, &answer, head_only)? {
            return Ok(());
        }
    }
    Ok(())
}

fn read_request(reader: &mut BufReader<&TcpStream>) -> std::io::Result<Option<Request>> {
    let mut line = String::new();
    if reader.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let mut words = line.split_whitespace();
    let method = words.next().unwrap_or_default().to_owned();
    let path = words.next().unwrap_or_default().to_owned();
    let mut headers = BTreeMap::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 || line.trim().is_empty() {
            break;
        }
        if let Some((name, value)) = line.split_once(':') {
            headers.insert(name.trim().to_lowercase(), value.trim().to_owned());
        }
    }
    let length = headers.get("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
    std::io::copy(&mut reader.take(length), &mut std::io::sink())?;
    Ok(Some(Request { method, path, headers, status: 0 }))
}

/// Sends an answer; says whether the connection goes on.
fn send(mut stream: &TcpStream, answer: &Answer, head_only: bool) -> std::io::Result<bool> {
    let Answer { status, content_type, more, body, delivery } = answer;
    let head = format!(
        "HTTP/1.1 {status} {}\r\nContent-Type: {content_type}\r\nContent-Length: {}\r\n{more}\r\n",
        reason(*status),
        body.len()
    );
    if let Delivery::After(time) = delivery {
        std::thread::sleep(*time);
    }
    let mut bytes = head.into_bytes();
    let whole = !matches!(delivery, Delivery::Truncated);
    if !head_only && *status != 304 {
        bytes.extend_from_slice(if whole { body } else { &body[..body.len() / 2] });
    }
    stream.write_all(&bytes)?;
    stream.flush()?;
    Ok(whole)
}

const fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        301 => "Moved Permanently",
        304 => "Not Modified",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        500 => "Internal Server Error",
        503 => "Service Unavailable",
        _ => "Answer",
    }
}

/// Finds the answer to a request: no state, no sockets.
fn respond(index: &IndexBuilder, request: &Request) -> Answer {
    if !matches!(request.method.as_str(), "GET" | "HEAD") {
        return Answer::plain(405, "only GET and HEAD");
    }
    if !admitted(index, request) {
        let mut answer = Answer::plain(401, "who are you?");
        answer.more.push_str("WWW-Authenticate: Basic realm=\"index\"\r\n");
        return answer;
    }
    let path = request.path.split(['?', '#']).next().unwrap_or_default();
    let mut answer = if let Some(name) = path.strip_prefix("/files/") {
        pages::file(index, name)
    } else if let Some(rest) = path.strip_prefix("/simple") {
        pages::page(index, rest.trim_matches('/'), accepted(index, request))
    } else {
        Answer::plain(404, "nothing here")
    };
    if answer.status == 200 {
        let tag = format!("\"{}\"", &crate::sha256_hex(&answer.body)[..16]);
        answer.more.push_str(&format!("ETag: {tag}\r\n"));
        if request.headers.get("if-none-match").is_some_and(|known| known.contains(&tag)) {
            answer.status = 304;
            answer.body.clear();
        }
    }
    answer
}

fn admitted(index: &IndexBuilder, request: &Request) -> bool {
    let Some((user, password)) = &index.credentials else { return true };
    let expected = crate::wheel::base64(format!("{user}:{password}").as_bytes(), b'+', b'/');
    let given = request.headers.get("authorization").and_then(|value| value.strip_prefix("Basic "));
    given.is_some_and(|given| given.trim_end_matches('=') == expected)
}

fn accepted(index: &IndexBuilder, request: &Request) -> pages::Format {
    let json = request.headers.get("accept").is_some_and(|accept| accept.contains(pages::JSON));
    match index.pages {
        Pages::Negotiated if json => pages::Format::Json,
        Pages::Negotiated | Pages::HtmlOnly => pages::Format::Html,
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::TcpStream;

    use super::{Fault, Index, Metadata};
    use crate::wheel::Wheel;

    /// Sends one request on a connection of its own and gives the whole answer.
    fn ask(index: &Index, path: &str, headers: &str) -> String {
        let mut stream = TcpStream::connect(index.address()).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\n{headers}\r\n").unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        String::from_utf8_lossy(&answer).into_owned()
    }

    fn status(answer: &str) -> &str {
        answer.split(' ').nth(1).unwrap_or_default()
    }

    #[test]
    fn pages_come_in_two_formats_and_files_with_their_digest() {
        let wheel = Wheel::new("Some.Thing", "1.0").file("some.py", "").build();
        let digest = wheel.sha256();
        let index = Index::builder().file(wheel).metadata(Metadata::Served).serve();
        let html = ask(&index, "/simple/some-thing/", "");
        let href = format!("/files/Some_Thing-1.0-py3-none-any.whl#sha256={digest}");
        assert!(html.contains(&href) && html.contains("max-age=600"), "{html}");
        let json = ask(&index, "/simple/some-thing/", "Accept: application/vnd.pypi.simple.v1+json\r\n");
        assert!(json.contains(&format!("\"sha256\":\"{digest}\"")), "{json}");
        let metadata = ask(&index, "/files/Some_Thing-1.0-py3-none-any.whl.metadata", "");
        assert!(metadata.ends_with("Name: Some.Thing\nVersion: 1.0\n"), "{metadata}");
        assert!(metadata.contains("immutable"), "{metadata}");
        assert_eq!(index.requests().len(), 3);
    }

    #[test]
    fn what_did_not_change_is_not_sent_again() {
        let index = Index::of([Wheel::new("a", "1").build()]);
        let first = ask(&index, "/simple/a/", "");
        let tag = first.lines().find_map(|line| line.strip_prefix("ETag: ")).unwrap();
        let second = ask(&index, "/simple/a/", &format!("If-None-Match: {tag}\r\n"));
        assert_eq!((status(&first), status(&second)), ("200", "304"));
    }

    #[test]
    fn only_who_is_known_is_let_in() {
        let index = Index::builder().file(Wheel::new("a", "1").build()).credentials("me", "secret").serve();
        assert_eq!(status(&ask(&index, "/simple/a/", "")), "401");
        let known = "Authorization: Basic bWU6c2VjcmV0\r\n";
        assert_eq!(status(&ask(&index, "/simple/a/", known)), "200");
    }

    #[test]
    fn faults_hit_what_they_name_and_nothing_else() {
        let (good, bad) = (Wheel::new("good", "1").build(), Wheel::new("bad", "1").build());
        let (good_path, bad_path) = (format!("/files/{}", good.name), format!("/files/{}", bad.name));
        let check = |fault: Fault, expected: &str| {
            let builder = Index::builder().file(good.clone()).file(bad.clone());
            let index = builder.fault(&bad.name, fault).serve();
            assert_eq!(status(&ask(&index, &good_path, "")), "200");
            assert_eq!(status(&ask(&index, &bad_path, "")), expected);
            ask(&index, "/simple/bad/", "")
        };
        check(Fault::Status(500), "500");
        check(Fault::Truncated, "200");
        assert!(!check(Fault::WrongHash, "200").contains(&bad.sha256()));
        assert!(!check(Fault::NoHash, "200").contains("sha256"));
    }

    #[test]
    fn nothing_answers_after_the_end() {
        let index = Index::of([]);
        let address = index.address();
        assert_eq!(status(&ask(&index, "/simple/absent/", "")), "404");
        drop(index);
        assert!(TcpStream::connect(address).is_err());
    }
}
