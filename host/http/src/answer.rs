//! An answer that says why a request is refused.
//!
//! Owns its form. Deliberately knows no reason.

use axum::Json;
use axum::response::{IntoResponse, Response};
use http::StatusCode;

/// Refuses with words, as JSON.
pub(crate) fn refuse(status: StatusCode, why: impl std::fmt::Display) -> Response {
    (status, Json(serde_json::json!({ "error": why.to_string() }))).into_response()
}

/// Refuses with words, and with the cause as a word for programs.
/// `docs/operating.md` lists those words.
pub(crate) fn refuse_as(status: StatusCode, code: &'static str, why: impl std::fmt::Display) -> Response {
    (status, Json(serde_json::json!({ "error": why.to_string(), "code": code }))).into_response()
}
