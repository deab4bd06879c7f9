//! The reading half of a terminal's socket.
//!
//! Owns what ends a connection from the client's side: its close, its silence,
//! a broken rule. Deliberately knows no message.

use std::time::Duration;

use tokio::time::Instant;
use tokio::time::error::Elapsed;
use tokio_tungstenite::tungstenite::{self, Message};

use super::ending::Ending;
use crate::frames::CloseCode;

/// Bytes of input that a pump holds while the session takes none, at most, and
/// one message more. Because it reads on, it notices a close at once although
/// the last keys were not taken. Only a large paste waits in the network.
pub(crate) const MAX_WAITING: usize = 64 * 1024;

/// How long a malformed message counts.
const BAD_FRAMES_WINDOW: Duration = Duration::from_secs(60);

/// Takes the next message of a client that is still there; never a close.
pub(crate) fn read(next: Result<Option<Result<Message, tungstenite::Error>>, Elapsed>) -> Result<Message, Ending> {
    match next {
        Ok(Some(Ok(Message::Close(_)))) => Err(Ending::Gone("the client closed the connection")),
        Ok(Some(Ok(message))) => Ok(message),
        Ok(Some(Err(error))) => Err(of_error(error)),
        Ok(None) => Err(Ending::Gone("the connection ended")),
        Err(_) => Err(Ending::Gone("the client is dead: it answers no ping")),
    }
}

/// How a socket's error ends the connection.
pub(crate) fn of_error(error: tungstenite::Error) -> Ending {
    use tungstenite::Error;
    use tungstenite::error::{CapacityError, ProtocolError};
    match error {
        Error::Capacity(CapacityError::MessageTooLong { size, max_size }) => {
            let why = format!("a message of {size} bytes is too large; send at most {max_size} at a time");
            Ending::closed(CloseCode::TooLarge, why)
        }
        Error::Utf8(_) => Ending::closed(CloseCode::NotUtf8, "a text message was not UTF-8"),
        Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) => {
            Ending::Gone("the connection ended without a close")
        }
        Error::Protocol(error) => Ending::closed(CloseCode::Protocol, error.to_string()),
        _ => Ending::Gone("the connection broke"),
    }
}

/// Counts malformed messages within [`BAD_FRAMES_WINDOW`].
pub(crate) struct Allowance {
    max: u32,
    used: u32,
    since: Instant,
}

impl Allowance {
    /// Allows `max` within the window.
    pub(crate) fn new(max: u32) -> Self {
        Allowance { max, used: 0, since: Instant::now() }
    }

    /// Counts one. False if it is one too many.
    pub(crate) fn take(&mut self) -> bool {
        if self.since.elapsed() >= BAD_FRAMES_WINDOW {
            (self.used, self.since) = (0, Instant::now());
        }
        self.used = self.used.saturating_add(1);
        self.used <= self.max
    }
}
