//! The control plane: creates, finds, renews and kills sandboxes, over REST with an API key.
//!
//! Source: E2B's public API as its SDKs 2.45 to 2.51 (JS) and 2.63 (Python) use it. Does not know what is inside a sandbox.

pub(crate) mod error;
mod list;
mod model;

use std::num::NonZeroU16;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{FromRequestParts, Path, Query, Request, State};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post, put};
use axum::{Extension, Json, Router};
use http::header::HeaderName;
use http::{HeaderValue, StatusCode};
use serde::de::DeserializeOwned;

use self::error::ApiError;
use self::model::{ConnectRequest, CreateRequest, Created, Detail, Listed, RefreshRequest, TimeoutRequest};
use crate::machine::Machine;
use crate::sandbox::registry::{CreateError, Registry};
use crate::sandbox::{Lease, MakeError, Sandbox, SandboxSpec, extended};
use crate::secret::{self, Secret};
use crate::visitors::{self, Visitor};

/// The largest request body in bytes: room for 256 pairs of environment.
const MAX_BODY: usize = 4 * 1024 * 1024;

/// The lease in seconds when a request names none. The deprecated route has its own default.
const DEFAULT_TIMEOUT: i64 = 300;
const DEFAULT_TIMEOUT_V1: i64 = 15;

/// The shortest lease that a refresh gives, in seconds.
const MIN_REFRESH: i64 = 15;

/// The template that every server has.
pub(crate) const BASE_TEMPLATE: &str = "base";

/// What the control plane needs.
#[derive(Debug)]
pub(crate) struct Control {
    pub(crate) registry: Registry,
    pub(crate) key: Secret,
    pub(crate) max_timeout: Duration,
    pub(crate) templates: Vec<String>,
    /// Templates whose sandboxes may mount.
    pub(crate) fuse_templates: Vec<String>,
    pub(crate) machine: Machine,
    /// Told of each authenticated request.
    pub(crate) activity: Arc<crate::activity::Activity>,
}

/// The routes, all but `/health` behind the API key.
pub(crate) fn router(control: Arc<Control>) -> Router {
    Router::new()
        .route("/v2/sandboxes", post(create).get(list))
        .route("/sandboxes", post(create_v1).get(list_v1))
        .route("/v2/sandboxes/{id}/connect", post(connect))
        .route("/sandboxes/{id}/connect", post(connect))
        .route("/sandboxes/{id}/resume", post(connect))
        .route("/sandboxes/{id}", get(info).merge(delete(kill)))
        .route("/sandboxes/{id}/timeout", post(timeout))
        .route("/sandboxes/{id}/refreshes", post(refresh))
        .route("/sandboxes/{id}/metrics", get(metrics))
        .route("/host-ports", put(forward))
        .fallback(not_found)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(middleware::from_fn_with_state(control.clone(), authenticate))
        .route("/health", get(|| async { StatusCode::NO_CONTENT }))
        .with_state(control)
}

async fn authenticate(State(control): State<Arc<Control>>, request: Request, next: Next) -> Response {
    let given = request.headers().get("x-api-key").map(HeaderValue::as_bytes);
    match given {
        Some(key) if control.key.matches(key) => {
            control.activity.note();
            visitors::introduce(request.extensions());
            next.run(request).await
        }
        Some(_) => ApiError::new(StatusCode::UNAUTHORIZED, "Invalid API key").into_response(),
        None => {
            ApiError::new(StatusCode::UNAUTHORIZED, "Missing API key: send it in the header X-API-Key").into_response()
        }
    }
}

async fn not_found() -> ApiError {
    ApiError::new(StatusCode::NOT_FOUND, "this server has no such route")
}

async fn method_not_allowed() -> ApiError {
    ApiError::new(StatusCode::METHOD_NOT_ALLOWED, "this route does not take that method")
}

type ApiResult = Result<Response, ApiError>;

async fn create(State(control): State<Arc<Control>>, body: Body) -> ApiResult {
    create_with(&control, body, DEFAULT_TIMEOUT).await
}

async fn create_v1(State(control): State<Arc<Control>>, body: Body) -> ApiResult {
    create_with(&control, body, DEFAULT_TIMEOUT_V1).await
}

async fn create_with(control: &Control, body: Body, default_timeout: i64) -> ApiResult {
    let request: CreateRequest = read(body, false).await?;
    request.check()?;
    let fuse = control.fuse_templates.contains(&request.template_id);
    if request.template_id != BASE_TEMPLATE && !fuse && !control.templates.contains(&request.template_id) {
        let known = std::iter::once(BASE_TEMPLATE)
            .chain(control.templates.iter().chain(&control.fuse_templates).map(String::as_str))
            .collect::<Vec<_>>()
            .join(", ");
        let message = format!("template '{}' not found: this server has {known}", request.template_id);
        return Err(ApiError::new(StatusCode::NOT_FOUND, message));
    }
    let lease = control.lease(request.timeout.unwrap_or(default_timeout))?;
    if lease.is_zero() {
        return Err(ApiError::bad_request("Timeout must be greater than 0"));
    }
    let spec = SandboxSpec {
        id: secret::sandbox_id(),
        network: request.wants_network(),
        fuse,
        template: request.template_id,
        metadata: request.metadata.unwrap_or_default(),
        envs: request.env_vars.unwrap_or_default(),
        token: secret::token(),
        lease,
    };
    let sandbox = control.registry.create(spec).await.map_err(|error| {
        let status = match &error {
            CreateError::Full { .. } => StatusCode::TOO_MANY_REQUESTS,
            CreateError::Closing => StatusCode::SERVICE_UNAVAILABLE,
            CreateError::Make(MakeError::Fuse(_)) => StatusCode::BAD_REQUEST,
            CreateError::Make(_) => StatusCode::INTERNAL_SERVER_ERROR,
        };
        ApiError::new(status, with_causes(&error))
    })?;
    Ok((StatusCode::CREATED, Json(Created::from(&*sandbox))).into_response())
}

fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        next = cause.source();
    }
    text
}

async fn connect(State(control): State<Arc<Control>>, Path(id): Path<String>, body: Body) -> ApiResult {
    let request: ConnectRequest = read(body, true).await?;
    if request.memory == Some(false) {
        return Err(ApiError::bad_request("memory=false is not supported by this server: leave it out"));
    }
    let length = control.lease(request.timeout.unwrap_or(DEFAULT_TIMEOUT))?;
    let id = plain_id(&id);
    let sandbox =
        control.registry.renew(id, |present| extended(present, length)).ok_or_else(|| ApiError::no_sandbox(id))?;
    Ok(Json(Created::from(&*sandbox)).into_response())
}

async fn info(State(control): State<Arc<Control>>, Path(id): Path<String>) -> ApiResult {
    let sandbox = control.find(&id)?;
    Ok(Json(Detail::new(&sandbox, control.machine)).into_response())
}

async fn kill(State(control): State<Arc<Control>>, Path(id): Path<String>) -> ApiResult {
    let id = plain_id(&id);
    if control.registry.kill(id).await {
        Ok(StatusCode::NO_CONTENT.into_response())
    } else {
        Err(ApiError::no_sandbox(id))
    }
}

async fn timeout(State(control): State<Arc<Control>>, Path(id): Path<String>, body: Body) -> ApiResult {
    let request: TimeoutRequest = read(body, false).await?;
    let length = control.lease(request.timeout)?;
    let id = plain_id(&id);
    control.registry.renew(id, |_| Lease::of(length)).ok_or_else(|| ApiError::no_sandbox(id))?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

async fn refresh(State(control): State<Arc<Control>>, Path(id): Path<String>, body: Body) -> ApiResult {
    let request: RefreshRequest = read(body, true).await?;
    let length = control.lease(request.duration.unwrap_or(0).max(MIN_REFRESH))?;
    let id = plain_id(&id);
    control.registry.renew(id, |present| extended(present, length)).ok_or_else(|| ApiError::no_sandbox(id))?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// Use is not measured per sandbox, so the list of samples is empty.
async fn metrics(State(control): State<Arc<Control>>, Path(id): Path<String>) -> ApiResult {
    control.find(&id)?;
    Ok(Json([(); 0]).into_response())
}

/// Sets the ports of this machine's loopback that new sandboxes find on their own. Only the user who runs the server
/// may do this; the API key is not enough.
async fn forward(State(control): State<Arc<Control>>, visitor: Extension<Visitor>, body: Body) -> ApiResult {
    if !visitor.own {
        return Err(ApiError::new(StatusCode::FORBIDDEN, "ports of the host are named where the server is started"));
    }
    let ports: Vec<NonZeroU16> = read(body, false).await?;
    control.registry.networks().forward(ports.into_iter().map(NonZeroU16::get).collect());
    Ok(StatusCode::NO_CONTENT.into_response())
}

async fn list(State(control): State<Arc<Control>>, request: Request) -> ApiResult {
    let page = list::page(control.registry.all(), &query(request).await?)?;
    let rows: Vec<Listed<'_>> = page.sandboxes.iter().map(|sandbox| Listed::new(sandbox, control.machine)).collect();
    let mut response = Json(rows).into_response();
    let total = HeaderValue::from(page.total);
    response.headers_mut().insert(HeaderName::from_static("x-total-running"), total);
    if let Some(next) = page.next {
        let next = HeaderValue::from_str(&next).expect("a token is base64");
        response.headers_mut().insert(HeaderName::from_static("x-next-token"), next);
    }
    Ok(response)
}

/// The deprecated listing has no pages.
async fn list_v1(State(control): State<Arc<Control>>, request: Request) -> ApiResult {
    let mut query: list::Query = query(request).await?;
    let mut all = Vec::new();
    loop {
        let page = list::page(control.registry.all(), &query)?;
        all.extend(page.sandboxes);
        match page.next {
            Some(next) => query.follow(next),
            None => break,
        }
    }
    let rows: Vec<Listed<'_>> = all.iter().map(|sandbox| Listed::new(sandbox, control.machine)).collect();
    Ok(Json(rows).into_response())
}

async fn query<Q: DeserializeOwned + Send>(request: Request) -> Result<Q, ApiError> {
    let (mut parts, _) = request.into_parts();
    let Query(query) = Query::from_request_parts(&mut parts, &())
        .await
        .map_err(|rejection| ApiError::bad_request(rejection.body_text()))?;
    Ok(query)
}

/// Reads a JSON body, whatever its content type is. An `optional` body may be missing.
async fn read<T: DeserializeOwned>(body: Body, optional: bool) -> Result<T, ApiError> {
    let bytes = axum::body::to_bytes(body, MAX_BODY).await.map_err(|_| {
        ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, format!("the body is cut off, or has more than {MAX_BODY} bytes"))
    })?;
    let text: &[u8] = if optional && bytes.trim_ascii().is_empty() { b"{}" } else { &bytes };
    serde_json::from_slice(text).map_err(|error| ApiError::bad_request(format!("the body is not valid: {error}")))
}

/// The id without the client id that old clients append.
fn plain_id(id: &str) -> &str {
    id.split_once('-').map_or(id, |(id, _)| id)
}

impl Control {
    fn find(&self, id: &str) -> Result<Arc<Sandbox>, ApiError> {
        let id = plain_id(id);
        self.registry.get(id).ok_or_else(|| ApiError::no_sandbox(id))
    }

    fn lease(&self, seconds: i64) -> Result<Duration, ApiError> {
        let seconds = u64::try_from(seconds).map_err(|_| ApiError::bad_request("Timeout must not be negative"))?;
        let length = Duration::from_secs(seconds);
        if length > self.max_timeout {
            return Err(ApiError::bad_request(format!(
                "Timeout cannot be greater than {}",
                in_words(self.max_timeout)
            )));
        }
        Ok(length)
    }
}

fn in_words(length: Duration) -> String {
    match length.as_secs() {
        seconds if seconds >= 3600 && seconds.is_multiple_of(3600) => {
            format!("{} hours", seconds / 3600)
        }
        seconds => format!("{seconds} seconds"),
    }
}
