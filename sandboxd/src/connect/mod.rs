//! The Connect protocol with its JSON codec: envelopes, errors, deadlines. Knows no service.
//!
//! Source: <https://connectrpc.com/docs/protocol>.

pub(crate) mod stream;

use std::time::Duration;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use bytes::{BufMut, Bytes, BytesMut};
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use http_body_util::BodyExt;
use serde::Serialize;
use serde::de::DeserializeOwned;

use sandboxd_init::wire::{Failure, FailureKind};

/// The largest message in bytes, in either form: room for a megabyte of input in base64.
pub(crate) const MAX_MESSAGE: usize = 4 * 1024 * 1024;

/// Bytes before the payload of an envelope: a flag and a length.
pub(crate) const ENVELOPE: usize = 5;

const END_OF_STREAM: u8 = 0x02;
const COMPRESSED: u8 = 0x01;

/// The time between keepalives if a client names none, as in E2B's daemon.
const DEFAULT_KEEPALIVE: Duration = Duration::from_secs(90);

/// Error codes of the protocol that this server uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Code {
    InvalidArgument,
    Unauthenticated,
    PermissionDenied,
    NotFound,
    AlreadyExists,
    ResourceExhausted,
    Internal,
    Unimplemented,
    Unavailable,
    DeadlineExceeded,
}

impl Code {
    fn status(self) -> StatusCode {
        match self {
            Self::InvalidArgument => StatusCode::BAD_REQUEST,
            Self::Unauthenticated => StatusCode::UNAUTHORIZED,
            Self::PermissionDenied => StatusCode::FORBIDDEN,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::AlreadyExists => StatusCode::CONFLICT,
            Self::ResourceExhausted => StatusCode::TOO_MANY_REQUESTS,
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
            Self::Unimplemented => StatusCode::NOT_IMPLEMENTED,
            Self::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            Self::DeadlineExceeded => StatusCode::GATEWAY_TIMEOUT,
        }
    }
}

/// An error as a client of the protocol sees it.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct ConnectError {
    code: Code,
    message: String,
}

impl ConnectError {
    pub(crate) fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }

    /// The last envelope of a stream that failed.
    pub(crate) fn end_of_stream(&self) -> Bytes {
        #[derive(Serialize)]
        struct End<'a> {
            error: &'a ConnectError,
        }
        envelope(END_OF_STREAM, &serde_json::to_vec(&End { error: self }).expect("strings serialise"))
    }

    /// A streaming answer that failed before it began. Its HTTP status is still 200.
    pub(crate) fn into_stream(self) -> Response {
        streaming(Body::from(self.end_of_stream()))
    }
}

impl From<Failure> for ConnectError {
    fn from(failure: Failure) -> Self {
        let code = match failure.kind {
            FailureKind::InvalidArgument => Code::InvalidArgument,
            FailureKind::NotFound => Code::NotFound,
            FailureKind::AlreadyExists => Code::AlreadyExists,
            FailureKind::PermissionDenied => Code::PermissionDenied,
            FailureKind::Unauthenticated => Code::Unauthenticated,
            FailureKind::ResourceExhausted | FailureKind::NoSpace => Code::ResourceExhausted,
            FailureKind::Internal => Code::Internal,
        };
        Self::new(code, failure.message)
    }
}

impl IntoResponse for ConnectError {
    fn into_response(self) -> Response {
        let body = serde_json::to_vec(&self).expect("strings serialise");
        (self.code.status(), [(CONTENT_TYPE, HeaderValue::from_static("application/json"))], body).into_response()
    }
}

/// The last envelope of a stream that ended without an error.
pub(crate) fn end_of_stream() -> Bytes {
    Bytes::from_static(b"\x02\0\0\0\x02{}")
}

fn envelope(flags: u8, payload: &[u8]) -> Bytes {
    let mut frame = BytesMut::with_capacity(ENVELOPE + payload.len());
    frame.put_u8(flags);
    frame.put_u32(u32::try_from(payload.len()).expect("own messages are small"));
    frame.put_slice(payload);
    frame.freeze()
}

/// One message as an envelope.
pub(crate) fn message(message: &impl Serialize) -> Bytes {
    envelope(0, &serde_json::to_vec(message).expect("own messages serialise"))
}

/// A streaming answer. Every frame of the body is sent at once.
pub(crate) fn streaming(body: Body) -> Response {
    let headers = [
        (CONTENT_TYPE, HeaderValue::from_static("application/connect+json")),
        // Asks proxies not to hold frames back.
        (HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no")),
    ];
    (headers, body).into_response()
}

/// A unary answer.
pub(crate) fn unary(message: &impl Serialize) -> Response {
    let body = serde_json::to_vec(message).expect("own messages serialise");
    ([(CONTENT_TYPE, HeaderValue::from_static("application/json"))], body).into_response()
}

/// Reads the message of a unary call.
pub(crate) async fn read_unary<M: DeserializeOwned>(headers: &HeaderMap, body: Body) -> Result<M, ConnectError> {
    require_content_type(headers, "application/json")?;
    let bytes = read_all(body, MAX_MESSAGE).await?;
    parse(&bytes)
}

/// Reads the one message that opens a server stream.
pub(crate) async fn read_stream_request<M: DeserializeOwned>(
    headers: &HeaderMap,
    body: Body,
) -> Result<M, ConnectError> {
    let mut messages = Messages::new(headers, body)?;
    messages.next().await?.ok_or_else(|| ConnectError::new(Code::InvalidArgument, "the request holds no message"))
}

/// The messages of a client stream.
#[derive(Debug)]
pub(crate) struct Messages {
    body: Body,
    buffer: BytesMut,
    ended: bool,
}

impl Messages {
    pub(crate) fn new(headers: &HeaderMap, body: Body) -> Result<Self, ConnectError> {
        require_content_type(headers, "application/connect+json")?;
        Ok(Self { body, buffer: BytesMut::new(), ended: false })
    }

    /// The next message; `None` at the end of the client's stream.
    pub(crate) async fn next<M: DeserializeOwned>(&mut self) -> Result<Option<M>, ConnectError> {
        loop {
            if let Some((flags, payload)) = self.take()? {
                match flags {
                    0 => return parse(&payload).map(Some),
                    END_OF_STREAM => return Ok(None),
                    COMPRESSED => {
                        return Err(ConnectError::new(Code::Unimplemented, "compressed messages are not supported"));
                    }
                    _ => {
                        return Err(ConnectError::new(
                            Code::InvalidArgument,
                            format!("unknown flags {flags} on a message"),
                        ));
                    }
                }
            }
            if self.ended {
                return match self.buffer.len() {
                    0 => Ok(None),
                    rest => Err(ConnectError::new(
                        Code::InvalidArgument,
                        format!("the request ends with {rest} bytes of a message"),
                    )),
                };
            }
            match self.body.frame().await {
                None => self.ended = true,
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        self.buffer.extend_from_slice(&data);
                    }
                }
                Some(Err(_)) => {
                    return Err(ConnectError::new(Code::InvalidArgument, "the request broke off"));
                }
            }
        }
    }

    fn take(&mut self) -> Result<Option<(u8, Bytes)>, ConnectError> {
        let Some(header) = self.buffer.get(..ENVELOPE) else {
            return Ok(None);
        };
        let flags = header[0];
        let length = u32::from_be_bytes([header[1], header[2], header[3], header[4]]) as usize;
        if length > MAX_MESSAGE {
            return Err(too_large(MAX_MESSAGE));
        }
        if self.buffer.len() < ENVELOPE + length {
            return Ok(None);
        }
        let mut frame = self.buffer.split_to(ENVELOPE + length);
        Ok(Some((flags, frame.split_off(ENVELOPE).freeze())))
    }
}

/// Reads a body of at most `limit` bytes.
pub(crate) async fn read_all(body: Body, limit: usize) -> Result<Bytes, ConnectError> {
    match http_body_util::Limited::new(body, limit).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.is::<http_body_util::LengthLimitError>() => Err(too_large(limit)),
        Err(_) => Err(ConnectError::new(Code::InvalidArgument, "the request broke off")),
    }
}

fn too_large(limit: usize) -> ConnectError {
    ConnectError::new(Code::ResourceExhausted, format!("a message may have at most {limit} bytes"))
}

fn parse<M: DeserializeOwned>(bytes: &[u8]) -> Result<M, ConnectError> {
    serde_json::from_slice(bytes)
        .map_err(|error| ConnectError::new(Code::InvalidArgument, format!("the message is not valid: {error}")))
}

fn require_content_type(headers: &HeaderMap, wanted: &str) -> Result<(), ConnectError> {
    let found = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let found = found.split(';').next().unwrap_or_default().trim();
    if found.eq_ignore_ascii_case(wanted) {
        return Ok(());
    }
    Err(ConnectError::new(Code::Unimplemented, format!("content type '{found}' is not supported here: use {wanted}")))
}

/// `Connect-Timeout-Ms`; absent or zero means no limit.
pub(crate) fn timeout(headers: &HeaderMap) -> Result<Option<Duration>, ConnectError> {
    let Some(value) = headers.get("connect-timeout-ms") else {
        return Ok(None);
    };
    let milliseconds = value.to_str().ok().and_then(|text| text.parse::<u64>().ok());
    match milliseconds {
        Some(0) => Ok(None),
        // Ten digits are the protocol's bound.
        Some(milliseconds) if milliseconds < 10_000_000_000 => Ok(Some(Duration::from_millis(milliseconds))),
        _ => Err(ConnectError::new(Code::InvalidArgument, "Connect-Timeout-Ms is not a number of at most ten digits")),
    }
}

/// `Keepalive-Ping-Interval` in seconds.
pub(crate) fn keepalive(headers: &HeaderMap) -> Duration {
    let seconds = headers.get("keepalive-ping-interval").and_then(|value| value.to_str().ok()?.parse::<u32>().ok());
    seconds.filter(|seconds| *seconds > 0).map_or(DEFAULT_KEEPALIVE, |seconds| Duration::from_secs(seconds.into()))
}
