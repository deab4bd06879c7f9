//! The time that a shutdown of the broker has.
//!
//! Owns the total. Each part of a session takes its own share of it.

use std::time::Duration;

/// How long [`Sessions::shutdown`](crate::Sessions::shutdown) waits until all
/// sessions have saved their storage and ended their sandboxes. Together with
/// what comes before and after, it fits into the 20 s that a supervisor grants.
pub const SHUTDOWN_DEADLINE: Duration = Duration::from_secs(15);
