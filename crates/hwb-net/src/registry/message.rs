//! Requests and answers, as they are before and after the wire.

use std::io::{self, Read};
use std::time::Duration;

use reqwest::header::{CONTENT_LENGTH, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};
use reqwest::{Method, Response, StatusCode, Url};
use tokio::time::timeout;

use super::endpoint::Trust;
use super::error::Failure;

/// The most that is read of an answer that says why something failed.
const EXPLANATION: usize = 64 << 10;

/// Opens what is to be uploaded, from a byte on.
pub(super) type OpenAt<'a> = dyn Fn(u64) -> io::Result<Box<dyn Read>> + 'a;

/// A server, and who must vouch for it.
#[derive(Debug, Clone)]
pub(super) struct Base {
    pub(super) url: Url,
    pub(super) trust: Trust,
}

/// What goes with a request.
#[derive(Clone, Copy)]
pub(super) enum Payload<'a> {
    Nothing,
    Bytes(&'a [u8]),
    /// So many bytes of something, from a byte on.
    Part {
        open: &'a OpenAt<'a>,
        from: u64,
        length: u64,
    },
}

/// One request.
#[derive(Clone)]
pub(super) struct Ask<'a> {
    pub(super) method: Method,
    pub(super) url: Url,
    pub(super) headers: Vec<(HeaderName, HeaderValue)>,
    pub(super) payload: Payload<'a>,
}

impl<'a> Ask<'a> {
    pub(super) fn new(method: Method, url: Url) -> Self {
        Self { method, url, headers: Vec::new(), payload: Payload::Nothing }
    }

    /// Adds a header line; a value that cannot be one is none of ours.
    pub(super) fn header(mut self, name: HeaderName, value: &str) -> Self {
        self.headers.extend(value.parse().ok().map(|value| (name, value)));
        self
    }

    pub(super) fn payload(mut self, payload: Payload<'a>) -> Self {
        self.payload = payload;
        self
    }
}

/// A URL as it may be shown: without credentials, and without a query, which may be a signature.
pub(super) fn shown(url: &Url) -> String {
    let mut url = url.clone();
    url.set_query(None);
    url.set_fragment(None);
    // A URL without a host has neither.
    let _no_host = url.set_password(None);
    let _no_host = url.set_username("");
    url.into()
}

/// Whether two URLs are of the same server.
pub(super) fn is_same_server(one: &Url, other: &Url) -> bool {
    one.origin() == other.origin()
}

/// Where a `Location` leads from a URL.
pub(super) fn hop(from: &Url, location: &str) -> Result<Url, Failure> {
    let refused = |to: String, why| Failure::Redirect { url: shown(from), to, why };
    let Ok(mut to) = from.join(location) else {
        // It is not repeated: where a secret would be in it is not known.
        let what = "leads to what is no URL".to_owned();
        return Err(Failure::Nonsense { url: shown(from), what });
    };
    // What somebody else thinks who we are does not count.
    let _no_host = to.set_password(None);
    let _no_host = to.set_username("");
    to.set_fragment(None);
    match (from.scheme(), to.scheme()) {
        (_, "https") | ("http", "http") => Ok(to),
        ("https", "http") => Err(refused(shown(&to), "it is not encrypted, and this was")),
        _ => Err(refused(shown(&to), "it is not HTTP")),
    }
}

/// The head of an answer, and its body to come.
pub(super) struct Reply {
    response: Response,
    pub(super) url: Url,
    stall: Duration,
}

impl Reply {
    pub(super) const fn new(response: Response, url: Url, stall: Duration) -> Self {
        Self { response, url, stall }
    }

    pub(super) fn status(&self) -> StatusCode {
        self.response.status()
    }

    pub(super) fn headers(&self) -> &HeaderMap {
        self.response.headers()
    }

    pub(super) fn header(&self, name: HeaderName) -> Option<&str> {
        self.headers().get(name).and_then(|value| value.to_str().ok())
    }

    /// How many bytes are announced.
    pub(super) fn length(&self) -> Option<u64> {
        self.header(CONTENT_LENGTH).and_then(|length| length.parse().ok())
    }

    /// How long the server wants not to be asked. A date tells nothing here: there is no clock.
    pub(super) fn retry_after(&self) -> Option<Duration> {
        self.header(RETRY_AFTER).and_then(|after| after.trim().parse().ok()).map(Duration::from_secs)
    }

    /// The next bytes of the body; `None` at its end.
    pub(super) async fn piece(&mut self) -> Result<Option<impl AsRef<[u8]> + use<>>, Failure> {
        let came = timeout(self.stall, self.response.chunk()).await;
        let came = came.map_err(|_| Failure::Stalled { url: shown(&self.url), limit: self.stall })?;
        came.map_err(|error| Failure::Broken { url: shown(&self.url), source: error.without_url() })
    }

    /// The whole body; `None` if it is longer than `limit`.
    pub(super) async fn read(&mut self, limit: usize) -> Result<Option<Vec<u8>>, Failure> {
        let mut body = Vec::new();
        while let Some(piece) = self.piece().await? {
            body.extend_from_slice(piece.as_ref());
            if body.len() > limit {
                return Ok(None);
            }
        }
        Ok(Some(body))
    }

    /// What the body says about a failure, as far as it came.
    pub(super) async fn explanation(&mut self) -> Vec<u8> {
        let mut body = Vec::new();
        while let Ok(Some(piece)) = self.piece().await {
            body.extend_from_slice(piece.as_ref());
            if body.len() > EXPLANATION {
                break;
            }
        }
        body
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn goes_where_it_is_safe() {
        let check = |from: &str, location: &str, expect: &str| {
            let found = hop(&from.parse().unwrap(), location);
            assert_eq!(found.map_or_else(|error| error.to_string(), String::from), expect, "{location}");
        };
        let from = "https://quay.io/v2/a/blobs/x?y";
        check(from, "/v2/b", "https://quay.io/v2/b");
        check(from, "https://me:secret@cdn.example/b?sign=1#f", "https://cdn.example/b?sign=1");
        check("http://localhost:5000/v2/", "http://cdn.example/b", "http://cdn.example/b");
        check("http://localhost:5000/v2/", "https://cdn.example/b", "https://cdn.example/b");
        let refused = |to: &str, why: &str| {
            format!("`https://quay.io/v2/a/blobs/x` is redirected to `{to}`, which is not followed: {why}")
        };
        check(
            from,
            "http://quay.io/b?sign=1",
            &refused("http://quay.io/b", "it is not encrypted, and this was"),
        );
        check(from, "file:///etc/passwd", &refused("file:///etc/passwd", "it is not HTTP"));
        let no_url = "the answer of `https://quay.io/v2/a/blobs/x` leads to what is no URL";
        check(from, "https://me:secret@[?sign=secret", no_url);
    }

    #[test]
    fn shows_neither_credentials_nor_signatures() {
        let url: Url = "https://me:secret@cdn.example:8443/b?sign=secret#secret".parse().unwrap();
        assert_eq!(shown(&url), "https://cdn.example:8443/b");
    }
}
