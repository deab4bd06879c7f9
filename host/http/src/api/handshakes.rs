//! Handshakes for terminals that a proxy broke. The page asks for them, because a
//! browser tells it nothing about a handshake that failed.
//!
//! Owns a small table by the names of clients. Deliberately decides nothing and
//! knows no session.

use std::collections::VecDeque;
use std::sync::Mutex;

use http::HeaderMap;
use http::header::{SEC_WEBSOCKET_KEY, UPGRADE};

use sandbox_broker_terminal::frames::level1::MAX_NAME;
use sandbox_stdx::lock::lock;

/// Clients that are remembered, at most. The oldest goes. A page asks within
/// seconds.
const REMEMBERED: usize = 64;

/// The word for a handshake without `Upgrade`. A proxy drops that field because it
/// is for one connection only (RFC 9110 section 7.6.1), and hands on the key.
pub(crate) const NO_UPGRADE: &str = "no-upgrade";

/// Clients whose last handshake lost its `Upgrade`.
#[derive(Debug, Default)]
pub(crate) struct Handshakes(Mutex<VecDeque<String>>);

impl Handshakes {
    /// Notes a request for a terminal.
    pub(crate) fn arrived(&self, query: Option<&str>, headers: &HeaderMap) {
        let Some(client) = client(query) else { return };
        let mut table = lock(&self.0);
        table.retain(|known| *known != client);
        if headers.contains_key(SEC_WEBSOCKET_KEY) && !headers.contains_key(UPGRADE) {
            if table.len() >= REMEMBERED {
                table.pop_front();
            }
            table.push_back(client);
        }
    }

    /// What happened to the last handshake of the client that the query names.
    pub(crate) fn of(&self, query: Option<&str>) -> Option<&'static str> {
        let client = client(query)?;
        let table = lock(&self.0);
        table.contains(&client).then_some(NO_UPGRADE)
    }
}

/// Reads the client's name in a query.
fn client(query: Option<&str>) -> Option<String> {
    let mut members = url::form_urlencoded::parse(query?.as_bytes());
    let (_, client) = members.find(|(member, _)| member == "client")?;
    (!client.is_empty() && client.len() <= MAX_NAME).then(|| client.into_owned())
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn only_the_last_handshake_of_a_window_counts_and_few_are_kept() {
        let handshakes = Handshakes::default();
        let mut stripped = HeaderMap::new();
        stripped.insert(SEC_WEBSOCKET_KEY, HeaderValue::from_static("key"));
        let mut whole = stripped.clone();
        whole.insert(UPGRADE, HeaderValue::from_static("websocket"));
        handshakes.arrived(Some("client=w&cols=80"), &stripped);
        assert_eq!(handshakes.of(Some("client=w")), Some(NO_UPGRADE));
        assert_eq!((handshakes.of(Some("client=v")), handshakes.of(None)), (None, None));
        handshakes.arrived(Some("client=w"), &whole);
        assert_eq!(handshakes.of(Some("client=w")), None);
        handshakes.arrived(Some("client=w"), &HeaderMap::new());
        assert_eq!(handshakes.of(Some("client=w")), None, "no handshake at all");
        for n in 0..=REMEMBERED {
            handshakes.arrived(Some(&format!("client=w{n}")), &stripped);
        }
        assert_eq!((handshakes.of(Some("client=w0")), handshakes.of(Some("client=w1"))), (None, Some(NO_UPGRADE)));
        handshakes.arrived(Some(&format!("client={}", "w".repeat(65))), &stripped);
        assert_eq!(handshakes.0.lock().unwrap().len(), REMEMBERED);
    }
}
