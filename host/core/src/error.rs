//! Failures, told to a person: what failed, and who has to act.
//!
//! Owns the codes. Deliberately knows no call.

use std::fmt;
use std::time::Duration;

/// Who has to act after a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The person or program that asked.
    Caller,
    /// Whoever runs the broker: configuration, keys, quotas.
    Operator,
    /// The service that makes sandboxes.
    Provider,
    /// The plugin broke its contract: it trapped, looped or hung.
    Plugin,
    /// The broker itself.
    Broker,
}

/// What kind of failure it is: the codes of gRPC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "named and explained by gRPC and wit/types.wit")]
pub enum Code {
    InvalidArgument,
    Unauthenticated,
    PermissionDenied,
    NotFound,
    AlreadyExists,
    FailedPrecondition,
    ResourceExhausted,
    Aborted,
    OutOfRange,
    Unimplemented,
    Unavailable,
    DeadlineExceeded,
    Cancelled,
    DataLoss,
    Internal,
    Unknown,
}

impl Code {
    /// Whether the same request may succeed later without anybody acting.
    pub fn is_transient(self) -> bool {
        matches!(self, Code::Unavailable | Code::DeadlineExceeded | Code::ResourceExhausted | Code::Aborted)
    }
}

/// A failure of a sandbox operation. Its `Display` is one sentence for the
/// person in the terminal and never holds a secret.
#[derive(Clone, Debug)]
pub struct Error {
    /// Who has to act.
    pub fault: Fault,
    /// What kind it is.
    pub code: Code,
    /// What failed and what to do.
    pub message: String,
    /// How long the provider asks to wait.
    pub retry_after: Option<Duration>,
    /// Details for the log.
    pub attrs: Vec<(String, String)>,
}

impl Error {
    /// An error without details.
    pub fn new(fault: Fault, code: Code, message: impl Into<String>) -> Self {
        Error { fault, code, message: message.into(), retry_after: None, attrs: Vec::new() }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}

/// Result of a sandbox operation.
pub type Result<T> = std::result::Result<T, Error>;
