//! Why the program ends without having done what it should: a message and an exit status.
//!
//! Knows no command.

use std::io;

/// The reason why this process fails.
pub(crate) struct Failure {
    pub(crate) status: u8,
    pub(crate) message: String,
}

impl Failure {
    pub(crate) fn new(status: u8, message: String) -> Self {
        Self { status, message }
    }
}

pub(crate) trait Context<T> {
    /// Turns an error into a failure with status 1. `what` says what failed.
    fn context(self, what: impl FnOnce() -> String) -> Result<T, Failure>;
}

impl<T, E: Into<io::Error>> Context<T> for Result<T, E> {
    fn context(self, what: impl FnOnce() -> String) -> Result<T, Failure> {
        self.map_err(|error| Failure::new(1, format!("{}: {}", what(), error.into())))
    }
}
