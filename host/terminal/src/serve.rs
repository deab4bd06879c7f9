//! One terminal's connection from the handshake to the close.
//!
//! Owns the order of its life. Deliberately knows neither messages nor bytes;
//! each level's pumps do.

use std::sync::Arc;

use axum::response::Response;
use futures_util::StreamExt;
use tracing::{Instrument, Span, info};

use crate::frames::CloseCode;
use crate::socket::ending::{Ending, Level};
use crate::socket::limits::Limits;
use crate::socket::upgrade::Upgrade;
use crate::socket::writer::Writer;
use crate::{level0, level1};
use sandbox_broker_session::Sessions;

impl Upgrade {
    /// Answers 101 and gives the client a terminal until its session ends, the
    /// client leaves or `revoked` ends. At level 0 the session is new. At level
    /// 1, which a client chooses by its subprotocol, it may also be one that
    /// `user` has already. `held` is dropped when the connection is over.
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
                    // A withdrawn token may also end the session. Tell the client why, not that its shell is gone.
                    biased;
                    () = revoked => (Ending::closed(CloseCode::SignedOut, "signed out; sign in again"), None),
                    ending = async {
                        match level {
                            Level::Zero => (level0::serve(&mut sink, &mut stream, &sessions, user, &limits).await, None),
                            Level::One => {
                                level1::serve(&mut sink, &mut stream, &sessions, &query, user, &limits).await
                            }
                        }
                    } => ending,
                };
                // The client has left its session by now. The closing handshake may
                // take its time.
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
