//! The terminal over WebSocket: frames and the pumps of one socket.
//!
//! Owns the wire of `/terminal`; it is the only place that knows frames and the
//! socket's type. Deliberately knows nothing of sandboxes beyond a session's
//! handle, and nothing of who may connect: `http/` decided that before.
//!
//! ```text
//! upgrade ── socket ─┬─ inbound ──▶ session        (frames: JSON to what it means)
//!                    ├─ outbound ◀─ session        (text: bytes to whole code points)
//!                    ├─ level1      the same for clients that offer its subprotocol
//!                    ├─ writer      messages to frames
//!                    └─ ending      close code, words, closing handshake
//! ```
//!
//! `client` is the other end, for the command line.

pub mod client;
#[cfg(feature = "echo")]
mod echo;
mod ending;
mod frames;
mod inbound;
pub mod level1;
mod outbound;
mod socket;
mod surrogates;
mod text;
mod upgrade;
mod writer;

pub use frames::{BadFrame, ClientFrame, CloseCode, MAX_MESSAGE, ServerFrame, Status};
pub use upgrade::{Limits, NotAnUpgrade, Upgrade};
