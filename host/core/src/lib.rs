//! What every part of the broker speaks of: the ports to sandboxes and storage,
//! secrets, signals, and text that is safe to show.
//!
//! Deliberately knows no provider, no session, no configuration and no wire.

pub mod certificate;
pub mod disk;
pub mod lock;
pub mod sandbox;
pub mod secret;
pub mod signal;
pub mod storage;
pub mod words;
