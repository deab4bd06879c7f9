//! A request and the writer of its body.

use std::pin::pin;
use std::time::Duration;

use futures_util::future::{Either, select};
use serde::Serialize;
use wit_bindgen::{FutureWriter, StreamWriter};

use super::{Method, Response};
use crate::__bindings::host::{wit_future, wit_stream};
use crate::wasi::http::client;
use crate::wasi::http::types::{ErrorCode, Fields, Request as WasiRequest, Scheme, Trailers};
use crate::{Code, Error, time};

/// A request as plain data, so that a native test can look at what will be sent.
#[derive(Clone, Debug)]
pub struct Request {
    /// The method.
    pub method: Method,
    /// Absolute URL, `http` or `https`, without a fragment.
    pub url: String,
    /// Headers in order, without credentials of the operator's: the host adds those. It also sets `Host`, `Connection` and
    /// similar headers.
    pub headers: Vec<(String, String)>,
    /// The whole body, sent with its `content-length`.
    pub body: Option<Vec<u8>>,
    /// The time for the whole exchange: until the head of the answer, and again until the end of a body that is read
    /// with [`Response::bytes`].
    pub timeout: Option<Duration>,
}

impl Request {
    /// A request without headers, body and deadline.
    pub fn new(method: Method, url: impl Into<String>) -> Self {
        Self { method, url: url.into(), headers: Vec::new(), body: None, timeout: None }
    }

    /// Adds a header.
    #[must_use]
    pub fn header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    /// Sets the whole body and its type.
    #[must_use]
    pub fn body(mut self, content_type: &str, body: Vec<u8>) -> Self {
        self.body = Some(body);
        self.header("content-type", content_type)
    }

    /// Sets a JSON body.
    #[must_use]
    pub fn json(self, body: &impl Serialize) -> Self {
        let body = serde_json::to_vec(body).expect("bodies are structs with text keys");
        self.body("application/json", body)
    }

    /// Sets the deadline.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// The value of a header, by its name in any case.
    pub fn header_value(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.as_str())
    }

    /// Sends the request and returns the head of the answer, whatever its status.
    ///
    /// Fails with a description of the transport's error, or with `deadline-exceeded`. Dropping the future cancels the
    /// exchange.
    pub async fn send(mut self) -> Result<Response, Error> {
        let late = self.late();
        let timeout = self.timeout;
        let bytes = self.body.take();
        let exchange = async {
            let Some(bytes) = bytes else {
                return self.build(None, false)?.0.await;
            };
            let size = bytes.len() as u64;
            let (answer, mut body) = self.open(Some(size))?;
            let write = async {
                if body.write(bytes).await.is_ok() {
                    body.finish().await;
                }
            };
            // If the answer is early, do not wait for a body that nobody reads.
            match select(pin!(answer), pin!(write)).await {
                Either::Left((answer, _)) => answer,
                Either::Right(((), answer)) => answer.await,
            }
        };
        // Boxed, because callers nest it in futures that live as long as a terminal.
        within(timeout, late, Box::pin(exchange)).await
    }

    /// Sends the request with a body that `write` produces during the exchange. `size` becomes the `content-length`.
    ///
    /// `write` ends a complete body with [`Body::finish`]. If it returns an error or drops the body, the server sees a
    /// broken request, never a short body that looks complete. If the server answers early with a failure, `write` is
    /// dropped and the answer is returned. The deadline starts at the end of the body, because the body takes as long
    /// as its source.
    pub async fn send_stream<F>(self, size: Option<u64>, write: F) -> Result<Response, Error>
    where
        F: AsyncFnOnce(Body) -> Result<(), Error>,
    {
        let late = self.late();
        let timeout = self.timeout;
        let (answer, body) = self.open(size)?;
        match select(pin!(answer), pin!(write(body))).await {
            Either::Left((answer, write)) => {
                let answer = answer?;
                if answer.status < 300 {
                    write.await?;
                }
                Ok(answer)
            }
            Either::Right((written, answer)) => {
                written?;
                within(timeout, late, answer).await
            }
        }
    }

    /// Starts the request with a body that the caller writes, for long exchanges. The future gives the head of the
    /// answer. Poll it while you write the body. Dropping either one breaks the exchange off. There is no deadline.
    pub fn open(self, size: Option<u64>) -> Result<(impl Future<Output = Result<Response, Error>>, Body), Error> {
        let (answer, body) = self.build(size, true)?;
        Ok((answer, body.expect("a body was asked for")))
    }

    fn build(
        self,
        size: Option<u64>,
        with_body: bool,
    ) -> Result<(impl Future<Output = Result<Response, Error>> + use<>, Option<Body>), Error> {
        let unfit = |what: &str| Error::new(Code::InvalidArgument, format!("the request has an unfit {what}"));
        let url = Url::parse(&self.url).ok_or_else(|| unfit("url"))?;
        let fields = Fields::new();
        for (name, value) in &self.headers {
            fields.append(name, value.as_bytes()).map_err(|_| unfit(&format!("header {name}")))?;
        }
        if let Some(size) = size {
            let size = size.to_string();
            fields.append("content-length", size.as_bytes()).map_err(|_| unfit("length"))?;
        }
        let (body, contents, trailers) = if with_body {
            let (tx, rx) = wit_stream::new();
            // A dropped writer must break the request off.
            let (end, trailers) = wit_future::new(|| Err(ErrorCode::ConnectionTerminated));
            (Some(Body { tx, end }), Some(rx), trailers)
        } else {
            (None, None, wit_future::new(|| Ok(None)).1)
        };
        let (request, _sent) = WasiRequest::new(fields, contents, trailers, None);
        request.set_method(&self.method).map_err(|()| unfit("method"))?;
        request.set_scheme(Some(&url.scheme)).map_err(|()| unfit("scheme"))?;
        request.set_authority(Some(url.authority)).map_err(|()| unfit("host"))?;
        request.set_path_with_query(Some(&url.path)).map_err(|()| unfit("path"))?;

        let host = url.authority.to_owned();
        let timeout = self.timeout;
        let answer = async move {
            match client::send(request).await {
                Ok(answer) => Ok(Response::new(answer, host, timeout)),
                Err(failure) => Err(Error::from_transport(&failure, &host)),
            }
        };
        Ok((answer, body))
    }

    fn late(&self) -> Error {
        let host = Url::parse(&self.url).map_or("the server", |url| url.authority);
        let limit = self.timeout.unwrap_or_default().as_secs();
        Error::new(Code::DeadlineExceeded, format!("{host} did not answer within {limit} s"))
    }
}

async fn within<T>(
    timeout: Option<Duration>,
    late: Error,
    exchange: impl Future<Output = Result<T, Error>>,
) -> Result<T, Error> {
    match timeout {
        None => exchange.await,
        Some(limit) => time::timeout(limit, exchange).await.unwrap_or(Err(late)),
    }
}

/// The writer of a request's body. If it is dropped without [`Body::finish`], the request breaks off.
pub struct Body {
    tx: StreamWriter<u8>,
    end: FutureWriter<Result<Option<Trailers>, ErrorCode>>,
}

/// Nobody reads the body any more. The answer, if there is one, says why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Closed;

impl Body {
    /// Writes all bytes. Waits while the server does not read. Returns the empty buffer for the next write.
    pub async fn write(&mut self, bytes: Vec<u8>) -> Result<Vec<u8>, Closed> {
        let rest = self.tx.write_all(bytes).await;
        if rest.is_empty() { Ok(rest) } else { Err(Closed) }
    }

    /// Ends a complete body.
    pub async fn finish(self) {
        drop(self.tx);
        // Fails if the exchange is over. Then the answer says more.
        let _ = self.end.write(Ok(None)).await;
    }
}

/// The parts of a URL that `wasi:http` needs.
struct Url<'a> {
    scheme: Scheme,
    authority: &'a str,
    path: String,
}

impl<'a> Url<'a> {
    fn parse(url: &'a str) -> Option<Self> {
        let (scheme, rest) = match url.split_once("://")? {
            ("https", rest) => (Scheme::Https, rest),
            ("http", rest) => (Scheme::Http, rest),
            _ => return None,
        };
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(end);
        if authority.is_empty() || authority.contains('@') || rest.contains('#') {
            return None;
        }
        let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
        Some(Self { scheme, authority, path })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_split_into_what_wasi_http_wants() {
        let url = Url::parse("http://localhost:3000/v2/x?a=b").expect("a url");
        assert!(matches!(url.scheme, Scheme::Http));
        assert_eq!((url.authority, url.path.as_str()), ("localhost:3000", "/v2/x?a=b"));
        assert_eq!(Url::parse("https://h?q").expect("a url").path, "/?q");
        assert_eq!(Url::parse("https://h").expect("a url").path, "/");
        for bad in ["h/x", "ftp://h", "https://", "https://u@h/", "https://h/#f"] {
            assert!(Url::parse(bad).is_none(), "{bad}");
        }
    }
}
