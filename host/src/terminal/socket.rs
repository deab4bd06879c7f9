//! One terminal's socket from the handshake to the close.
//!
//! Owns the order of a connection's life and that its session ends with it.
//! Deliberately knows neither frames nor bytes; the two pumps do.

use axum::extract::ws::WebSocket;
use axum::response::Response;
use futures_util::StreamExt;
use tokio::sync::mpsc;
use tracing::{Instrument, Span, info};

use super::ending::Ending;
use super::frames::CloseCode;
use super::upgrade::{BAD_FRAMES, Limits, Upgrade};
use super::{inbound, outbound};
use crate::session::Sessions;

impl Upgrade {
    /// Answers 101 and gives the client a terminal in a new sandbox, until the
    /// shell exits, the client goes or `revoked` ends. `held` is dropped when
    /// the connection is over.
    pub fn terminal(
        self,
        sessions: Sessions,
        limits: Limits,
        revoked: impl Future<Output = ()> + Send + 'static,
        held: impl Send + 'static,
    ) -> Response {
        let span = Span::current();
        self.accept(&limits, move |socket| {
            let served = async move {
                let _held = held;
                run(socket, &sessions, &limits, revoked).await;
            };
            served.instrument(span)
        })
    }
}

async fn run(socket: WebSocket, sessions: &Sessions, limits: &Limits, revoked: impl Future<Output = ()>) {
    let (mut sink, mut stream) = socket.split();
    let ending = match sessions.open(None) {
        Err(refused) => refused.into(),
        Ok(client) => {
            info!(session = client.id(), "terminal opened");
            let (complain, complaints) = mpsc::channel(BAD_FRAMES as usize);
            // One task for both directions, but neither waits for the other:
            // each is polled whenever it can go on.
            tokio::select! {
                ending = inbound::pump(&mut stream, &client, complain, limits) => ending,
                ending = outbound::pump(&mut sink, client.reader(), complaints, limits) => ending,
                () = revoked => Ending::closed(CloseCode::SignedOut, "signed out; sign in again"),
            }
            // Here the client leaves its session, and the sandbox ends, before
            // a closing handshake that may take its time.
        }
    };
    info!(%ending, "terminal closed");
    ending.tell(sink, stream, limits.close_within).await;
}
