//! Deadlines by the host's monotonic clock. Knows no wall clock, because a plugin has no `std::time`.

use std::pin::pin;
use std::time::Duration;

use futures_util::future::{Either, select};

use crate::wasi::clocks::monotonic_clock;

/// A moment on the monotonic clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Instant(u64);

impl Instant {
    /// The present moment.
    pub fn now() -> Self {
        Self(monotonic_clock::now())
    }

    /// The time since this moment.
    pub fn elapsed(self) -> Duration {
        Duration::from_nanos(monotonic_clock::now().saturating_sub(self.0))
    }
}

/// The time is up. The future was dropped, which cancels its work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Elapsed;

/// Waits for this time.
pub async fn sleep(time: Duration) {
    monotonic_clock::wait_for(nanos(time)).await;
}

/// Waits for `future`, but at most for `time`. Then the future is dropped, which cancels a running request.
pub async fn timeout<F: Future>(time: Duration, future: F) -> Result<F::Output, Elapsed> {
    let clock = pin!(sleep(time));
    match select(pin!(future), clock).await {
        Either::Left((value, _)) => Ok(value),
        Either::Right(_) => Err(Elapsed),
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
