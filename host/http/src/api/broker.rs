//! The broker's health and status, and the upgrade to a terminal.
//!
//! Owns the shape of these answers. Deliberately decides nothing about who may
//! ask.

use axum::Json;
use axum::extract::{Extension, Request, State};
use axum::response::{IntoResponse, Response};
use http::header::{HOST, SEC_WEBSOCKET_VERSION, UPGRADE};
use http::{HeaderMap, StatusCode, Uri};
use serde_json::json;
use tracing::warn;

use super::sessions::{self, seconds};
use crate::access::auth::Pass;
use crate::answer::{refuse, refuse_as};
use crate::connection::exchange::Connection;
use crate::state::Shared;
use sandbox_broker_terminal::{NotAnUpgrade, Upgrade};

/// `GET /health`: whether the broker serves. It is healthy also with a refused
/// configuration or a full disk: a restart would cut off the sessions that it
/// serves, and it would not start again.
pub(crate) async fn health(State(shared): State<Shared>) -> Response {
    let now = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string();
    Json(json!({ "status": "healthy", "timestamp": now, "uptime": uptime(&shared) })).into_response()
}

/// Seconds since the server was started.
fn uptime(shared: &Shared) -> f64 {
    seconds(shared.started.elapsed())
}

/// `GET /api/session`: what the page needs to know before it opens a terminal.
/// `host` and `handshake` say what a proxy made of its requests.
pub(crate) async fn session(
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

/// What a signed-in person is told about a refused change. The mistakes name paths
/// and settings, which concern only the operator.
const REFUSED: &str = "the last change of the configuration was refused; the broker's log says why";

/// The same about trouble with the state directory.
const STATE_TROUBLE: &str = "the broker cannot write down new sessions; its log says why";

/// `GET /api/status`: the state of the broker, with the caller's own sessions. It
/// tells everything about a refused change only if nobody has to sign in, which
/// is so on the operator's own machine.
pub(crate) async fn status(State(shared): State<Shared>, Extension(pass): Extension<Pass>) -> Response {
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
pub(crate) async fn terminal(
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
        // The token left the configuration since the check. Without a name it has no
        // sessions.
        return refuse(StatusCode::UNAUTHORIZED, "signed out; sign in again");
    }
    let revoked = shared.auth.clone().revoked(app.settings.clone(), pass);
    upgrade.terminal(app.sessions.clone(), user, app.terminal, revoked, connection)
}

/// The answer at an unknown path.
pub(crate) async fn unknown() -> Response {
    refuse_as(
        StatusCode::NOT_FOUND,
        "unknown_path",
        "there is nothing at this address; a proxy that serves the broker below a path has to take that path away",
    )
}

/// The answer to a method that a path does not take.
pub(crate) async fn wrong_method() -> Response {
    refuse(StatusCode::METHOD_NOT_ALLOWED, "this address does not take this method")
}
