//! The messages of level 1: binary frames with the terminal's bytes, and JSON
//! text for everything else.
//!
//! Owns the vocabulary and its bounds for both ends. The server reads
//! [`ClientFrame`] and writes [`ServerFrame`]; a client does the reverse.
//! Deliberately knows no socket and no session.
//!
//! | file | what it is |
//! |---|---|
//! | `binary` | output and input: a kind, a number, bytes |
//! | `client` | what a client says |
//! | `server` | what the server says |
//! | `screen` | the one message of the server that is written in parts |

mod binary;
mod client;
mod screen;
mod server;
#[cfg(test)]
mod tests;

pub use binary::{BadOutput, decode_output, input, output};
pub use client::{ClientFrame, Encoded};
pub(crate) use screen::{screen_head, screen_tail, screen_text};
pub use server::{Cells, MAX_WORDS, Person, ServerFrame};

/// Name of the subprotocol, as offered and chosen in `Sec-WebSocket-Protocol`.
pub const SUBPROTOCOL: &str = "sandbox-broker.v1";

/// Bytes of output that a client may leave unacknowledged. On a line of 100 ms
/// this allows 40 Mbit/s; a browser draws it in some ten milliseconds.
pub const WINDOW: u64 = 512 * 1024;

/// Characters of a client's name, at most.
pub const MAX_NAME: usize = 64;

/// The highest offset. A larger number in JSON is not exact for every reader.
pub const MAX_OFFSET: u64 = 1 << 53;
