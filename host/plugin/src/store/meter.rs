//! Whether a guest gives way, and why it was stopped.
//!
//! Owns the count of CPU time: the engine calls [`Meter::tick`] every [`TICK`] that a guest runs without a pause.
//! Deliberately knows no guest and no Store.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

/// Time between two ticks.
pub(crate) const TICK: Duration = Duration::from_millis(10);

/// Counts a guest's CPU time, and records why it was stopped where the trap itself does not say.
#[derive(Default, Debug)]
pub(crate) struct Meter {
    /// Ticks since the Store began.
    ticks: AtomicU32,
    /// Ticks since the guest last gave way.
    busy: AtomicU32,
    out_of_memory: AtomicBool,
    out_of_time: AtomicBool,
}

impl Meter {
    /// Whether the guest asked for more memory than it may have.
    pub(crate) fn out_of_memory(&self) -> bool {
        self.out_of_memory.load(Ordering::Relaxed)
    }

    /// Whether the guest used up its CPU time without giving way.
    pub(crate) fn out_of_time(&self) -> bool {
        self.out_of_time.load(Ordering::Relaxed)
    }

    /// Records that the guest asked for too much memory.
    pub(super) fn deny_memory(&self) {
        self.out_of_memory.store(true, Ordering::Relaxed);
    }

    /// Counts one tick. Returns whether the guest may go on; it may not after `allowed` ticks without giving way.
    pub(super) fn tick(&self, allowed: u32) -> bool {
        self.ticks.fetch_add(1, Ordering::Relaxed);
        if self.busy.fetch_add(1, Ordering::Relaxed) >= allowed {
            self.out_of_time.store(true, Ordering::Relaxed);
            return false;
        }
        true
    }

    /// Runs `future` and notices when the guest gives way. A guest that is interrupted by a tick also returns from a
    /// poll, so only a poll without a tick counts. The caller pins the future: a guest's future is large, and this way
    /// it is not held twice.
    pub(crate) async fn watch<F: Future + Unpin>(&self, mut future: F) -> F::Output {
        poll_fn(|cx| {
            let before = self.ticks.load(Ordering::Relaxed);
            let poll = Pin::new(&mut future).poll(cx);
            if self.ticks.load(Ordering::Relaxed) == before {
                self.busy.store(0, Ordering::Relaxed);
            }
            poll
        })
        .await
    }
}
