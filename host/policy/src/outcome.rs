//! How a session ended.
//!
//! Owns the ends that there are and the line that a person reads of each.
//! Deliberately knows neither why an end was chosen nor how clients are told.

use std::fmt;
use std::time::Duration;

use sandbox_broker_core::sandbox::{Error, Exit};

use crate::duration::InWords;

/// How a session ended. `Display` is one line for the person at the terminal.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// The shell ended.
    Exited(Exit),
    /// A step or the sandbox failed; the message says which.
    Failed(Error),
    /// Nobody typed and nothing was printed for this long.
    Idle(Duration),
    /// It has reached this age, the greatest that is allowed.
    Aged(Duration),
    /// The broker shuts down.
    Shutdown,
    /// This broker stops, and the next one continues the session.
    Draining,
    /// Another broker continues the session already.
    Replaced,
    /// No client is left, or none came back in time.
    Detached,
    /// A client or an operator ended it.
    Killed,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Outcome::Exited(Exit::Code(code)) => write!(f, "the shell ended with exit status {code}"),
            Outcome::Exited(Exit::Signal(name)) => write!(f, "the shell was ended by {name}"),
            Outcome::Exited(Exit::Unknown) => f.write_str("the shell ended; the provider does not say how"),
            Outcome::Failed(error) => error.fmt(f),
            Outcome::Idle(after) => {
                write!(f, "the session ended after {} without input or output", InWords(*after))
            }
            Outcome::Aged(limit) => {
                write!(f, "the session ended because it was {} old, the greatest age here", InWords(*limit))
            }
            Outcome::Shutdown => f.write_str("the broker is shutting down; connect again to get a new session"),
            Outcome::Draining => f.write_str("the broker restarts; the session goes on, connect to it again"),
            Outcome::Replaced => f.write_str("another broker serves this session now; connect to it again"),
            Outcome::Detached => f.write_str("the last client left"),
            Outcome::Killed => f.write_str("the session was ended"),
        }
    }
}

/// Puts what failed in front of the error's message.
pub fn during(what: &str, mut error: Error) -> Error {
    error.message = format!("{what}: {}", error.message);
    error
}
