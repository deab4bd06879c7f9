//! One thing that was looked at: what was found, how bad it is, and what to do about it. Owns the three grades.

use std::fmt;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Grade {
    Good,
    /// It works, and may not for long, or not as well as it could.
    Unwise,
    /// Sessions fail, or will.
    Wrong,
}

impl fmt::Display for Grade {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Grade::Good => "ok",
            Grade::Unwise => "unwise",
            Grade::Wrong => "wrong",
        })
    }
}

/// One thing that was looked at.
#[derive(Debug)]
pub(super) struct Finding {
    pub(super) grade: Grade,
    /// Such as "disk".
    pub(super) about: &'static str,
    pub(super) found: String,
    /// What to do; empty where all is well.
    pub(super) remedy: String,
}

impl Finding {
    pub(super) fn good(about: &'static str, found: impl Into<String>) -> Self {
        Finding { grade: Grade::Good, about, found: found.into(), remedy: String::new() }
    }

    pub(super) fn unwise(about: &'static str, found: impl Into<String>, remedy: impl Into<String>) -> Self {
        Finding { grade: Grade::Unwise, about, found: found.into(), remedy: remedy.into() }
    }

    pub(super) fn wrong(about: &'static str, found: impl Into<String>, remedy: impl Into<String>) -> Self {
        Finding { grade: Grade::Wrong, about, found: found.into(), remedy: remedy.into() }
    }
}
