//! Passes each request to the control plane or to the daemon of one sandbox.
//!
//! Chooses between them, finds the sandbox, and answers if there is none. Does not know what a request asks for.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::Query;
use axum::response::{IntoResponse, Response};
use http::{Request, StatusCode};
use hyper::body::Incoming;
use serde::Serialize;
use tower::ServiceExt;

use super::route::{self, Destination};
use crate::activity::Activity;
use crate::control::error::ApiError;
use crate::envd::signature::{Operation, SignatureError};
use crate::envd::{self, FileQuery};
use crate::sandbox::Sandbox;
use crate::sandbox::registry::Registry;
use crate::visitors;

#[derive(Debug)]
pub(super) struct Dispatcher {
    pub(super) registry: Registry,
    pub(super) activity: Arc<Activity>,
    pub(super) control: Router,
    pub(super) envd: Router,
}

/// What a proxy answers when it cannot reach a sandbox; clients look for these words.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Unreachable<'a> {
    sandbox_id: &'a str,
    message: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    port: Option<u16>,
    code: u16,
}

impl Unreachable<'_> {
    fn answer(&self) -> Response {
        (StatusCode::BAD_GATEWAY, axum::Json(self)).into_response()
    }
}

impl Dispatcher {
    pub(super) async fn answer(&self, request: Request<Incoming>) -> Response {
        let (parts, body) = request.into_parts();
        let destination = route::destination(&parts);
        let mut request = Request::from_parts(parts, Body::new(body));
        match destination {
            Destination::Invalid(message) => ApiError::bad_request(message).into_response(),
            Destination::Control => match self.by_signature(&request) {
                Some(Ok(sandbox)) => {
                    visitors::introduce(request.extensions());
                    request.extensions_mut().insert(sandbox);
                    call(&self.envd, request).await
                }
                Some(Err(error)) => ApiError::new(StatusCode::UNAUTHORIZED, error.to_string()).into_response(),
                None => call(&self.control, request).await,
            },
            Destination::Sandbox { id, port } => {
                let Some(sandbox) = self.registry.get(&id) else {
                    let message = "The sandbox was not found";
                    return Unreachable { sandbox_id: &id, message, port: None, code: 502 }.answer();
                };
                if port != envd::PORT {
                    // No connection leads into a sandbox's own network. In a shared network, a sandbox's ports look
                    // like those of the host.
                    let message = "The sandbox is running but port is not open";
                    return Unreachable { sandbox_id: &id, message, port: Some(port), code: 502 }.answer();
                }
                request.extensions_mut().insert(sandbox);
                call(&self.envd, request).await
            }
        }
    }

    /// Finds the sandbox of a signed URL for file contents. The URL names no sandbox, but its signature fits the token
    /// of only one. `None` if the request has no such URL.
    fn by_signature(&self, request: &Request<Body>) -> Option<Result<Arc<Sandbox>, SignatureError>> {
        if request.uri().path() != "/files" {
            return None;
        }
        let operation = if request.method() == http::Method::POST { Operation::Write } else { Operation::Read };
        let query = Query::<FileQuery>::try_from_uri(request.uri()).ok()?;
        query.signature.as_ref()?;
        let mut worst = SignatureError::Invalid;
        for sandbox in self.registry.all() {
            match query.check(operation, &sandbox.token) {
                Ok(()) => return Some(Ok(sandbox)),
                Err(SignatureError::Expired) => worst = SignatureError::Expired,
                Err(SignatureError::Invalid) => {}
            }
        }
        Some(Err(worst))
    }
}

async fn call(router: &Router, request: Request<Body>) -> Response {
    match router.clone().oneshot(request).await {
        Ok(response) => response,
        Err(never) => match never {},
    }
}
