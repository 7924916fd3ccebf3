//! A package index on loopback.
//!
//! It serves pages as HTML (PEP 503) or JSON (PEP 691) and files with the headers that caches live by, keeps a log of
//! what was asked, and can be told to misbehave.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

pub use crate::http::Request;
use crate::http::{Answer, Server, Site};
use crate::tree::Artifact;

mod pages;

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
        Index { server: Server::start(Arc::new(self)) }
    }
}

/// A running index; it stops when this value is dropped.
#[derive(Debug)]
pub struct Index {
    server: Server,
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
        format!("http://{}/simple", self.address())
    }

    /// The same with credentials in it.
    pub fn url_for(&self, user: &str, password: &str) -> String {
        format!("http://{user}:{password}@{}/simple", self.address())
    }

    /// The URL of one file.
    pub fn file_url(&self, name: &str) -> String {
        format!("http://{}/files/{name}", self.address())
    }

    /// Host and port.
    pub const fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// What was asked so far, in order.
    pub fn requests(&self) -> Vec<Request> {
        self.server.requests()
    }

    /// The paths that were asked so far, in order.
    pub fn paths(&self) -> Vec<String> {
        self.requests().into_iter().map(|request| request.path).collect()
    }
}

impl Site for IndexBuilder {
    fn answer(&self, request: &Request) -> Answer {
        respond(self, request)
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
