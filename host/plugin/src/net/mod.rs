//! Requests of plugins on their way out of the host.
//!
//! ```text
//! imports::http ──────┐
//! imports::net ───────┼─ sender, opening ─ connector ─ connection ─ server
//! exchange (storage) ─┘    │                 └ address
//!                                └ body, errors, places
//! ```
//!
//! | file | what it owns |
//! |---|---|
//! | `sender` | what may leave |
//! | `opening` | handshakes of connections that carry bytes both ways |
//! | `carry` | the bytes of such a connection, outside every Store |
//! | `rpc` | calls of the Connect protocol, whose messages carry bytes |
//! | `exchange` | one request that the host sends for a storage plugin |
//! | `places` | how much may be open at once |
//! | `connector` | which address is dialled, and for how long |
//! | `trust` | whom TLS trusts, and what it shows |
//! | `connection` | a connection whose server may answer early |
//! | `address` | the special ranges of addresses |
//! | `body` | how bodies end |
//! | `errors` | error codes of `wasi:http` |

mod address;
pub(crate) mod body;
pub(crate) mod carry;
mod connection;
mod connector;
mod errors;
pub(crate) mod exchange;
pub(crate) mod opening;
pub(crate) mod places;
pub(crate) mod rpc;
pub(crate) mod sender;
mod trust;
