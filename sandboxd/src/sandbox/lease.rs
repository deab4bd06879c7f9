//! When a sandbox ends by itself. Knows nothing else about sandboxes.

use std::time::Duration;

use tokio::time::Instant;

/// The end of a sandbox's life, by the monotonic clock and by the calendar.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Lease {
    pub(crate) until: Instant,
    pub(crate) until_date: jiff::Timestamp,
}

impl Lease {
    pub(crate) fn of(length: Duration) -> Self {
        let until_date = jiff::Timestamp::now().saturating_add(length).unwrap_or(jiff::Timestamp::MAX);
        Self { until: Instant::now() + length, until_date }
    }
}

/// A lease of this length from now on, but never shorter than the present one.
pub(crate) fn extended(present: Lease, length: Duration) -> Lease {
    let wanted = Lease::of(length);
    if wanted.until > present.until { wanted } else { present }
}
