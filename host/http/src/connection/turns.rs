//! Whose turn it is on a connection: the peer's, to say what it wants, or ours,
//! to answer.
//!
//! Owns the time that each turn may take. Deliberately knows no socket, no
//! request and no route.
//!
//! ```text
//!  First ──▶ Head ──▶ Answer ──▶ Waiting ──▶ Head …
//!                                   │ ▲
//!                                   ▼ │
//!                                  Stuck
//! ```
//!
//! No turn closes a connection that waits for its next request: a proxy may be
//! sending on it at that moment, and would answer its client with 502. hyper
//! ends it after [`Limits::idle`].

use std::sync::{Arc, OnceLock};

use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};

use super::limits::Limits;

/// What a TLS handshake begins with (RFC 8446 section 5.1).
const TLS_HANDSHAKE: u8 = 0x16;

/// What a connection of HTTP/2 begins with (RFC 9113 section 3.4).
const HTTP2_PREFACE: &[u8] = b"PRI * HTTP/2.0";

/// A turn, and when it began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Turn {
    /// Nothing has come yet.
    First(Instant),
    /// The head of a request has begun.
    Head(Instant),
    /// The broker answers.
    Answer(Instant),
    /// The connection waits for the next request.
    Waiting,
    /// The peer does not take the end of the last answer.
    Stuck(Instant),
}

/// Why a connection is over time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Late {
    /// The head did not come.
    Head,
    /// The answer was not taken.
    Answer,
}

/// What a peer speaks instead of HTTP/1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ForeignProtocol {
    Tls,
    Http2,
}

/// The turns on one connection.
#[derive(Debug)]
pub(super) struct Turns {
    turn: watch::Sender<Turn>,
    foreign: OnceLock<ForeignProtocol>,
}

impl Turns {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Turns { turn: watch::Sender::new(Turn::First(Instant::now())), foreign: OnceLock::new() })
    }

    /// What the peer spoke, if it was not HTTP/1.
    pub(super) fn foreign(&self) -> Option<ForeignProtocol> {
        self.foreign.get().copied()
    }

    fn now(&self) -> Turn {
        *self.turn.borrow()
    }

    /// Notes that a request has come. The turn to answer ends when the result is
    /// dropped.
    pub(super) fn answer(self: &Arc<Self>) -> Answering {
        self.turn.send_replace(Turn::Answer(Instant::now()));
        Answering(Arc::clone(self))
    }

    /// Waits until a turn takes too long. An exchange in which something is
    /// `running` may go on until that has ended.
    pub(super) async fn late(&self, limits: &Limits, mut running: watch::Receiver<usize>) -> Late {
        let mut turns = self.turn.subscribe();
        loop {
            let turn = *turns.borrow_and_update();
            let over = async {
                match turn {
                    Turn::First(since) | Turn::Head(since) => {
                        sleep_until(since + limits.head).await;
                        Late::Head
                    }
                    Turn::Answer(since) | Turn::Stuck(since) => {
                        sleep_until(since + limits.exchange).await;
                        // An error would mean that the connection is gone, which ends this as well.
                        let _ = running.wait_for(|running| *running == 0).await;
                        sleep(limits.stop).await;
                        Late::Answer
                    }
                    Turn::Waiting => std::future::pending().await,
                }
            };
            tokio::select! {
                _ = turns.changed() => {}
                late = over => return late,
            }
        }
    }

    /// Notes that bytes have come.
    pub(super) fn came(&self, bytes: &[u8]) {
        match self.now() {
            Turn::First(_) => {
                let foreign = match bytes {
                    [TLS_HANDSHAKE, ..] => Some(ForeignProtocol::Tls),
                    _ if bytes.starts_with(HTTP2_PREFACE) => Some(ForeignProtocol::Http2),
                    _ => None,
                };
                if let Some(foreign) = foreign {
                    let _ = self.foreign.set(foreign);
                }
            }
            Turn::Waiting | Turn::Stuck(_) => {}
            Turn::Head(_) | Turn::Answer(_) => return,
        }
        // The first head's time began when the connection was opened.
        let since = if let Turn::First(since) = self.now() { since } else { Instant::now() };
        self.turn.send_replace(Turn::Head(since));
    }

    /// Notes whether the peer takes what is written.
    pub(super) fn takes(&self, takes: bool) {
        match (self.now(), takes) {
            (Turn::Waiting, false) => _ = self.turn.send_replace(Turn::Stuck(Instant::now())),
            (Turn::Stuck(_), true) => _ = self.turn.send_replace(Turn::Waiting),
            _ => {}
        }
    }
}

/// The turn to answer; it ends when this is dropped.
#[derive(Debug)]
pub(super) struct Answering(Arc<Turns>);

impl Drop for Answering {
    fn drop(&mut self) {
        self.0.turn.send_replace(Turn::Waiting);
    }
}
