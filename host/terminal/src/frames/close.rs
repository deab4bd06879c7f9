//! Why a socket is closed: a number, and at level 1 also a word.

use std::fmt;

/// Why a socket was closed; RFC 6455 section 7.4, and 4000 up our own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub enum CloseCode {
    /// The shell exited.
    Exited = 1000,
    /// The broker goes away; reconnect now.
    Draining = 1001,
    /// The client broke RFC 6455.
    Protocol = 1002,
    /// Text that is not UTF-8.
    NotUtf8 = 1007,
    /// Too many malformed frames.
    Policy = 1008,
    /// A message above [`MAX_MESSAGE`](super::MAX_MESSAGE).
    TooLarge = 1009,
    /// The broker's own fault.
    Broker = 1011,
    /// No room now; try again later.
    TryLater = 1013,
    /// A newer connection of the same client took its place.
    TakenOver = 4001,
    /// The sign-in that let it in is no longer good.
    SignedOut = 4401,
    /// There is no such session.
    NoSession = 4404,
    /// No input and no output for too long.
    Idle = 4408,
    /// The sandbox or its provider failed.
    Provider = 4500,
}

impl CloseCode {
    /// The `code` of the level 1 `error` that comes before this close.
    pub fn word(self) -> &'static str {
        match self {
            CloseCode::Exited => "exited",
            CloseCode::Draining => "draining",
            CloseCode::Protocol | CloseCode::NotUtf8 | CloseCode::Policy | CloseCode::TooLarge => "malformed",
            CloseCode::Broker => "broker",
            CloseCode::TryLater => "full",
            CloseCode::TakenOver => "taken-over",
            CloseCode::SignedOut => "signed-out",
            CloseCode::NoSession => "no-session",
            CloseCode::Idle => "idle",
            CloseCode::Provider => "provider",
        }
    }
}

impl fmt::Display for CloseCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", *self as u16)
    }
}
