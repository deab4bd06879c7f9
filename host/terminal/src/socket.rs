//! One terminal's socket from the handshake to the close.
//!
//! Owns the order of a connection's life and that its session ends with it.
//! Deliberately knows neither frames nor bytes; the two pumps do.

use std::sync::Arc;

use axum::response::Response;
use futures_util::StreamExt;
use tokio::sync::mpsc;
use tracing::{Instrument, Span, info};

use super::ending::{Ending, Level};
use super::frames::CloseCode;
use super::upgrade::{BAD_FRAMES, Limits, Upgrade};
use super::writer::{Incoming, Writer};
use super::{inbound, level1, outbound};
use sandbox_broker_session::{Join, Sessions};

impl Upgrade {
    /// Answers 101 and gives the client a terminal, until its session ends, the
    /// client goes or `revoked` ends. At level 0 it is one in a new sandbox; at
    /// level 1, which a client chooses by its subprotocol, also one of those
    /// that `user` has. `held` is dropped when the connection is over.
    pub fn terminal(
        self,
        sessions: Sessions,
        user: Option<Arc<str>>,
        limits: Limits,
        revoked: impl Future<Output = ()> + Send + 'static,
        held: impl Send + 'static,
    ) -> Response {
        let span = Span::current();
        let (level, query) = (self.level(), self.query().to_owned());
        self.accept(&limits, move |socket| {
            let served = async move {
                let _held = held;
                let (sink, mut stream) = socket.split();
                let mut sink = Writer::new(sink);
                let (ending, receipt) = tokio::select! {
                    // A withdrawn token ends its sessions too: the client hears why, not that its shell is gone.
                    biased;
                    () = revoked => (Ending::closed(CloseCode::SignedOut, "signed out; sign in again"), None),
                    ending = async {
                        match level {
                            Level::Zero => (level0(&mut sink, &mut stream, &sessions, user, &limits).await, None),
                            Level::One => {
                                level1::serve(&mut sink, &mut stream, &sessions, &query, user, &limits).await
                            }
                        }
                    } => ending,
                };
                // Here the client has left its session, before a closing
                // handshake that may take its time.
                info!(%ending, "terminal closed");
                let answered = ending.tell(sink, stream, limits.close_within, level).await;
                if let Some(receipt) = receipt.filter(|_| answered) {
                    receipt.confirm();
                }
            };
            served.instrument(span)
        })
    }
}

/// Gives the client a new session, which ends with the connection.
async fn level0(
    sink: &mut Writer,
    stream: &mut Incoming,
    sessions: &Sessions,
    user: Option<Arc<str>>,
    limits: &Limits,
) -> Ending {
    let client = match sessions.open(Join { user, ..Join::default() }, false) {
        Ok(client) => client,
        Err(refused) => return refused.into(),
    };
    info!(session = client.id(), "terminal opened");
    let (complain, complaints) = mpsc::channel(BAD_FRAMES as usize);
    // One task for both directions, but neither waits for the other: each is
    // polled whenever it can go on.
    tokio::select! {
        ending = inbound::pump(stream, &client, complain, limits) => ending,
        ending = outbound::pump(sink, client.reader(), complaints, limits) => ending,
    }
}
