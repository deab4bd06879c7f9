//! How a terminal's socket ends: what the client is told, and the closing
//! handshake.
//!
//! Owns the one mapping from what happened to words and a close code.
//! Deliberately knows nothing of what was sent before.

use std::fmt;
use std::time::Duration;

use futures_util::StreamExt;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::{self, Message};

use super::writer::{Incoming, Writer};
use crate::frames::level0::{ServerFrame, Status};
use crate::frames::{CloseCode, level1};
use sandbox_broker_core::sandbox::{Code, Error, Fault};
use sandbox_broker_session::{Outcome, Refused};

/// When a client may connect again after a broker that restarts. A start takes
/// about as long.
const RETRY: Duration = Duration::from_millis(500);

/// Which level of the protocol a client speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Level {
    Zero,
    One,
}

/// Bytes of a close frame's reason, at most (RFC 6455 section 5.5).
const MAX_REASON: usize = 123;

/// Why a socket ends.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// The client closed or is unreachable, so there is nobody to tell.
    Gone(&'static str),
    /// The client leaves its session, which goes on.
    Left(&'static str),
    /// The shell exited; the words say how.
    Exited(String),
    /// The session ended, and the client was told so in a message.
    Told(String),
    /// It ends for another reason, with words for a person.
    Closed(CloseCode, String),
}

impl Ending {
    pub(crate) fn closed(code: CloseCode, why: impl Into<String>) -> Self {
        Ending::Closed(code, why.into())
    }

    /// The end after a failure of the sandbox or of its creation.
    pub(crate) fn of_failure(error: &Error) -> Self {
        let code = match (error.fault, error.code) {
            (_, Code::ResourceExhausted) => CloseCode::TryLater,
            (Fault::Broker, _) => CloseCode::Broker,
            _ => CloseCode::Provider,
        };
        Ending::Closed(code, error.message.clone())
    }

    /// Tells the client in words and in a close code, and does the closing
    /// handshake, for at most `within`. A client that does not take part is cut
    /// off. Returns whether the client answered, and so has received everything
    /// before it.
    pub(crate) async fn tell(&self, mut sink: Writer, stream: Incoming, within: Duration, level: Level) -> bool {
        let frame = match (self, level) {
            (Ending::Gone(_) | Ending::Left(_) | Ending::Told(_), _) => None,
            (Ending::Exited(how), _) => {
                Some(ServerFrame::Status(Status { message: how, ..Status::default() }).encode())
            }
            (Ending::Closed(_, why), Level::Zero) => Some(ServerFrame::Error { message: why }.encode()),
            (Ending::Closed(code, why), Level::One) => {
                let retry_ms = (*code == CloseCode::Draining).then_some(RETRY.as_millis() as u64);
                Some(level1::ServerFrame::Error { code: code.word(), message: &**why, retry_ms }.encode())
            }
        };
        let told = async {
            // In the middle of another message there is no place for it. The close says the same.
            if let Some(frame) = frame.filter(|_| !sink.is_amid()) {
                sink.send(Message::text(frame)).await?;
            }
            self.close(sink, stream).await
        };
        // A broken connection or a slow client does not change how the session ended.
        matches!(timeout(within, told).await, Ok(Ok(true)))
    }

    /// Closes with the code alone and waits for the client's own close. Returns
    /// whether it came.
    pub(crate) async fn close(&self, mut sink: Writer, mut stream: Incoming) -> Result<bool, tungstenite::Error> {
        let close = match self {
            Ending::Gone(_) => None,
            Ending::Left(how) => Some((CloseCode::Exited, *how)),
            Ending::Exited(how) | Ending::Told(how) => Some((CloseCode::Exited, &**how)),
            Ending::Closed(code, why) => Some((*code, &**why)),
        };
        if let Some((code, why)) = close {
            let reason = why[..why.floor_char_boundary(MAX_REASON)].into();
            sink.send(Message::Close(Some(CloseFrame { code: (code as u16).into(), reason }))).await?;
        }
        // If the client closed first, reading sends our answer.
        let mut answered = false;
        while let Some(Ok(message)) = stream.next().await {
            answered |= matches!(message, Message::Close(_));
        }
        Ok(answered)
    }
}

/// For the log.
impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Ending::Gone(why) | Ending::Left(why) => f.write_str(why),
            Ending::Exited(how) | Ending::Told(how) => f.write_str(how),
            Ending::Closed(code, why) => write!(f, "{why} ({code})"),
        }
    }
}

impl From<Refused> for Ending {
    fn from(refused: Refused) -> Self {
        let code = match refused {
            Refused::Full { .. }
            | Refused::FullForUser { .. }
            | Refused::Crowded
            | Refused::Unclaimed
            | Refused::Elsewhere => CloseCode::TryLater,
            Refused::ShuttingDown => CloseCode::Draining,
            Refused::NoSession | Refused::Interrupted => CloseCode::NoSession,
        };
        Ending::closed(code, refused.to_string())
    }
}

impl From<Outcome> for Ending {
    fn from(outcome: Outcome) -> Self {
        let code = match &outcome {
            Outcome::Exited(_) => return Ending::Exited(outcome.to_string()),
            Outcome::Detached => return Ending::Gone("the client left the session"),
            Outcome::Killed => return Ending::Exited(outcome.to_string()),
            Outcome::Failed(error) => return Ending::of_failure(error),
            Outcome::Idle(_) | Outcome::Aged(_) => CloseCode::Idle,
            Outcome::Shutdown | Outcome::Draining | Outcome::Replaced => CloseCode::Draining,
        };
        Ending::closed(code, outcome.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_has_the_code_of_whose_turn_it_is() {
        for (fault, code, expected) in [
            (Fault::Provider, Code::Unavailable, CloseCode::Provider),
            (Fault::Operator, Code::Unauthenticated, CloseCode::Provider),
            (Fault::Plugin, Code::Internal, CloseCode::Provider),
            (Fault::Provider, Code::ResourceExhausted, CloseCode::TryLater),
            (Fault::Broker, Code::Internal, CloseCode::Broker),
        ] {
            assert_eq!(
                Ending::of_failure(&Error::new(fault, code, "why")),
                Ending::closed(expected, "why"),
                "{fault:?} {code:?}"
            );
        }
    }
}
