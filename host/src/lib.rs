//! The sandbox broker as a library.

pub mod http;
pub mod sandbox;
pub mod secret;
pub mod session;
pub mod terminal;
