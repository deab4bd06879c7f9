//! The sandbox broker as a library.

pub mod broker;
pub mod cli;
pub mod config;
pub mod embedded;
pub mod http;
pub mod plugin;
pub mod sandbox;
pub mod secret;
pub mod session;
pub mod terminal;
