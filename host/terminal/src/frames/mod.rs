//! What travels over `/terminal`: the messages of both levels and the close
//! codes.
//!
//! Owns every member, bound and code, once for both ends: the server, the
//! command line and the tests read and write with these definitions.
//! Deliberately knows no socket and no session. `docs/terminal-protocol.md`
//! describes this folder and carries its hash.
//!
//! | file | what it is |
//! |---|---|
//! | `close` | why a socket is closed |
//! | `decode` | how a client's JSON is read, and why a message is refused |
//! | `level0` | the messages of level 0 |
//! | `level1` | the messages of level 1 |

mod close;
mod decode;
pub mod level0;
pub mod level1;

pub use close::CloseCode;
pub use decode::{BadFrame, MAX_MESSAGE};
