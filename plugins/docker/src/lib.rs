//! The sandbox provider for a Docker engine: each sandbox is a container.
//!
//! Owns everything that is Docker: the Engine API of version 1.41 and later over a Unix socket or over TLS, what its
//! failures mean, the lease that the engine does not have. Knows nothing of sessions, browsers or storage.
//!
//! | module | what |
//! |---|---|
//! | [`config`] | what is configured |
//! | [`engine`], [`errors`] | requests to the engine, and what its answers mean |
//! | [`container`], [`image`] | what is asked for: a container, an image |
//! | [`reference`](mod@reference) | what the host keeps for us |
//! | `process` | processes in a container: start, end, signals |
//! | `manifest`, `sandbox`, `lease`, `terminal`, `exec`, `pause`, `ports` | the exported interfaces |
//!
//! It leaves out `files`: the engine reads and writes files as root, whoever asks, and not atomically. The host does it by
//! processes of the acting user.

#![allow(unreachable_pub, reason = "a plugin's crate has no users but its exports")]
#![allow(missing_docs, reason = "members that mirror the protocol are named as it names them")]

pub mod config;
pub mod container;
pub mod engine;
pub mod errors;
mod exec;
pub mod image;
mod lease;
mod manifest;
mod pause;
mod ports;
mod process;
pub mod reference;
mod sandbox;
mod terminal;

/// The plugin: what its exports are implemented on. It has no state; every call brings all it needs.
pub struct Plugin;

#[cfg(target_family = "wasm")]
sandbox_broker_sdk::export_sandbox_provider!(Plugin: lease, terminal, pause, ports);
