//! Small JSON bodies of requests.
//!
//! Owns their size and their time. Deliberately knows no route.

use std::time::Duration;

use axum::body::Body;
use http::HeaderMap;
use http::header::CONTENT_TYPE;
use serde::de::DeserializeOwned;
use tokio::time::timeout;

use super::refusal::Refusal;

/// Time for such a body to come.
const WITHIN: Duration = Duration::from_secs(10);

/// Reads a body of at most `max` bytes. If it has another shape, the refusal says
/// `shape`.
pub(super) async fn json<T: DeserializeOwned>(
    headers: &HeaderMap,
    body: Body,
    max: usize,
    shape: &'static str,
) -> Result<T, Refusal> {
    let json = headers.get(CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"application/json"));
    if !json {
        return Err(Refusal::Body("send `Content-Type: application/json`"));
    }
    let body = match timeout(WITHIN, axum::body::to_bytes(body, max)).await {
        Ok(Ok(body)) => body,
        Ok(Err(_)) => return Err(Refusal::Body("the body is too long, or broke off")),
        Err(_) => return Err(Refusal::Stalled(WITHIN.as_secs())),
    };
    serde_json::from_slice(&body).map_err(|_| Refusal::Body(shape))
}
