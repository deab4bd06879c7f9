//! The sandbox broker as a library.

pub mod config;
pub mod embedded;
pub mod plugin;
pub mod http;
pub mod sandbox;
pub mod secret;
pub mod session;
pub mod terminal;
