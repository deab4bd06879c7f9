//! The daemon that answers for a sandbox on port 49983: processes, file system, file contents. Handles one sandbox per
//! request.
//!
//! Source: E2B's `envd` 0.6.13 as its SDKs use it.

mod caller;
mod files;
mod filesystem;
mod process;
pub(crate) mod signature;
mod watch;

pub(crate) use self::files::FileQuery;

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::{DefaultBodyLimit, Query, Request};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Extension, Json, Router};
use http::{Method, StatusCode};
use tower_http::cors::{Any, CorsLayer};
use tower_http::decompression::RequestDecompressionLayer;

use crate::control::error::ApiError;
use crate::envd::signature::Operation;
use crate::sandbox::Sandbox;
use crate::secret;
use crate::visitors;

/// The port of the daemon in a sandbox.
pub(crate) const PORT: u16 = 49983;

/// How long a browser may cache the permission to send a request: two hours, as in E2B's daemon.
const CORS_AGE: std::time::Duration = std::time::Duration::from_hours(2);

/// Routes of the daemon. Each request must carry its `Arc<Sandbox>` as an extension.
pub(crate) fn router() -> Router {
    let methods = [Method::HEAD, Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE];
    let cors = CorsLayer::new().allow_origin(Any).allow_headers(Any).allow_methods(methods).max_age(CORS_AGE);
    let files = Router::new()
        .route("/files", get(files::download).post(files::upload))
        // The disk limit bounds an upload, as it bounds files that are written from inside.
        .layer(DefaultBodyLimit::disable())
        .layer(RequestDecompressionLayer::new().no_br().no_deflate().no_zstd().pass_through_unaccepted(false));
    Router::new()
        .merge(process::routes())
        .merge(filesystem::routes())
        .merge(watch::routes())
        .merge(files)
        .route("/files/compose", post(files::compose))
        .route("/envs", get(envs))
        .route("/metrics", get(crate::machine::metrics))
        .fallback(|| async { ApiError::new(StatusCode::NOT_FOUND, "404 page not found") })
        .layer(middleware::from_fn(authenticate))
        .route("/health", get(|| async { StatusCode::NO_CONTENT }))
        .layer(cors)
}

/// Every route except file contents needs the sandbox's token. File contents accept a signature too.
async fn authenticate(Extension(sandbox): Extension<Arc<Sandbox>>, request: Request, next: Next) -> Response {
    let token = request.headers().get("x-access-token");
    let authentic = match token {
        Some(token) => secret::same(sandbox.token.as_bytes(), token.as_bytes()),
        // The handler checks the signature.
        None => request.uri().path() == "/files",
    };
    if authentic {
        if token.is_some() || is_signed(&sandbox, &request) {
            visitors::introduce(request.extensions());
        }
        return next.run(request).await;
    }
    let message = if token.is_some() { "invalid access token" } else { "unauthorized: send the header X-Access-Token" };
    ApiError::new(StatusCode::UNAUTHORIZED, message).into_response()
}

fn is_signed(sandbox: &Sandbox, request: &Request) -> bool {
    let operation = if request.method() == Method::POST { Operation::Write } else { Operation::Read };
    let query = Query::<FileQuery>::try_from_uri(request.uri());
    query.is_ok_and(|query| query.check(operation, &sandbox.token).is_ok())
}

async fn envs(Extension(sandbox): Extension<Arc<Sandbox>>) -> Json<BTreeMap<String, String>> {
    Json(sandbox.environment())
}
