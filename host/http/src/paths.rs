//! The paths that more than one file must know, and which of them are open to
//! everybody.
//!
//! Deliberately knows no handler.

use axum::extract::{MatchedPath, Request};
use http::Method;

/// The page itself.
pub(crate) const INDEX: &str = "/";

/// The page's files but the page itself: scripts, styles, the icon.
pub(crate) const ASSETS: &str = "/assets/{*path}";

/// Where a load balancer asks whether the broker serves.
pub(crate) const HEALTH: &str = "/health";

/// Where the page asks whether it may open a terminal.
pub(crate) const SESSION: &str = "/api/session";

/// Where a person signs in.
pub(crate) const SIGN_IN: &str = "/sign-in";

/// Where a person arrives who has signed in at a proxy in a tab of its own.
pub(crate) const SIGNED_IN: &str = "/signed-in";

/// Where terminals are opened.
pub(crate) const TERMINAL: &str = "/terminal";

/// A session's recording.
pub(crate) const RECORDING: &str = "/api/sessions/{id}/recording";

/// The beginning of every path about a session's files.
pub(crate) const FILES: &str = "/api/sessions/{id}/files";

/// What is served without credentials. `GET /api/session` is among it because it
/// answers 401 itself, in a form that the page reads.
const OPEN: [(Method, &str); 6] = [
    (Method::GET, INDEX),
    (Method::GET, ASSETS),
    (Method::GET, HEALTH),
    (Method::GET, SESSION),
    (Method::GET, SIGNED_IN),
    (Method::POST, SIGN_IN),
];

/// The path of the route that a request matched.
pub(crate) fn matched(request: &Request) -> Option<&str> {
    request.extensions().get::<MatchedPath>().map(MatchedPath::as_str)
}

/// Whether a request is served without credentials.
pub(crate) fn is_open(request: &Request) -> bool {
    let Some(path) = matched(request) else { return false };
    let method = if request.method() == Method::HEAD { &Method::GET } else { request.method() };
    OPEN.iter().any(|(open, at)| open == method && *at == path)
}

/// Whether a request waits for a sandbox, which has deadlines of its own.
pub(crate) fn waits_for_sandbox(request: &Request) -> bool {
    matched(request).is_some_and(|path| path.starts_with(FILES) || path == RECORDING)
}
