//! Connections to the places that are granted.
//!
//! Owns which address behind a name may be dialled, the bound on connecting, and how a dead connection is noticed. A
//! name is resolved once and the address that was judged is the one that is dialled. Each connection and each look-up
//! takes a [place](SectionPlaces). Deliberately knows no request and no secret.

use std::error::Error as StdError;
use std::future::Future;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr, ToSocketAddrs as _};
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
use super::errors::{NoSocket, Prohibited, Unresolved};
use super::places::SectionPlaces;
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

/// Why a connection cannot be made.
pub(super) type Failed = Box<dyn StdError + Send + Sync>;

/// Resolves, filters and dials. A literal address takes the same path as a name.
#[derive(Clone)]
pub(super) struct Connector {
    allow: Arc<[EgressGrant]>,
    allow_private: bool,
    /// The Unix socket that requests to `http://localhost` go to.
    socket: Option<Socket>,
    places: SectionPlaces,
    lookup: LookUp,
}

/// A Unix socket in the place of `http://localhost`.
#[derive(Clone)]
struct Socket {
    path: PathBuf,
    /// The broker runs its server, and starts it again when it ends.
    ours: bool,
}

/// Finds the addresses of a name and a port. It blocks for as long as the resolver takes.
type LookUp = fn(&str, u16) -> io::Result<Vec<SocketAddr>>;

fn system(name: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    Ok((name, port).to_socket_addrs()?.collect())
}

impl Connector {
    pub(super) fn new(
        allow: Arc<[EgressGrant]>,
        allow_private: bool,
        own: Option<PathBuf>,
        places: SectionPlaces,
    ) -> Self {
        let granted = allow.iter().find_map(|grant| match &grant.host {
            HostPattern::Socket(path) => Some(Socket { path: path.clone(), ours: false }),
            _ => None,
        });
        let socket = own.map(|path| Socket { path, ours: true }).or(granted);
        Connector { allow, allow_private, socket, places, lookup: system }
    }

    /// The addresses of a name. Its place stays taken until the resolver has answered, even if nobody waits any more.
    async fn resolve(&self, name: String, port: u16) -> Result<Vec<SocketAddr>, Failed> {
        let (places, lookup) = (self.places.lookup().await?, self.lookup);
        let found = tokio::task::spawn_blocking(move || {
            let found = lookup(&name, port);
            drop(places);
            found
        });
        Ok(found.await.ok().and_then(Result::ok).ok_or(Unresolved)?)
    }

    /// Connects to a socket. Waits while the broker's own server is being started again; [`CONNECT_TIMEOUT`] bounds the
    /// wait.
    pub(super) async fn dial_socket(&self, path: &Path, ours: bool) -> Result<TolerantStream, Failed> {
        let place = self.places.connection().await?;
        let restarting = |error: &io::Error| matches!(error.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused);
        let stream = loop {
            match UnixStream::connect(path).await {
                Err(error) if ours && restarting(&error) => tokio::time::sleep(RESTART_LOOK).await,
                done => break done.map_err(|error| NoSocket(path.display().to_string(), error))?,
            }
        };
        Ok(TolerantStream::new(Either::Right(stream), place))
    }

    async fn dial(self, uri: Uri) -> Result<TokioIo<TolerantStream>, Failed> {
        if let Some(Socket { path, ours }) = &self.socket
            && uri.scheme_str() == Some("http")
            && uri.host() == Some("localhost")
            && matches!(uri.port_u16(), None | Some(80))
        {
            return Ok(TokioIo::new(self.dial_socket(path, *ours).await?));
        }
        Ok(TokioIo::new(self.dial_address(&uri).await?))
    }

    /// Connects to the host and port of a URL, never to a socket.
    pub(super) async fn dial_address(&self, uri: &Uri) -> Result<TolerantStream, Failed> {
        let host = plain_host(uri.host().unwrap_or_default());
        let port = uri.port_u16().unwrap_or(if uri.scheme_str() == Some("https") { 443 } else { 80 });
        let found: Vec<SocketAddr> = match host.parse::<IpAddr>() {
            Ok(ip) => vec![SocketAddr::new(ip, port)],
            Err(_) => self.resolve(host.clone(), port).await?,
        };
        if found.is_empty() {
            return Err(Unresolved.into());
        }
        // Writing a private address, or `localhost`, into `allow` grants it.
        let written = |g: &EgressGrant| match &g.host {
            HostPattern::Address(ip) => host.parse() == Ok(*ip),
            HostPattern::Name(name) => name == "localhost" && host == "localhost",
            HostPattern::Under(_) | HostPattern::Socket(_) => false,
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
        let place = self.places.connection().await?;
        let stream = TcpStream::connect(&good[..]).await?;
        stream.set_nodelay(true)?;
        sockopt::set_socket_keepalive(&stream, true)?;
        sockopt::set_tcp_keepidle(&stream, PROBE_AFTER)?;
        sockopt::set_tcp_keepintvl(&stream, PROBE_EVERY)?;
        sockopt::set_tcp_keepcnt(&stream, PROBES)?;
        Ok(TolerantStream::new(Either::Left(stream), place))
    }
}

impl tower::Service<Uri> for Connector {
    type Response = TokioIo<TolerantStream>;
    type Error = Failed;
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
    type Error = Failed;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let connecting = self.0.call(uri);
        Box::pin(async move {
            let late = |_| Err(io::Error::from(ErrorKind::TimedOut).into());
            tokio::time::timeout(CONNECT_TIMEOUT, connecting).await.unwrap_or_else(late)
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Condvar, Mutex};

    use wasmtime_wasi_http::Error;

    use super::super::errors::{Crowded, error_code};
    use super::*;

    #[tokio::test]
    async fn metadata_services_are_never_granted() {
        for ip in ["169.254.169.254", "100.100.100.200", "168.63.129.16", "fd00:ec2::254", "fd20:ce::254", "fe80::1"] {
            let host = if ip.contains(':') { format!("[{ip}]") } else { ip.to_owned() };
            let url = format!("http://{host}");
            let grant = EgressGrant::parse(&url).unwrap();
            // Named in `allow`, and with private addresses granted besides.
            let connector = Connector::new([grant].into(), true, None, SectionPlaces::new());
            let error = connector.dial(url.parse().unwrap()).await.err().unwrap();
            assert!(error.is::<Prohibited>(), "{ip}: {error}");
        }
    }

    /// Names that the resolver is asked for at this moment, and the most there were. It answers none in `never.test`.
    static ASKED: Mutex<(usize, usize)> = Mutex::new((0, 0));
    static GO_ON: Condvar = Condvar::new();

    fn slow(_: &str, _: u16) -> io::Result<Vec<SocketAddr>> {
        let mut asked = ASKED.lock().unwrap();
        asked.0 += 1;
        asked.1 = asked.1.max(asked.0);
        while asked.0 > 0 {
            asked = GO_ON.wait(asked).unwrap();
        }
        Err(ErrorKind::NotFound.into())
    }

    fn places(connections: usize, lookups: usize) -> SectionPlaces {
        let mut places = SectionPlaces::with(100, connections, lookups);
        places.patience = Duration::from_millis(200);
        places
    }

    #[tokio::test]
    async fn a_slow_resolver_takes_no_more_threads_than_there_are_places() {
        const PLACES: usize = 3;
        let allow = [EgressGrant::parse("http://*.never.test").unwrap()].into();
        let connector = Connector { lookup: slow, ..Connector::new(allow, false, None, places(100, PLACES)) };
        let dial = |n: usize| connector.clone().dial(format!("http://n{n}.never.test").parse().unwrap());
        // Nobody waits for these any more; their look-ups go on.
        for n in 0..PLACES {
            assert!(tokio::time::timeout(Duration::from_millis(50), dial(n)).await.is_err());
        }
        for n in 0..3 {
            let error = dial(PLACES + n).await.err().unwrap();
            assert!(error.is::<Crowded>(), "{error}");
        }
        let all = async {
            while ASKED.lock().unwrap().0 < PLACES {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), all).await.unwrap();
        let most = std::mem::take(&mut *ASKED.lock().unwrap()).1;
        assert_eq!(most, PLACES);
        GO_ON.notify_all();
        // The places become free again.
        let mut patient = connector.places;
        patient.patience = Duration::from_secs(30);
        assert!(patient.lookup().await.is_ok());
    }

    #[tokio::test]
    async fn connections_beyond_the_places_of_a_section_are_refused_after_a_while() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let allow = [EgressGrant::parse(&url).unwrap()].into();
        let connector = Connector::new(allow, false, None, places(2, 1));
        let dial = || connector.clone().dial(url.parse().unwrap());
        let (first, _second) = (dial().await.unwrap(), dial().await.unwrap());
        let error = dial().await.err().unwrap();
        assert!(error.is::<Crowded>(), "{error}");
        assert!(matches!(error_code(&*error), Error::ConnectionLimitReached));
        drop(first);
        dial().await.unwrap();
    }
}
