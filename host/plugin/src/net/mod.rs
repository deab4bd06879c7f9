//! Requests of plugins on their way out of the host.
//!
//! ```text
//! imports::http ──────┐
//! imports::net ───────┼─ sender, opening ─ connector ─ connection ─ server
//! exchange (storage) ─┘    │                 └ address
//!                                └ credentials, body, reflection, errors, places
//! ```
//!
//! | file | what it owns |
//! |---|---|
//! | `sender` | what may leave |
//! | `credentials` | how a request carries a secret |
//! | `reflection` | answers that repeat a secret |
//! | `opening` | handshakes of connections that carry bytes both ways |
//! | `carry` | the bytes of such a connection, outside every Store |
//! | `docker` | the frames of Docker's streams |
//! | `exchange` | one request that the host sends for a storage plugin |
//! | `places` | how much may be open at once |
//! | `connector` | which address is dialled, and for how long |
//! | `trust` | whom TLS trusts, and what it shows |
//! | `connection` | a connection whose server may answer early |
//! | `address` | the special ranges of addresses |
//! | `body` | how bodies end |
//! | `errors` | error codes of `wasi:http` |

mod address;
mod body;
pub(crate) mod carry;
mod connection;
mod connector;
mod credentials;
mod docker;
mod errors;
pub(crate) mod exchange;
pub(crate) mod opening;
pub(crate) mod places;
mod reflection;
pub(crate) mod sender;
mod trust;
