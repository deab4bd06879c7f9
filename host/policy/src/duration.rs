//! Durations in words for a person.
//!
//! Owns their format. Deliberately knows not what lasts so long.

use std::fmt;
use std::time::Duration;

/// Displays a duration in the largest unit that divides it.
pub struct InWords(pub Duration);

impl InWords {
    /// Rounds up to a whole second.
    pub fn rounded(duration: Duration) -> Self {
        InWords(Duration::from_secs(duration.as_millis().div_ceil(1000) as u64))
    }
}

impl fmt::Display for InWords {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.as_secs() {
            0 => write!(f, "{} ms", self.0.as_millis()),
            s if s % 3600 == 0 => write!(f, "{} h", s / 3600),
            s if s % 60 == 0 => write!(f, "{} min", s / 60),
            s => write!(f, "{s} s"),
        }
    }
}
