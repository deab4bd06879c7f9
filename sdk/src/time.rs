//! Deadlines by the host's monotonic clock. Knows no wall clock: a plugin has
//! no `std::time`.

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
    /// This moment.
    pub fn now() -> Self {
        Self(monotonic_clock::now())
    }

    /// Time since then.
    pub fn elapsed(self) -> Duration {
        Duration::from_nanos(monotonic_clock::now().saturating_sub(self.0))
    }
}

/// The time was up; what was waited for has been dropped, which cancels it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Elapsed;

/// Waits.
pub async fn sleep(time: Duration) {
    monotonic_clock::wait_for(nanos(time)).await;
}

/// Waits for `future`, at most `time`. At the end of the time the future is
/// dropped; a request that was under way is cancelled by that.
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

/// Guards a sequence of waits against silence.
///
/// One timer serves all of them: it ticks `TICKS` times per limit and counts
/// the ticks without activity, so a busy stream pays nothing per chunk. The
/// silence that ends a wait is between `limit` and `limit` + one tick; that
/// of the first one is `limit`.
pub struct Idle {
    tick: Duration,
    timer: Pin<Box<dyn Future<Output = ()>>>,
    quiet: u32,
}

/// Ticks of [`Idle`] per limit: precise to a third at three timers per limit.
const TICKS: u32 = 3;

impl Idle {
    /// Starts with a full limit.
    pub fn new(limit: Duration) -> Self {
        let tick = limit / TICKS;
        // No tick is a fraction before there was activity.
        Self { tick, timer: Box::pin(sleep(tick)), quiet: 1 }
    }

    /// Goes on with another limit, from the next tick on.
    pub fn limit(&mut self, limit: Duration) {
        self.tick = limit / TICKS;
    }

    /// Waits for `future`; when it is ready, the limit starts anew. On
    /// [`Elapsed`] the future is dropped.
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
                // The first tick may be a fraction of one.
                if self.quiet > TICKS {
                    return Poll::Ready(Err(Elapsed));
                }
            }
            Poll::Pending
        })
        .await
    }
}
