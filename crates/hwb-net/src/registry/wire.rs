//! Connections, on a runtime of our own.
//!
//! One thread drives all connections; whoever asks something waits on his own thread, and what he does with the bytes
//! (digests, the disk) he does there. So several blobs come in parallel by several threads, and no future leaves this
//! crate.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::pin::pin;
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_core::Stream;
use hwb_sandbox::Cancel;
use reqwest::header::{AUTHORIZATION, CONTENT_LENGTH, HeaderValue, LOCATION};
use reqwest::{Body, Certificate, Client, Method, NoProxy, Proxy, RequestBuilder, Response, Url};
use tokio::runtime::Runtime;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::endpoint::Trust;
use super::error::Failure;
use super::message::{Ask, Base, Payload, Reply, hop, is_same_server, shown};
use super::settings::{Patience, Proxies, RegistrySettings};

/// How often one request is redirected.
const REDIRECTS: usize = 10;

/// How long it may take until a cancel is seen.
const GLANCE: Duration = Duration::from_millis(50);

/// How much of an upload is read at once.
const PIECE: usize = 256 << 10;

/// The connections.
pub(super) struct Wire {
    runtime: Option<Runtime>,
    cancel: Cancel,
    clients: Mutex<BTreeMap<Trust, Client>>,
    proxies: Proxies,
    pub(super) patience: Patience,
    user_agent: String,
}

impl Drop for Wire {
    fn drop(&mut self) {
        // Without waiting for a name that nobody resolves any more.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Wire {
    pub(super) fn open(settings: &RegistrySettings, cancel: &Cancel) -> Result<Self, Failure> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("hwb-registry")
            .enable_all()
            .build()
            .map_err(|error| Failure::Client {
                action: "start a thread for connections".to_owned(),
                source: error.into(),
            })?;
        Ok(Self {
            runtime: Some(runtime),
            cancel: cancel.clone(),
            clients: Mutex::default(),
            proxies: settings.proxies.clone(),
            patience: settings.patience.clone(),
            user_agent: settings.user_agent.clone(),
        })
    }

    /// Does something to its end, or until the cancel is set.
    pub(super) fn block_on<T>(&self, task: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
        let runtime = self.runtime.as_ref().expect("the runtime is there until the end");
        let result = runtime.block_on(async {
            tokio::select! {
                biased;
                () = cancelled(&self.cancel) => Err(Failure::Cancelled),
                result = task => result,
            }
        });
        // What failed because of it did not fail by itself.
        if result.is_err() && self.cancel.is_cancelled() { Err(Failure::Cancelled) } else { result }
    }

    pub(super) const fn cancel(&self) -> &Cancel {
        &self.cancel
    }

    /// The client for a server; where nobody vouches for the one who sent us there, the system must.
    fn client(&self, trust: &Trust, url: &Url) -> Result<Client, Failure> {
        let trust = if *trust == Trust::Nobody && url.scheme() == "https" { &Trust::System } else { trust };
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = clients.get(trust) {
            return Ok(client.clone());
        }
        let client = self.make_client(trust)?;
        clients.insert(trust.clone(), client.clone());
        Ok(client)
    }

    fn make_client(&self, trust: &Trust) -> Result<Client, Failure> {
        let failed = |action: &str, source| Failure::Client { action: action.to_owned(), source };
        let proxy = |error: reqwest::Error| failed("use the proxy", error.without_url().into());
        let mut builder = Client::builder()
            .user_agent(&self.user_agent)
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .connect_timeout(self.patience.connect)
            // One connection for each blob: they come in parallel, and none holds up another.
            .http1_only()
            // Bytes are to come as their digest has them.
            .no_gzip()
            .no_brotli()
            .no_deflate()
            .no_zstd()
            .no_proxy();
        let none = self.proxies.none.as_deref().and_then(NoProxy::from_string);
        if let Some(url) = &self.proxies.http {
            let url = Proxy::http(url.expose().clone()).map_err(proxy)?;
            builder = builder.proxy(url.no_proxy(none.clone()));
        }
        if let Some(url) = &self.proxies.https {
            let url = Proxy::https(url.expose().clone()).map_err(proxy)?;
            builder = builder.proxy(url.no_proxy(none));
        }
        builder = match trust {
            Trust::System => builder,
            Trust::Authority(path) => {
                let read = format!("read the certificates in `{}`", path.display());
                let pem = hwb_store::fs::read(path).map_err(|error| failed(&read, error.into()))?;
                let certificates =
                    Certificate::from_pem_bundle(&pem).map_err(|error| failed(&read, error.into()))?;
                if certificates.is_empty() {
                    return Err(failed(&read, "there is none in it".into()));
                }
                builder.tls_certs_merge(certificates)
            }
            Trust::Anybody => builder.tls_danger_accept_invalid_certs(true),
            // Reading the system's certificates takes time, and nobody would look at them.
            Trust::Nobody => builder.tls_certs_only([]),
        };
        builder.build().map_err(|error| failed("set up connections", error.into()))
    }

    /// Sends a request and waits for the head of the answer; follows where it is sent, as far as that is safe.
    ///
    /// `authorization` goes to the server of `home` only.
    pub(super) async fn send(
        &self,
        ask: &Ask<'_>,
        home: &Base,
        authorization: Option<&HeaderValue>,
    ) -> Result<Reply, Failure> {
        let mut ask = ask.clone();
        for _ in 0..=REDIRECTS {
            let client = self.client(&home.trust, &ask.url)?;
            let mut request = client.request(ask.method.clone(), ask.url.clone());
            for (name, value) in &ask.headers {
                request = request.header(name, value);
            }
            if let Some(authorization) = authorization.filter(|_| is_same_server(&ask.url, &home.url)) {
                request = request.header(AUTHORIZATION, authorization);
            }
            let response = self.exchange(request, &ask).await?;
            let reply = Reply::new(response, ask.url.clone(), self.patience.stall);
            match next(&reply, &ask)? {
                Some(url) => ask.url = url,
                None => return Ok(reply),
            }
        }
        Err(Failure::Redirects { url: shown(&ask.url), limit: REDIRECTS })
    }

    async fn exchange(&self, request: RequestBuilder, ask: &Ask<'_>) -> Result<Response, Failure> {
        let url = || shown(&ask.url);
        let stalled = |limit| move |_| Failure::Stalled { url: url(), limit };
        let failed = |error: reqwest::Error| {
            let (url, source) = (url(), error.without_url());
            if source.is_connect() {
                Failure::Unreachable { url, source }
            } else {
                Failure::Broken { url, source }
            }
        };
        let Patience { stall, acknowledge, .. } = self.patience;
        let Payload::Part { open, from, length } = ask.payload else {
            let (request, limit) = match ask.payload {
                Payload::Bytes(bytes) => (request.body(bytes.to_vec()), acknowledge),
                Payload::Nothing | Payload::Part { .. } if takes_body(&ask.method) => {
                    (request.header(CONTENT_LENGTH, 0), acknowledge)
                }
                Payload::Nothing | Payload::Part { .. } => (request, stall),
            };
            return timeout(limit, request.send()).await.map_err(stalled(limit))?.map_err(failed);
        };
        let (sender, receiver) = mpsc::channel(2);
        let request = request.header(CONTENT_LENGTH, length).body(Body::wrap_stream(Pieces(receiver)));
        let mut answer = pin!(request.send());
        let feed = async move {
            let mut reader = open(from).map_err(Failure::Read)?.take(length);
            while let Some(piece) = read_piece(&mut reader).map_err(Failure::Read)? {
                match timeout(stall, sender.send(Ok(piece))).await.map_err(stalled(stall))? {
                    Ok(()) => {}
                    // Nobody listens any more; the answer says why.
                    Err(_closed) => return Ok(()),
                }
            }
            if reader.limit() > 0 {
                return Err(Failure::Read(io::ErrorKind::UnexpectedEof.into()));
            }
            Ok(())
        };
        tokio::select! {
            biased;
            answer = &mut answer => return answer.map_err(failed),
            fed = feed => fed?,
        }
        timeout(acknowledge, answer).await.map_err(stalled(acknowledge))?.map_err(failed)
    }
}

/// Whether a request of this kind has a body, be it an empty one.
fn takes_body(method: &Method) -> bool {
    [Method::POST, Method::PUT, Method::PATCH].contains(method)
}

/// Ends when the cancel is set. It is looked at now and then: a descriptor that is not tokio's own cannot be waited for
/// without unsafe code.
async fn cancelled(cancel: &Cancel) {
    while !cancel.is_cancelled() {
        tokio::time::sleep(GLANCE).await;
    }
}

/// The next bytes to upload; `None` at the end.
fn read_piece(reader: &mut dyn Read) -> io::Result<Option<Vec<u8>>> {
    let mut piece = Vec::with_capacity(PIECE);
    reader.take(PIECE as u64).read_to_end(&mut piece)?;
    Ok((!piece.is_empty()).then_some(piece))
}

/// What is uploaded, piece by piece.
struct Pieces(mpsc::Receiver<io::Result<Vec<u8>>>);

impl Stream for Pieces {
    type Item = io::Result<Vec<u8>>;

    fn poll_next(mut self: std::pin::Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.poll_recv(context)
    }
}

/// Where an answer sends us; `None` if it is one.
fn next(reply: &Reply, ask: &Ask<'_>) -> Result<Option<Url>, Failure> {
    let is_redirect = matches!(reply.status().as_u16(), 301 | 302 | 303 | 307 | 308);
    let Some(location) = reply.header(LOCATION).filter(|_| is_redirect) else { return Ok(None) };
    let to = hop(&ask.url, location)?;
    if !matches!(ask.method, Method::GET | Method::HEAD) {
        let (url, to) = (shown(&ask.url), shown(&to));
        return Err(Failure::Redirect { url, to, why: "only what reads is sent elsewhere" });
    }
    Ok(Some(to))
}
