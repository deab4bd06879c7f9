//! The accept loop: connections in, bounded in number, time and bytes.
//!
//! Owns every limit that stands before a request is understood, and what a
//! request is told about its connection. Deliberately knows no route, not
//! which connection gives way (`strangers`), and not how a sandbox is told from
//! a client (`sandboxd::Gatekeeper`).
//! `axum::serve` is not used because it sets no header timeout and no bounds
//! (tokio-rs/axum#2741).

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::Router;
use http::header::CONNECTION;
use http::{HeaderValue, StatusCode};
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use sandboxd::{Gatekeeper, Peer, Question};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;
use tracing::{debug, info, warn};

use super::Settings;
use super::linger::Linger;
use super::strangers::{Stay, Strangers};
use super::turns::{AsFarAsRead, During, Foreign, Late, Turns, Watched};

/// Bounds of what a peer may take before it has asked for anything.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Open connections, terminals included; more wait in the listener's
    /// backlog. At 16 to 64 KiB for an idle one this is at most 256 MiB. Those
    /// who are not known have three quarters of them.
    pub connections: usize,
    /// Open connections of one address on which nobody was let in yet. A
    /// hundred browsers behind one address have fewer. Behind a trusted proxy
    /// it does not count.
    pub of_one: usize,
    /// Time for a request's head: of a connection's first one from the moment
    /// it is open, of a later one from its first byte. With the second that a
    /// closing connection lingers, a slow handshake is gone within 10 s.
    pub head: Duration,
    /// Time that a connection may wait for its next request. Longer than
    /// proxies keep one that they do not use: 60 s in nginx and in balancers of
    /// AWS, 120 s in Caddy, 600 s in balancers of Google. Whoever closes first
    /// may do so while the other sends, and a proxy makes a 502 of that.
    pub idle: Duration,
    /// Time for one exchange over plain HTTP after its head. A connection that
    /// became a terminal is not measured, and a `Transfer` may go on.
    pub exchange: Duration,
    /// Time to take the last answer, after [`Limits::exchange`] or when the
    /// broker stops.
    pub stop: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            connections: 4096,
            of_one: 1024,
            head: Duration::from_secs(8),
            idle: Duration::from_secs(620),
            exchange: Duration::from_secs(60),
            stop: Duration::from_secs(10),
        }
    }
}

/// Bytes of a request's head, at most. Browsers send 1 to 2 KiB, and 20 KiB
/// more of cookies where others of the same site have set many. As much as the
/// usual proxies let through.
const MAX_HEAD: usize = 32 * 1024;

/// Fields of a request's head, at most. Browsers send about 20, and a chain of
/// proxies adds some of its own.
const MAX_FIELDS: usize = 128;

/// The words of a 431.
pub(super) fn head_too_large() -> String {
    format!(
        "the request's head has more than {} KiB or {MAX_FIELDS} fields; cookies of the whole site are the usual cause: \
         delete those of this address and of the domains above it",
        MAX_HEAD / 1024
    )
}

/// First and longest pause after an accept that failed for lack of something,
/// such as file descriptors: long enough not to spin, short enough to serve
/// again soon after.
const ACCEPT_PAUSE: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(1));

/// How long sent bytes may stay unacknowledged before the kernel gives the
/// connection up. The terminal's pings notice a dead peer earlier; this is for
/// the time in which the terminal does not read because its shell does not.
#[cfg(target_os = "linux")]
const UNACKNOWLEDGED: Duration = Duration::from_secs(120);

/// What a request knows about the connection it came on; an extension of every
/// request.
#[derive(Clone, Debug)]
pub struct Connection {
    /// Our side's address.
    pub local: SocketAddr,
    /// The other side's address.
    pub peer: SocketAddr,
    /// The connection's place among [`Limits::connections`]. Whoever takes the
    /// connection over holds a clone of it as long as it is open.
    pub place: Arc<OwnedSemaphorePermit>,
    transfers: Arc<Transfers>,
    /// None where connections are not counted.
    stay: Option<Arc<Stay>>,
}

impl Connection {
    /// A connection without a transfer.
    pub fn new(local: SocketAddr, peer: SocketAddr, place: Arc<OwnedSemaphorePermit>) -> Self {
        let transfers = Transfers { running: watch::Sender::new(0), cut: CancellationToken::new() };
        Connection { local, peer, place, transfers: Arc::new(transfers), stay: None }
    }

    /// Somebody was let in on it, so it gives way to nobody.
    pub(super) fn is_known(&self) {
        if let Some(stay) = &self.stay {
            stay.is_known();
        }
    }

    fn waits(&self, waits: bool) {
        if let Some(stay) = &self.stay {
            stay.waits(waits);
        }
    }

    /// Ends when the connection is to give way to another.
    async fn gave_way(stay: Option<Arc<Stay>>) {
        match stay {
            Some(stay) => stay.cut.cancelled().await,
            None => std::future::pending().await,
        }
    }

    /// Begins an exchange that takes as long as its bytes move, beyond
    /// [`Limits::exchange`]. Whoever begins it watches that they do.
    pub(super) fn transfer(&self) -> Transfer {
        self.transfers.running.send_modify(|running| *running += 1);
        Transfer(self.transfers.clone())
    }
}

/// The exchanges on one connection that may take long.
#[derive(Debug)]
struct Transfers {
    running: watch::Sender<usize>,
    cut: CancellationToken,
}

/// An exchange that may take long; it ends when dropped.
#[derive(Debug)]
pub(super) struct Transfer(Arc<Transfers>);

impl Transfer {
    /// Ends the connection at once, whatever it is doing.
    pub(super) fn cut(&self) {
        self.0.cut.cancel();
    }
}

impl Clone for Transfer {
    fn clone(&self) -> Self {
        self.0.running.send_modify(|running| *running += 1);
        Transfer(self.0.clone())
    }
}

impl Drop for Transfer {
    fn drop(&mut self) {
        self.0.running.send_modify(|running| *running -= 1);
    }
}

/// The places of one listener. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Door {
    limits: Limits,
    places: Arc<Semaphore>,
    strangers: Arc<Strangers>,
    settings: watch::Receiver<Arc<Settings>>,
    gatekeeper: Gatekeeper,
}

impl Door {
    /// A door with all places free. Of the settings it needs the trusted
    /// proxies, and whether there are tokens.
    pub fn new(limits: Limits, settings: watch::Receiver<Arc<Settings>>, gatekeeper: Gatekeeper) -> Self {
        let most = (limits.connections - limits.connections / 4).max(1);
        let (places, strangers) = (Semaphore::new(limits.connections), Strangers::new(most, limits.of_one));
        Door { limits, places: Arc::new(places), strangers, settings, gatekeeper }
    }

    /// Open connections.
    pub fn connections(&self) -> usize {
        self.limits.connections - self.places.available_permits()
    }

    /// Serves `router` until `stop` is cancelled, then lets open connections
    /// end for at most [`Limits::stop`]. Terminals end because whoever cancels
    /// `stop` also tells them.
    ///
    /// Returns how many connections were still open at the end.
    pub async fn serve(self, listener: TcpListener, router: Router, stop: CancellationToken) -> usize {
        let mut pause = ACCEPT_PAUSE.0;
        loop {
            let accepted = tokio::select! {
                accepted = self.accept(&listener) => accepted,
                () = stop.cancelled() => break,
            };
            match accepted {
                Ok((stream, connection)) => {
                    pause = ACCEPT_PAUSE.0;
                    let question = self.gatekeeper.ask(connection.peer, connection.local).await;
                    let (door, router, stop) = (self.clone(), router.clone(), stop.clone());
                    tokio::spawn(async move { door.serve_one(stream, connection, question, router, stop).await });
                }
                // The peer went away between connecting and being accepted.
                Err(error) if is_of_the_peer(&error) => debug!(%error, "a connection ended before it was accepted"),
                Err(error) => {
                    warn!(%error, "cannot accept a connection; trying again in {pause:?}");
                    sleep(pause).await;
                    pause = (pause * 2).min(ACCEPT_PAUSE.1);
                }
            }
        }
        drop(listener);
        let all = u32::try_from(self.limits.connections).unwrap_or(u32::MAX);
        match timeout(self.limits.stop, self.places.acquire_many(all)).await {
            Ok(_) => 0,
            Err(_) => self.connections(),
        }
    }

    async fn serve_one(
        self,
        mut stream: TcpStream,
        mut connection: Connection,
        question: Question,
        router: Router,
        stop: CancellationToken,
    ) {
        let admitted = match question.answer(&stream).await {
            Peer::Outside => true,
            // Without a token it gets nothing.
            Peer::Hidden => self.settings.borrow().tokens.is_some(),
            Peer::Sandbox => false,
        };
        if !admitted {
            return self.gatekeeper.refuse(&mut stream).await;
        }
        let address = connection.peer.ip().to_canonical();
        let proxied = self.settings.borrow().is_trusted_proxy(address);
        let stay = self.strangers.enter(address, proxied);
        let io = Linger::new(stream, connection.place.clone(), stay.cut.clone());
        connection.stay = Some(Arc::new(stay));
        serve_connection(io, connection, router, self.limits, stop).await;
    }

    async fn accept(&self, listener: &TcpListener) -> io::Result<(TcpStream, Connection)> {
        let (stream, peer) = listener.accept().await?;
        // The one that was accepted waits here, the others in the backlog.
        let place = match self.places.clone().try_acquire_owned() {
            Ok(place) => place,
            Err(_) => {
                self.strangers.cut_one();
                self.places.clone().acquire_owned().await.expect("the semaphore is never closed")
            }
        };
        // A key's echo is one small packet; waiting to fill it would double the
        // round trip.
        stream.set_nodelay(true)?;
        #[cfg(target_os = "linux")]
        rustix::net::sockopt::set_tcp_user_timeout(&stream, UNACKNOWLEDGED.as_millis() as u32)?;
        let connection = Connection::new(stream.local_addr()?, peer, Arc::new(place));
        Ok((stream, connection))
    }
}

fn is_of_the_peer(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, InvalidInput, NotConnected};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | InvalidInput | NotConnected)
}

/// Serves one connection until it ends, is taken over by an upgrade, is late or
/// `stop` is cancelled.
pub async fn serve_connection<Io>(
    io: Io,
    connection: Connection,
    router: Router,
    limits: Limits,
    stop: CancellationToken,
) where
    Io: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let peer = connection.peer;
    let transfers = connection.transfers.clone();
    let turns = Turns::new();
    let mut gave_way = Box::pin(Connection::gave_way(connection.stay.clone()));
    let asked = turns.clone();
    let service = service_fn(move |mut request: Request<Incoming>| {
        let (connection, answering) = (connection.clone(), asked.answer());
        connection.waits(false);
        request.extensions_mut().insert(connection.clone());
        let (request, whole) = AsFarAsRead::of(request);
        let answer = router.clone().oneshot(request);
        async move {
            let mut answer = answer.await?;
            // What is left of a body stands where the next request would. hyper closes
            // such a connection, and who is not told that sends on it.
            if !whole.load(Ordering::Relaxed) {
                answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            }
            // A terminal waits for no request any more.
            let waits = (answer.status() != StatusCode::SWITCHING_PROTOCOLS).then(|| Waits(connection));
            Ok::<_, Infallible>(answer.map(|body| During { body, _lasts: (answering, waits) }))
        }
    });
    let http = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.idle)
        .max_headers(MAX_FIELDS)
        .max_header_size(MAX_HEAD)
        .max_buf_size(MAX_HEAD)
        .serve_connection(TokioIo::new(Watched::new(io, turns.clone())), service)
        .with_upgrades();
    // On the heap, so that the task of a terminal, which outlives it, is small.
    let mut http = Box::pin(http);
    let stalled = || info!(%peer, "cut a connection whose peer did not take its answer");
    let ended = tokio::select! {
        ended = &mut http => Some(ended),
        () = transfers.cut.cancelled() => return stalled(),
        () = &mut gave_way => return debug!(%peer, "a connection gave way to others"),
        late = turns.late(&limits, transfers.running.subscribe()) => return match late {
            Late::Answer => stalled(),
            Late::Head => debug!(%peer, "cut a connection whose request did not come"),
        },
        () = stop.cancelled() => None,
    };
    let ended = match ended {
        Some(ended) => ended,
        None => {
            http.as_mut().graceful_shutdown();
            tokio::select! {
                ended = http => ended,
                () = transfers.cut.cancelled() => return stalled(),
                () = gave_way => return debug!(%peer, "a connection gave way to others"),
                () = sleep(limits.stop) => return stalled(),
            }
        }
    };
    match (ended, turns.foreign()) {
        (Ok(()), _) => {}
        (Err(_), Some(Foreign::Tls)) => info!(
            %peer,
            "a peer speaks TLS, and this port speaks HTTP: people open http://, and a proxy that takes TLS from them \
             speaks HTTP to the broker"
        ),
        (Err(_), Some(Foreign::Http2)) => {
            info!(%peer, "a peer speaks HTTP/2, and this port speaks HTTP/1.1: let the proxy speak that to the broker")
        }
        (Err(error), None) if error.is_parse_too_large() => {
            warn!(%peer, "refused a request with 431: {}", head_too_large())
        }
        (Err(error), None) => debug!(%peer, %error, "a connection ended early"),
    }
}

/// A connection that waits for its next request once this is dropped.
struct Waits(Connection);

impl Drop for Waits {
    fn drop(&mut self) {
        self.0.waits(true);
    }
}
