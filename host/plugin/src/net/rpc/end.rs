//! How a call of the Connect protocol says that it failed.
//!
//! Owns the two forms of an error: the end of a stream, and the body of an answer (Connect protocol, "Error End-Stream" and
//! "Error Codes"). Deliberately does not decide what a failure means for the bytes.

use http::StatusCode;
use serde::Deserialize;

use crate::bindings::host::types::{Code, Error};
use crate::convert::denial;

/// An error of the protocol.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Refused {
    /// Its code's name.
    #[serde(default)]
    pub(super) code: String,
    #[serde(default)]
    message: String,
}

impl Refused {
    /// The error in the end of a stream, if it has one.
    ///
    /// # Errors
    /// When the end is no JSON object.
    pub(super) fn of_end(end: &[u8]) -> serde_json::Result<Option<Self>> {
        #[derive(Deserialize)]
        struct End {
            #[serde(default)]
            error: Option<Refused>,
        }
        serde_json::from_slice(end).map(|End { error }| error)
    }

    /// The error in the body of an answer. None if the protocol did not make it.
    pub(super) fn of_body(body: &[u8]) -> Option<Self> {
        serde_json::from_slice::<Self>(body).ok().filter(|refused| !refused.code.is_empty())
    }

    /// The same for a guest.
    pub(super) fn error(&self, host: &str) -> Error {
        let message = if self.message.is_empty() {
            format!("{host} refused the input: {}", self.code)
        } else {
            self.message.clone()
        };
        denial(code(&self.code), message)
    }
}

/// Whether an answer says that the server has no such call. The protocol's own errors have a name.
pub(super) fn is_missing(status: StatusCode, body: &[u8]) -> bool {
    matches!(status.as_u16(), 404 | 405 | 415 | 501)
        && Refused::of_body(body).is_none_or(|refused| refused.code == UNIMPLEMENTED)
}

/// The name of the code for a call that a server lacks.
pub(super) const UNIMPLEMENTED: &str = "unimplemented";

/// An answer that is not of the protocol.
pub(super) fn foreign(status: StatusCode, host: &str) -> Error {
    let code = match status.as_u16() {
        401 => Code::Unauthenticated,
        403 => Code::PermissionDenied,
        404 | 410 => Code::NotFound,
        429 => Code::ResourceExhausted,
        500.. => Code::Unavailable,
        _ => Code::Internal,
    };
    denial(code, format!("{host} refused the input ({})", status.as_u16()))
}

fn code(name: &str) -> Code {
    match name {
        "invalid_argument" => Code::InvalidArgument,
        "unauthenticated" => Code::Unauthenticated,
        "permission_denied" => Code::PermissionDenied,
        "not_found" => Code::NotFound,
        "already_exists" => Code::AlreadyExists,
        "failed_precondition" => Code::FailedPrecondition,
        "resource_exhausted" => Code::ResourceExhausted,
        "aborted" => Code::Aborted,
        "out_of_range" => Code::OutOfRange,
        UNIMPLEMENTED => Code::Unimplemented,
        "unavailable" => Code::Unavailable,
        "deadline_exceeded" => Code::DeadlineExceeded,
        "canceled" => Code::Cancelled,
        "data_loss" => Code::DataLoss,
        "internal" => Code::Internal,
        _ => Code::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_tells_success_and_failure() {
        assert!(Refused::of_end(b"{}").unwrap().is_none());
        assert!(Refused::of_end(br#"{"metadata":{"a":["b"]}}"#).unwrap().is_none());
        let refused = Refused::of_end(br#"{"error":{"code":"canceled","message":"m","details":[]}}"#).unwrap().unwrap();
        assert_eq!(refused.error("h").code, Code::Cancelled);
        assert!(Refused::of_end(b"").is_err());
    }

    #[test]
    fn a_missing_call_is_not_a_missing_process() {
        let missing = |status, body: &str| is_missing(StatusCode::from_u16(status).unwrap(), body.as_bytes());
        assert!(missing(404, "404 page not found"));
        assert!(missing(404, r#"{"code":404,"message":"no route"}"#));
        assert!(missing(501, r#"{"code":"unimplemented"}"#));
        assert!(!missing(404, r#"{"code":"not_found","message":"process with pid 1 not found"}"#));
        assert!(!missing(502, ""));
    }
}
