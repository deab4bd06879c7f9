//! The table of routes, and the layers through which every request goes.
//!
//! Owns their order: time, page, person, answer. Deliberately decides nothing
//! that a layer or a handler decides.

use std::time::Duration;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::Response;
use axum::routing::{MethodRouter, get, post};
use http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, HeaderName, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use http::{HeaderValue, StatusCode};

use crate::access::auth::{layer, routes};
use crate::access::guard;
use crate::answer::refuse;
use crate::api::{broker, files, recording, sessions};
use crate::app::App;
use crate::page::{embedded, notice};
use crate::paths;
use crate::state::{Shared, State};

/// Bytes of a request's body, at most. Besides what goes into files, only the
/// sign-in form has a body.
const MAX_BODY: usize = 4 * 1024;

/// Time in which a request is answered, including the reading of its body. It
/// waits for nothing but the peer. Requests about files and recordings wait for
/// a sandbox and have deadlines of their own.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// Every route. The router is built from it and a test walks it.
pub(crate) fn routes() -> Vec<(&'static str, MethodRouter<Shared>)> {
    let mut routes = vec![
        (paths::INDEX, get(embedded::index)),
        (paths::ASSETS, get(embedded::asset)),
        (paths::HEALTH, get(broker::health)),
        (paths::SIGN_IN, post(routes::sign_in)),
        ("/sign-out", post(routes::sign_out)),
        (paths::SESSION, get(broker::session)),
        (paths::SIGNED_IN, get(notice::signed_in)),
        ("/api/status", get(broker::status)),
        ("/api/tickets", post(routes::ticket)),
        (paths::TERMINAL, get(broker::terminal)),
    ];
    routes.extend(sessions::routes());
    routes.push((paths::RECORDING, get(recording::recording)));
    routes.extend(files::routes::routes());
    routes
}

/// The broker's HTTP interface. Every request must carry a [`Connection`](crate::Connection),
/// which [`Door::serve`](crate::Door::serve) adds.
pub fn router(app: App) -> Router {
    let shared = State::new(app);
    let mut router = Router::new().fallback(broker::unknown).method_not_allowed_fallback(broker::wrong_method);
    for (path, methods) in routes() {
        router = router.route(path, methods);
    }
    // The last layer is the first to see a request.
    router
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .layer(from_fn_with_state(shared.clone(), layer::authenticate))
        .layer(from_fn_with_state(shared.clone(), guard::guard))
        .layer(from_fn(within_time))
        .layer(from_fn_with_state(shared.clone(), notice::dress))
        .layer(from_fn(harden))
        .with_state(shared)
}

/// Answers 408 if a request takes longer than [`ANSWER_WITHIN`].
async fn within_time(request: Request, next: Next) -> Response {
    if paths::waits_for_sandbox(&request) {
        return next.run(request).await;
    }
    match tokio::time::timeout(ANSWER_WITHIN, next.run(request)).await {
        Ok(response) => response,
        Err(_) => refuse(StatusCode::REQUEST_TIMEOUT, "the request's body did not come in time"),
    }
}

/// Fields of every answer that does not set them itself. They confine the page to
/// its own origin, so that a fault in it cannot load or send anything elsewhere,
/// and nobody can frame it. `connect-src 'self'` covers the page's own WebSocket
/// (CSP level 3, section 6.7.2.8). The terminal sets styles on its elements,
/// hence `unsafe-inline`. `blob:` is for pictures that the page has fetched.
const HARDENED: [(HeaderName, HeaderValue); 6] = [
    (
        CONTENT_SECURITY_POLICY,
        HeaderValue::from_static(
            "default-src 'self'; style-src 'self' 'unsafe-inline'; connect-src 'self'; img-src 'self' data: blob:; \
             font-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'self'",
        ),
    ),
    (X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    (X_FRAME_OPTIONS, HeaderValue::from_static("DENY")),
    (REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    (HeaderName::from_static("cross-origin-opener-policy"), HeaderValue::from_static("same-origin")),
    (HeaderName::from_static("cross-origin-resource-policy"), HeaderValue::from_static("same-origin")),
];

/// Adds the fields of [`HARDENED`].
async fn harden(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    for (name, value) in HARDENED {
        headers.entry(name).or_insert(value);
    }
    headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}
