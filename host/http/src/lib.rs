//! Everything that is asked over HTTP, and the door to the terminal.
//!
//! Owns the table of routes and the order in which a request is judged: is its
//! connection within bounds (`serve`, `turns`, `strangers`), does its page belong to us
//! (`guard`), who asks (`auth`), what is answered (`routes`, `sessions`, `files`, `page`).
//! Deliberately knows no frame of the terminal, no plugin and no file of the
//! configuration.

mod auth;
mod body;
mod cast;
mod conditions;
mod files;
mod guard;
mod handshakes;
mod linger;
mod notice;
mod origin;
mod page;
mod proxy;
mod routes;
mod serve;
mod sessions;
mod strangers;
mod turns;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::{DefaultBodyLimit, MatchedPath, Request};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get, post};
use axum::{Json, Router};
use http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, HeaderName, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use http::{HeaderValue, Method, StatusCode};
use ipnet::IpNet;
use tokio::sync::watch;

pub use auth::{Digested, SignIn, SignInStore, Token};
pub use origin::{NotAnOrigin, Origin};
pub use serve::{Connection, Door, Limits, serve_connection};

use sandbox_broker_session::{Session, Sessions};
use sandbox_broker_terminal as terminal;

/// Bytes of a request's body, at most. Only the sign-in form has one, besides
/// what goes into files.
const MAX_BODY: usize = 4 * 1024;

/// Time in which a request is answered, its body read included. It waits for
/// nothing but the peer. What is about files, and a recording, waits for a
/// sandbox, and has deadlines of its own.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// Characters of an id that a refusal repeats, at most: twice a real one's.
const MAX_ID: usize = 64;

/// What the routes stand on.
#[derive(Clone)]
pub struct App {
    /// Where terminals come from.
    pub sessions: Sessions,
    /// Who may come; a change applies to the next request.
    pub settings: watch::Receiver<Arc<Settings>>,
    /// How the configuration is, for `GET /api/status`.
    pub config: watch::Receiver<ConfigStatus>,
    /// Bounds of one terminal's socket.
    pub terminal: terminal::Limits,
    /// The broker's own name, the same after a restart.
    pub broker: String,
    /// Where sign-ins are kept.
    pub sign_ins: Arc<dyn SignInStore>,
    /// The sign-ins that an earlier process kept there.
    pub kept: Vec<SignIn>,
}

/// The part of the configuration that decides who may come, and what the page
/// is told.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// The broker's own addresses as browsers see them, behind a proxy for
    /// example. The first is the one that people are sent to.
    pub public_urls: Vec<Origin>,
    /// Another page that may open `/terminal` and read the API.
    pub frontend_url: Option<Origin>,
    /// The tokens of `[auth]`. Without the section everybody who reaches the
    /// listener is let in; with an empty one, nobody.
    pub tokens: Option<Vec<Token>>,
    /// The provider that the next terminal gets.
    pub provider: String,
    /// Proxies whose word about their clients' addresses counts.
    pub trusted_proxies: Vec<IpNet>,
}

impl Settings {
    /// Whether a proxy with this address says whom it serves.
    fn is_trusted_proxy(&self, address: IpAddr) -> bool {
        self.trusted_proxies.iter().any(|network| network.contains(&address))
    }
}

/// How the configuration and the state directory are.
#[derive(Clone, Debug, Default)]
pub struct ConfigStatus {
    /// Counts the configurations that were put into force.
    pub generation: u64,
    /// Why the last change was not; never holds a secret's value.
    pub error: Option<String>,
    /// Why new sessions cannot be written down, in the state directory.
    pub state_error: Option<String>,
    /// The build of the embedded server that makes sandboxes, when it is not
    /// the broker's own.
    pub other_build: Option<String>,
}

/// What every handler can reach.
type Shared = Arc<State>;

struct State {
    app: App,
    auth: Arc<auth::Auth>,
    files: files::Slots,
    handshakes: handshakes::Handshakes,
    started: Instant,
}

impl State {
    fn settings(&self) -> Arc<Settings> {
        self.app.settings.borrow().clone()
    }

    /// The session with this id, if it is one of the caller's own. Who asks for
    /// another's learns no more than that.
    fn session(&self, pass: &auth::Pass, id: &str) -> Result<Session, files::Refusal> {
        let own = |session: &Session| self.auth.owns(&self.settings(), pass, session.user());
        let found = self.app.sessions.get(id).filter(own);
        found.ok_or_else(|| files::Refusal::NoSession(id.chars().take(MAX_ID).collect()))
    }
}

/// Every route. The router is built from it and a test walks it.
fn routes() -> Vec<(&'static str, MethodRouter<Shared>)> {
    let mut routes = vec![
        ("/", get(page::index)),
        (page::ASSETS, get(page::asset)),
        (routes::HEALTH, get(routes::health)),
        ("/sign-in", post(auth::sign_in)),
        ("/sign-out", post(auth::sign_out)),
        (routes::SESSION, get(routes::session)),
        (notice::SIGNED_IN, get(notice::signed_in)),
        ("/api/status", get(routes::status)),
        ("/api/tickets", post(auth::ticket)),
        (routes::TERMINAL, get(routes::terminal)),
    ];
    routes.extend(sessions::routes());
    routes.extend(files::routes());
    routes
}

/// What is served without credentials. `GET /api/session` is, too, but only to
/// answer 401 itself, in a form that the page reads.
const OPEN: [(Method, &str); 6] = [
    (Method::GET, "/"),
    (Method::GET, page::ASSETS),
    (Method::GET, routes::HEALTH),
    (Method::GET, routes::SESSION),
    (Method::GET, notice::SIGNED_IN),
    (Method::POST, "/sign-in"),
];

fn matched(request: &Request) -> Option<&str> {
    request.extensions().get::<MatchedPath>().map(MatchedPath::as_str)
}

fn is_open(request: &Request) -> bool {
    let Some(path) = matched(request) else { return false };
    let method = if request.method() == Method::HEAD { &Method::GET } else { request.method() };
    OPEN.iter().any(|(open, at)| open == method && *at == path)
}

/// The broker's HTTP interface. Every request must carry a [`Connection`],
/// which [`Door::serve`] adds.
pub fn router(app: App) -> Router {
    let auth = Arc::new(auth::Auth::new(&app.broker, Arc::clone(&app.sign_ins), app.kept.clone()));
    let files = files::Slots::default();
    let shared = Arc::new(State { app, auth, files, handshakes: Default::default(), started: Instant::now() });
    let mut router = Router::new().fallback(routes::unknown).method_not_allowed_fallback(routes::wrong_method);
    for (path, methods) in routes() {
        router = router.route(path, methods);
    }
    // The last layer is the first to see a request.
    router
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .layer(from_fn_with_state(shared.clone(), auth::authenticate))
        .layer(from_fn_with_state(shared.clone(), guard::guard))
        .layer(from_fn(within_time))
        .layer(from_fn(notice::dress))
        .layer(from_fn(harden))
        .with_state(shared)
}

async fn within_time(request: Request, next: Next) -> Response {
    let waits = |path: &str| path.starts_with(files::PREFIX) || path == sessions::RECORDING;
    if matched(&request).is_some_and(waits) {
        return next.run(request).await;
    }
    match tokio::time::timeout(ANSWER_WITHIN, next.run(request)).await {
        Ok(response) => response,
        Err(_) => refuse(StatusCode::REQUEST_TIMEOUT, "the request's body did not come in time"),
    }
}

/// Fields of every answer that has none of its own. They confine the page to
/// its own origin, so that a fault in it cannot load or tell anything elsewhere,
/// and nobody can frame it. `connect-src 'self'` covers the page's own WebSocket
/// (CSP level 3, section 6.7.2.8). The terminal sets styles on its elements,
/// hence `unsafe-inline`; `blob:` are pictures that the page has fetched to show.
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

async fn harden(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    for (name, value) in HARDENED {
        headers.entry(name).or_insert(value);
    }
    headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}

/// An answer that says why not, as JSON.
fn refuse(status: StatusCode, why: impl std::fmt::Display) -> Response {
    (status, Json(serde_json::json!({ "error": why.to_string() }))).into_response()
}

/// The same with a word by which programs know the cause. `docs/operating.md`
/// lists them.
fn refuse_as(status: StatusCode, code: &'static str, why: impl std::fmt::Display) -> Response {
    (status, Json(serde_json::json!({ "error": why.to_string(), "code": code }))).into_response()
}

#[cfg(test)]
mod tests;
