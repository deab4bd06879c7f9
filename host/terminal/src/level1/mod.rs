//! Level 1 of the protocol: numbered output with acknowledged windows, input
//! that is delivered at most once, and several clients at a session that
//! outlives their connections.
//!
//! Owns what a client asks for in its URL, and the two pumps of its socket.

mod frames;
mod inbound;
mod outbound;
mod query;

use std::sync::Arc;

use tokio::sync::{mpsc, watch};
use tracing::info;

pub use frames::{
    Cells, ClientFrame, MAX_NAME, MAX_OFFSET, Person, SUBPROTOCOL, ServerFrame, WINDOW, error_code, output,
};
pub(super) use query::Query;

use super::ending::Ending;
use super::frames::CloseCode;
use super::upgrade::{BAD_FRAMES, Limits};
use super::writer::{Incoming, Writer};
use sandbox_broker_session::{Client, Receipt, Refused, Sessions};

/// What a single message is answered with.
#[derive(Debug)]
enum Answer {
    /// It is wrong.
    Complaint { code: &'static str, message: String },
    /// It asks whether somebody is there.
    Pong,
}

/// Gives the client its session, a new one or the one it asks for, and serves
/// it until one of them ends. Where that was the shell's end, the receipt is to
/// be confirmed when the client has shown that it got it.
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
    // A guest has nothing of what came before this visit.
    let since = since.filter(|_| !client.is_guest() && epoch.is_none_or(|epoch| epoch == client.epoch()));
    let (answer, answers) = mpsc::channel(BAD_FRAMES as usize);
    let (ack, acked) = watch::channel(0);
    let outbound = outbound::Outbound::new(sink, &client, since, catch_up, acked);
    let ending = tokio::select! {
        ending = inbound::pump(stream, &client, answer, ack, limits) => ending,
        ending = outbound.pump(answers, limits) => ending,
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
