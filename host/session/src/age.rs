//! When a session ends however much it is used.
//!
//! Owns the two moments and the words before the end. Pure but for the clock;
//! the driver asks what is due.

use std::future::pending;
use std::pin::Pin;
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};

use super::{Stage, Step, Words};

/// How long before the end clients are told: long enough to save one's work.
/// Of a session with a short life it is a tenth of that.
const NOTICE: Duration = Duration::from_secs(5 * 60);

/// What is due.
#[derive(Debug)]
pub(super) enum Due {
    /// Clients are to be told this.
    Notice(Stage),
    /// It has reached this age and ends.
    End(Duration),
}

/// The age of a session that has a greatest one.
pub(super) struct Age {
    limit: Duration,
    ends: Instant,
    /// The notice was given.
    noticed: bool,
    due: Pin<Box<Sleep>>,
}

impl Age {
    /// Of a session that is `old` already and ends at `limit`. None where
    /// there is no such end.
    pub(super) fn new(limit: Option<Duration>, old: Duration) -> Option<Self> {
        let limit = limit?;
        let ends = Instant::now().checked_add(limit.saturating_sub(old))?;
        let notice = ends.checked_sub(NOTICE.min(limit / 10)).unwrap_or(ends);
        Some(Age { limit, ends, noticed: false, due: Box::pin(sleep_until(notice)) })
    }

    /// Waits for what is due, if anything ever is. After an end nothing more
    /// is. Dropped, it waits again.
    pub(super) async fn next(age: &mut Option<Self>) -> Due {
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
        let (left, limit) = (Words::rounded(left), Words(one.limit));
        let message = format!("This session ends in {left}, for it will be {limit} old: save what is not saved");
        Due::Notice(Stage::started(Step::Shell, message))
    }
}
