//! The sandbox broker as a library.

pub mod config;
pub mod sandbox;
pub mod secret;
pub mod session;
