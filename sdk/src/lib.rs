//! What a plugin in Rust builds on.
//!
//! Owns the bindings of `wit/`, requests over `wasi:http` that always report their end, deadlines, and errors in the
//! words of the contract. Knows no provider.
//!
//! A plugin is a `cdylib` with this crate as its one dependency:
//!
//! ```ignore
//! use sandbox_broker_sdk::{exec, files, lease, manifest, sandbox};
//!
//! struct Plugin;
//! impl manifest::Guest for Plugin { /* describe, config_schema, validate */ }
//! impl sandbox::Guest for Plugin { /* create, connect, kill, list */ }
//! impl exec::Guest for Plugin { /* run, exit_of, signal */ }
//! // What else the provider can do:
//! impl lease::Guest for Plugin { /* extend */ }
//! impl files::Guest for Plugin { /* read, write, list, … */ }
//!
//! #[cfg(target_family = "wasm")]
//! sandbox_broker_sdk::export_sandbox_provider!(Plugin: lease, files);
//! ```
//!
//! Build it for `wasm32-unknown-unknown`. The broker accepts the core module without further steps. Everything except
//! calls into the host also runs natively, so the pure parts of a plugin are tested with plain `cargo test`.

// Generated code names this crate by its public name.
extern crate self as sandbox_broker_sdk;

#[doc(hidden)]
#[path = "bindings.rs"]
pub mod __bindings;
mod error;
pub mod http;
pub mod log;
pub mod progress;
pub mod secrets;
pub mod setting;
pub mod stream;
pub mod time;

pub use __bindings::about::exports::sandbox_broker::plugin::manifest;
pub use __bindings::files::exports::sandbox_broker::plugin::files;
pub use __bindings::host::sandbox_broker::plugin::streams::Ending;
pub use __bindings::host::sandbox_broker::plugin::types::{Call, Code, Error, Exit, SandboxRef};
pub use __bindings::host::sandbox_broker::plugin::{cache, net};
pub use __bindings::host::wasi;
pub use __bindings::lease::exports::sandbox_broker::plugin::lease;
pub use __bindings::pause::exports::sandbox_broker::plugin::pause;
pub use __bindings::ports::exports::sandbox_broker::plugin::ports;
pub use __bindings::provider::exports::sandbox_broker::plugin::{exec, sandbox};
pub use __bindings::storage::exports::sandbox_broker::plugin::mounter;
pub use __bindings::terminal::exports::sandbox_broker::plugin::terminal;
pub use __bindings::volumes::exports::sandbox_broker::plugin::volumes;
pub use error::quote;
#[doc(hidden)]
pub use wit_bindgen;
pub use wit_bindgen::spawn_local as spawn;
