//! Signing in and out, and tickets.
//!
//! Owns these routes and the shape of their answers. Deliberately keeps nothing.

use std::time::Duration;

use axum::extract::rejection::FormRejection;
use axum::extract::{Extension, State};
use axum::response::{IntoResponse, Response};
use axum::{Form, Json};
use http::header::ORIGIN;
use http::{HeaderMap, StatusCode};
use serde::Deserialize;
use serde_json::json;
use tracing::{error, info, warn};

use super::authority::{is_secure, known};
use super::credential::Digested;
use super::pass::Pass;
use super::refusal::too_many;
use super::tables::{LASTS, TICKET_LASTS};
use crate::access::proxy::ClientAddress;
use crate::access::source::RequestSource;
use crate::answer::refuse;
use crate::connection::exchange::Connection;
use crate::state::Shared;

/// The form of a sign-in.
#[derive(Deserialize)]
pub(crate) struct SignInForm {
    token: String,
}

/// `POST /sign-in` with the form field `token`.
pub(crate) async fn sign_in(
    State(shared): State<Shared>,
    Extension(connection): Extension<Connection>,
    Extension(ClientAddress(client)): Extension<ClientAddress>,
    Extension(source): Extension<RequestSource>,
    headers: HeaderMap,
    form: Result<Form<SignInForm>, FormRejection>,
) -> Response {
    let form = match form {
        Ok(Form(form)) => form,
        Err(wrong) if wrong.status() == StatusCode::PAYLOAD_TOO_LARGE => {
            return refuse(wrong.status(), "this is too long to be a token");
        }
        Err(_) => return refuse(StatusCode::BAD_REQUEST, "send the token as the form field `token`"),
    };
    let settings = shared.settings();
    let secure = is_secure(&settings, &headers);
    if source == RequestSource::Frontend {
        return refuse(
            StatusCode::FORBIDDEN,
            "people sign in on the broker's own page only; a page elsewhere asks for tickets",
        );
    }
    if let Err(several) = shared.auth.cookie().find(&headers, secure) {
        return refuse(StatusCode::BAD_REQUEST, several);
    }
    let origin = headers.get(ORIGIN).and_then(|origin| origin.to_str().ok()).unwrap_or_default();
    // The operator has listed the plain address on purpose, beside the secure ones.
    let on_purpose = !secure && settings.public_urls.iter().any(|url| url.is_origin(origin));
    if let Some(url) = settings.public_urls.iter().find(|url| url.is_secure())
        && origin.starts_with("http://")
        && !on_purpose
        && !connection.local.ip().to_canonical().is_loopback()
    {
        let why = format!(
            "this page was opened over plain http, where others can read a token and the browser keeps no cookie of \
             this broker: open {url} and sign in there"
        );
        return refuse(StatusCode::FORBIDDEN, why);
    }
    // A right token is never refused because others from its address tried wrong ones.
    let Some(token) = known(&settings, &Digested::of(form.token.trim().as_bytes())) else {
        if !shared.auth.counts_wrong_token(client) {
            return too_many();
        }
        warn!(peer = %connection.peer, %client, "refused a sign-in with a wrong token");
        return refuse(StatusCode::UNAUTHORIZED, "this is no token of this broker");
    };
    match shared.auth.sign_in(&settings, token.digest).await {
        Ok(cookie) => {
            info!(peer = %connection.peer, %client, token = token.name, "signed in");
            shared.auth.cookie().set(&cookie, LASTS, secure)
        }
        Err(error) => refuse_without_randomness(&error),
    }
}

/// Refuses because no credential can be made.
fn refuse_without_randomness(error: &getrandom::Error) -> Response {
    error!(%error, "no randomness for a credential");
    refuse(StatusCode::INTERNAL_SERVER_ERROR, "the broker has no source of randomness; see its log")
}

/// `POST /api/tickets`: a credential for one terminal, for a client that cannot
/// send another one with it, such as a page of another origin.
pub(crate) async fn ticket(State(shared): State<Shared>, Extension(pass): Extension<Pass>) -> Response {
    match shared.auth.issue(pass) {
        Ok(ticket) => {
            let answer = json!({ "ticket": ticket, "lasts_ms": TICKET_LASTS.as_millis() as u64 });
            (StatusCode::CREATED, Json(answer)).into_response()
        }
        Err(error) => refuse_without_randomness(&error),
    }
}

/// `POST /sign-out`: ends the sign-in of the request, and no other.
pub(crate) async fn sign_out(
    State(shared): State<Shared>,
    Extension(pass): Extension<Pass>,
    headers: HeaderMap,
) -> Response {
    if let Pass::SignIn(cookie) = pass {
        shared.auth.sign_out(cookie).await;
    }
    shared.auth.cookie().set("", Duration::ZERO, is_secure(&shared.settings(), &headers))
}
