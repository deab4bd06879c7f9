//! Requests of plugins on their way out of the host.
//!
//! ```text
//! imports::net (wasi:http) ─┐
//!                           ├─ sender ─ connector ─ connection ─ server
//! exchange (storage)       ─┘    │          └ address
//!                                └ credentials, body, reflection, errors, places
//! ```
//!
//! | file | what it owns |
//! |---|---|
//! | `sender` | what may leave |
//! | `credentials` | how a request carries a secret |
//! | `reflection` | answers that repeat a secret |
//! | `exchange` | one request that the host sends for a storage plugin |
//! | `places` | how much may be open at once |
//! | `connector` | which address is dialled, and for how long |
//! | `connection` | a connection whose server may answer early |
//! | `address` | the special ranges of addresses |
//! | `body` | how bodies end |
//! | `errors` | error codes of `wasi:http` |

mod address;
mod body;
mod connection;
mod connector;
mod credentials;
mod errors;
pub(crate) mod exchange;
pub(crate) mod places;
mod reflection;
pub(crate) mod sender;
