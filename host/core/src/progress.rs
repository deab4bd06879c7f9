//! News of a call that takes long, from the provider to the person who waits.
//!
//! Owns the value and its words. Who shows it, and how often, is the session's business.

use std::fmt;

use tokio::sync::watch;

/// What a call is doing now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// A few words, such as "pulling the image".
    pub message: String,
    /// How much is done, 0 to 100, if the provider knows.
    pub percent: Option<u8>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        match self.percent {
            Some(percent) => write!(f, " ({percent} %)"),
            None => Ok(()),
        }
    }
}

/// Where reports go. Only the newest is kept, so a provider that reports too often costs nothing.
pub type Progress = watch::Sender<Report>;
