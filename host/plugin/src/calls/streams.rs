//! Pipes between Tokio channels and the component model's streams and
//! futures.
//!
//! They honour `finish` (a guest that cancels a read or write is answered at once) and zero-length reads. They take at
//! most [`CHUNK_BYTES`] per poll, so that a guest never sizes the host's memory. They report to the
//! [`Meter`](crate::store::meter::Meter) what went through. Deliberately does not know what the
//! bytes mean.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::PollSender;
use wasmtime::component::{
    Destination, FutureConsumer, FutureProducer, Lift, Source, StreamConsumer, StreamProducer, StreamResult,
};
use wasmtime::{Result, StoreContextMut};

use crate::store::State;
use sandbox_broker_core::sandbox::CHUNK_BYTES;

/// Bytes on their way into a guest. The stream ends when the sender is gone.
pub(super) struct Inward {
    rx: mpsc::Receiver<Bytes>,
    current: Bytes,
}

impl Inward {
    pub(super) fn new(rx: mpsc::Receiver<Bytes>) -> Self {
        Inward { rx, current: Bytes::new() }
    }
}

impl StreamProducer<State> for Inward {
    type Item = u8;
    type Buffer = Bytes;

    fn poll_produce<'a>(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        store: StoreContextMut<'a, State>,
        destination: Destination<'a, u8, Bytes>,
        finish: bool,
    ) -> Poll<Result<StreamResult>> {
        while self.current.is_empty() {
            match self.rx.poll_recv(cx) {
                Poll::Ready(Some(chunk)) => self.current = chunk,
                Poll::Ready(None) => return Poll::Ready(Ok(StreamResult::Dropped)),
                Poll::Pending if finish => return Poll::Ready(Ok(StreamResult::Cancelled)),
                Poll::Pending => return Poll::Pending,
            }
        }
        // A zero-length read tells the guest that bytes are ready. None is taken, and the chunk stays here.
        let meter = store.data().meter().clone();
        let mut direct = destination.as_direct(store, self.current.len());
        let room = direct.remaining();
        let n = room.len().min(self.current.len());
        room[..n].copy_from_slice(&self.current[..n]);
        direct.mark_written(n);
        meter.moved(n);
        self.current.advance(n);
        Poll::Ready(Ok(StreamResult::Completed))
    }
}

/// Bytes on their way out of a guest. The guest waits while the channel is full, and learns from a closed channel that
/// nobody reads.
pub(super) struct Outward(PollSender<Bytes>);

impl Outward {
    pub(super) fn new(tx: mpsc::Sender<Bytes>) -> Self {
        Outward(PollSender::new(tx))
    }
}

impl StreamConsumer<State> for Outward {
    type Item = u8;

    fn poll_consume(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        store: StoreContextMut<State>,
        source: Source<'_, u8>,
        finish: bool,
    ) -> Poll<Result<StreamResult>> {
        match self.0.poll_reserve(cx) {
            Poll::Ready(Ok(())) => {}
            Poll::Ready(Err(_)) => return Poll::Ready(Ok(StreamResult::Dropped)),
            Poll::Pending if finish => return Poll::Ready(Ok(StreamResult::Cancelled)),
            Poll::Pending => return Poll::Pending,
        }
        let meter = store.data().meter().clone();
        let mut direct = source.as_direct(store);
        let offered = direct.remaining();
        let n = offered.len().min(CHUNK_BYTES);
        if n == 0 {
            // A zero-length write asks whether there is room, and there is.
            self.0.abort_send();
            return Poll::Ready(Ok(StreamResult::Completed));
        }
        let chunk = Bytes::copy_from_slice(&offered[..n]);
        direct.mark_read(n);
        meter.moved(n);
        match self.0.send_item(chunk) {
            Ok(()) => Poll::Ready(Ok(StreamResult::Completed)),
            Err(_) => Poll::Ready(Ok(StreamResult::Dropped)),
        }
    }
}

/// Takes the one value of a guest's future.
pub(super) struct OutwardValue<T>(Option<oneshot::Sender<T>>);

impl<T> OutwardValue<T> {
    pub(super) fn new(tx: oneshot::Sender<T>) -> Self {
        OutwardValue(Some(tx))
    }
}

impl<D, T: Lift + Send + 'static> FutureConsumer<D> for OutwardValue<T> {
    type Item = T;

    fn poll_consume(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        mut store: StoreContextMut<D>,
        mut source: Source<'_, T>,
        _: bool,
    ) -> Poll<Result<()>> {
        let mut value = None;
        source.read(&mut store, &mut value)?;
        if let (Some(tx), Some(value)) = (self.0.take(), value) {
            // Nobody needs the value any more when the receiver is gone.
            let _ = tx.send(value);
        }
        Poll::Ready(Ok(()))
    }
}

/// Gives a guest the one value of a channel, or `otherwise` when its sender is gone.
pub(super) struct InwardValue<T, F> {
    rx: oneshot::Receiver<T>,
    otherwise: F,
}

impl<T, F> InwardValue<T, F> {
    pub(super) fn new(rx: oneshot::Receiver<T>, otherwise: F) -> Self {
        InwardValue { rx, otherwise }
    }
}

impl<D, T, F> FutureProducer<D> for InwardValue<T, F>
where
    T: Send + 'static,
    F: Fn() -> T + Unpin + Send + 'static,
{
    type Item = T;

    fn poll_produce(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        _: StoreContextMut<D>,
        finish: bool,
    ) -> Poll<Result<Option<T>>> {
        match Pin::new(&mut self.rx).poll(cx) {
            Poll::Ready(Ok(value)) => Poll::Ready(Ok(Some(value))),
            Poll::Ready(Err(_)) => Poll::Ready(Ok(Some((self.otherwise)()))),
            Poll::Pending if finish => Poll::Ready(Ok(None)),
            Poll::Pending => Poll::Pending,
        }
    }
}
