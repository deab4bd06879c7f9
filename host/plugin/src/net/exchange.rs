//! A storage plugin's request, sent by the host, and what came back.
//!
//! Owns the bounds of an exchange and the words for one that failed. The SDK has the same words for a plugin that sends
//! by itself. The [`Sender`] judges what may leave. Deliberately knows no storage service.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri};
use http_body_util::{BodyExt as _, Full};
use wasmtime_wasi_http::Error as Transport;

use super::places::StoreRequests;
use super::sender::Sender;
use crate::bindings::host::types as wit;
use crate::bindings::storage::mounter::{Answer, Request, Response};
use crate::convert::{DETAIL_BYTES, breach, denial};
use sandbox_broker_core::sandbox::Result;
use sandbox_stdx::words::clean;

/// Bound on one exchange, the answer's body included. The contract names it.
const DEADLINE: Duration = Duration::from_secs(10);
/// Bytes of a request's body, at most, and those of an answer's that are
/// kept. An access list has 5 KiB at most. The contract names it.
const BODY_BYTES: usize = 64 << 10;
/// Headers of a request. A signed one has about ten.
const HEADERS: usize = 64;
/// Bytes of a URL; servers take about 8 KiB.
const URL_BYTES: usize = 8 << 10;
/// Methods of a request.
const METHODS: [Method; 5] = [Method::GET, Method::HEAD, Method::PUT, Method::POST, Method::DELETE];
/// Headers about the connection or the body. The host sets them.
const OF_THE_HOST: [&str; 9] = [
    "connection",
    "content-length",
    "host",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// Sends one request. A failure on the way is an answer for the plugin as well.
///
/// # Errors
/// When the contract does not allow the request.
pub(crate) async fn exchange(sender: &Sender, request: Request, requests: StoreRequests) -> Result<Answer> {
    let Some(method) = METHODS.into_iter().find(|method| method.as_str() == request.method) else {
        return Err(breach(&format!("`{}` is no method of a request", clean(&request.method, 16))));
    };
    if request.body.len() > BODY_BYTES || request.headers.len() > HEADERS || request.url.len() > URL_BYTES {
        return Err(breach("a request has at most 64 KiB of body, 64 headers and 8 KiB of URL"));
    }
    let Ok(uri) = request.url.parse::<Uri>() else {
        return Ok(Answer::Failure(denial(wit::Code::InvalidArgument, "the url of a request cannot be read")));
    };
    let host = place_of(&uri);
    let failed = |error: &Transport| Ok(Answer::Failure(failure(error, &host)));
    let Some(headers) = headers(&request.headers) else {
        return failed(&Transport::HttpRequestHeaderSize { field_name: None, field_size: None });
    };
    let body = Full::new(Bytes::from(request.body)).map_err(|never| match never {});
    let mut outgoing = http::Request::new(body.boxed_unsync());
    *outgoing.method_mut() = method;
    *outgoing.uri_mut() = uri;
    *outgoing.headers_mut() = headers;
    match tokio::time::timeout(DEADLINE, receive(sender, outgoing, requests)).await {
        Ok(Ok(response)) => Ok(Answer::Response(response)),
        Ok(Err(error)) => failed(&error),
        Err(_) => failed(&Transport::HttpResponseTimeout),
    }
}

async fn receive(
    sender: &Sender,
    request: http::Request<wasmtime_wasi_http::WasiBody>,
    requests: StoreRequests,
) -> std::result::Result<Response, Transport> {
    // Giving up drops the whole exchange, so a body never outlives its Store here.
    let (head, mut incoming) = sender.send(request, None, Arc::new(requests)).await?.into_parts();
    let mut body = Vec::new();
    while body.len() < BODY_BYTES
        && let Some(frame) = incoming.frame().await
    {
        if let Ok(data) = frame?.into_data() {
            body.extend_from_slice(&data[..data.len().min(BODY_BYTES - body.len())]);
        }
    }
    Ok(Response { status: head.status.as_u16(), headers: written(&head.headers), body })
}

/// Where a request goes, for messages. The whole authority must not be shown, because it may hold a password.
pub(crate) fn place_of(uri: &Uri) -> String {
    let host = uri.host().unwrap_or_default();
    uri.port_u16().map_or(host.to_owned(), |port| format!("{host}:{port}"))
}

/// The headers of an answer, for a guest.
pub(crate) fn written(headers: &HeaderMap) -> Vec<(String, String)> {
    let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    headers.iter().map(|(name, value)| (name.as_str().to_owned(), text(value))).collect()
}

/// The headers that a guest may set; `None` when one of them cannot be sent.
pub(crate) fn headers(given: &[(String, String)]) -> Option<HeaderMap> {
    let mut headers = HeaderMap::new();
    for (name, value) in given {
        let name = HeaderName::try_from(name).ok()?;
        if !OF_THE_HOST.contains(&name.as_str()) {
            headers.append(name, HeaderValue::try_from(value).ok()?);
        }
    }
    Some(headers)
}

/// The error for the plugin, from a failed request.
pub(crate) fn failure(error: &Transport, host: &str) -> wit::Error {
    use Transport as T;
    use wit::Code as C;
    let (code, message) = match error {
        T::HttpRequestDenied => {
            (C::PermissionDenied, format!("the broker's operator has not allowed {host}: add it to `allow`"))
        }
        T::DestinationIpProhibited => (
            C::PermissionDenied,
            format!(
                "{host} has a private or reserved address, which the broker does not connect to: \
                 allow that address for this plugin if it is meant"
            ),
        ),
        T::ConfigurationError => (
            C::FailedPrecondition,
            format!("a request to {host} cannot carry its secret: look at `secrets`; the broker's log says why"),
        ),
        T::DnsTimeout | T::DnsError { .. } | T::DestinationNotFound => {
            (C::Unavailable, format!("the name of {host} does not resolve: check its spelling and the network"))
        }
        T::ConnectionRefused => (C::Unavailable, format!("{host} refuses connections: check that it runs")),
        T::TlsCertificateError => (
            C::Unavailable,
            format!(
                "the broker does not trust the certificate of {host}: its log says why; a CA of one's own is named by \
                 `ca` in the section's `tls`"
            ),
        ),
        T::TlsAlertReceived { .. } => (
            C::Unauthenticated,
            format!(
                "{host} does not accept the broker's certificate, or asks for one: name it by `cert` and `key` in the \
                 section's `tls`"
            ),
        ),
        T::TlsProtocolError => {
            (C::Unavailable, format!("no secure connection to {host}: check its certificate and the url's scheme"))
        }
        T::ConnectionTimeout | T::ConnectionReadTimeout | T::ConnectionWriteTimeout | T::HttpResponseTimeout => {
            (C::DeadlineExceeded, format!("{host} did not answer in time"))
        }
        T::DestinationUnavailable | T::DestinationIpUnroutable => {
            (C::Unavailable, format!("{host} cannot be reached from here"))
        }
        T::ConnectionLimitReached => {
            (C::ResourceExhausted, format!("the broker has too many connections to {host} open: try again later"))
        }
        T::ConnectionTerminated | T::HttpResponseIncomplete => {
            (C::Unavailable, format!("the connection to {host} broke"))
        }
        T::HttpRequestUriInvalid | T::HttpRequestMethodInvalid | T::HttpRequestHeaderSize { .. } => {
            (C::InvalidArgument, format!("the request to {host} is not one that may be sent"))
        }
        T::InternalError(Some(why)) => (C::Internal, format!("the request to {host} failed: {why}")),
        _ => (C::Internal, format!("{host} gave an answer that breaks the rules of http")),
    };
    let transport = clean(&format!("{error:?}"), DETAIL_BYTES);
    wit::Error { code, message, retry_after_ms: None, attrs: vec![("transport".to_owned(), transport)] }
}
