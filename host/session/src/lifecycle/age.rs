//! When a session ends although it is in use.
//!
//! Owns the time of the notice and of the end, and the words of the notice. It
//! waits for Tokio's clock and does nothing itself: the session's task asks what is
//! due.

use std::future::pending;
use std::pin::Pin;
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};

use sandbox_broker_policy::duration::InWords;
use sandbox_broker_policy::stage::{Stage, Step};

/// How long before the end clients are told. It is long enough to save their
/// work. For a short life it is a tenth of that life.
const NOTICE: Duration = Duration::from_secs(5 * 60);

/// What is due.
#[derive(Debug)]
pub(crate) enum Due {
    /// Clients are told this.
    Notice(Stage),
    /// It has reached this age and ends.
    End(Duration),
}

/// The age of a session that must not exceed a limit.
pub(crate) struct Age {
    limit: Duration,
    ends: Instant,
    /// The notice was given.
    noticed: bool,
    due: Pin<Box<Sleep>>,
}

impl Age {
    /// For a session that is `old` already and ends at the age `limit`. None if
    /// there is no limit.
    pub(crate) fn new(limit: Option<Duration>, old: Duration) -> Option<Self> {
        let limit = limit?;
        let ends = Instant::now().checked_add(limit.saturating_sub(old))?;
        let notice = ends.checked_sub(NOTICE.min(limit / 10)).unwrap_or(ends);
        Some(Age { limit, ends, noticed: false, due: Box::pin(sleep_until(notice)) })
    }

    /// Waits for the next thing that is due. Never returns if there is none, as
    /// after the end. Cancel-safe.
    pub(crate) async fn next(age: &mut Option<Self>) -> Due {
        let Some(one) = age else { return pending().await };
        one.due.as_mut().await;
        let left = one.ends.saturating_duration_since(Instant::now());
        if one.noticed || left.is_zero() {
            let limit = one.limit;
            *age = None;
            return Due::End(limit);
        }
        one.noticed = true;
        one.due.as_mut().reset(one.ends);
        let (left, limit) = (InWords::rounded(left), InWords(one.limit));
        let message = format!("This session ends in {left}, for it will be {limit} old: save what is not saved");
        Due::Notice(Stage::started(Step::Shell, message))
    }
}
