//! Bodies of requests and answers that say something about their connection.
//!
//! Deliberately knows no turn: what lasts as long as a body is the caller's.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use axum::body::{Body, HttpBody};
use bytes::Bytes;
use http_body::{Frame, SizeHint};
use hyper::Request;
use hyper::body::Incoming;

/// The body of an answer, and something that is dropped with it.
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

/// The body of a request that notes whether all of it was read.
#[derive(Debug)]
pub(super) struct AsFarAsRead {
    body: Incoming,
    whole: Arc<AtomicBool>,
}

impl AsFarAsRead {
    /// Gives a request such a body. The flag is set once all of it was read.
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
