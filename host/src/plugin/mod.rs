//! Sandbox providers as WebAssembly components: the only place that knows
//! wasmtime and the contract's generated types.
//!
//! [`Engine`] compiles and checks a plugin, [`ComponentProvider`] is one
//! configured section of it and implements the port. Every operation runs in
//! a Store of its own: a trap, an endless loop or a call that never returns
//! costs that operation and nothing else.

mod bindings;
mod convert;
mod engine;
mod net;
mod provider;
mod service;
mod state;
mod streams;

pub use engine::{Description, Engine, LoadError, Plugin};
pub use provider::{ComponentProvider, Section};
