//! Providers as WebAssembly components: the only crate of the host that knows wasmtime and the generated types of the contract.
//!
//! [`Engine`] compiles and checks a plugin. [`ComponentProvider`] and [`ComponentMounter`] each represent one section of `broker.toml` that
//! uses a plugin; they implement the ports of `core`. Every operation runs in its own wasmtime `Store`, which has the instance's memory and limits. A trap, an endless loop or a
//! call that never returns ends only that operation. What it uses counts to its section's totals.
//!
//! ```text
//!     file ──► load ──► Plugin ─┐
//!                               ▼
//! port ──► calls ──► store, one for each operation ──► component
//!                      ▲                                 │
//! permissions, secrets ┘    imports/{secrets, cache, log, progress, http, net} ──► net ──► the provider's servers
//! ```
//!
//! | part | what it owns |
//! |---|---|
//! | `load` | turns a file into a compiled, linked component and asks it for its manifest |
//! | `calls` | implements the ports: a deadline around each call, streams, and services that outlive a call |
//! | `store` | one Store with every limit set |
//! | `imports` | what a component may call, one file each; each can be linked and tested on its own |
//! | `net` | what may leave the host, where to, and with which secrets |
//! | `permissions` | what the operator allows one section to do |
//! | `streams`, `endings` | streams and futures on their way into a Store and out of it |
//! | `lent` | what the host keeps of what it lent to a guest |
//! | `totals` | how much memory and CPU time all instances of a section may use together |
//! | `budget` | the arithmetic of a CPU budget, for one instance and for a section |
//! | `convert` | converts between the contract's and the ports' types, with bounds on what a component returns |
//! | `bindings` | generated code |

mod bindings;
mod budget;
mod calls;
mod convert;
mod endings;
mod imports;
mod lent;
mod load;
mod net;
mod permissions;
mod store;
mod streams;
mod totals;

pub use calls::caller::Section;
pub use calls::mounter::{ComponentMounter, LiveMounts};
pub use calls::provider::ComponentProvider;
pub use load::engine::Engine;
pub use load::error::LoadError;
pub use load::plugin::{Description, Plugin};
pub use load::work;
