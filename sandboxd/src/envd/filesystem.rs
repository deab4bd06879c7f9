//! The service `filesystem.Filesystem`: its messages and their way to the sandbox's init.
//!
//! Source: field names and behaviour of E2B's `envd` 0.6.13. Does not open files itself.

use axum::body::Body;
use axum::routing::post;
use axum::{Extension, Router};
use http::HeaderMap;
use serde::{Deserialize, Serialize};

use super::caller::{Caller, UnaryResult, acting_user};
use crate::connect::{self, Code, ConnectError};
use crate::sandbox::Sandbox;
use sandboxd_init::wire::{EntryInfo, FileOp, Reply};

/// Routes of the service.
pub(super) fn routes() -> Router {
    Router::new()
        .route("/filesystem.Filesystem/Stat", post(stat))
        .route("/filesystem.Filesystem/MakeDir", post(make_dir))
        .route("/filesystem.Filesystem/Move", post(rename))
        .route("/filesystem.Filesystem/ListDir", post(list_dir))
        .route("/filesystem.Filesystem/Remove", post(remove))
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct PathRequest {
    path: String,
    depth: u32,
    source: String,
    destination: String,
}

async fn stat(Extension(sandbox): Caller, headers: HeaderMap, body: Body) -> UnaryResult {
    let request: PathRequest = connect::read_unary(&headers, body).await?;
    perform(&sandbox, &headers, FileOp::Stat { path: request.path }).await
}

async fn make_dir(Extension(sandbox): Caller, headers: HeaderMap, body: Body) -> UnaryResult {
    let request: PathRequest = connect::read_unary(&headers, body).await?;
    perform(&sandbox, &headers, FileOp::MakeDir { path: request.path }).await
}

async fn rename(Extension(sandbox): Caller, headers: HeaderMap, body: Body) -> UnaryResult {
    let request: PathRequest = connect::read_unary(&headers, body).await?;
    perform(&sandbox, &headers, FileOp::Move { source: request.source, destination: request.destination }).await
}

async fn list_dir(Extension(sandbox): Caller, headers: HeaderMap, body: Body) -> UnaryResult {
    let request: PathRequest = connect::read_unary(&headers, body).await?;
    perform(&sandbox, &headers, FileOp::List { path: request.path, depth: request.depth }).await
}

async fn remove(Extension(sandbox): Caller, headers: HeaderMap, body: Body) -> UnaryResult {
    let request: PathRequest = connect::read_unary(&headers, body).await?;
    perform(&sandbox, &headers, FileOp::Remove { path: request.path }).await
}

async fn perform(sandbox: &Sandbox, headers: &HeaderMap, op: FileOp) -> UnaryResult {
    #[derive(Serialize)]
    struct EntryResponse {
        entry: EntryInfo,
    }
    #[derive(Serialize)]
    struct ListResponse {
        #[serde(skip_serializing_if = "Vec::is_empty")]
        entries: Vec<EntryInfo>,
    }
    #[derive(Serialize)]
    struct Empty {}
    let user = acting_user(headers);
    match sandbox.file(&user, op).await? {
        (Reply::Entry(entry), _) => Ok(connect::unary(&EntryResponse { entry: *entry })),
        (Reply::Entries(entries), _) => Ok(connect::unary(&ListResponse { entries })),
        (Reply::Done, _) => Ok(connect::unary(&Empty {})),
        (Reply::Spawned { .. }, _) => {
            Err(ConnectError::new(Code::Internal, "the sandbox gave an answer to another question"))
        }
    }
}
