//! Providers as WebAssembly components: the only crate that knows wasmtime and the generated types of the contract.
//!
//! [`Engine`] compiles and checks a plugin. [`ComponentProvider`] and [`ComponentMounter`] are one configured section of a
//! plugin; they implement the ports of `core`. Every operation runs in a Store of its own. A trap, an endless loop or a
//! call that never returns costs that operation and nothing else.
//!
//! ```text
//!     file ──► load ──► Plugin ─┐
//!                               ▼
//! port ──► calls ──► store, one for each operation ──► guest
//!                      ▲                                 │
//! permissions, keyring ┘          imports/{secrets, log, net} ──► net ──► the provider's servers
//! ```
//!
//! | part | what it owns |
//! |---|---|
//! | `load` | from a file to a component that is compiled, linked and questioned |
//! | `calls` | the ports: a deadline around each call, streams, services that outlive a call |
//! | `store` | one Store with every limit set |
//! | `imports` | the capabilities of a guest, one file each, which link and test alone |
//! | `net` | what may leave the host, where to, and with which secrets |
//! | `permissions` | what the operator lets one section do |
//! | [`Keyring`] | the values of secrets over reloads |
//! | `convert` | the contract's types and the port's types, with bounds on what a guest says |
//! | `bindings` | generated code |

mod bindings;
mod calls;
mod convert;
mod imports;
mod keyring;
mod load;
mod net;
mod permissions;
mod store;

pub use calls::caller::Section;
pub use calls::mounter::{ComponentMounter, LiveMounts};
pub use calls::provider::ComponentProvider;
pub use keyring::{Keyring, Secrets};
pub use load::engine::Engine;
pub use load::error::LoadError;
pub use load::plugin::{Description, Plugin};
pub use load::work;
