//! Sandboxes: made, kept until their leases end or they are killed, and taken down completely.
//!
//! | file | role |
//! |---|---|
//! | `make` | makes a sandbox from its specification |
//! | `live` | the handle of a live sandbox: what requests use |
//! | `lease` | when a sandbox ends by itself |
//! | `teardown` | kills the processes of a sandbox and clears its directory away |
//! | `registry` | the live sandboxes, and the one task that ends each |
//! | `process` | the processes of one sandbox, their input and output |
//! | `directory_watch`, `watchers` | changes in the file system of a sandbox |
//! | `trash` | removes what ended sandboxes leave on the disk |
//!
//! Nothing here knows the API or who asks.

pub(crate) mod directory_watch;
mod lease;
mod live;
mod make;
pub(crate) mod process;
pub(crate) mod registry;
mod teardown;
pub(crate) mod trash;
pub(crate) mod watchers;

pub(crate) use self::lease::{Lease, extended};
pub(crate) use self::live::Sandbox;
pub(crate) use self::make::{MakeContext, MakeError, SandboxSpec};
