//! What clients wish of the session's task.
//!
//! Owns the wishes. Only the latest of each counts. Deliberately holds no
//! input: none of that may be lost.

use sandbox_broker_core::sandbox::Size;
use tokio::time::Instant;

use crate::recorder::looks::Colors;
use sandbox_broker_policy::roster::{Roster, SizeRule};

/// What clients wish of the session's task. Only the latest counts.
#[derive(Clone, Debug)]
pub(crate) struct Wishes {
    pub(crate) size: Size,
    pub(crate) roster: Roster,
    pub(crate) shutdown: bool,
    pub(crate) kill: bool,
    /// How the terminal of the client that drives looks, if it was told.
    pub(crate) colors: Option<Colors>,
    /// When somebody last used the session other than through its terminal.
    pub(crate) touched: Instant,
}

impl Wishes {
    /// Changes who is there, and what follows from it for the size.
    pub(super) fn change_roster<T>(&mut self, rule: SizeRule, change: impl FnOnce(&mut Roster) -> T) -> T {
        let result = change(&mut self.roster);
        self.size = self.roster.size(rule).unwrap_or(self.size);
        result
    }
}
