//! A terminal's WebSocket, whatever level its client speaks.
//!
//! Owns the handshake, the bounds, the reading and writing of messages, and the
//! close. Deliberately knows no session but how its outcome ends a socket.
//!
//! | file | what it is |
//! |---|---|
//! | `limits` | the bounds of one socket |
//! | `upgrade` | from an HTTP request to a WebSocket |
//! | `reader` | the next message of a client that is alive and well-behaved |
//! | `writer` | messages to frames |
//! | `ending` | the close code, the words and the closing handshake |

pub(crate) mod ending;
pub(crate) mod limits;
pub(crate) mod reader;
pub(crate) mod upgrade;
pub(crate) mod writer;
