//! Requests of the Connect protocol.
//!
//! Owns their headers. They leave through the section's [`Sender`], under its rules, also when the Store that asked for them is gone.
//! Deliberately does not know what a request carries.

use std::sync::Arc;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderName};
use http::{HeaderMap, HeaderValue, Method, StatusCode, Uri};
use http_body_util::{BodyExt as _, Limited};
use wasmtime_wasi_http::{Error, WasiBody};

use crate::net::places::StoreRequests;
use crate::net::sender::{Answered, Sender};

const VERSION: (HeaderName, HeaderValue) =
    (HeaderName::from_static("connect-protocol-version"), HeaderValue::from_static("1"));

/// Bytes of an answer, at most: an end with an error.
const ANSWER_BYTES: usize = 64 << 10;

/// What a request and its answer are.
#[derive(Clone, Copy, Debug)]
pub(super) enum Sort {
    /// Frames.
    Stream,
    /// One message.
    Single,
}

/// The way of requests.
pub(crate) struct Asking {
    pub(crate) sender: Arc<Sender>,
    pub(crate) requests: Arc<StoreRequests>,
}

impl Asking {
    /// Sends a request, and waits for the head of its answer.
    pub(super) async fn ask(
        &self,
        uri: &Uri,
        headers: &HeaderMap,
        sort: Sort,
        body: WasiBody,
    ) -> Result<Answered, Error> {
        let mut request = http::Request::new(body);
        *request.method_mut() = Method::POST;
        *request.uri_mut() = uri.clone();
        *request.headers_mut() = headers.clone();
        let (name, version) = VERSION;
        request.headers_mut().insert(name, version);
        let content = match sort {
            Sort::Stream => "application/connect+json",
            Sort::Single => "application/json",
        };
        request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content));
        self.sender.ask(request, None, self.requests.clone()).await
    }

    /// The same, and waits for the whole answer. A longer one than [`ANSWER_BYTES`] is an error.
    pub(super) async fn answer(
        &self,
        uri: &Uri,
        headers: &HeaderMap,
        sort: Sort,
        body: WasiBody,
    ) -> Result<(StatusCode, Bytes), Error> {
        let answered = self.ask(uri, headers, sort, body).await?;
        let body = Limited::new(answered.body, ANSWER_BYTES).collect().await;
        let body = body.map_err(|_| Error::ConnectionTerminated)?;
        Ok((answered.head.status, body.to_bytes()))
    }
}
