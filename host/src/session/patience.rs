//! When what failed is tried again. Decides by the error alone; what is tried,
//! and for how long, is the caller's matter.

use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use super::driver::failed;
use crate::sandbox::{Code, Error, Fault, Result};

/// First and longest pause between two tries; each is twice the last one, and
/// none is shorter than the provider asks.
const PAUSE: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(5));

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
    let mut pause = PAUSE.0;
    loop {
        let error = match once().await {
            Ok(done) => return Ok(done),
            Err(error) => error,
        };
        let next = Instant::now() + error.retry_after.unwrap_or(pause).max(pause);
        if !may_pass(&error) || next >= deadline {
            return Err(error);
        }
        failed(what, &error);
        sleep_until(next).await;
        pause = (pause * 2).min(PAUSE.1);
    }
}
