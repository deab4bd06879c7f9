//! How many connections the server keeps, and for how long.
//!
//! A connection is unknown until a request on it has shown a key or a token. An unknown connection has a few seconds for
//! that, and when there are too many, the oldest one makes room for the newest. So a flood of the port does not keep out a
//! client that has a key. Does not know what a key is.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

use sandbox_stdx::lock::lock;

/// Connections at once that have shown a key.
const MAX_KNOWN: usize = 4096;

/// Connections at once that have not shown a key. One more ends the oldest.
const MAX_UNKNOWN: usize = 512;

/// How long a connection may take to show a key. A client sends its first request as soon as it has connected.
const INTRODUCTION: Duration = Duration::from_secs(10);

/// The bounds on a server's connections.
#[derive(Debug, Clone)]
pub(crate) struct Visitors {
    known: Arc<Semaphore>,
    unknown: Arc<Mutex<VecDeque<Visitor>>>,
}

/// A connection, as its requests see it.
#[derive(Debug, Clone)]
pub(crate) struct Visitor {
    /// Whether it came over the Unix socket, which only root and the server's own user can use.
    pub(crate) own: bool,
    places: Arc<Semaphore>,
    place: Arc<Mutex<Option<OwnedSemaphorePermit>>>,
    known: CancellationToken,
    refused: CancellationToken,
    /// Cancelled with the connection.
    ended: CancellationToken,
}

impl Visitors {
    pub(crate) fn new() -> Self {
        Self { known: Arc::new(Semaphore::new(MAX_KNOWN)), unknown: Arc::default() }
    }

    /// Registers a new connection, about which nothing is known yet.
    pub(crate) fn enter(&self, own: bool) -> Visitor {
        let visitor = Visitor {
            own,
            places: self.known.clone(),
            place: Arc::default(),
            known: CancellationToken::new(),
            refused: CancellationToken::new(),
            ended: CancellationToken::new(),
        };
        let mut unknown = lock(&self.unknown);
        if unknown.len() >= MAX_UNKNOWN {
            unknown.retain(|other| !other.known.is_cancelled() && !other.ended.is_cancelled());
            if unknown.len() >= MAX_UNKNOWN
                && let Some(oldest) = unknown.pop_front()
            {
                oldest.refused.cancel();
            }
        }
        unknown.push_back(visitor.clone());
        visitor
    }
}

impl Visitor {
    /// Called when a request has shown a key. The connection is closed if too many others have shown one.
    pub(crate) fn introduce(&self) {
        if self.known.is_cancelled() {
            return;
        }
        match self.places.clone().try_acquire_owned() {
            Ok(place) => {
                *lock(&self.place) = Some(place);
                self.known.cancel();
            }
            Err(_) => self.refused.cancel(),
        }
    }

    /// Returns when the connection must be closed.
    pub(crate) async fn overstayed(&self) {
        tokio::select! {
            () = self.refused.cancelled() => {}
            () = tokio::time::sleep(INTRODUCTION) => {
                if self.known.is_cancelled() {
                    self.refused.cancelled().await;
                }
            }
        }
    }

    /// Called when the connection has ended.
    pub(crate) fn leave(&self) {
        self.ended.cancel();
        drop(lock(&self.place).take());
    }
}

/// Marks the connection of an authenticated request as known.
pub(crate) fn introduce(extensions: &http::Extensions) {
    if let Some(visitor) = extensions.get::<Visitor>() {
        visitor.introduce();
    }
}
