//! The host's own sender of a plugin's requests.
//!
//! Owns what leaves: default deny; scheme, host, port and path must match a
//! grant; the name is resolved once, addresses that were not granted are
//! refused, and that very address is connected; redirects are not followed;
//! secrets are filled in last. One [`Sender`] per provider section and
//! generation, so connections are never shared over a change of grants.
//! Deliberately knows no provider's protocol.

use std::error::Error as StdError;
use std::future::{Future, pending};
use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use http::uri::{Authority, Uri};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt as _;
use hyper_rustls::{ConfigBuilderExt as _, HttpsConnector, HttpsConnectorBuilder, MaybeHttpsStream};
use hyper_util::client::legacy::connect::capture_connection;
use hyper_util::client::legacy::{self, Client};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustix::net::sockopt;
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::mpsc;
use tokio_util::either::Either;
use tokio_util::task::AbortOnDropHandle;
use wasmtime_wasi_http::{Error, RequestOptions, WasiBody, WasiHttpHooks};

use super::address::{is_global, is_metadata, is_private};
use super::connection::Answered;
use super::state::Grants;
use sandbox_broker_config::{Grant, HostPattern, Scheme};
use sandbox_broker_core::certificate::distrust;
use sandbox_broker_core::words::clean;

/// Bound on resolving a name, connecting and greeting, the TLS handshake
/// included. A guest may ask for less.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Pause between two tries to reach the broker's own server while it starts.
const RESTART_LOOK: Duration = Duration::from_millis(20);
/// Silence on a connection after which the kernel asks whether the other end is
/// there, how often it asks, and how often in vain: a request that waits for
/// output, or for a program that reads its input late, has no deadline, and
/// ends a minute after the path to its server died.
const PROBE_AFTER: Duration = Duration::from_secs(30);
const PROBE_EVERY: Duration = Duration::from_secs(10);
const PROBES: u32 = 3;
/// Idle connections kept per origin: a burst of calls reuses them.
const IDLE_CONNECTIONS: usize = 32;
/// How long an idle connection is kept; servers commonly close after 60 s.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);
/// Frames of a response body between the connection and the guest.
const BODY_FRAMES: usize = 32;
/// Small frames are joined up to this size: each costs the guest a wake-up.
const JOINED_BYTES: usize = 48 << 10;
/// A frame of this size goes on as it is.
const WHOLE_BYTES: usize = 16 << 10;
/// Chunk in which a guest's request body is taken, bytes.
const UPLOAD_CHUNK: usize = 64 << 10;
/// Largest head of an answer, bytes.
const HEAD_BYTES: usize = 64 << 10;

/// How a placeholder for a secret begins in a header; it ends with `}}`.
pub(super) const OPEN: &str = "{{secret:";

type Io = Box<dyn Future<Output = Result<(), Error>> + Send>;

/// Sends requests of one provider section.
pub(crate) struct Sender {
    client: Client<Timely, WasiBody>,
    allow: Arc<[Grant]>,
    grants: Arc<Grants>,
}

impl std::fmt::Debug for Sender {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sender").field("allow", &self.allow).finish_non_exhaustive()
    }
}

impl Sender {
    /// A sender for these grants that trusts what the system trusts.
    ///
    /// # Errors
    /// When a grant needs TLS and the system's root certificates cannot be
    /// read.
    pub(crate) fn new(
        allow: Vec<Grant>,
        allow_private: bool,
        socket: Option<PathBuf>,
        grants: Arc<Grants>,
    ) -> std::io::Result<Self> {
        let tls = rustls::ClientConfig::builder();
        // Reading the roots takes longer than everything else at start.
        let tls = if allow.iter().any(|g| g.scheme == Scheme::Https) {
            tls.with_native_roots()?.with_no_client_auth()
        } else {
            tls.with_root_certificates(rustls::RootCertStore::empty()).with_no_client_auth()
        };
        Ok(Self::with_tls(allow, allow_private, socket, grants, tls))
    }

    /// A sender that trusts what `tls` says.
    pub(super) fn with_tls(
        allow: Vec<Grant>,
        allow_private: bool,
        socket: Option<PathBuf>,
        grants: Arc<Grants>,
        tls: rustls::ClientConfig,
    ) -> Self {
        let allow: Arc<[Grant]> = allow.into();
        let connector = Connector { allow: allow.clone(), allow_private, socket };
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_or_http()
            .enable_all_versions()
            .wrap_connector(connector);
        let connector = Timely(connector);
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_TIMEOUT)
            .pool_max_idle_per_host(IDLE_CONNECTIONS)
            .http1_max_buf_size(HEAD_BYTES)
            .build(connector);
        Sender { client, allow, grants }
    }

    /// Sends what a grant allows and fills in secrets. The body of an answer
    /// ends with it.
    ///
    /// # Errors
    /// As a guest of `wasi:http` would see them.
    pub(super) async fn send(
        &self,
        request: http::Request<WasiBody>,
        options: Option<RequestOptions>,
        dead: Arc<AtomicBool>,
    ) -> Result<http::Response<WasiBody>, Error> {
        let started = Instant::now();
        let (mut head, body) = request.into_parts();
        let target = self.check(&head.uri)?;
        for (name, value) in &mut head.headers {
            if let Some(filled) = self.fill(&target, name, value)? {
                *value = filled;
            }
        }
        let (method, path) = (head.method.clone(), head.uri.path().to_owned());
        let size = body.size_hint();
        let mut request = http::Request::from_parts(head, Mortal { body, size, dead }.boxed_unsync());
        let (connect, first_byte, between_bytes) =
            options.map_or((None, None, None), |o| (o.connect_timeout, o.first_byte_timeout, o.between_bytes_timeout));
        let mut connection = capture_connection(&mut request);
        let late = async {
            let Some(limit) = connect else { return pending().await };
            if tokio::time::timeout(limit, connection.wait_for_connection_metadata()).await.is_ok() {
                pending().await
            }
        };
        let answer = within(first_byte, Error::HttpResponseTimeout, self.client.request(request));
        let answer = tokio::select! {
            answer = answer => answer?,
            () = late => return Err(Error::ConnectionTimeout),
        };
        let provider = &self.grants.provider;
        match answer {
            Ok(answer) => {
                tracing::debug!(%provider, %method, host = %target.authority, %path, status = answer.status().as_u16(),
                    ms = started.elapsed().as_millis() as u64, "request");
                Ok(answer.map(|body| Joined::new(body, between_bytes).boxed_unsync()))
            }
            Err(e) => {
                let mapped = map(&e);
                if let Some(why) = distrust(&e).filter(|_| self.grants.lines.take(provider)) {
                    tracing::warn!(%provider, host = %target.authority, "{why}");
                }
                tracing::debug!(%provider, %method, host = %target.authority, %path, error = ?mapped, "request failed");
                Err(mapped)
            }
        }
    }

    /// Where the URL leads, when a grant allows it.
    fn check(&self, uri: &Uri) -> Result<Target, Error> {
        let authority = uri.authority().ok_or(Error::HttpRequestUriInvalid)?;
        if authority.as_str().contains('@') {
            return Err(Error::HttpRequestUriInvalid);
        }
        let scheme = uri.scheme_str().ok_or(Error::HttpRequestUriInvalid)?;
        let port = match (authority.port_u16(), scheme) {
            (Some(port), _) => port,
            (None, "https") => 443,
            (None, _) => 80,
        };
        let (scheme, path) = (scheme.to_owned(), uri.path().to_owned());
        let target = Target { scheme, host: plain_host(authority.host()), port, path, authority: authority.clone() };
        if self.allow.iter().any(|grant| target.is_granted(grant)) {
            return Ok(target);
        }
        let Target { scheme, .. } = target;
        if self.grants.lines.take(&self.grants.provider) {
            tracing::warn!(provider = %self.grants.provider, url = %format_args!("{scheme}://{}:{port}", authority.host()),
                "plugin asked for a host that is not in `allow`");
        }
        Err(Error::HttpRequestDenied)
    }

    /// The header's value with secrets filled in; none when it holds none.
    fn fill(
        &self,
        target: &Target,
        name: &http::HeaderName,
        value: &http::HeaderValue,
    ) -> Result<Option<http::HeaderValue>, Error> {
        let Ok(mut rest) = value.to_str() else { return Ok(None) };
        if !rest.contains(OPEN) {
            return Ok(None);
        }
        let mut filled = String::new();
        while let Some((before, after)) = rest.split_once(OPEN) {
            let Some((secret, after)) = after.split_once("}}") else { break };
            let value = self.grants.secrets.to_send(secret, |grant| target.is_granted(grant));
            let value = value.filter(|value| !value.is_empty());
            let value = value.ok_or_else(|| {
                let (provider, secret) = (&self.grants.provider, clean(secret, 64));
                if self.grants.lines.take(provider) {
                    tracing::warn!(%provider, %secret, "plugin asked for a secret that its provider does not have");
                }
                Error::ConfigurationError
            })?;
            filled.push_str(before);
            filled.push_str(value.expose());
            rest = after;
        }
        filled.push_str(rest);
        let mut value = http::HeaderValue::try_from(filled).map_err(|_| {
            let provider = &self.grants.provider;
            if self.grants.lines.take(provider) {
                tracing::warn!(%provider, header = %name, "a secret holds characters that no header may hold");
            }
            Error::ConfigurationError
        })?;
        value.set_sensitive(true);
        Ok(Some(value))
    }
}

/// Where a request goes.
struct Target {
    authority: Authority,
    scheme: String,
    host: String,
    port: u16,
    path: String,
}

impl Target {
    fn is_granted(&self, grant: &Grant) -> bool {
        grant.covers(&self.scheme, &self.host, self.port, &self.path)
    }
}

/// What one Store's requests go through.
pub(super) struct Hooks {
    sender: Option<Arc<Sender>>,
    dead: Arc<AtomicBool>,
}

impl Hooks {
    pub(super) fn new(sender: Option<Arc<Sender>>, dead: Arc<AtomicBool>) -> Self {
        Hooks { sender, dead }
    }
}

impl WasiHttpHooks for Hooks {
    fn set_host_header(&mut self) -> bool {
        false // the client sets Host or :authority from the URL
    }

    fn p3_outgoing_body_chunk_size(&mut self) -> usize {
        UPLOAD_CHUNK
    }

    fn send_request(
        &mut self,
        request: http::Request<WasiBody>,
        options: Option<RequestOptions>,
        _: Io,
    ) -> Box<dyn Future<Output = Result<(http::Response<WasiBody>, Io), Error>> + Send> {
        let (sender, dead) = (self.sender.clone(), self.dead.clone());
        Box::new(async move {
            // The first poll comes from a guest, on a stack that stays as large as it ever was for the life of the
            // instance; the deep work of sending is for the thread's own.
            tokio::task::yield_now().await;
            let sender = sender.ok_or(Error::HttpRequestDenied)?;
            let answer = sender.send(request, options, dead).await?;
            // The pooled client drives the connection itself.
            Ok((answer, Box::new(async { Ok(()) }) as Io))
        })
    }
}

/// A request body that fails when its Store is gone, where the engine's own
/// would end as if it were whole.
struct Mortal {
    body: WasiBody,
    size: SizeHint,
    dead: Arc<AtomicBool>,
}

impl Body for Mortal {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        match Pin::new(&mut self.body).poll_frame(cx) {
            Poll::Ready(None) if self.dead.load(Ordering::SeqCst) => {
                Poll::Ready(Some(Err(Error::ConnectionTerminated)))
            }
            frame => frame,
        }
    }

    fn size_hint(&self) -> SizeHint {
        self.size
    }
}

type Received = Result<Frame<Bytes>, Error>;

/// What waits for the guest. Small, because the channel holds room for all of
/// it as long as it lives.
enum Waiting {
    Data(Bytes),
    Other(Box<Received>),
}

impl Waiting {
    fn new(received: Received) -> Self {
        match received.map(Frame::into_data) {
            Ok(Ok(data)) => Waiting::Data(data),
            Ok(Err(other)) => Waiting::Other(Box::new(Ok(other))),
            Err(error) => Waiting::Other(Box::new(Err(error))),
        }
    }
}

/// A response body that joins small frames. A task of its own reads the
/// connection, so that frames gather while the guest is at work.
struct Joined {
    frames: mpsc::Receiver<Waiting>,
    held: Option<Waiting>,
    _reader: AbortOnDropHandle<()>,
}

impl Joined {
    /// Fails when nothing comes for `silence`.
    fn new(mut body: hyper::body::Incoming, silence: Option<Duration>) -> Self {
        let (tx, frames) = mpsc::channel(BODY_FRAMES);
        let reader = tokio::spawn(async move {
            loop {
                let frame = match within(silence, Error::ConnectionReadTimeout, body.frame()).await {
                    Ok(Some(frame)) => frame.map_err(|e| map(&e)),
                    Ok(None) => break,
                    Err(silent) => Err(silent),
                };
                let last = frame.is_err();
                if tx.send(Waiting::new(frame)).await.is_err() || last {
                    break;
                }
            }
        });
        Joined { frames, held: None, _reader: AbortOnDropHandle::new(reader) }
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Waiting>> {
        match self.held.take() {
            Some(frame) => Poll::Ready(Some(frame)),
            None => self.frames.poll_recv(cx),
        }
    }
}

impl Body for Joined {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Received>> {
        let first = match ready!(self.poll_next(cx)) {
            Some(Waiting::Data(data)) => data,
            Some(Waiting::Other(other)) => return Poll::Ready(Some(*other)),
            None => return Poll::Ready(None),
        };
        if first.len() >= WHOLE_BYTES {
            return Poll::Ready(Some(Ok(Frame::data(first))));
        }
        let Ok(second) = self.frames.try_recv() else { return Poll::Ready(Some(Ok(Frame::data(first)))) };
        let mut joined = BytesMut::with_capacity(WHOLE_BYTES);
        joined.extend_from_slice(&first);
        let mut next = Some(second);
        while let Some(waiting) = next {
            match waiting {
                Waiting::Data(data) if joined.len() + data.len() <= JOINED_BYTES => joined.extend_from_slice(&data),
                other => self.held = Some(other),
            }
            next = if self.held.is_some() { None } else { self.frames.try_recv().ok() };
        }
        Poll::Ready(Some(Ok(Frame::data(joined.freeze()))))
    }
}

/// `future` within a limit, where there is one.
async fn within<T>(limit: Option<Duration>, late: Error, future: impl Future<Output = T>) -> Result<T, Error> {
    match limit {
        None => Ok(future.await),
        Some(limit) => tokio::time::timeout(limit, future).await.map_err(|_| late),
    }
}

/// The address is not granted.
#[derive(Debug, thiserror::Error)]
#[error("the address is not allowed")]
struct Prohibited;

/// The name has no address.
#[derive(Debug, thiserror::Error)]
#[error("the name cannot be resolved")]
struct Unresolved;

/// Resolves, filters and dials: names and literal addresses go the same way.
#[derive(Clone)]
struct Connector {
    allow: Arc<[Grant]>,
    allow_private: bool,
    /// Where requests to `http://localhost` go, instead of there.
    socket: Option<PathBuf>,
}

impl Connector {
    /// Connects to the broker's own server. One that is being started again is
    /// waited for, as long as any connection is.
    async fn dial_own(socket: &Path) -> std::io::Result<UnixStream> {
        loop {
            match UnixStream::connect(socket).await {
                Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused) => {
                    tokio::time::sleep(RESTART_LOOK).await;
                }
                done => return done,
            }
        }
    }

    async fn dial(self, uri: Uri) -> Result<TokioIo<Answered>, Box<dyn StdError + Send + Sync>> {
        if let Some(socket) = &self.socket
            && uri.authority().is_some_and(|authority| authority == "localhost")
        {
            let stream = Self::dial_own(socket).await?;
            return Ok(TokioIo::new(Answered::new(Either::Right(stream))));
        }
        let host = plain_host(uri.host().unwrap_or_default());
        let port = uri.port_u16().unwrap_or(if uri.scheme_str() == Some("https") { 443 } else { 80 });
        let found: Vec<SocketAddr> = match host.parse::<IpAddr>() {
            Ok(ip) => vec![SocketAddr::new(ip, port)],
            Err(_) => tokio::net::lookup_host((host.as_str(), port)).await.map_err(|_| Unresolved)?.collect(),
        };
        if found.is_empty() {
            return Err(Unresolved.into());
        }
        // Writing an address, or `localhost`, in `allow` is what grants it.
        let written = |g: &Grant| match &g.host {
            HostPattern::Address(ip) => host.parse() == Ok(*ip),
            HostPattern::Name(name) => name == "localhost" && host == "localhost",
            HostPattern::Under(_) => false,
        };
        let named = self.allow.iter().any(written);
        let good: Vec<SocketAddr> = found
            .into_iter()
            .filter(|a| {
                is_global(a.ip())
                    || (named && !is_metadata(a.ip()))
                    || (self.allow_private && !is_metadata(a.ip()) && (is_private(a.ip()) || a.ip().is_loopback()))
            })
            .collect();
        if good.is_empty() {
            return Err(Prohibited.into());
        }
        let stream = TcpStream::connect(&good[..]).await?;
        stream.set_nodelay(true)?;
        sockopt::set_socket_keepalive(&stream, true)?;
        sockopt::set_tcp_keepidle(&stream, PROBE_AFTER)?;
        sockopt::set_tcp_keepintvl(&stream, PROBE_EVERY)?;
        sockopt::set_tcp_keepcnt(&stream, PROBES)?;
        Ok(TokioIo::new(Answered::new(Either::Left(stream))))
    }
}

impl tower::Service<Uri> for Connector {
    type Response = TokioIo<Answered>;
    type Error = Box<dyn StdError + Send + Sync>;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        Box::pin(self.clone().dial(uri))
    }
}

/// Connects within [`CONNECT_TIMEOUT`]: one bound for all that stands before a
/// request.
#[derive(Clone)]
struct Timely(HttpsConnector<Connector>);

impl tower::Service<Uri> for Timely {
    type Response = MaybeHttpsStream<TokioIo<Answered>>;
    type Error = Box<dyn StdError + Send + Sync>;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let connecting = self.0.call(uri);
        Box::pin(async move {
            let late = |_| Err(std::io::Error::from(ErrorKind::TimedOut).into());
            tokio::time::timeout(CONNECT_TIMEOUT, connecting).await.unwrap_or_else(late)
        })
    }
}

/// A host as grants are compared: lower case, IPv6 without brackets.
fn plain_host(host: &str) -> String {
    host.trim_matches(['[', ']']).to_ascii_lowercase()
}

/// The contract's error for a failure anywhere below.
fn map(error: &(dyn StdError + 'static)) -> Error {
    let connecting = error.downcast_ref::<legacy::Error>().is_some_and(legacy::Error::is_connect);
    let mut cause = Some(error);
    while let Some(e) = cause {
        if e.is::<Prohibited>() {
            return Error::DestinationIpProhibited;
        }
        if e.is::<Unresolved>() {
            return Error::DnsError { rcode: None, info_code: None };
        }
        if let Some(e) = e.downcast_ref::<Error>() {
            // The guest's own body failed.
            return match e {
                Error::ConnectionTerminated => Error::ConnectionTerminated,
                _ => Error::HttpProtocolError,
            };
        }
        if e.is::<rustls::Error>() {
            return match e.downcast_ref() {
                Some(rustls::Error::InvalidCertificate(_)) => Error::TlsCertificateError,
                _ => Error::TlsProtocolError,
            };
        }
        if let Some(io) = e.downcast_ref::<std::io::Error>() {
            match io.kind() {
                ErrorKind::ConnectionRefused => return Error::ConnectionRefused,
                ErrorKind::TimedOut => return Error::ConnectionTimeout,
                ErrorKind::UnexpectedEof => return Error::HttpResponseIncomplete,
                ErrorKind::ConnectionReset | ErrorKind::BrokenPipe | ErrorKind::ConnectionAborted => {
                    return Error::ConnectionTerminated;
                }
                // A TLS error hides inside an io error.
                _ => {
                    if let Some(inner) = io.get_ref() {
                        cause = Some(inner);
                        continue;
                    }
                }
            }
        }
        if e.downcast_ref::<hyper::Error>().is_some_and(hyper::Error::is_incomplete_message) {
            return Error::HttpResponseIncomplete;
        }
        cause = e.source();
    }
    if connecting { Error::DestinationUnavailable } else { Error::HttpProtocolError }
}

#[cfg(test)]
mod tests;
