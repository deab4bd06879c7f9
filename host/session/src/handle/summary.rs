//! One line of a list of sessions.
//!
//! Owns what it shows. Deliberately knows not who reads it.

use std::sync::Arc;
use std::time::Duration;

use sandbox_broker_core::sandbox::Size;

use crate::output::event::Durability;
use crate::recorder::looks::About;
use sandbox_broker_policy::outcome::Outcome;
use sandbox_broker_policy::roster::Presence;

/// Where a session is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// The storage is checked.
    Preparing,
    /// The provider makes the sandbox.
    Creating,
    /// The storage is mounted in it.
    Mounting,
    /// The shell starts.
    Opening,
    /// The shell runs.
    Running,
    /// The shell has ended; its storage is saved and its sandbox ended.
    Ending,
    /// The outcome was told. Clients may still come for it.
    Ended,
}

impl Phase {
    /// Its name for a person or a status page.
    pub fn as_str(self) -> &'static str {
        match self {
            Phase::Preparing => "preparing",
            Phase::Creating => "creating",
            Phase::Mounting => "mounting",
            Phase::Opening => "opening",
            Phase::Running => "running",
            Phase::Ending => "ending",
            Phase::Ended => "ended",
        }
    }
}

/// One line of a list of sessions.
#[derive(Clone, Debug)]
pub struct Summary {
    /// The session's id.
    pub id: Arc<str>,
    /// The provider's name.
    pub provider: Arc<str>,
    /// The configuration that it began with.
    pub generation: u64,
    /// Where it is in its life.
    pub phase: Phase,
    /// How it ended, once that was told.
    pub outcome: Option<Outcome>,
    /// The provider's id of its sandbox, once there is one.
    pub sandbox: Option<String>,
    /// Time since it was opened, by whichever broker.
    pub age: Duration,
    /// How long it lives on if no client comes. None while a client of its user
    /// is there.
    pub kept_for: Option<Duration>,
    /// Whose it is, if people sign in.
    pub user: Option<Arc<str>>,
    /// What its user calls it.
    pub name: Option<String>,
    /// Whether its clients may come back.
    pub kept: bool,
    /// What happens to its output, once it runs.
    pub durability: Option<Durability>,
    /// The terminal's size, once it runs.
    pub size: Option<Size>,
    /// What its programs say of themselves, if there is a recorder that hears
    /// it.
    pub about: About,
    /// Who is there.
    pub clients: Vec<Presence>,
}
