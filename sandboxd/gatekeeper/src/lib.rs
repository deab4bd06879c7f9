//! Tells connections of sandboxes from others, where sandboxes share this machine's network.
//!
//! Everything that listens on a port of the machine may ask: the sandbox server, and the broker in front of it. Knows
//! neither of them.
//!
//! The files by role:
//!
//! | files | role |
//! |---|---|
//! | `gatekeeper` | takes the questions, answers many of them together, refuses a connection |
//! | `holders` | which process holds a socket, and whether it belongs to a sandbox |
//! | `sockets` | the kernel's tables of TCP sockets |
//! | `addresses` | the addresses of this machine |

mod addresses;
mod gatekeeper;
mod holders;
mod sockets;

pub use crate::addresses::addresses;
pub use crate::gatekeeper::{Gatekeeper, Question};
pub use crate::holders::Peer;
