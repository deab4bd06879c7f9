//! The process that carries one sandbox's connections, and its end. Does not know how it was started.

use tokio::process::Child;

use super::forward::Forwards;

/// What carries a sandbox's connections. Dropping it ends them.
#[derive(Debug)]
pub(crate) struct Uplink {
    pub(super) child: Child,
    pub(super) _forwards: Forwards,
}

impl Uplink {
    /// Waits until its process ends by itself.
    pub(crate) async fn died(&mut self) {
        let _ = self.child.wait().await;
    }

    /// Kills its process and waits for the end.
    pub(crate) async fn end(mut self) {
        let _ = self.child.start_kill();
        let _ = self.child.wait().await;
    }
}
