//! How far one client's input has come.
//!
//! Owns its numbers. Deliberately knows neither the client nor the bytes.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::watch;

/// How far a client's input has come. It outlives the client's connection.
#[derive(Debug)]
pub struct InputProgress {
    /// Highest number that was received.
    seen: AtomicU64,
    /// Highest number that was handed to the sandbox. Those who sent it watch this.
    pub handed: watch::Sender<u64>,
}

impl InputProgress {
    /// Of a client that has sent nothing yet.
    pub fn new() -> Arc<Self> {
        Arc::new(InputProgress { seen: AtomicU64::new(0), handed: watch::Sender::new(0) })
    }

    /// Takes a number in. Returns false if it or a higher one was taken in
    /// before.
    pub fn take(&self, seq: u64) -> bool {
        self.seen.fetch_max(seq, Ordering::Relaxed) < seq
    }
}
