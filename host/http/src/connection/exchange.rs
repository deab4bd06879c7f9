//! What a request is told about its connection, and exchanges that may take
//! long.
//!
//! Deliberately knows no socket and no time.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio_util::sync::CancellationToken;

use super::strangers::Stay;

/// What a request is told about the connection on which it came; an extension of
/// every request.
#[derive(Clone, Debug)]
pub struct Connection {
    /// Our side's address.
    pub local: SocketAddr,
    /// The other side's address.
    pub peer: SocketAddr,
    /// The connection's place among
    /// [`Limits::connections`](super::limits::Limits::connections). An upgrade that
    /// takes the connection over holds a clone of it while the connection is open.
    pub place: Arc<OwnedSemaphorePermit>,
    pub(super) transfers: Arc<Transfers>,
    /// None if connections are not counted.
    pub(super) stay: Option<Arc<Stay>>,
}

impl Connection {
    /// A connection without a transfer.
    pub fn new(local: SocketAddr, peer: SocketAddr, place: Arc<OwnedSemaphorePermit>) -> Self {
        let transfers = Transfers { running: watch::Sender::new(0), cut: CancellationToken::new() };
        Connection { local, peer, place, transfers: Arc::new(transfers), stay: None }
    }

    /// Notes that somebody was let in on it. It gives way to nobody then.
    pub(crate) fn is_known(&self) {
        if let Some(stay) = &self.stay {
            stay.is_known();
        }
    }

    /// Whether the connection waits for its next request.
    pub(super) fn waits(&self, waits: bool) {
        if let Some(stay) = &self.stay {
            stay.waits(waits);
        }
    }

    /// Ends when the connection is to give way to another.
    pub(super) async fn gave_way(stay: Option<Arc<Stay>>) {
        match stay {
            Some(stay) => stay.cut.cancelled().await,
            None => std::future::pending().await,
        }
    }

    /// Begins an exchange that may last beyond
    /// [`Limits::exchange`](super::limits::Limits::exchange) while its bytes move.
    /// The caller watches that they do.
    pub(crate) fn transfer(&self) -> Transfer {
        self.transfers.running.send_modify(|running| *running += 1);
        Transfer(self.transfers.clone())
    }
}

/// The exchanges on one connection that may take long.
#[derive(Debug)]
pub(super) struct Transfers {
    pub(super) running: watch::Sender<usize>,
    pub(super) cut: CancellationToken,
}

/// An exchange that may take long; it ends when dropped.
#[derive(Debug)]
pub(crate) struct Transfer(Arc<Transfers>);

impl Transfer {
    /// Ends the connection at once, whatever it is doing.
    pub(crate) fn cut(&self) {
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
