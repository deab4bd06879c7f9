//! The caller's sessions: all of them, one, its name and its end.
//!
//! Owns these routes and the shape of their answers. Deliberately decides
//! nothing about a session. `docs/attach.md` says what clients may rely on.

use std::time::Duration;

use axum::Json;
use axum::body::Body;
use axum::extract::{Extension, Path, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get};
use http::{HeaderMap, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};

use super::body;
use super::refusal::Refusal;
use crate::access::auth::Pass;
use crate::connection::exchange::Connection;
use crate::state::Shared;
use sandbox_broker_core::sandbox::{Exit, Size};
use sandbox_broker_session::{Invitation, Outcome, Summary};
use sandbox_stdx::words::misleads;

/// The routes.
pub(crate) fn routes() -> Vec<(&'static str, MethodRouter<Shared>)> {
    vec![("/api/sessions", get(list)), ("/api/sessions/{id}", get(one).patch(rename).delete(kill))]
}

/// Characters of a session's name, at most: it stands in one line of a list.
const MAX_NAME: usize = 80;

/// Bytes of a request to rename, at most: a name in which JSON writes each character
/// as two escapes of six bytes, and the rest.
const MAX_RENAME: usize = 2 * 6 * MAX_NAME + 1024;

/// Seconds, to the millisecond.
pub(super) fn seconds(duration: Duration) -> f64 {
    duration.as_millis() as f64 / 1000.0
}

/// Describes a session as its user sees it.
fn describe(session: &Summary) -> Value {
    let clients: Vec<_> = session
        .clients
        .iter()
        .map(|client| {
            let (cols, rows) = client.size.map(|size| (size.cols, size.rows)).unzip();
            json!({
                "client": &*client.client,
                "role": client.role.as_str(),
                "cols": cols,
                "rows": rows,
                "guest": client.guest.as_deref(),
            })
        })
        .collect();
    json!({
        "id": &*session.id,
        "provider": &*session.provider,
        "state": session.phase.as_str(),
        "outcome": session.outcome.as_ref().map(describe_outcome),
        "age": seconds(session.age),
        "kept_for": session.kept_for.map(seconds),
        "name": session.name,
        "generation": session.generation,
        "sandbox": session.sandbox,
        "kept": session.kept,
        "durability": session.durability.map(|durability| durability.as_str()),
        "size": session.size.map(|Size { cols, rows }| json!({ "cols": cols, "rows": rows })),
        "title": session.about.title,
        "directory": session.about.directory,
        "user": session.user.as_deref(),
        "clients": clients,
    })
}

/// Describes how a session ended.
fn describe_outcome(outcome: &Outcome) -> Value {
    let (code, signal) = match outcome {
        Outcome::Exited(Exit::Code(code)) => (Some(*code), None),
        Outcome::Exited(Exit::Signal(name)) => (None, Some(name)),
        _ => (None, None),
    };
    json!({ "code": code, "signal": signal, "reason": outcome.to_string() })
}

/// The caller's own sessions, the oldest first.
pub(super) fn own(shared: &Shared, pass: &Pass) -> Vec<Value> {
    let settings = shared.settings();
    let all = shared.app.sessions.list();
    all.iter().filter(|one| shared.auth.owns(&settings, pass, one.user.as_deref())).map(describe).collect()
}

/// `GET /api/sessions`.
async fn list(State(shared): State<Shared>, Extension(pass): Extension<Pass>) -> Response {
    Json(json!({ "sessions": own(&shared, &pass) })).into_response()
}

/// `GET /api/sessions/{id}`.
async fn one(
    State(shared): State<Shared>,
    Extension(pass): Extension<Pass>,
    Path(id): Path<String>,
) -> Result<Response, Refusal> {
    let session = shared.session(&pass, &id)?;
    let mut answer = describe(&session.summary());
    answer["invitation"] = json!(session.invitation().map(Invitation::expose));
    Ok(Json(answer).into_response())
}

/// The body of a request to rename.
#[derive(Deserialize)]
struct Rename {
    name: String,
}

/// `PATCH /api/sessions/{id}`: gives the session a name, or takes it away if it is
/// empty. Answers with the session.
async fn rename(
    State(shared): State<Shared>,
    Extension(pass): Extension<Pass>,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refusal> {
    let session = shared.session(&pass, &id)?;
    let Rename { name } = body::json(&headers, body, MAX_RENAME, "send `{\"name\": TEXT}`").await?;
    let name = name.trim();
    if name.chars().any(misleads) {
        return Err(Refusal::Body("a name is one line of text, without control characters"));
    }
    if name.chars().count() > MAX_NAME {
        return Err(Refusal::Body("a name has at most 80 characters"));
    }
    if !session.rename((!name.is_empty()).then(|| name.to_owned())).await {
        return Err(Refusal::Elsewhere);
    }
    Ok(Json(describe(&session.summary())).into_response())
}

/// `DELETE /api/sessions/{id}`: ends the session. Its sandbox ends after the answer.
async fn kill(
    State(shared): State<Shared>,
    Extension(connection): Extension<Connection>,
    Extension(pass): Extension<Pass>,
    Path(id): Path<String>,
) -> Result<StatusCode, Refusal> {
    let session = shared.session(&pass, &id)?;
    tracing::info!(session = session.id(), peer = %connection.peer, "ended over HTTP");
    session.kill();
    Ok(StatusCode::NO_CONTENT)
}
