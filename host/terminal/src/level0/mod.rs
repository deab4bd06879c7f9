//! Level 0 of the protocol: text, and a new session for each connection.
//!
//! Owns the two pumps of its socket. Deliberately knows no session that
//! outlives its connection.
//!
//! | file | what it is |
//! |---|---|
//! | `inbound` | from the client to the session |
//! | `surrogates` | input that is cut within a UTF-16 code point |
//! | `outbound` | from the session to the client |

mod inbound;
mod outbound;
mod surrogates;

use std::sync::Arc;

use tokio::sync::mpsc;
use tracing::info;

use crate::socket::ending::Ending;
use crate::socket::limits::{BAD_FRAMES, Limits};
use crate::socket::writer::{Incoming, Writer};
use sandbox_broker_session::{Join, Sessions};

/// Gives the client a new session, which ends with the connection.
pub(crate) async fn serve(
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
    // One task serves both directions. Neither waits for the other: each is
    // polled whenever it can go on.
    tokio::select! {
        ending = inbound::pump(stream, &client, complain, limits) => ending,
        ending = outbound::pump(sink, client.reader(), complaints, limits) => ending,
    }
}
