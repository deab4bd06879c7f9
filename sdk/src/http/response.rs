//! An answer and the reader of its body.

use std::time::Duration;

use serde::de::DeserializeOwned;
use wit_bindgen::{FutureReader, StreamReader, StreamResult};

use crate::__bindings::host::wit_future;
use crate::error::quote;
use crate::wasi::http::types::{ErrorCode, Response as WasiResponse, Trailers};
use crate::{Code, Error, time};

/// The room for one read of a body, in bytes. Hosts combine queued data up to about this size.
const READ: usize = 64 << 10;

/// How long to read the rest of an unneeded body. Beyond this, a new connection is cheaper.
const REST: Duration = Duration::from_millis(250);

/// The head of an answer. The body is read with one of the methods that take `self`. If the answer is dropped unread,
/// its connection is lost.
pub struct Response {
    /// The HTTP status.
    pub status: u16,
    /// The host that answered, for use in messages.
    pub host: String,
    headers: Vec<(String, Vec<u8>)>,
    inner: WasiResponse,
    timeout: Option<Duration>,
}

impl Response {
    pub(super) fn new(inner: WasiResponse, host: String, timeout: Option<Duration>) -> Self {
        Self { status: inner.get_status_code(), host, headers: inner.get_headers().copy_all(), inner, timeout }
    }

    /// The first value of a header, by its name in any case.
    pub fn header(&self, name: &str) -> Option<&str> {
        let (_, value) = self.headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name))?;
        std::str::from_utf8(value).ok()
    }

    /// The length of the body, if the server stated it.
    pub fn content_length(&self) -> Option<u64> {
        self.header("content-length")?.parse().ok()
    }

    /// Reads the whole body, at most `limit` bytes, within the request's deadline. A longer body is an error of the
    /// provider: `internal`.
    pub async fn bytes(self, limit: usize) -> Result<Vec<u8>, Error> {
        let timeout = self.timeout;
        let host = self.host.clone();
        let read = async {
            let mut body = self.into_reader();
            let mut bytes = Vec::new();
            while body.chunk(&mut bytes).await? {
                if bytes.len() > limit {
                    return Err(Error::new(
                        Code::Internal,
                        format!("the answer of {host} is longer than {limit} bytes"),
                    ));
                }
            }
            Ok(bytes)
        };
        match timeout {
            None => read.await,
            Some(limit) => time::timeout(limit, read).await.unwrap_or_else(|_| {
                Err(Error::new(
                    Code::DeadlineExceeded,
                    format!("{host} did not finish its answer within {} s", limit.as_secs()),
                ))
            }),
        }
    }

    /// Reads the whole body as JSON, at most `limit` bytes.
    pub async fn json<T: DeserializeOwned>(self, limit: usize) -> Result<T, Error> {
        let host = self.host.clone();
        let bytes = self.bytes(limit).await?;
        serde_json::from_slice(&bytes).map_err(|e| {
            Error::new(Code::Internal, format!("the answer of {host} is not what its interface promises"))
                .with("json", quote(&e.to_string()))
        })
    }

    /// Reads the body piece by piece, without a deadline.
    pub fn into_reader(self) -> BodyReader {
        let (_ok, result) = wit_future::new(|| Ok(()));
        let (body, trailers) = WasiResponse::consume_body(self.inner, result);
        BodyReader { body, end: End::Ahead(trailers), host: self.host }
    }
}

/// The body of an answer.
pub struct BodyReader {
    body: StreamReader<u8>,
    end: End,
    host: String,
}

enum End {
    /// More bytes may come.
    Ahead(FutureReader<Result<Option<Trailers>, ErrorCode>>),
    /// No more bytes will come. The trailers say whether the body is complete.
    Unread(FutureReader<Result<Option<Trailers>, ErrorCode>>),
    /// The trailers were read.
    Read,
}

impl BodyReader {
    /// Reads the rest of a body that is not needed, so that the connection can be reused. Stops after a moment, or
    /// after 64 KiB.
    pub async fn drain(mut self) {
        let rest = async {
            let mut buf = Vec::new();
            while buf.len() <= READ && matches!(self.chunk(&mut buf).await, Ok(true)) {}
        };
        let _ = time::timeout(REST, rest).await;
    }

    /// Appends the bytes that have arrived to `buf`; waits until there are some. Returns `false` after the last byte of
    /// a complete body. A body that breaks off is an error, even if its stream of bytes ended cleanly: this also reads
    /// the trailers, so that no caller can forget them.
    ///
    /// Dropping the future may lose bytes.
    pub async fn chunk(&mut self, buf: &mut Vec<u8>) -> Result<bool, Error> {
        loop {
            match std::mem::replace(&mut self.end, End::Read) {
                End::Read => return Ok(false),
                End::Unread(trailers) => {
                    return match trailers.await {
                        Ok(_) => Ok(false),
                        Err(e) => Err(Error::from_transport(&e, &self.host)),
                    };
                }
                End::Ahead(trailers) => {
                    if buf.capacity() - buf.len() < READ / 4 {
                        buf.reserve(READ);
                    }
                    let before = buf.len();
                    let (status, filled) = self.body.read(std::mem::take(buf)).await;
                    *buf = filled;
                    self.end = match status {
                        StreamResult::Complete(_) => End::Ahead(trailers),
                        _ => End::Unread(trailers),
                    };
                    if buf.len() > before {
                        return Ok(true);
                    }
                }
            }
        }
    }
}
