//! How an attachment ends: in words, and as an exit status.
//!
//! Owns the one mapping from what happened to both. `docs/attach.md` shows it as
//! a table. Deliberately knows no connection.

use std::fmt;

use http::StatusCode;

use sandbox_broker_core::signal;
use sandbox_broker_terminal::client::NotOpened;

/// Exit statuses of this program. The lower ones are the shell's.
const BROKEN: u8 = 255;
const OVER: u8 = 254;
const TAKEN: u8 = 253;
const SIGNED_OUT: u8 = 252;

/// What a shell adds to the number of a signal.
const BY_SIGNAL: i32 = 128;

/// Why the attachment ended.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Left {
    /// The person left; the session goes on.
    Detached,
    /// A signal to this program ended it; the session goes on.
    Signalled(i32),
    /// The session is over.
    Exited {
        /// The shell's exit status.
        code: Option<i32>,
        /// The signal that ended it.
        signal: Option<String>,
        /// The broker's words.
        reason: String,
    },
    /// The broker closed for another reason, in its words.
    Closed(u16, String),
    /// The session was not reached, or there is no way back to it.
    Failed(String),
    /// The same, because there is no good token.
    Unknown(String),
}

impl Left {
    /// The end after a socket that could not be opened. An error if another try may
    /// help. `unknown` makes the words for a missing or wrong token; the broker's
    /// own words are for people who see its page.
    pub(super) fn unless_transient(error: NotOpened, unknown: impl FnOnce() -> String) -> Result<Self, NotOpened> {
        match &error {
            NotOpened::Refused { status: StatusCode::UNAUTHORIZED, .. } => Ok(Left::Unknown(unknown())),
            NotOpened::Refused { status, .. }
                if status.is_server_error()
                    || matches!(*status, StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT) =>
            {
                Err(error)
            }
            NotOpened::Refused { .. } | NotOpened::Stranger(_) => Ok(Left::Failed(error.to_string())),
            NotOpened::Lost(_) => Err(error),
        }
    }

    /// The exit status of the program.
    pub(super) fn status(&self) -> u8 {
        match self {
            Left::Detached => 0,
            Left::Signalled(signal) => by_signal(*signal),
            // The low byte, which is what a parent process sees.
            Left::Exited { code: Some(code), .. } => *code as u8,
            Left::Exited { signal: Some(name), .. } => {
                let number = signal::number(name).and_then(|number| i32::try_from(number).ok());
                number.map_or(OVER, by_signal)
            }
            Left::Exited { .. } | Left::Closed(4404 | 4408 | 4500, _) => OVER,
            Left::Closed(4001, _) => TAKEN,
            Left::Unknown(_) => SIGNED_OUT,
            Left::Closed(..) | Left::Failed(_) => BROKEN,
        }
    }
}

fn by_signal(signal: i32) -> u8 {
    (BY_SIGNAL + signal) as u8
}

impl fmt::Display for Left {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Left::Detached => f.write_str("detached"),
            Left::Signalled(signal) => write!(f, "detached by signal {signal}"),
            Left::Exited { reason, .. } => write!(f, "the session is over: {reason}"),
            Left::Closed(code, words) => write!(f, "{words} ({code})"),
            Left::Failed(words) | Left::Unknown(words) => f.write_str(words),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_status_says_whose_end_it_was() {
        let exited = |code, signal: Option<&str>| Left::Exited {
            code,
            signal: signal.map(str::to_owned),
            reason: String::new(),
        };
        let closed = |code| Left::Closed(code, String::new());
        for (left, status) in [
            (Left::Detached, 0),
            (Left::Signalled(15), 143),
            (exited(Some(0), None), 0),
            (exited(Some(3), None), 3),
            (exited(Some(-1), None), 255),
            (exited(None, Some("SIGKILL")), 137),
            (exited(None, Some("SIGUSR1")), 138),
            (exited(None, Some("SIGSYS")), 159),
            (exited(None, Some("SIGRTMIN+6")), 168),
            (exited(None, Some("signal 33")), 161),
            (exited(None, Some("something else")), 254),
            (exited(None, None), 254),
            (closed(4001), 253),
            (Left::Unknown(String::new()), 252),
            (closed(4404), 254),
            (closed(4500), 254),
            (closed(1011), 255),
            (closed(1013), 255),
            (Left::Failed(String::new()), 255),
        ] {
            assert_eq!(left.status(), status, "{left:?}");
        }
    }

    #[test]
    fn to_try_again_helps_only_where_time_does() {
        let refused = |status| NotOpened::Refused { status, words: "no".to_owned() };
        let left = |status| Left::unless_transient(refused(status), || "set a token".to_owned());
        assert!(left(StatusCode::SERVICE_UNAVAILABLE).is_err());
        assert!(left(StatusCode::TOO_MANY_REQUESTS).is_err());
        let unknown = left(StatusCode::UNAUTHORIZED).unwrap();
        assert_eq!((unknown.status(), unknown.to_string().as_str()), (252, "set a token"));
        assert_eq!(left(StatusCode::FORBIDDEN).unwrap().status(), 255);
    }
}
