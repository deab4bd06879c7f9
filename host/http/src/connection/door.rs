//! The accept loop: connections in, bounded in number and in time.
//!
//! Owns who gets a place. Deliberately knows no request, not which connection
//! gives way (`strangers`), and not how a sandbox is told from a client
//! (`sandboxd_gatekeeper`). `axum::serve` is not used because it sets no header
//! timeout and no bounds (tokio-rs/axum#2741).

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use sandboxd_gatekeeper::{Gatekeeper, Peer, Question};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::exchange::Connection;
use super::limits::Limits;
use super::linger::Linger;
use super::serve::serve_connection;
use super::strangers::Strangers;
use crate::app::Settings;

/// First and longest pause after an accept that failed because something is
/// short, such as file descriptors: long enough not to spin, short enough to
/// serve again soon.
const ACCEPT_PAUSE: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(1));

/// How long sent bytes may stay unacknowledged before the kernel gives the
/// connection up. The terminal's pings notice a dead peer earlier. This is for
/// the time in which the terminal does not read because its shell does not.
#[cfg(target_os = "linux")]
const UNACKNOWLEDGED: Duration = Duration::from_secs(120);

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
    /// A door with all places free. It uses two settings: the trusted proxies, and
    /// whether there are tokens.
    pub fn new(limits: Limits, settings: watch::Receiver<Arc<Settings>>, gatekeeper: Gatekeeper) -> Self {
        let most = (limits.connections - limits.connections / 4).max(1);
        let (places, strangers) = (Semaphore::new(limits.connections), Strangers::new(most, limits.of_one));
        Door { limits, places: Arc::new(places), strangers, settings, gatekeeper }
    }

    /// Number of open connections.
    pub fn connections(&self) -> usize {
        self.limits.connections - self.places.available_permits()
    }

    /// Serves `router` until `stop` is cancelled. Then waits for open connections to
    /// end, for at most [`Limits::stop`]. Terminals end because the caller that
    /// cancels `stop` also ends them.
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
                // The peer left before it was accepted.
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
            // It must have a token, which a sandbox has not.
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
        // This connection waits here, the others wait in the backlog.
        let place = match self.places.clone().try_acquire_owned() {
            Ok(place) => place,
            Err(_) => {
                self.strangers.cut_one();
                self.places.clone().acquire_owned().await.expect("the semaphore is never closed")
            }
        };
        // A key's echo is one small packet. Waiting to fill it would double the round
        // trip.
        stream.set_nodelay(true)?;
        #[cfg(target_os = "linux")]
        rustix::net::sockopt::set_tcp_user_timeout(&stream, UNACKNOWLEDGED.as_millis() as u32)?;
        let connection = Connection::new(stream.local_addr()?, peer, Arc::new(place));
        Ok((stream, connection))
    }
}

/// Whether an accept failed because of the peer and not of this machine.
fn is_of_the_peer(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, InvalidInput, NotConnected};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | InvalidInput | NotConnected)
}
