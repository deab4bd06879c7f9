//! The sandbox provider for E2B and for servers that speak its protocol.
//!
//! Owns everything that is E2B: its control plane, its proxy's words, the
//! Connect calls of the agent (envd) in each sandbox. Knows nothing of
//! sessions, browsers or storage, and never holds the API key.
//!
//! | module | what |
//! |---|---|
//! | [`config`], [`state`], [`urls`] | what is configured, what the host keeps for us, where things are |
//! | [`api`], [`retry`] | the control plane and when a request is repeated |
//! | [`envd`], [`process`] | the agent: calls and messages |
//! | [`session`] | how a process ended |
//! | `script`, `rights` | files by short processes of the acting user |
//! | `manifest`, `sandbox`, `lease`, `pty`, `exec`, `files`, `pause`, `ports` | the exported interfaces |

#![allow(unreachable_pub, reason = "a plugin's crate has no users but its exports")]
#![allow(missing_docs, reason = "members that mirror the protocol are named as it names them")]

pub mod api;
pub mod config;
pub mod envd;
pub mod errors;
mod exec;
mod files;
mod lease;
mod manifest;
mod part;
mod pause;
mod ports;
pub mod process;
mod pty;
pub mod retry;
mod rights;
mod sandbox;
mod script;
pub mod session;
pub mod state;
pub mod urls;

/// The plugin: what its exports are implemented on. It has no state; every
/// call brings all it needs.
pub struct Plugin;

#[cfg(all(target_family = "wasm", feature = "export"))]
sandbox_broker_sdk::export_sandbox_provider!(Plugin: lease, terminal, files, pause, ports);
