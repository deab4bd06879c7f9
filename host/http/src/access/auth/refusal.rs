//! The answers of those who are not let in.
//!
//! Deliberately decides nothing.

use axum::response::Response;
use http::header::{RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, StatusCode};

use super::tables::ATTEMPTS_WINDOW;
use crate::answer::refuse;

/// Refuses a request without credentials.
pub(super) fn unauthenticated() -> Response {
    let mut response = refuse(
        StatusCode::UNAUTHORIZED,
        "sign in on the page, send `Authorization: Bearer TOKEN` with a token of [auth], or open a terminal with a \
         fresh ticket; the cookie of a sign-in counts for the broker's own page only",
    );
    response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    response
}

/// Refuses a client that has tried too many wrong tokens.
pub(super) fn too_many() -> Response {
    let mut response = refuse(StatusCode::TOO_MANY_REQUESTS, "too many wrong tokens; wait a minute and try again");
    response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(ATTEMPTS_WINDOW.as_secs()));
    response
}
