//! The way to a session: its address, a socket there, and the pauses between
//! tries.
//!
//! Owns what the broker is told in the address. Deliberately knows no message.

use std::time::Duration;

use tokio::time::timeout;
use url::Url;

use super::left::Left;
use super::target::Target;
use super::tty;
use crate::cli::remote::{Broker, Connection};
use sandbox_broker_terminal::client::Link;

/// First and longest pause before a lost connection is made again.
const PAUSE: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(8));

/// Time for the handshake.
const UPGRADE_WITHIN: Duration = Duration::from_secs(15);

/// A socket to a broker.
pub(super) type Socket = Link<Connection>;

/// The session once its shell was seen to run.
pub(super) struct Seen {
    pub(super) session: String,
    /// The numbering that its offsets belong to.
    pub(super) epoch: u64,
}

/// Why there is no socket.
pub(super) enum NoEntry {
    /// Another try cannot help.
    Left(Left),
    /// Another try may help.
    Again(String),
}

/// Where this visit goes, and as whom.
pub(super) struct Way {
    pub(super) broker: Broker,
    /// The session to join first; none for a new one.
    pub(super) session: Option<String>,
    /// Watches and cannot type.
    pub(super) viewer: bool,
    invitation: Option<String>,
    /// The name of this client.
    pub(super) client: String,
}

impl Way {
    /// The way to this target, for a client with a name of its own.
    pub(super) fn to(target: Target) -> Result<Self, getrandom::Error> {
        let Target { broker, session, viewer, invitation } = target;
        let mut random = [0; 8];
        getrandom::fill(&mut random)?;
        let client = format!("attach-{:016x}", u64::from_be_bytes(random));
        Ok(Way { broker, session, viewer, invitation, client })
    }

    /// The address with everything that the broker has to know. Output up to
    /// `next` is here already if the session was `seen`.
    pub(super) fn address(&self, seen: Option<&Seen>, next: u64) -> Result<Url, Left> {
        let mut address = self.broker.terminal().map_err(|error| Left::Failed(format!("{error:#}")))?;
        let mut query = address.query_pairs_mut();
        query.append_pair("client", &self.client);
        query.append_pair("role", if self.viewer { "viewer" } else { "driver" });
        match (seen, &self.session) {
            (Some(Seen { session, epoch }), _) => {
                query.append_pair("session", session);
                query.append_pair("since", &next.to_string());
                query.append_pair("epoch", &epoch.to_string());
            }
            (None, Some(session)) => _ = query.append_pair("session", session),
            (None, None) => {}
        }
        // A person wants to see what is there. A file wants every byte.
        if tty::shows() {
            query.append_pair("catch_up", "screen");
        }
        if let Some(invitation) = &self.invitation {
            query.append_pair("invitation", invitation);
        }
        if let Some(size) = tty::size() {
            query.append_pair("cols", &size.cols.to_string());
            query.append_pair("rows", &size.rows.to_string());
        }
        drop(query);
        Ok(address)
    }

    /// Opens a socket at this address.
    pub(super) async fn open(&self, address: &Url) -> Result<Socket, NoEntry> {
        let broker = &self.broker;
        let connection = broker.connect().await;
        let unreachable = |error| NoEntry::Again(format!("cannot reach the broker at {}: {error:#}", broker.name()));
        let opened =
            timeout(UPGRADE_WITHIN, Link::open(connection.map_err(unreachable)?, address.as_str(), broker.token()));
        match opened.await {
            Ok(Ok(link)) => Ok(link),
            Ok(Err(error)) => Err(match Left::unless_transient(error, || broker.unknown()) {
                Ok(left) => NoEntry::Left(left),
                Err(error) => NoEntry::Again(error.to_string()),
            }),
            Err(_) => Err(NoEntry::Again(format!("no answer to the upgrade within {} s", UPGRADE_WITHIN.as_secs()))),
        }
    }
}

/// The pause before the next try after this many `failures` in a row. The broker
/// may have `asked` for a certain pause.
pub(super) fn pause(failures: u32, asked: Option<Duration>) -> Duration {
    let longest = PAUSE.0.saturating_mul(1 << failures.min(16)).min(PAUSE.1);
    asked.unwrap_or_else(|| jittered(longest)).min(PAUSE.1)
}

/// A pause between half of the longest and all of it, so that not all clients
/// come back to a broker at once.
fn jittered(longest: Duration) -> Duration {
    let mut random = [0; 4];
    // Without randomness all clients come at once and are served one after the other.
    let _ = getrandom::fill(&mut random);
    longest / 2 + (longest / 2).mul_f64(f64::from(u32::from_be_bytes(random)) / f64::from(u32::MAX))
}
