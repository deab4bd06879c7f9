//! The listing of sandboxes: its filter, order and pages. Does not know where the sandboxes come from.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use percent_encoding::percent_decode_str;
use serde::Deserialize;

use super::error::ApiError;
use crate::sandbox::Sandbox;

/// The largest number of rows in a page, which is also the default, as with E2B.
const MAX_LIMIT: usize = 100;

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Query {
    metadata: Option<String>,
    state: Option<String>,
    limit: Option<usize>,
    next_token: Option<String>,
    order: Option<Order>,
    started_after: Option<jiff::Timestamp>,
    template: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Order {
    Asc,
    #[default]
    Desc,
}

impl Query {
    /// Asks for the page that a token names.
    pub(super) fn follow(&mut self, token: String) {
        self.next_token = Some(token);
    }
}

/// One page and the token for the next.
#[derive(Debug)]
pub(super) struct Page {
    pub(super) sandboxes: Vec<Arc<Sandbox>>,
    pub(super) next: Option<String>,
    /// The number of matching sandboxes on all pages.
    pub(super) total: usize,
}

/// Cuts the page that the query asks for.
pub(super) fn page(mut sandboxes: Vec<Arc<Sandbox>>, query: &Query) -> Result<Page, ApiError> {
    let limit = query.limit.unwrap_or(MAX_LIMIT);
    if !(1..=MAX_LIMIT).contains(&limit) {
        return Err(ApiError::bad_request(format!("limit must be between 1 and {MAX_LIMIT}")));
    }
    let order = query.order.unwrap_or_default();
    let wanted = query.metadata.as_deref().map(metadata_pairs).transpose()?.unwrap_or_default();
    let states = query.state.as_deref().unwrap_or("running").split(',');
    let running = states.map(check_state).collect::<Result<Vec<_>, _>>()?.contains(&"running");
    sandboxes.retain(|sandbox| {
        running
            && wanted.iter().all(|(key, value)| sandbox.metadata.get(key) == Some(value))
            && query.template.as_ref().is_none_or(|template| *template == sandbox.template)
            && query.started_after.is_none_or(|after| sandbox.started > after)
    });
    let total = sandboxes.len();
    sandboxes.sort_by(|one, other| {
        let by_start = one.started.cmp(&other.started);
        let by_start = if order == Order::Asc { by_start } else { by_start.reverse() };
        by_start.then_with(|| one.id.cmp(&other.id))
    });
    if let Some(token) = &query.next_token {
        let cursor = Cursor::parse(token, order)?;
        sandboxes.retain(|sandbox| cursor.is_before(sandbox, order));
    }
    let more = sandboxes.len() > limit;
    sandboxes.truncate(limit);
    let next = sandboxes
        .last()
        .filter(|_| more)
        .map(|last| Cursor { started: last.started, id: last.id.clone() }.token(order));
    Ok(Page { sandboxes, next, total })
}

fn check_state(state: &str) -> Result<&str, ApiError> {
    match state {
        "running" | "paused" => Ok(state),
        _ => Err(ApiError::bad_request("state must be running, paused, or both with a comma between")),
    }
}

/// Undoes the encodings that the SDKs put on a filter below that of the query string: one over the whole filter, then
/// one over each key and value.
fn metadata_pairs(filter: &str) -> Result<Vec<(String, String)>, ApiError> {
    let decode = |text: &str| {
        let decoded = percent_decode_str(text).decode_utf8();
        decoded.map(|text| text.into_owned()).map_err(|_| ApiError::bad_request("the metadata filter is not UTF-8"))
    };
    let whole = decode(filter)?;
    let pairs = whole.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        Ok((decode(key)?, decode(value)?))
    });
    pairs.collect()
}

/// The last row of a page.
#[derive(Debug)]
struct Cursor {
    started: jiff::Timestamp,
    id: String,
}

impl Cursor {
    fn token(&self, order: Order) -> String {
        let suffix = if order == Order::Asc { "__asc" } else { "" };
        URL_SAFE_NO_PAD.encode(format!("{}__{}{suffix}", self.started, self.id))
    }

    fn parse(token: &str, order: Order) -> Result<Self, ApiError> {
        let invalid = || ApiError::bad_request("nextToken is not one of this listing");
        let bytes = URL_SAFE_NO_PAD.decode(token.trim_end_matches('=')).map_err(|_| invalid())?;
        let text = String::from_utf8(bytes).map_err(|_| invalid())?;
        let parts: Vec<&str> = text.split("__").collect();
        match (&parts[..], order) {
            ([started, id], Order::Desc) | ([started, id, "asc"], Order::Asc) => {
                Ok(Self { started: started.parse().map_err(|_| invalid())?, id: (*id).to_owned() })
            }
            _ => Err(invalid()),
        }
    }

    fn is_before(&self, sandbox: &Sandbox, order: Order) -> bool {
        let later = if order == Order::Asc { sandbox.started > self.started } else { sandbox.started < self.started };
        later || (sandbox.started == self.started && sandbox.id > self.id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Promise: a filter as both SDKs encode it gives the original pair, once the query string is decoded.
    #[test]
    fn decodes_the_recorded_filter() {
        let on_the_wire = "k%252520k%3Dv%2525261";
        let from_query = percent_decode_str(on_the_wire).decode_utf8().unwrap();
        assert_eq!(metadata_pairs(&from_query).unwrap(), [("k k".to_owned(), "v&1".to_owned())]);
    }

    /// Promise: a token is accepted in its own order and refused in the other.
    #[test]
    fn tokens_belong_to_an_order() {
        let cursor = Cursor { started: "2026-01-02T03:04:05.123456789Z".parse().unwrap(), id: "iabc".to_owned() };
        for (order, other) in [(Order::Asc, Order::Desc), (Order::Desc, Order::Asc)] {
            let token = cursor.token(order);
            let back = Cursor::parse(&token, order).unwrap();
            assert_eq!((back.started, back.id), (cursor.started, cursor.id.clone()));
            assert!(Cursor::parse(&token, other).is_err());
        }
        assert!(Cursor::parse("???", Order::Asc).is_err());
    }
}
