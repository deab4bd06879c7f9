//! Why a request about a session or its files is refused, in words and as a
//! status.
//!
//! Owns the mapping from the port's codes to HTTP. Deliberately knows no
//! operation.

use axum::response::{IntoResponse, Response};
use http::header::{CONTENT_RANGE, RETRY_AFTER};
use http::{HeaderValue, StatusCode};

use super::files::path::NotAPath;
use super::slots::MAX_AT_ONCE;
use crate::answer::refuse;
use sandbox_broker_core::sandbox::{self, Code};

/// Seconds after which a client may try again if there was no place.
const TRY_AGAIN: u64 = 1;

/// Why a request about a session or its files is refused.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("there is no session {0}: it has ended, or never was")]
    NoSession(String),
    #[error("another broker serves the session by now; try again in a moment")]
    Elsewhere,
    #[error("the session's shell does not run: it starts or has ended")]
    NotRunning,
    #[error("this session has no recording: it runs without a recorder, so its output is kept best-effort only")]
    NotRecorded,
    #[error("{MAX_AT_ONCE} requests about this session's files are under way; try again when one is done")]
    Busy,
    #[error(transparent)]
    Path(#[from] NotAPath),
    #[error("{0}")]
    Body(&'static str),
    #[error("{}", outside(path, real, roots))]
    Outside { path: String, real: String, roots: Vec<String> },
    #[error("a link on the way leads to a path that is not UTF-8")]
    NotUtf8,
    #[error("{0} is a directory that this session stands on: it stays")]
    Root(String),
    #[error("{0} does not exist")]
    Missing(String),
    #[error("{0} is there already")]
    Exists(String),
    /// `If-None-Match: *` on a file that is there.
    #[error("{0} is there already")]
    NotReplaced(String),
    #[error("{0} is a directory")]
    IsDirectory(String),
    #[error("{0} is not a directory")]
    NotDirectory(String),
    #[error("{0} is not a regular file")]
    NotFile(String),
    #[error("the session's user may not {what} {path}")]
    Forbidden { what: &'static str, path: String },
    #[error("the range lies outside of the file's {0} bytes")]
    Range(u64),
    #[error("the upload stood still, or hardly moved, for {0} s; nothing of it was kept")]
    Stalled(u64),
    #[error("the upload broke off; nothing of it was kept")]
    BrokeOff,
    #[error(transparent)]
    Sandbox(#[from] sandbox::Error),
}

fn outside(path: &str, real: &str, roots: &[String]) -> String {
    let roots = if roots.is_empty() { "none".to_owned() } else { roots.join(", ") };
    let leads = if path == real { String::new() } else { format!(" leads to {real}, which") };
    format!("{path}{leads} is outside of this session's directories ({roots})")
}

impl Refusal {
    fn status(&self) -> StatusCode {
        match self {
            Refusal::NoSession(_) | Refusal::Missing(_) => StatusCode::NOT_FOUND,
            Refusal::Busy => StatusCode::TOO_MANY_REQUESTS,
            Refusal::Elsewhere => StatusCode::SERVICE_UNAVAILABLE,
            Refusal::Path(_) | Refusal::Body(_) | Refusal::BrokeOff => StatusCode::BAD_REQUEST,
            Refusal::Outside { .. } | Refusal::Root(_) | Refusal::Forbidden { .. } => StatusCode::FORBIDDEN,
            Refusal::NotRunning
            | Refusal::NotRecorded
            | Refusal::NotUtf8
            | Refusal::Exists(_)
            | Refusal::IsDirectory(_)
            | Refusal::NotDirectory(_)
            | Refusal::NotFile(_) => StatusCode::CONFLICT,
            Refusal::NotReplaced(_) => StatusCode::PRECONDITION_FAILED,
            Refusal::Range(_) => StatusCode::RANGE_NOT_SATISFIABLE,
            Refusal::Stalled(_) => StatusCode::REQUEST_TIMEOUT,
            Refusal::Sandbox(error) => of_code(error.code),
        }
    }

    /// Seconds after which another try may help.
    fn retry_after(&self) -> Option<u64> {
        match self {
            Refusal::Busy | Refusal::Elsewhere => Some(TRY_AGAIN),
            Refusal::Sandbox(error) if error.code.is_transient() => {
                Some(error.retry_after.map_or(TRY_AGAIN, |wait| wait.as_secs().max(TRY_AGAIN)))
            }
            _ => None,
        }
    }
}

/// The status for a failure of the sandbox or its provider. A failure of the
/// broker's own credentials does not concern the client, which gets 502.
fn of_code(code: Code) -> StatusCode {
    match code {
        Code::InvalidArgument => StatusCode::BAD_REQUEST,
        Code::PermissionDenied => StatusCode::FORBIDDEN,
        Code::NotFound => StatusCode::NOT_FOUND,
        Code::AlreadyExists | Code::FailedPrecondition | Code::Aborted => StatusCode::CONFLICT,
        Code::ResourceExhausted => StatusCode::INSUFFICIENT_STORAGE,
        Code::OutOfRange => StatusCode::RANGE_NOT_SATISFIABLE,
        Code::Unimplemented => StatusCode::NOT_IMPLEMENTED,
        Code::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        Code::DeadlineExceeded => StatusCode::GATEWAY_TIMEOUT,
        Code::Unauthenticated | Code::Cancelled | Code::DataLoss | Code::Internal | Code::Unknown => {
            StatusCode::BAD_GATEWAY
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let status = self.status();
        if let Refusal::Sandbox(error) = &self
            && status.is_server_error()
        {
            tracing::warn!(fault = ?error.fault, code = ?error.code, attrs = ?error.attrs, %error, "a request about a session failed");
        }
        let mut response = refuse(status, &self);
        let headers = response.headers_mut();
        if let Some(seconds) = self.retry_after() {
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        if let Refusal::Range(size) = self {
            headers.insert(CONTENT_RANGE, HeaderValue::try_from(format!("bytes */{size}")).expect("digits"));
        }
        response
    }
}
