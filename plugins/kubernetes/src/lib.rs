//! The sandbox provider for Kubernetes: each sandbox is a Pod of one container.
//!
//! Owns everything that is Kubernetes: Pods, the words of the API server, processes over the connections of `exec`. Knows
//! nothing of sessions, browsers or storage, and never holds the token.
//!
//! | module | what |
//! |---|---|
//! | [`config`] | what is configured |
//! | [`pod`], [`state`] | the Pod as it is asked for, and how far it has come |
//! | [`api`], [`errors`] | requests to the API server, and what its refusals mean |
//! | [`process`] | how a process is started, found again and ended |
//! | `manifest`, `sandbox`, `exec`, `ports` | the exported interfaces |

#![allow(unreachable_pub, reason = "a plugin's crate has no users but its exports")]

pub mod api;
pub mod config;
pub mod errors;
mod exec;
mod manifest;
pub mod pod;
mod ports;
pub mod process;
mod sandbox;
pub mod state;

/// The plugin: what its exports are implemented on. It has no state; every call brings all it needs.
pub struct Plugin;

#[cfg(target_family = "wasm")]
sandbox_broker_sdk::export_sandbox_provider!(Plugin: ports);
