//! Requests of plugins on their way out of the host.
//!
//! ```text
//! imports::net (wasi:http) ─┐
//!                           ├─ sender ─ connector ─ connection ─ server
//! exchange (storage)       ─┘    │          └ address
//!                                └ body, errors
//! ```
//!
//! | file | what it owns |
//! |---|---|
//! | `sender` | what may leave, and with which secrets |
//! | `exchange` | one request that the host sends for a storage plugin |
//! | `connector` | which address is dialled, and for how long |
//! | `connection` | a connection whose server may answer early |
//! | `address` | the special ranges of addresses |
//! | `body` | how bodies end |
//! | `errors` | error codes of `wasi:http` |

mod address;
mod body;
mod connection;
mod connector;
mod errors;
pub(crate) mod exchange;
pub(crate) mod sender;
