//! A server on loopback: it speaks HTTP/1.1 with connections that are kept, keeps a log of what was asked, and can
//! break off wherever a test wants it.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// The first byte of a TLS handshake.
const TLS_HANDSHAKE: u8 = 0x16;

/// One request, as the server saw it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// `GET`, `HEAD`, …
    pub method: String,
    /// The path with its query, as it was sent.
    pub path: String,
    /// The header lines by lower-case name.
    pub headers: BTreeMap<String, String>,
    /// What was sent with it; the log has it without.
    pub body: Vec<u8>,
    /// What was answered.
    pub status: u16,
}

/// What answers requests.
pub(crate) trait Site: Debug + Send + Sync + 'static {
    /// Answers a request.
    fn answer(&self, request: &Request) -> Answer;

    /// How much of a request's body is listened to.
    fn hearing(&self, _head: &Request) -> Hearing {
        Hearing::Whole
    }
}

/// How much of a request's body is listened to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hearing {
    /// All of it.
    Whole,
    /// So many bytes; then the site is asked, and the connection ends without an answer.
    Cut(u64),
    /// None of it: the answer comes at once, and whatever else is sent goes nowhere.
    Nothing,
}

/// What is sent back.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) content_type: String,
    /// Header lines beyond the usual ones, each with its line end.
    pub(crate) more: String,
    pub(crate) body: Vec<u8>,
    pub(crate) delivery: Delivery,
}

/// How a body is sent.
#[derive(Debug)]
pub(crate) enum Delivery {
    /// With its length, to its end.
    Whole,
    /// With its length; the connection ends after so many bytes.
    Cut(usize),
    /// With its length; after so many bytes there is silence until the client leaves.
    Stalled(usize),
    /// Again and again, until the client leaves.
    Endless,
    /// Whole, after a while.
    After(Duration),
}

impl Answer {
    pub(crate) fn new(status: u16, content_type: &str, body: impl Into<Vec<u8>>) -> Self {
        let content_type = content_type.to_owned();
        Self { status, content_type, more: String::new(), body: body.into(), delivery: Delivery::Whole }
    }

    pub(crate) fn plain(status: u16, text: &str) -> Self {
        Self::new(status, "text/plain; charset=utf-8", format!("{text}\n"))
    }

    /// Adds a header line.
    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.more.push_str(&format!("{name}: {value}\r\n"));
        self
    }
}

/// A running server; it stops when this value is dropped.
#[derive(Debug)]
pub(crate) struct Server {
    address: SocketAddr,
    shared: Arc<Shared>,
    acceptor: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    site: Arc<dyn Site>,
    log: Mutex<Vec<Request>>,
    streams: Mutex<Vec<TcpStream>>,
    stopped: AtomicBool,
}

impl Server {
    /// Starts to serve on a free port of 127.0.0.1.
    pub(crate) fn start(site: Arc<dyn Site>) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port of loopback is free");
        let address = listener.local_addr().expect("a bound socket has an address");
        let (log, streams, stopped) = (Mutex::default(), Mutex::default(), AtomicBool::new(false));
        let shared = Arc::new(Shared { site, log, streams, stopped });
        let accepting = Arc::clone(&shared);
        let acceptor = std::thread::spawn(move || accept(&listener, &accepting));
        Self { address, shared, acceptor: Some(acceptor) }
    }

    /// Host and port.
    pub(crate) const fn address(&self) -> SocketAddr {
        self.address
    }

    /// What was asked so far, in order.
    pub(crate) fn requests(&self) -> Vec<Request> {
        self.shared.log.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Server {
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
fn converse(stream: &TcpStream, shared: &Shared) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut reader = BufReader::new(stream);
    // Whoever tries TLS first shall see at once that there is none.
    if reader.fill_buf()?.first() == Some(&TLS_HANDSHAKE) {
        return Ok(());
    }
    while let Some(mut request) = read_head(&mut reader)? {
        let length: u64 =
            request.headers.get("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
        let hearing = shared.site.hearing(&request);
        let heard = match hearing {
            Hearing::Whole => length,
            Hearing::Cut(limit) => length.min(limit),
            Hearing::Nothing => 0,
        };
        reader.by_ref().take(heard).read_to_end(&mut request.body)?;
        let answer = shared.site.answer(&request);
        request.status = answer.status;
        request.body.clear();
        let head_only = request.method == "HEAD";
        shared.log.lock().unwrap_or_else(PoisonError::into_inner).push(request);
        let is_cut = heard < length && hearing != Hearing::Nothing;
        if is_cut || !send(stream, &answer, head_only)? {
            return Ok(());
        }
        if hearing == Hearing::Nothing {
            stream.shutdown(Shutdown::Write)?;
            return io::copy(&mut reader, &mut io::sink()).map(drop);
        }
    }
    Ok(())
}

fn read_head(reader: &mut BufReader<&TcpStream>) -> io::Result<Option<Request>> {
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
    Ok(Some(Request { method, path, headers, body: Vec::new(), status: 0 }))
}

/// Sends an answer; says whether the connection goes on.
fn send(mut stream: &TcpStream, answer: &Answer, head_only: bool) -> io::Result<bool> {
    let Answer { status, content_type, more, body, delivery } = answer;
    let mut head = format!("HTTP/1.1 {status} {}\r\nContent-Type: {content_type}\r\n{more}", reason(*status));
    match delivery {
        Delivery::Endless => head.push_str("Transfer-Encoding: chunked\r\n"),
        _ if *status == 204 => {}
        _ => head.push_str(&format!("Content-Length: {}\r\n", body.len())),
    }
    head.push_str("\r\n");
    if let Delivery::After(time) = delivery {
        std::thread::sleep(*time);
    }
    let mut bytes = head.into_bytes();
    if head_only || matches!(status, 204 | 304) {
        stream.write_all(&bytes)?;
        return Ok(true);
    }
    match delivery {
        Delivery::Whole | Delivery::After(_) => bytes.extend_from_slice(body),
        Delivery::Cut(length) | Delivery::Stalled(length) => {
            bytes.extend_from_slice(&body[..(*length).min(body.len())]);
        }
        Delivery::Endless => {}
    }
    stream.write_all(&bytes)?;
    stream.flush()?;
    match delivery {
        Delivery::Whole | Delivery::After(_) => Ok(true),
        Delivery::Cut(_) => Ok(false),
        Delivery::Stalled(_) => io::copy(&mut stream, &mut io::sink()).map(|_| false),
        Delivery::Endless => loop {
            stream.write_all(format!("{:x}\r\n", body.len()).as_bytes())?;
            stream.write_all(body)?;
            stream.write_all(b"\r\n")?;
        },
    }
}

const fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        201 => "Created",
        202 => "Accepted",
        204 => "No Content",
        206 => "Partial Content",
        301 => "Moved Permanently",
        304 => "Not Modified",
        307 => "Temporary Redirect",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        416 => "Range Not Satisfiable",
        429 => "Too Many Requests",
        500 => "Internal Server Error",
        503 => "Service Unavailable",
        _ => "Answer",
    }
}
