//! How the bytes of a process stand on a connection of its provider.
//!
//! Owns the formats alone. Deliberately knows no connection, so each is tested byte for byte.
//!
//! | file | whose format |
//! |---|---|
//! | `docker` | the frames of Docker's streams |
//! | `connect` | the frames of the Connect protocol |
//! | `json` | base64 text in JSON messages |

pub mod connect;
pub mod docker;
pub mod json;
