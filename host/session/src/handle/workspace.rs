//! What it takes to work on a session's files beside its shell.
//!
//! Owns the way to the sandbox and the paths that count. Deliberately reads
//! and writes no file.

use std::sync::Arc;

use sandbox_broker_core::sandbox::{Call, Provider, SandboxRef};

/// What it takes to work on a session's files beside its shell.
#[derive(Clone, Debug)]
pub struct Workspace {
    /// Reaches the sandbox. It is the provider that the session began with.
    pub provider: Arc<dyn Provider>,
    /// Where the shell runs.
    pub sandbox: SandboxRef,
    /// Names the session in every request.
    pub call: Call,
    /// Absolute paths below which the session's files are: its mounts in their
    /// order, then the shell's directory if it is not one of them.
    pub roots: Vec<String>,
    /// Those of `roots` that are storage.
    pub mounts: Vec<String>,
    /// Owner of the files. The sandbox's default user if none.
    pub user: Option<String>,
}
