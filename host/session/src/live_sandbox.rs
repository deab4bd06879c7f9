//! The newest reference to a session's sandbox.
//!
//! Owns one cell. Whoever works in the sandbox for long asks it for each call, because a renewal of the lease may bring a
//! new reference.

use std::sync::{Arc, Mutex};

use sandbox_broker_core::sandbox::SandboxRef;
use sandbox_stdx::lock::lock;

/// The newest reference to a session's sandbox. A clone is the same cell.
#[derive(Clone, Debug)]
pub(crate) struct LiveSandbox(Arc<Mutex<SandboxRef>>);

impl LiveSandbox {
    pub(crate) fn new(sandbox: SandboxRef) -> Self {
        LiveSandbox(Arc::new(Mutex::new(sandbox)))
    }

    pub(crate) fn get(&self) -> SandboxRef {
        lock(&self.0).clone()
    }

    pub(crate) fn set(&self, newest: SandboxRef) {
        *lock(&self.0) = newest;
    }
}
