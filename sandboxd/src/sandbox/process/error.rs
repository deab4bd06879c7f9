//! How a request names a process, and why an operation on one is refused.

use std::io;

use sandboxd_init::wire::Failure;

/// The largest number of live processes of one sandbox that were started through the API.
pub(super) const MAX_PROCESSES: usize = 1024;

/// Why an operation on a process was refused.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ProcessError {
    #[error("process with {0} not found")]
    NotFound(Selector),
    #[error("the sandbox runs {MAX_PROCESSES} processes already: end one first")]
    TooMany,
    #[error("process {0} is not on a terminal")]
    NoTerminal(u32),
    #[error("process {0} is on a terminal: send its input as 'pty'")]
    OnTerminal(u32),
    #[error("the standard input of process {0} is closed")]
    StdinClosed(u32),
    #[error("cannot write to process {pid}")]
    Write { pid: u32, source: io::Error },
    #[error("process {0} has too many listeners")]
    TooManyListeners(u32),
    #[error(transparent)]
    Refused(#[from] Failure),
}

/// How a request names a process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Selector {
    Pid(u32),
    Tag(String),
}

impl std::fmt::Display for Selector {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Pid(pid) => write!(formatter, "pid {pid}"),
            Self::Tag(tag) => write!(formatter, "tag {tag}"),
        }
    }
}
