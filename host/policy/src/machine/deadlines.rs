//! When time alone is an event.
//!
//! Owns each deadline of a session and what happens at it. Deliberately has no
//! clock: the caller says what time it is.

use std::time::Duration;

use tokio::time::Instant;

use super::state::{Machine, SandboxState, ShellState};
use super::vocabulary::Effect;
use crate::outcome::Outcome;

/// Longest time that a sandbox stays after its shell has ended, for clients
/// that have not been told. A sandbox costs money and can do nothing any more.
const HELD: Duration = Duration::from_secs(5 * 60);

impl Machine {
    /// When [`MachineEvent::Time`](super::MachineEvent::Time) is due. Output
    /// and input only move it later, so a timer may be set once and checked
    /// again when it fires.
    pub fn deadline(&self) -> Option<Instant> {
        [self.idle_at(), self.away_at(), self.closes_at(), self.frees_at()].into_iter().flatten().min()
    }

    /// While no client is here, the time that a session is kept counts instead.
    fn idle_at(&self) -> Option<Instant> {
        match self.shell {
            _ if self.keep.is_some() && self.away.is_away() => None,
            ShellState::Running { .. } | ShellState::Draining { drained: false, .. } => {
                self.active.checked_add(self.idle_timeout)
            }
            _ => None,
        }
    }

    /// Counts in every state in which the shell has not ended.
    fn away_at(&self) -> Option<Instant> {
        match self.shell {
            ShellState::Draining { .. } | ShellState::Ended { .. } | ShellState::Over => None,
            _ => self.away.ends_at(self.active, self.keep?),
        }
    }

    /// Until when the end is kept for clients. A slow driver may hold back the
    /// last output of the shell no longer than that either.
    fn closes_at(&self) -> Option<Instant> {
        match self.shell {
            ShellState::Draining { drained: false, since, .. } => since.checked_add(self.keep?.min(HELD)),
            ShellState::Ended { since, .. } => since.checked_add(self.keep?),
            _ => None,
        }
    }

    /// When the sandbox of a kept end is ended, even if a client has not been
    /// told.
    fn frees_at(&self) -> Option<Instant> {
        match (&self.shell, &self.sandbox) {
            (ShellState::Ended { since, .. }, SandboxState::Kept(_)) => since.checked_add(self.keep?.min(HELD)),
            _ => None,
        }
    }

    pub(super) fn time(&mut self, now: Instant, effects: &mut Vec<Effect>) {
        let passed = |deadline: Option<Instant>| deadline.is_some_and(|deadline| now >= deadline);
        if passed(self.away_at()) {
            self.over(Outcome::Detached, now, effects);
        } else if passed(self.closes_at()) {
            match self.shell {
                ShellState::Draining { .. } => self.drained(now, effects),
                _ => self.close(effects),
            }
        } else if passed(self.frees_at()) {
            self.discard(effects);
        } else if passed(self.idle_at()) {
            self.end(Outcome::Idle(self.idle_timeout), now, effects);
        }
    }
}
