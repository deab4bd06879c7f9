//! Failures of a provider or a plugin, in the log.
//!
//! Owns the fields that such a line has. Deliberately decides nothing: the
//! caller says what could not be done and what comes next.

use sandbox_broker_core::sandbox::Error;
use tracing::warn;

/// Logs that `what` failed. The line has no secret: an [`Error`] holds none.
pub(crate) fn log_failure(what: &str, error: &Error) {
    warn!(fault = ?error.fault, code = ?error.code, attrs = ?error.attrs, %error, "{what}");
}
