//! When the credentials of a live mount are renewed.
//!
//! Owns the schedule, and when clients must be told that a renewal is late.
//! Deliberately renews nothing itself.

use std::time::Duration;

use tokio::time::Instant;

use crate::retry::Backoff;

/// First and longest pause between two tries of anything else: soon after a
/// hiccup, and once a minute while something is broken.
pub(super) const PAUSE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// When the credentials of a live mount are renewed. They are assumed to last
/// twice as long as the plugin wants to wait before a renewal.
#[derive(Debug)]
pub(super) struct Renewal {
    pub(super) due: Option<Instant>,
    ends: Option<Instant>,
    backoff: Backoff,
    /// Clients were told that they may have ended.
    pub(super) overdue: bool,
}

impl Renewal {
    pub(super) fn new(after: Option<Duration>) -> Self {
        let after = after.map(|after| after.max(PAUSE.0));
        let due = after.and_then(|after| Instant::now().checked_add(after));
        let ends = due.zip(after).and_then(|(due, after)| due.checked_add(after));
        Renewal { due, ends, backoff: Backoff::new(PAUSE), overdue: false }
    }

    /// Due at once, for credentials whose end only an earlier broker knew.
    /// Never due if `after` is none: then nothing runs out.
    pub(super) fn at_once(after: Option<Duration>) -> Self {
        let due = after.map(|_| Instant::now());
        Renewal { due, ends: None, backoff: Backoff::new(PAUSE), overdue: false }
    }

    /// Plans the next try after a failure. One try is at the very end of the
    /// credentials. Returns whether clients must be told now.
    pub(super) fn postpone(&mut self, wanted: Option<Duration>) -> bool {
        let now = Instant::now();
        let pause = self.backoff.next();
        let next = now + wanted.unwrap_or(pause).clamp(pause, PAUSE.1);
        let ended = self.ends.is_none_or(|ends| now >= ends);
        self.due = Some(if ended { next } else { self.ends.map_or(next, |ends| next.min(ends)) });
        ended && !std::mem::replace(&mut self.overdue, ended)
    }

    /// How long ago the credentials ended.
    pub(super) fn late(&self) -> Duration {
        self.ends.map_or(Duration::ZERO, |ends| ends.elapsed())
    }
}
