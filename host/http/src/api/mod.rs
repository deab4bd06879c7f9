//! The answers for programs, and the door to the terminal.
//!
//! Owns these routes and the shape of their answers. Deliberately checks no
//! credentials; every handler is told how its request was let in.
//!
//! | file | what it is |
//! |---|---|
//! | `broker` | the broker's health and status, and the upgrade to a terminal |
//! | `handshakes` | upgrades that a proxy broke |
//! | `sessions` | the caller's sessions |
//! | `recording` | a session's recording as a download |
//! | `cast` | a recording, checked line by line |
//! | `files/` | a session's files |
//! | `slots` | how many requests a session's sandbox serves at a time |
//! | `body` | small JSON bodies |
//! | `refusal` | why a request about a session is refused |

mod body;
pub(crate) mod broker;
mod cast;
pub(crate) mod files;
pub(crate) mod handshakes;
pub(crate) mod recording;
pub(crate) mod refusal;
pub(crate) mod sessions;
pub(crate) mod slots;
