//! Connections to the places that are granted.
//!
//! Owns which address behind a name may be dialled, the bound on connecting, and how a dead connection is noticed. A
//! name is resolved once and the address that was judged is the one that is dialled. Deliberately knows no request and
//! no secret.

use std::error::Error as StdError;
use std::future::Future;
use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::uri::Uri;
use hyper_rustls::{HttpsConnector, MaybeHttpsStream};
use hyper_util::rt::TokioIo;
use rustix::net::sockopt;
use tokio::net::{TcpStream, UnixStream};
use tokio_util::either::Either;

use super::address::{is_global, is_metadata, is_private, plain_host};
use super::connection::TolerantStream;
use super::errors::{Prohibited, Unresolved};
use sandbox_broker_config::{EgressGrant, HostPattern};

/// Bound on resolving a name, connecting and greeting, the TLS handshake
/// included. A guest may ask for less.
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Pause between two tries to reach the broker's own server while it starts.
const RESTART_LOOK: Duration = Duration::from_millis(20);
/// Silence on a connection after which the kernel probes whether the other end is alive, the time between two probes,
/// and how many may stay without an answer. A request that waits for output, or for a program that reads its input
/// late, has no deadline. The probes end it one minute after the path to its server died.
const PROBE_AFTER: Duration = Duration::from_secs(30);
const PROBE_EVERY: Duration = Duration::from_secs(10);
const PROBES: u32 = 3;

/// Resolves, filters and dials. A literal address takes the same path as a name.
#[derive(Clone)]
pub(super) struct Connector {
    pub(super) allow: Arc<[EgressGrant]>,
    pub(super) allow_private: bool,
    /// The Unix socket that requests to `http://localhost` go to, when the broker runs the provider itself.
    pub(super) socket: Option<PathBuf>,
}

impl Connector {
    /// Connects to the broker's own server. Waits while the server is being started again; [`CONNECT_TIMEOUT`] bounds
    /// the wait.
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

    async fn dial(self, uri: Uri) -> Result<TokioIo<TolerantStream>, Box<dyn StdError + Send + Sync>> {
        if let Some(socket) = &self.socket
            && uri.authority().is_some_and(|authority| authority == "localhost")
        {
            let stream = Self::dial_own(socket).await?;
            return Ok(TokioIo::new(TolerantStream::new(Either::Right(stream))));
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
        // Writing a private address, or `localhost`, into `allow` grants it.
        let written = |g: &EgressGrant| match &g.host {
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
        Ok(TokioIo::new(TolerantStream::new(Either::Left(stream))))
    }
}

impl tower::Service<Uri> for Connector {
    type Response = TokioIo<TolerantStream>;
    type Error = Box<dyn StdError + Send + Sync>;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        Box::pin(self.clone().dial(uri))
    }
}

/// Connects within [`CONNECT_TIMEOUT`], one bound for everything before a request can be sent.
#[derive(Clone)]
pub(super) struct BoundedConnector(pub(super) HttpsConnector<Connector>);

impl tower::Service<Uri> for BoundedConnector {
    type Response = MaybeHttpsStream<TokioIo<TolerantStream>>;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn metadata_services_are_never_granted() {
        for ip in ["169.254.169.254", "100.100.100.200", "168.63.129.16", "fd00:ec2::254", "fd20:ce::254", "fe80::1"] {
            let host = if ip.contains(':') { format!("[{ip}]") } else { ip.to_owned() };
            let url = format!("http://{host}");
            let grant = EgressGrant::parse(&url).unwrap();
            // Named in `allow`, and with private addresses granted besides.
            let connector = Connector { allow: [grant].into(), allow_private: true, socket: None };
            let error = connector.dial(url.parse().unwrap()).await.err().unwrap();
            assert!(error.is::<Prohibited>(), "{ip}: {error}");
        }
    }
}
