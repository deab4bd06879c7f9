//! Requests as a guest describes them to `net`.
//!
//! Owns their bounds, which the contract names, and the words for one that cannot be sent. Deliberately judges no destination:
//! the [`Sender`](crate::net::sender::Sender) does.

use http::request::Parts;
use http::{HeaderMap, Method, Uri};

use crate::bindings::host::net::{Failure, Request};
use crate::bindings::host::types as wit;
use crate::convert::denial;
use crate::net::exchange::{headers, place_of};

/// Headers of a request, and the bytes of their names and values.
const HEADERS: usize = 64;
const HEADER_BYTES: usize = 16 << 10;
/// Bytes of a URL.
const URL_BYTES: usize = 8 << 10;

/// A request's head, and its place for messages.
pub(super) fn head(request: Request) -> Result<(Parts, String), wit::Error> {
    let Request { method, url, headers } = request;
    let (uri, place) = uri(&url)?;
    let mut head = http::Request::new(()).into_parts().0;
    head.method = Method::from_bytes(method.as_bytes()).map_err(|_| unfit("the method of a request cannot be read"))?;
    head.headers = fields(&headers, &place)?;
    head.uri = uri;
    Ok((head, place))
}

/// A request's destination, and its place for messages.
pub(super) fn uri(url: &str) -> Result<(Uri, String), wit::Error> {
    if url.len() > URL_BYTES {
        return Err(unfit("a request has at most 8 KiB of URL"));
    }
    let uri: Uri = url.parse().map_err(|_| unfit("the url of a request cannot be read"))?;
    let place = place_of(&uri);
    Ok((uri, place))
}

/// The headers of a request to `place`.
pub(super) fn fields(given: &[(String, String)], place: &str) -> Result<HeaderMap, wit::Error> {
    let bytes: usize = given.iter().map(|(name, value)| name.len() + value.len()).sum();
    if given.len() > HEADERS || bytes > HEADER_BYTES {
        return Err(unfit("a request has at most 64 headers and 16 KiB of them"));
    }
    headers(given).ok_or_else(|| unfit(format!("a header of the request to {place} cannot be sent")))
}

/// The error for what a guest may not ask.
pub(super) fn unfit(why: impl Into<String>) -> wit::Error {
    denial(wit::Code::InvalidArgument, why)
}

/// The same where there might have been a connection.
pub(super) fn refuse(why: &str) -> Failure {
    Failure::Failed(unfit(why))
}
