//! How requests for terminals arrived that were no WebSockets, so that a page
//! can be told: a browser shows it nothing of a handshake that failed.
//!
//! Owns a small table by the windows' names. Deliberately decides nothing and
//! knows no session.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use http::HeaderMap;
use http::header::{SEC_WEBSOCKET_KEY, UPGRADE};

/// Windows remembered, at most; the oldest goes. One asks within seconds.
const REMEMBERED: usize = 64;

/// Bytes of a window's name, at most.
const MAX_NAME: usize = 64;

/// What a proxy took from a browser's handshake: `Upgrade` is for one
/// connection only (RFC 9110 section 7.6.1), the key goes through.
pub(super) const NO_UPGRADE: &str = "no-upgrade";

/// Windows whose last handshake lost its `Upgrade`.
#[derive(Debug, Default)]
pub(super) struct Handshakes(Mutex<VecDeque<String>>);

impl Handshakes {
    /// Takes in a request for a terminal.
    pub(super) fn arrived(&self, query: Option<&str>, headers: &HeaderMap) {
        let Some(client) = client(query) else { return };
        let mut table = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        table.retain(|known| *known != client);
        if headers.contains_key(SEC_WEBSOCKET_KEY) && !headers.contains_key(UPGRADE) {
            if table.len() >= REMEMBERED {
                table.pop_front();
            }
            table.push_back(client);
        }
    }

    /// What became of the last handshake of the window that the query names.
    pub(super) fn of(&self, query: Option<&str>) -> Option<&'static str> {
        let client = client(query)?;
        let table = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        table.contains(&client).then_some(NO_UPGRADE)
    }
}

/// The window's name in a query.
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
