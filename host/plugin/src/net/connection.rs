//! A connection to a server that may answer before it has read all.
//!
//! Owns what happens to a request that nobody reads any more. A server that refuses a request early answers, closes,
//! and resets what is still on its way. hyper gives up at the first write that fails, and the answer that says why
//! stays unread in the socket. So a failed write succeeds here, its bytes are dropped, and the reads tell how the
//! request ended. Deliberately knows no HTTP.

use std::io::{self, ErrorKind, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use hyper_util::client::legacy::connect::{Connected, Connection};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio_util::either::Either;

use super::places::Place;

/// A stream whose writes go on to succeed after the other end stopped reading; their bytes are dropped. Reads return what
/// was received until then, and after that the end or the error.
#[derive(Debug)]
pub(super) struct TolerantStream {
    stream: Either<TcpStream, UnixStream>,
    /// The other end has reset the connection.
    deaf: bool,
    /// Kept as long as the connection.
    _place: Place,
}

impl TolerantStream {
    pub(super) fn new(stream: Either<TcpStream, UnixStream>, place: Place) -> Self {
        TolerantStream { stream, deaf: false, _place: place }
    }

    /// The result of a write of `len` bytes, as the caller sees it.
    fn tolerate(&mut self, written: Poll<io::Result<usize>>, len: usize) -> Poll<io::Result<usize>> {
        match written {
            Poll::Ready(Err(error)) if is_deaf(&error) => {
                self.deaf = true;
                Poll::Ready(Ok(len))
            }
            other => other,
        }
    }
}

fn is_deaf(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset | ErrorKind::ConnectionAborted)
}

impl AsyncRead for TolerantStream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for TolerantStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        if self.deaf {
            return Poll::Ready(Ok(buf.len()));
        }
        let written = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.tolerate(written, buf.len())
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let len = bufs.iter().map(|buf| buf.len()).sum();
        if self.deaf {
            return Poll::Ready(Ok(len));
        }
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.tolerate(written, len)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

impl Connection for TolerantStream {
    fn connected(&self) -> Connected {
        match &self.stream {
            Either::Left(stream) => stream.connected(),
            Either::Right(stream) => stream.connected(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;
    use futures_util::stream;
    use http_body::Frame;
    use http_body_util::{BodyExt as _, StreamBody};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;
    use tokio::sync::oneshot;

    use crate::net::sender::Sender;
    use sandbox_broker_config::{EgressGrant, Tls};

    /// On one thread the body goes on before the socket was looked at again,
    /// so that hyper writes first and reads afterwards.
    #[tokio::test]
    async fn a_refusal_of_what_was_not_read_arrives() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let sender =
            Sender::new(vec![EgressGrant::parse(&url).unwrap()], false, None, &Tls::default(), Arc::default()).unwrap();
        let (closed, go_on) = oneshot::channel();
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            stream.read_u8().await.unwrap();
            stream.write_all(b"HTTP/1.1 413 Too Large\r\ncontent-length: 8\r\n\r\ntoo much").await.unwrap();
            drop(stream);
            closed.send(()).unwrap();
        });
        let frame = || Ok(Frame::data(Bytes::from_static(&[7; 1000])));
        let rest = stream::once(async move { go_on.await.map(|()| frame()).unwrap() });
        let body = StreamBody::new(futures_util::StreamExt::chain(stream::iter([frame()]), rest)).boxed_unsync();
        let request = http::Request::post(&url).body(body).unwrap();
        let answer = sender.send(request, None, Arc::default()).await.unwrap();
        assert_eq!(answer.status(), 413);
        assert_eq!(answer.into_body().collect().await.unwrap().to_bytes(), "too much");
    }
}
