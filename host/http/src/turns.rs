//! Whose turn it is on a connection: the peer's, to say what it wants, or ours,
//! to answer.
//!
//! Owns the time that each turn may take, and the words for a peer that says
//! nothing we can read. Deliberately knows no request and no route.
//!
//! ```text
//!  First ──▶ Head ──▶ Answer ──▶ Waiting ──▶ Head …
//!                                   │ ▲
//!                                   ▼ │
//!                                  Stuck
//! ```
//!
//! A connection that waits for its next request is not closed by a turn: a
//! proxy may be sending on it at that moment, and would answer its client with
//! 502. hyper ends it after [`Limits::idle`].

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};

use axum::body::{Body, HttpBody};
use bytes::{Buf as _, Bytes};
use http_body::{Frame, SizeHint};
use hyper::Request;
use hyper::body::Incoming;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};

use super::serve::Limits;

/// What a TLS handshake begins with (RFC 8446 section 5.1).
const TLS_HANDSHAKE: u8 = 0x16;

/// What a connection of HTTP/2 begins with (RFC 9113 section 3.4).
const HTTP2_PREFACE: &[u8] = b"PRI * HTTP/2.0";

/// Heads of the answers that hyper gives on its own, always without a body.
/// Ours have one.
const TOO_LARGE: &[u8] = b"HTTP/1.1 431 ";
const MALFORMED: &[u8] = b"HTTP/1.1 400 ";
const NO_BODY: &[u8] = b"\r\ncontent-length: 0\r\n";

/// A turn, and since when it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Turn {
    /// Nothing has come yet.
    First(Instant),
    /// A head has begun.
    Head(Instant),
    /// We answer.
    Answer(Instant),
    /// For the next request.
    Waiting,
    /// The peer does not take the end of the last answer.
    Stuck(Instant),
}

/// Why a connection is over time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Late {
    /// The head did not come.
    Head,
    /// The answer was not taken.
    Answer,
}

/// What a peer speaks instead of HTTP/1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Foreign {
    Tls,
    Http2,
}

/// The turns on one connection.
#[derive(Debug)]
pub(super) struct Turns {
    turn: watch::Sender<Turn>,
    foreign: OnceLock<Foreign>,
}

impl Turns {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Turns { turn: watch::Sender::new(Turn::First(Instant::now())), foreign: OnceLock::new() })
    }

    /// What the peer spoke, if it was not HTTP/1.
    pub(super) fn foreign(&self) -> Option<Foreign> {
        self.foreign.get().copied()
    }

    fn now(&self) -> Turn {
        *self.turn.borrow()
    }

    /// A request has come. Its answer ends when the body that is made of it is
    /// dropped.
    pub(super) fn answer(self: &Arc<Self>) -> Answering {
        self.turn.send_replace(Turn::Answer(Instant::now()));
        Answering(Arc::clone(self))
    }

    /// Ends when a turn takes too long. An exchange during which something
    /// is `running` has until that has ended.
    pub(super) async fn late(&self, limits: &Limits, mut running: watch::Receiver<usize>) -> Late {
        let mut turns = self.turn.subscribe();
        loop {
            let turn = *turns.borrow_and_update();
            let over = async {
                match turn {
                    Turn::First(since) | Turn::Head(since) => {
                        sleep_until(since + limits.head).await;
                        Late::Head
                    }
                    Turn::Answer(since) | Turn::Stuck(since) => {
                        sleep_until(since + limits.exchange).await;
                        // Who holds the other end is `self`.
                        let _ = running.wait_for(|running| *running == 0).await;
                        sleep(limits.stop).await;
                        Late::Answer
                    }
                    Turn::Waiting => std::future::pending().await,
                }
            };
            tokio::select! {
                _ = turns.changed() => {}
                late = over => return late,
            }
        }
    }

    /// Bytes have come.
    fn came(&self, bytes: &[u8]) {
        match self.now() {
            Turn::First(_) => {
                let foreign = match bytes {
                    [TLS_HANDSHAKE, ..] => Some(Foreign::Tls),
                    _ if bytes.starts_with(HTTP2_PREFACE) => Some(Foreign::Http2),
                    _ => None,
                };
                if let Some(foreign) = foreign {
                    let _ = self.foreign.set(foreign);
                }
            }
            Turn::Waiting | Turn::Stuck(_) => {}
            Turn::Head(_) | Turn::Answer(_) => return,
        }
        // The first head is late when nothing of it comes, too.
        let since = if let Turn::First(since) = self.now() { since } else { Instant::now() };
        self.turn.send_replace(Turn::Head(since));
    }

    /// Whether the peer takes what is written.
    fn takes(&self, takes: bool) {
        match (self.now(), takes) {
            (Turn::Waiting, false) => _ = self.turn.send_replace(Turn::Stuck(Instant::now())),
            (Turn::Stuck(_), true) => _ = self.turn.send_replace(Turn::Waiting),
            _ => {}
        }
    }
}

/// The time of an answer; over when dropped.
#[derive(Debug)]
pub(super) struct Answering(Arc<Turns>);

impl Drop for Answering {
    fn drop(&mut self) {
        self.0.turn.send_replace(Turn::Waiting);
    }
}

/// The body of an answer, and what lasts as long as it does.
#[derive(Debug)]
pub(super) struct During<T> {
    pub(super) body: Body,
    pub(super) _lasts: T,
}

impl<T: Unpin> HttpBody for During<T> {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// The body of a request, of which it is known whether all was read.
#[derive(Debug)]
pub(super) struct AsFarAsRead {
    body: Incoming,
    whole: Arc<AtomicBool>,
}

impl AsFarAsRead {
    /// The request with such a body, and whether all of it was read.
    pub(super) fn of(request: Request<Incoming>) -> (Request<Body>, Arc<AtomicBool>) {
        let whole = Arc::new(AtomicBool::new(request.body().is_end_stream()));
        let read = Arc::clone(&whole);
        (request.map(|body| Body::new(AsFarAsRead { body, whole })), read)
    }
}

impl HttpBody for AsFarAsRead {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        if frame.is_none() || self.body.is_end_stream() {
            self.whole.store(true, Ordering::Relaxed);
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A connection whose turns are watched.
#[derive(Debug)]
pub(super) struct Watched<Io> {
    io: Io,
    turns: Arc<Turns>,
    /// Our words, and how many bytes of hyper's they stand for.
    instead: Option<(Bytes, usize)>,
}

impl<Io> Watched<Io> {
    pub(super) fn new(io: Io, turns: Arc<Turns>) -> Self {
        Watched { io, turns, instead: None }
    }
}

impl<Io: AsyncWrite + Unpin> Watched<Io> {
    /// Words in the place of an answer without any.
    fn with_words(bytes: &[u8]) -> Option<Bytes> {
        let (status, code, error) = if bytes.starts_with(TOO_LARGE) {
            ("431 Request Header Fields Too Large", "head_too_large", super::serve::head_too_large())
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

    /// Writes our words where they stand for `bytes`; none: they do not.
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
