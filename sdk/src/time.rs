//! Deadlines by the host's monotonic clock. Knows no wall clock, because a plugin has no `std::time`.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::Poll;
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

/// Ends a sequence of waits after too long a silence.
///
/// One timer serves all waits. It ticks `TICKS` times per limit and counts the ticks without activity, so a busy stream
/// pays nothing per chunk. The silence that ends a wait is between `limit` and `limit` + one tick. For the first wait
/// it is exactly `limit`.
pub struct Idle {
    tick: Duration,
    timer: Pin<Box<dyn Future<Output = ()>>>,
    quiet: u32,
}

/// Ticks of [`Idle`] per limit. Three timers per limit give a precision of a third.
const TICKS: u32 = 3;

impl Idle {
    /// Starts with a full limit.
    pub fn new(limit: Duration) -> Self {
        let tick = limit / TICKS;
        // Before the first activity, no tick is shorter than the others.
        Self { tick, timer: Box::pin(sleep(tick)), quiet: 1 }
    }

    /// Continues with another limit, from the next tick on.
    pub fn limit(&mut self, limit: Duration) {
        self.tick = limit / TICKS;
    }

    /// Waits for `future`. When it is ready, the limit starts again. On [`Elapsed`] the future is dropped.
    pub async fn guard<F: Future>(&mut self, future: F) -> Result<F::Output, Elapsed> {
        let mut future = pin!(future);
        poll_fn(|cx| {
            if let Poll::Ready(value) = future.as_mut().poll(cx) {
                self.quiet = 0;
                return Poll::Ready(Ok(value));
            }
            while self.timer.as_mut().poll(cx).is_ready() {
                self.timer = Box::pin(sleep(self.tick));
                self.quiet += 1;
                // The first tick may be shorter than the others.
                if self.quiet > TICKS {
                    return Poll::Ready(Err(Elapsed));
                }
            }
            Poll::Pending
        })
        .await
    }
}
