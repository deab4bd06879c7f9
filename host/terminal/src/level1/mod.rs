//! Level 1 of the protocol: numbered output within acknowledged windows, input
//! that is delivered at most once, and several clients at a session that
//! outlives their connections.
//!
//! Owns what a client asks for in its URL, and the two pumps of its socket.
//! Deliberately knows no level 0.
//!
//! | file | what it is |
//! |---|---|
//! | `query` | what a client asks for |
//! | `inbound` | from the client to the session |
//! | `reply` | what `inbound` tells `outbound` |
//! | `outbound` | from the session to the client |
//! | `source` | where the output comes from while a client catches up |

mod inbound;
mod outbound;
mod query;
mod reply;
mod source;

use std::sync::Arc;

use tokio::sync::{mpsc, watch};
use tracing::info;

use self::query::Query;
use crate::frames::CloseCode;
use crate::socket::ending::Ending;
use crate::socket::limits::{BAD_FRAMES, Limits};
use crate::socket::writer::{Incoming, Writer};
use sandbox_broker_session::{Client, Receipt, Refused, Sessions};

/// Gives the client its session, a new one or the one that it asks for, and
/// serves it until the client leaves or the session ends. If the client was told
/// the session's end, the caller confirms the receipt once the client has shown
/// that it got the message.
pub(super) async fn serve(
    sink: &mut Writer,
    stream: &mut Incoming,
    sessions: &Sessions,
    query: &str,
    user: Option<Arc<str>>,
    limits: &Limits,
) -> (Ending, Option<Receipt>) {
    let query = match Query::parse(query) {
        Ok(query) => query,
        Err(wrong) => return (Ending::closed(CloseCode::Policy, wrong.to_string()), None),
    };
    let (since, epoch, catch_up) = (query.since, query.epoch, query.catch_up);
    let client = match enter(sessions, query, user.clone()) {
        Ok(client) => client,
        Err(refused) => return (refused.into(), None),
    };
    let guest = client.is_guest().then_some(user.as_deref().unwrap_or("somebody"));
    info!(session = client.id(), client = %client.name(), guest, "client attached");
    // A guest may not have output from before its visit.
    let since = since.filter(|_| !client.is_guest() && epoch.is_none_or(|epoch| epoch == client.epoch()));
    let (reply, replies) = mpsc::channel(BAD_FRAMES as usize);
    let (ack, acked) = watch::channel(0);
    let outbound = outbound::Outbound::new(sink, &client, since, catch_up, acked);
    let ending = tokio::select! {
        ending = inbound::pump(stream, &client, reply, ack, limits) => ending,
        ending = outbound.pump(replies, limits) => ending,
    };
    let receipt = if matches!(ending, Ending::Told(_)) { client.receipt() } else { None };
    (ending, receipt)
}

fn enter(sessions: &Sessions, query: Query, user: Option<Arc<str>>) -> Result<Client, Refused> {
    let join = query.join(user);
    match query.session {
        Some(id) if query.create => sessions.join_or_open(&id, join),
        Some(id) => sessions.join(&id, join),
        None => sessions.open(join, true),
    }
}
