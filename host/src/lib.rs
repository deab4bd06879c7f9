//! The sandbox broker as a library.

pub mod sandbox;
pub mod secret;
pub mod session;
