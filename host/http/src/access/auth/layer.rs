//! Lets requests in by their credentials, or refuses them.
//!
//! Owns what a refusal depends on. Deliberately judges no credential.

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use http::StatusCode;
use tracing::warn;

use super::authority::Judged;
use super::pass::Pass;
use super::refusal::{too_many, unauthenticated};
use crate::access::proxy::ClientAddress;
use crate::answer::refuse;
use crate::connection::exchange::Connection;
use crate::paths::{SESSION, is_open, matched};
use crate::state::Shared;

/// Refuses requests without credentials with 401, except to what is open to
/// everybody. Tells the others how they were let in.
pub(crate) async fn authenticate(State(shared): State<Shared>, mut request: Request, next: Next) -> Response {
    let settings = shared.settings();
    let refused = match shared.auth.judge(&settings, &request) {
        Judged::Good(pass) => {
            if !(matches!(pass, Pass::Open) && is_open(&request))
                && let Some(connection) = request.extensions().get::<Connection>()
            {
                connection.is_known();
            }
            request.extensions_mut().insert(pass);
            return next.run(request).await;
        }
        Judged::None => unauthenticated(),
        // The page must get the words.
        Judged::Several(several) if matched(&request) == Some(SESSION) => {
            return refuse(StatusCode::BAD_REQUEST, several);
        }
        Judged::Several(several) => refuse(StatusCode::BAD_REQUEST, several),
        Judged::WrongToken => wrong_token(&shared, &request, unauthenticated()),
    };
    if is_open(&request) { next.run(request).await } else { refused }
}

/// Counts a wrong token. Answers with `refused` unless its sender has tried too
/// many.
fn wrong_token(shared: &Shared, request: &Request, refused: Response) -> Response {
    let Some(ClientAddress(address)) = request.extensions().get().copied() else { return refused };
    if shared.auth.counts_wrong_token(address) {
        warn!(client = %address, path = request.uri().path(), "refused a wrong token");
        return refused;
    }
    too_many()
}
