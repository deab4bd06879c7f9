//! The bodies of a plugin's requests and of the answers.
//!
//! Owns how a body ends: a request body whose Store is gone fails, and a response body fails that falls silent or has a
//! secret in it.
//! Deliberately knows no grant and no address.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt as _;
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;
use wasmtime_wasi_http::{Error, WasiBody};

use super::errors::error_code;
use super::places::{Place, StoreRequests};
use sandbox_broker_secrets::{Reflected, Search};

/// Frames of a response body between the connection and the guest.
const BODY_FRAMES: usize = 32;
/// Small frames are joined up to this size: each costs the guest a wake-up.
const JOINED_BYTES: usize = 48 << 10;
/// A frame of this size goes on as it is.
const WHOLE_BYTES: usize = 16 << 10;

/// A request body that fails when its Store is gone. The engine's own body would end as if it were whole.
pub(super) struct RequestBody {
    pub(super) body: WasiBody,
    pub(super) size: SizeHint,
    pub(super) store: Arc<StoreRequests>,
    /// Kept while the body is on its way.
    pub(super) _place: Arc<[Place; 2]>,
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        match Pin::new(&mut self.body).poll_frame(cx) {
            Poll::Ready(None) if self.store.are_dead() => Poll::Ready(Some(Err(Error::ConnectionTerminated))),
            frame => frame,
        }
    }

    fn size_hint(&self) -> SizeHint {
        self.size
    }
}

/// A body of these bytes.
pub(crate) fn of_bytes(bytes: Bytes) -> WasiBody {
    http_body_util::Full::new(bytes).map_err(|never| match never {}).boxed_unsync()
}

/// A body of what comes from a channel.
pub(crate) fn of_channel(mut chunks: mpsc::Receiver<Bytes>) -> WasiBody {
    let frames = futures_util::stream::poll_fn(move |cx| {
        chunks.poll_recv(cx).map(|chunk| chunk.map(|chunk| Ok::<_, Error>(Frame::data(chunk))))
    });
    http_body_util::StreamBody::new(frames).boxed_unsync()
}

type Received = Result<Frame<Bytes>, Error>;

/// A frame that waits for the guest. It is small, because the channel reserves room for all of its frames for as long as
/// it lives.
enum Queued {
    Data(Bytes),
    Other(Box<Received>),
}

impl Queued {
    fn new(received: Received) -> Self {
        match received.map(Frame::into_data) {
            Ok(Ok(data)) => Queued::Data(data),
            Ok(Err(other)) => Queued::Other(Box::new(Ok(other))),
            Err(error) => Queued::Other(Box::new(Err(error))),
        }
    }
}

/// A response body that joins small frames, because each frame costs the guest a wake-up. A task of its own reads the
/// connection, so that frames gather while the guest works.
pub(super) struct ResponseBody {
    frames: mpsc::Receiver<Queued>,
    held: Option<Queued>,
    _reader: AbortOnDropHandle<()>,
    _place: Arc<[Place; 2]>,
}

impl ResponseBody {
    /// Fails when nothing arrives for `silence`, and with what `refuse` returns when `search` finds something. Keeps the
    /// request's `place`.
    pub(super) fn new(
        mut body: hyper::body::Incoming,
        silence: Option<Duration>,
        mut search: Search,
        place: Arc<[Place; 2]>,
        refuse: impl Fn() -> Error + Send + 'static,
    ) -> Self {
        let (tx, frames) = mpsc::channel(BODY_FRAMES);
        let reader = tokio::spawn(async move {
            loop {
                let frame = match within(silence, Error::ConnectionReadTimeout, body.frame()).await {
                    Ok(Some(frame)) => frame
                        .map_err(|e| error_code(&e))
                        .and_then(|frame| searched(frame, &mut search).map_err(|_| refuse())),
                    Ok(None) => {
                        let held = search.end();
                        if !held.is_empty() {
                            let _ = tx.send(Queued::Data(held)).await;
                        }
                        break;
                    }
                    Err(silent) => Err(silent),
                };
                let last = frame.is_err();
                if tx.send(Queued::new(frame)).await.is_err() || last {
                    break;
                }
            }
        });
        ResponseBody { frames, held: None, _reader: AbortOnDropHandle::new(reader), _place: place }
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Queued>> {
        match self.held.take() {
            Some(frame) => Poll::Ready(Some(frame)),
            None => self.frames.poll_recv(cx),
        }
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Received>> {
        let first = match ready!(self.poll_next(cx)) {
            Some(Queued::Data(data)) => data,
            Some(Queued::Other(other)) => return Poll::Ready(Some(*other)),
            None => return Poll::Ready(None),
        };
        if first.len() >= WHOLE_BYTES {
            return Poll::Ready(Some(Ok(Frame::data(first))));
        }
        let Ok(second) = self.frames.try_recv() else { return Poll::Ready(Some(Ok(Frame::data(first)))) };
        let mut joined = BytesMut::with_capacity(WHOLE_BYTES);
        joined.extend_from_slice(&first);
        let mut next = Some(second);
        while let Some(waiting) = next {
            match waiting {
                Queued::Data(data) if joined.len() + data.len() <= JOINED_BYTES => joined.extend_from_slice(&data),
                other => self.held = Some(other),
            }
            next = if self.held.is_some() { None } else { self.frames.try_recv().ok() };
        }
        Poll::Ready(Some(Ok(Frame::data(joined.freeze()))))
    }
}

/// A frame as the guest may see it.
fn searched(frame: Frame<Bytes>, search: &mut Search) -> Result<Frame<Bytes>, Reflected> {
    match frame.into_data() {
        Ok(data) => search.piece(data).map(Frame::data),
        Err(other) => {
            other.trailers_ref().map_or(Ok(()), |trailers| search.headers(trailers))?;
            Ok(other)
        }
    }
}

/// Awaits `future`, within `limit` when there is one. Fails with `late`.
pub(super) async fn within<T>(
    limit: Option<Duration>,
    late: Error,
    future: impl Future<Output = T>,
) -> Result<T, Error> {
    match limit {
        None => Ok(future.await),
        Some(limit) => tokio::time::timeout(limit, future).await.map_err(|_| late),
    }
}
