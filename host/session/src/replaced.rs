//! The error that says that another broker serves the session now.
//!
//! Owns how it is made and how it is told from every other error. Deliberately
//! knows not who finds it out.

use sandbox_broker_core::sandbox::{Code, Error, Fault};

/// Another broker has attached to the recorder of the session.
pub(crate) fn replaced() -> Error {
    Error::new(Fault::Broker, Code::FailedPrecondition, "another broker has attached to the recorder in the sandbox")
}

/// Whether the error says that another broker serves the session now. This
/// broker must not attach again: it would cut the other one off, and both would
/// type into one shell in turn.
pub(crate) fn is_replaced(error: &Error) -> bool {
    // No provider's error has this fault.
    (error.fault, error.code) == (Fault::Broker, Code::FailedPrecondition)
}
