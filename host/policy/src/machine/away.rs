//! How long a session goes on while no client is there.
//!
//! Owns how long each way of being away is waited for. Deliberately knows
//! neither shell nor sandbox: the machine asks only while there is something to
//! keep.

use std::time::Duration;

use tokio::time::Instant;

use super::vocabulary::Attendance;

/// How long a session goes on after all windows were closed, counted from the
/// last output. It is long enough to open a tab again, and a working program
/// extends it.
pub const CLOSED: Duration = Duration::from_secs(15 * 60);

/// The same for a session whose shell no client has ever seen: nobody misses
/// what is in it. It is longer than a client pauses between two tries.
const UNSEEN: Duration = Duration::from_secs(2 * 60);

/// Whether clients are there, and were.
#[derive(Debug)]
pub(super) struct Away {
    /// Since when no client is there, and whether all of them closed their
    /// windows.
    since: Option<(Instant, bool)>,
    /// A client was there while the shell ran.
    seen: bool,
}

impl Away {
    /// For a session with its first client, or for one that was taken over at
    /// that time and had clients before.
    pub(super) fn new(taken_over: Option<Instant>) -> Self {
        Away { since: taken_over.map(|now| (now, false)), seen: taken_over.is_some() }
    }

    pub(super) fn is_away(&self) -> bool {
        self.since.is_some()
    }

    /// Takes in who is there. Returns whether a client came back.
    pub(super) fn changed(&mut self, presence: Attendance, runs: bool, now: Instant) -> bool {
        if presence == Attendance::Here {
            self.seen |= runs;
            return self.since.take().is_some();
        }
        let since = self.since.map_or(now, |(since, _)| since);
        self.since = Some((since, presence == Attendance::Closed));
        false
    }

    /// The shell runs from now on.
    pub(super) fn began(&mut self) {
        self.seen |= self.since.is_none();
    }

    /// When a session is given up that is kept for `keep` and was last used at
    /// `active`. Use only moves it later. None while a client is there.
    pub(super) fn ends_at(&self, active: Instant, keep: Duration) -> Option<Instant> {
        let (since, closed) = self.since?;
        let patience = match (self.seen, closed) {
            (false, _) => UNSEEN,
            (true, true) => CLOSED,
            (true, false) => return since.checked_add(keep),
        };
        let quiet = since.max(active).checked_add(patience);
        [since.checked_add(keep), quiet].into_iter().flatten().min()
    }
}
