//! Connections that carry bytes both ways, opened for a plugin.
//!
//! Owns the handshakes: an upgrade of HTTP/1.1, a WebSocket, a plain connection. They leave under the rules of the
//! [`Sender`]: grants, places, secrets. Deliberately does not know what the bytes mean, and carries none of them: see
//! [`carry`](super::carry).

use std::sync::Arc;

use bytes::Bytes;
use http::header::{CONNECTION, HOST, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION, UPGRADE};
use http::request::Parts;
use http::uri::{PathAndQuery, Scheme as HttpScheme, Uri};
use http::{HeaderMap, HeaderValue, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_tungstenite::tungstenite::handshake::client::generate_key;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tower::Service as _;
use wasmtime_wasi_http::Error;

use super::connector::CONNECT_TIMEOUT;
use super::errors::error_code;
use super::places::{Place, StoreRequests};
use super::sender::{REFUSED_METHODS, Sender, reflected};
use sandbox_broker_config::{HostPattern, Scheme};
use sandbox_broker_secrets::{Payload, Search};

/// Bytes of the body of a refusal that are kept. The contract names it.
const REFUSAL_BYTES: usize = 64 << 10;

/// An open connection.
pub(crate) struct Opened<S> {
    /// Headers of the answer that opened it.
    pub(crate) headers: HeaderMap,
    /// The connection.
    pub(super) io: S,
    /// Looks for the secrets that the request carried.
    pub(super) search: Search,
    /// Kept as long as the connection.
    pub(super) place: Arc<[Place; 2]>,
}

/// An answer that opens no connection.
pub(crate) struct Refusal {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

/// Why there is no connection.
pub(crate) enum NotOpened {
    /// The server answered.
    Refused(Refusal),
    /// It did not.
    Failed(Error),
}

impl<E: Into<Error>> From<E> for NotOpened {
    fn from(error: E) -> Self {
        NotOpened::Failed(error.into())
    }
}

/// What any connection can do.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

impl Sender {
    /// Asks for another protocol. `head` names it in its header `upgrade`.
    pub(crate) async fn upgrade(
        &self,
        mut head: Parts,
        body: Bytes,
        store: &StoreRequests,
    ) -> Result<Opened<TokioIo<Upgraded>>, NotOpened> {
        let target = self.check(&head.uri)?;
        if REFUSED_METHODS.iter().any(|refused| head.method.as_str().eq_ignore_ascii_case(refused)) {
            return Err(Error::HttpRequestMethodInvalid.into());
        }
        let place = store.open(&self.places).await.map_err(|_| Error::ConnectionLimitReached)?;
        store.trace(&mut head.headers);
        let carried = self.permissions.secrets.carried(|to| target.is_granted(to));
        let payload = Payload { length: Some(body.len() as u64), hash: Some(sandbox_broker_secrets::hash(&body)) };
        let search = self.add_secrets(&carried, &mut head, &payload)?;
        let dialled = requested(&head.uri)?;
        let (method, path) = (head.method.clone(), head.uri.path().to_owned());
        let host = HeaderValue::try_from(target.authority.as_str()).map_err(|_| Error::HttpRequestUriInvalid)?;
        head.headers.insert(HOST, host);
        head.headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        head.uri = Uri::from(head.uri.path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/")));

        let io = self.dialer.clone().call(dialled).await.map_err(|e| error_code(&*e))?;
        let (mut send, connection) = http1::handshake(io).await.map_err(|e| error_code(&e))?;
        tokio::spawn(async move {
            // Its failures are those of the request.
            let _ = connection.with_upgrades().await;
        });
        let sent = send.send_request(http::Request::from_parts(head, Full::new(body))).await;
        let provider = &self.permissions.provider;
        let mut answer = sent.map_err(|e| error_code(&e))?;
        let status = answer.status();
        tracing::debug!(%provider, %method, host = %target.authority, %path, status = status.as_u16(), "upgrade");
        if search.headers(answer.headers()).is_err() {
            return Err(reflected(&self.permissions).into());
        }
        if status != StatusCode::SWITCHING_PROTOCOLS {
            return Err(self.refusal(answer, search).await);
        }
        let headers = std::mem::take(answer.headers_mut());
        let upgraded = hyper::upgrade::on(answer).await.map_err(|e| error_code(&e))?;
        Ok(Opened { headers, io: TokioIo::new(upgraded), search, place })
    }

    /// Reads an answer that opens nothing.
    pub(super) async fn refusal(&self, answer: http::Response<hyper::body::Incoming>, mut search: Search) -> NotOpened {
        let (head, mut incoming) = answer.into_parts();
        let mut body = Vec::new();
        while body.len() < REFUSAL_BYTES
            && let Some(frame) = incoming.frame().await
        {
            let piece = match frame.map(http_body::Frame::into_data) {
                Ok(Ok(data)) => data,
                Ok(Err(_)) => continue,
                Err(e) => return error_code(&e).into(),
            };
            match search.piece(piece) {
                Ok(piece) => body.extend_from_slice(&piece),
                Err(_) => return reflected(&self.permissions).into(),
            }
        }
        body.extend_from_slice(&search.end());
        body.truncate(REFUSAL_BYTES);
        NotOpened::Refused(Refusal { status: head.status, headers: head.headers, body })
    }

    /// Shakes hands for a WebSocket (RFC 6455, section 4.1). The header `sec-websocket-protocol` of `head` asks for
    /// sub-protocols.
    pub(crate) async fn websocket(
        &self,
        mut head: Parts,
        store: &StoreRequests,
    ) -> Result<Opened<TokioIo<Upgraded>>, NotOpened> {
        let key = generate_key();
        let accept = derive_accept_key(key.as_bytes());
        let key = HeaderValue::try_from(key).map_err(|_| Error::HttpProtocolError)?;
        head.headers.insert(SEC_WEBSOCKET_KEY, key);
        head.headers.insert(SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
        head.headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
        let opened = self.upgrade(head, Bytes::new(), store).await?;
        let agreed = opened.headers.get(SEC_WEBSOCKET_ACCEPT).is_some_and(|value| value == accept.as_str());
        if agreed { Ok(opened) } else { Err(Error::HttpUpgradeFailed.into()) }
    }

    /// Connects to `tcp://host:port`, `tls://host:port` or `unix:///path`, and adds no secret.
    pub(crate) async fn connect(&self, url: &str, store: &StoreRequests) -> Result<Opened<Box<dyn Stream>>, Error> {
        let asked = sandbox_broker_config::EgressGrant::parse(url).ok_or(Error::HttpRequestUriInvalid)?;
        let place = store.open(&self.places).await.map_err(|_| Error::ConnectionLimitReached)?;
        let io: Box<dyn Stream> = match (&asked.host, asked.scheme) {
            (HostPattern::Socket(path), _) if self.allow.contains(&asked) => {
                Box::new(self.connector.dial_socket(path, false).await.map_err(|e| error_code(&*e))?)
            }
            (HostPattern::Socket(_) | HostPattern::Under(_), _) => return Err(self.denied(url)),
            (_, Scheme::Tcp | Scheme::Tls) => {
                let authority = url.split_once("://").map_or("", |(_, authority)| authority);
                self.check(&url.parse().map_err(|_| Error::HttpRequestUriInvalid)?)?;
                let dialled: Uri = format!("https://{authority}").parse().map_err(|_| Error::HttpRequestUriInvalid)?;
                if asked.scheme == Scheme::Tls {
                    let io = self.dialer.clone().call(dialled).await.map_err(|e| error_code(&*e))?;
                    Box::new(TokioIo::new(io))
                } else {
                    let dialling = self.connector.dial_address(&dialled);
                    let dialled = tokio::time::timeout(CONNECT_TIMEOUT, dialling).await;
                    Box::new(dialled.map_err(|_| Error::ConnectionTimeout)?.map_err(|e| error_code(&*e))?)
                }
            }
            _ => return Err(Error::HttpRequestUriInvalid),
        };
        Ok(Opened { headers: HeaderMap::new(), io, search: Search::default(), place })
    }
}

/// The URL of the request that opens a WebSocket or is an upgrade.
fn requested(uri: &Uri) -> Result<Uri, Error> {
    let scheme = match uri.scheme_str() {
        Some("ws" | "http") => HttpScheme::HTTP,
        Some("wss" | "https") => HttpScheme::HTTPS,
        _ => return Err(Error::HttpRequestUriInvalid),
    };
    let mut parts = uri.clone().into_parts();
    parts.scheme = Some(scheme);
    Uri::from_parts(parts).map_err(|_| Error::HttpRequestUriInvalid)
}
