//! The protocol of `/terminal` over WebSocket.
//!
//! Owns what is said on the socket, by the server and by a client, and how a
//! connection becomes a client of a session. It alone defines the messages.
//! Deliberately knows no sandbox beyond a session's handle, and does not decide
//! who may connect: the HTTP server has done that.
//!
//! ```text
//!            ┌─ level0 ── inbound ──▶ ┐
//!  serve ────┤            outbound ◀──┤ session
//!    │       └─ level1 ── inbound ──▶ │
//!    ▼                    outbound ◀──┘
//!  socket ── upgrade, reader, writer, ending
//!    │
//!  frames ── level0, level1, close codes ── client (for the command line)
//! ```
//!
//! | module | what it is | what it does not know |
//! |---|---|---|
//! | [`frames`] | the messages and close codes, for both ends | sockets |
//! | `socket` | a WebSocket's handshake, bounds, halves and end | levels, except how each reports an end |
//! | `level0` | the pumps of a client with a session of its own | level 1 |
//! | `level1` | the pumps of a client that shares a session and may come back | level 0 |
//! | `stage` | the state of a step in the words of the wire | |
//! | `serve` | one connection from the handshake to the close | messages |
//! | [`client`] | the other end of level 1 | local terminals |
//! | `echo` | an echo on the same socket, for the conformance test | sessions |
//!
//! Each direction of a connection is a pump of its own, and neither waits for the
//! other: a client that does not read can still type.

pub mod client;
#[cfg(feature = "echo")]
mod echo;
pub mod frames;
mod level0;
mod level1;
mod serve;
mod socket;
mod stage;

pub use socket::limits::Limits;
pub use socket::upgrade::{NotAnUpgrade, Upgrade};
