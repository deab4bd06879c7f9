//! A connection's socket, watched for its turns.
//!
//! Owns the words for a peer that says nothing that can be read: hyper answers
//! such a peer without any. Deliberately knows no route.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::limits::head_too_large;
use super::turns::Turns;

/// Beginnings of the answers that hyper gives on its own. They have no body; the
/// broker's own have one.
const TOO_LARGE: &[u8] = b"HTTP/1.1 431 ";
const MALFORMED: &[u8] = b"HTTP/1.1 400 ";
const NO_BODY: &[u8] = b"\r\ncontent-length: 0\r\n";

/// A connection whose turns are watched.
#[derive(Debug)]
pub(super) struct Watched<Io> {
    io: Io,
    turns: Arc<Turns>,
    /// The words that are written instead, and how many bytes of hyper's they
    /// replace.
    instead: Option<(Bytes, usize)>,
}

impl<Io> Watched<Io> {
    pub(super) fn new(io: Io, turns: Arc<Turns>) -> Self {
        Watched { io, turns, instead: None }
    }
}

impl<Io: AsyncWrite + Unpin> Watched<Io> {
    /// The answer with words that replaces one without, if `bytes` are such a one.
    fn with_words(bytes: &[u8]) -> Option<Bytes> {
        let (status, code, error) = if bytes.starts_with(TOO_LARGE) {
            ("431 Request Header Fields Too Large", "head_too_large", head_too_large())
        } else if bytes.starts_with(MALFORMED) {
            let words = "this is no request of HTTP/1.1; if a proxy sent it, see how it speaks to the broker";
            ("400 Bad Request", "malformed_request", words.to_owned())
        } else {
            return None;
        };
        if !bytes.windows(NO_BODY.len()).any(|window| window == NO_BODY) {
            return None;
        }
        let body = serde_json::json!({ "error": error, "code": code }).to_string();
        let length = body.len();
        Some(Bytes::from(format!(
            "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncache-control: no-store\r\nconnection: close\r\n\
             content-length: {length}\r\n\r\n{body}"
        )))
    }

    /// Writes words instead of `bytes` and returns how many bytes they replace. None
    /// if `bytes` are written as they are.
    fn poll_words(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<Option<usize>>> {
        if self.instead.is_none() {
            self.instead = Self::with_words(bytes).map(|words| (words, bytes.len()));
        }
        while let Some((words, stands_for)) = &mut self.instead {
            if words.is_empty() {
                let stands_for = *stands_for;
                self.instead = None;
                return Poll::Ready(Ok(Some(stands_for)));
            }
            let written = ready!(Pin::new(&mut self.io).poll_write(cx, words))?;
            words.advance(written);
        }
        Poll::Ready(Ok(None))
    }
}

impl<Io: AsyncRead + Unpin> AsyncRead for Watched<Io> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = Pin::new(&mut self.io).poll_read(cx, buf);
        if let Some(bytes @ [_, ..]) = buf.filled().get(before..) {
            self.turns.came(bytes);
        }
        read
    }
}

impl<Io: AsyncWrite + Unpin> AsyncWrite for Watched<Io> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        if let Some(written) = ready!(self.poll_words(cx, buf))? {
            return Poll::Ready(Ok(written));
        }
        let written = Pin::new(&mut self.io).poll_write(cx, buf);
        self.turns.takes(written.is_ready());
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let first = bufs.iter().find(|buf| !buf.is_empty()).map_or(&[][..], |buf| buf);
        if let Some(written) = ready!(self.poll_words(cx, first))? {
            return Poll::Ready(Ok(written));
        }
        let written = Pin::new(&mut self.io).poll_write_vectored(cx, bufs);
        self.turns.takes(written.is_ready());
        written
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }
}
