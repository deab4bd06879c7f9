//! News of a session's steps.
//!
//! Owns the steps, their states and the lines that clients are shown.
//! Deliberately decides nothing about a step.

use std::time::Duration;

/// A step on the way to a running shell. News of a step may also come later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The storage is checked, before there is a sandbox.
    Storage,
    /// The provider makes the sandbox.
    Create,
    /// The storage is mounted in it. Clients of a live session hear of this
    /// step too: when a mount is lost and found again, and when files are saved
    /// at the end.
    Mount,
    /// The shell starts in it.
    Shell,
}

impl Step {
    /// Its name on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Step::Storage => "storage",
            Step::Create => "create",
            Step::Mount => "mount",
            Step::Shell => "shell",
        }
    }
}

/// The state of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StageState {
    /// It runs.
    Started,
    /// It is done.
    Done,
    /// It failed. If the shell does not run yet, the session ends.
    Failed,
}

/// News of a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stage {
    /// Which step.
    pub name: Step,
    /// In which state.
    pub state: StageState,
    /// Time since it started. Zero while `state` is `Started`.
    pub elapsed: Duration,
    /// One line for a person.
    pub message: String,
}

impl Stage {
    /// Says that a step has begun.
    pub fn started(name: Step, message: impl Into<String>) -> Self {
        Stage { name, state: StageState::Started, elapsed: Duration::ZERO, message: message.into() }
    }

    /// Says that `what` is done, and how long it took.
    pub fn done(name: Step, what: &str, elapsed: Duration) -> Self {
        let message = format!("{what} in {:.2} s", elapsed.as_secs_f64());
        Stage { name, state: StageState::Done, elapsed, message }
    }

    /// Says why a step failed, and how long it took.
    pub fn failed(name: Step, message: impl Into<String>, elapsed: Duration) -> Self {
        Stage { name, state: StageState::Failed, elapsed, message: message.into() }
    }
}
