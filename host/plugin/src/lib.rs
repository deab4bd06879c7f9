//! Providers as WebAssembly components: the only place that knows wasmtime
//! and the contract's generated types.
//!
//! [`Engine`] compiles and checks a plugin; [`ComponentProvider`] and
//! [`ComponentMounter`] are one configured section of it and implement the
//! ports. Every operation runs in a Store of its own: a trap, an endless loop
//! or a call that never returns costs that operation and nothing else.

mod address;
mod bindings;
mod call;
mod compiled;
mod connection;
mod convert;
mod engine;
mod exchange;
mod keyring;
mod mounter;
mod net;
mod provider;
mod service;
mod state;
mod streams;
pub mod work;

pub use call::Section;
pub use engine::{Description, Engine, LoadError, Plugin};
pub use keyring::{Keyring, Secrets};
pub use mounter::{ComponentMounter, LiveMounts};
pub use provider::ComponentProvider;
