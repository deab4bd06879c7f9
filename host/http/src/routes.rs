//! The API's handlers.
//!
//! Owns the shape of their answers. Deliberately decides nothing about who may
//! ask.

use std::time::Duration;

use axum::Json;
use axum::extract::{Extension, Request, State};
use axum::response::{IntoResponse, Response};
use http::header::{HOST, SEC_WEBSOCKET_VERSION, UPGRADE};
use http::{HeaderMap, StatusCode, Uri};
use serde_json::json;
use tracing::warn;

use super::auth::Pass;
use super::serve::Connection;
use super::{Shared, refuse, refuse_as, sessions};
use sandbox_broker_terminal::{NotAnUpgrade, Upgrade};

/// Where terminals are opened.
pub(super) const TERMINAL: &str = "/terminal";

/// Where a load balancer asks.
pub(super) const HEALTH: &str = "/health";

/// Where the page asks whether it may open a terminal.
pub(super) const SESSION: &str = "/api/session";

/// `GET /health`: whether the broker serves. A configuration that was refused
/// does not make it ill, and neither does a full disk: who restarts it for
/// that cuts off the sessions that it still serves, and it would not start.
pub(super) async fn health(State(shared): State<Shared>) -> Response {
    let now = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string();
    Json(json!({ "status": "healthy", "timestamp": now, "uptime": uptime(&shared) })).into_response()
}

fn uptime(shared: &Shared) -> f64 {
    seconds(shared.started.elapsed())
}

/// Seconds, to the millisecond.
pub(super) fn seconds(duration: Duration) -> f64 {
    duration.as_millis() as f64 / 1000.0
}

/// `GET /api/session`: what the page needs to know before it opens a terminal.
/// `host` and `handshake` say what a proxy made of its requests.
pub(super) async fn session(
    State(shared): State<Shared>,
    pass: Option<Extension<Pass>>,
    uri: Uri,
    headers: HeaderMap,
) -> Response {
    let settings = shared.settings();
    let required = settings.tokens.is_some();
    let host = headers.get(HOST).and_then(|host| host.to_str().ok());
    if pass.is_none() {
        let answer = json!({
            "authenticated": false,
            "required": required,
            "host": host,
            "error": "sign in with a token of this broker",
        });
        return (StatusCode::UNAUTHORIZED, Json(answer)).into_response();
    }
    Json(json!({
        "authenticated": true,
        "required": required,
        "provider": settings.provider,
        "version": env!("CARGO_PKG_VERSION"),
        "host": host,
        "handshake": shared.handshakes.of(uri.query()),
    }))
    .into_response()
}

/// What a signed-in person is told of a refused change. The mistakes name paths
/// and settings, and are the operator's alone.
const REFUSED: &str = "the last change of the configuration was refused; the broker's log says why";

/// The same of trouble with the state directory.
const STATE_TROUBLE: &str = "the broker cannot write down new sessions; its log says why";

/// `GET /api/status`: how the broker is. Of sessions, the caller's own; of a
/// refused change, everything only where nobody has to sign in, which is on the
/// operator's own machine.
pub(super) async fn status(State(shared): State<Shared>, Extension(pass): Extension<Pass>) -> Response {
    let config = shared.app.config.borrow().clone();
    let settings = shared.settings();
    let sessions = sessions::own(&shared, &pass);
    let told = |error: Option<String>, in_short: &str| match pass {
        Pass::Open => error,
        Pass::Token(_) | Pass::SignIn(_) => error.map(|_| in_short.to_owned()),
    };
    Json(json!({
        "version": env!("CARGO_PKG_VERSION"),
        "uptime": uptime(&shared),
        "tasks": tokio::runtime::Handle::current().metrics().num_alive_tasks(),
        "config": { "generation": config.generation, "error": told(config.error, REFUSED) },
        "state": { "error": told(config.state_error, STATE_TROUBLE) },
        "embedded": { "other_build": config.other_build },
        "provider": settings.provider,
        "sessions": sessions,
    }))
    .into_response()
}

/// `GET /terminal`: the upgrade to a WebSocket.
pub(super) async fn terminal(
    State(shared): State<Shared>,
    Extension(connection): Extension<Connection>,
    Extension(pass): Extension<Pass>,
    request: Request,
) -> Response {
    shared.handshakes.arrived(request.uri().query(), request.headers());
    let upgrade = match Upgrade::from_request(request) {
        Ok(upgrade) => upgrade,
        Err(error) => {
            if matches!(error, NotAnUpgrade::TakenAway) {
                warn!(peer = %connection.peer, "{error}");
            }
            // RFC 9110 section 15.5.22 and RFC 6455 section 4.4.
            let wanted = [(UPGRADE, "websocket"), (SEC_WEBSOCKET_VERSION, "13")];
            return (wanted, refuse_as(StatusCode::UPGRADE_REQUIRED, error.code(), error)).into_response();
        }
    };
    let app = &shared.app;
    let _span = tracing::info_span!("terminal", peer = %connection.peer).entered();
    let user = shared.auth.user(&shared.settings(), &pass);
    if user.is_none() && !matches!(pass, Pass::Open) {
        // The token went between the check and here: nobody's sessions are its.
        return refuse(StatusCode::UNAUTHORIZED, "signed out; sign in again");
    }
    let revoked = shared.auth.clone().revoked(app.settings.clone(), pass);
    upgrade.terminal(app.sessions.clone(), user, app.terminal, revoked, connection)
}

pub(super) async fn unknown() -> Response {
    refuse_as(
        StatusCode::NOT_FOUND,
        "unknown_path",
        "there is nothing at this address; a proxy that serves the broker below a path has to take that path away",
    )
}

pub(super) async fn wrong_method() -> Response {
    refuse(StatusCode::METHOD_NOT_ALLOWED, "this address does not take this method")
}
