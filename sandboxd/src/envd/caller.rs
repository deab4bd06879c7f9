//! Who calls the daemon: the sandbox that a request is for, and the user that it acts as. All services share this.

use std::sync::Arc;

use axum::Extension;
use axum::response::Response;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::HeaderMap;

use crate::connect::ConnectError;
use crate::isolation::DEFAULT_USER;
use crate::sandbox::Sandbox;

/// The sandbox that a request is for, as the router attached it.
pub(super) type Caller = Extension<Arc<Sandbox>>;

/// The answer to a call with one message in each direction.
pub(super) type UnaryResult = Result<Response, ConnectError>;

/// The acting user: the name in Basic credentials. The password is ignored.
pub(super) fn acting_user(headers: &HeaderMap) -> String {
    let basic = headers.get(http::header::AUTHORIZATION).and_then(|value| value.to_str().ok()?.strip_prefix("Basic "));
    let credentials = basic.and_then(|basic| String::from_utf8(STANDARD.decode(basic.trim()).ok()?).ok());
    match credentials.as_deref().and_then(|text| text.split(':').next()) {
        Some("") | None => DEFAULT_USER.to_owned(),
        Some(name) => name.to_owned(),
    }
}
