//! What outlives the broker's process: which sessions there are, which sandbox each has or was about to make, who answers
//! for it and until when; and the sign-ins of the page.
//!
//! ```text
//! create ─► Intent ─► Made ─► Running ─► Ending ─► remove      each change names the epoch that it is based on;
//!                └──────┴────────┴──────────┘                  claim: a new owner, epoch + 1
//! ```
//!
//! | file | what it owns |
//! |---|---|
//! | `port` | the port [`Journal`] and its words |
//! | `sign_in` | one sign-in of the page |
//! | `sqlite/` | both in one SQLite file; the only code that knows SQLite |
//! | `memory` | the port in memory, for tests |
//!
//! The tests in `tests/contract.rs` hold for every implementation of the port.

#[cfg(any(test, feature = "memory"))]
pub mod memory;
mod port;
mod sign_in;
mod sqlite;
#[cfg(test)]
mod tests;

pub use port::{Entry, Error, Journal, Mount, Owner, Record, Result, State, Terminal};
pub use sign_in::SignIn;
pub use sqlite::store::Sqlite;
