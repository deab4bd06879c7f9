//! When what failed is tried again. Decides by the error alone; what is tried,
//! and for how long, is the caller's matter.

use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use super::driver::failed;
use crate::sandbox::{Code, Error, Fault, Result};

/// First and longest pause between two tries.
pub(super) const PAUSE: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(5));

/// Pauses between tries: each twice the last one, up to a longest.
#[derive(Debug)]
pub(super) struct Pauses {
    next: Duration,
    longest: Duration,
}

impl Pauses {
    pub(super) fn new((first, longest): (Duration, Duration)) -> Self {
        Pauses { next: first, longest }
    }

    pub(super) fn next(&mut self) -> Duration {
        let longer = (self.next * 2).min(self.longest);
        std::mem::replace(&mut self.next, longer)
    }

    /// The next one after this error, no shorter than the provider asks.
    pub(super) fn after(&mut self, error: &Error) -> Duration {
        let pause = self.next();
        error.retry_after.map_or(pause, |asked| asked.max(pause))
    }
}

/// Whether the same may succeed later though nobody acts. A provider in trouble
/// may say anything of what it does not know, and a plugin that failed gets a
/// fresh instance each time.
pub(super) fn may_pass(error: &Error) -> bool {
    error.code.is_transient()
        || error.fault == Fault::Plugin
        || matches!(error.code, Code::Cancelled | Code::Internal | Code::Unknown)
}

/// Tries until it succeeds or fails for a reason that time does not mend, the
/// last time before `deadline`. `what` could not be done goes to the log.
pub(super) async fn patiently<T, F>(what: &str, deadline: Instant, mut once: impl FnMut() -> F) -> Result<T>
where
    F: Future<Output = Result<T>>,
{
    let mut pauses = Pauses::new(PAUSE);
    loop {
        let error = match once().await {
            Ok(done) => return Ok(done),
            Err(error) => error,
        };
        let next = Instant::now() + pauses.after(&error);
        if !may_pass(&error) || next >= deadline {
            return Err(error);
        }
        failed(what, &error);
        sleep_until(next).await;
    }
}
