//! Pipes between Tokio channels and the component model's streams and
//! futures.
//!
//! They honour `finish` (a guest that cancels a read or write is answered at once) and zero-length reads. They take at
//! most [`CHUNK_BYTES`] per poll, so that a guest never sizes the host's memory. They report to the
//! [`Meter`](crate::store::meter::Meter) what went through. Deliberately does not know what the
//! bytes mean.
//!
//! A stream that the host made and a guest hands back is [taken](take) out of the Store, and flows on without it.

use std::any::{Any, TypeId};
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::PollSender;
use wasmtime::component::{
    Destination, FutureConsumer, FutureProducer, Lift, Source, StreamConsumer, StreamProducer, StreamReader,
    StreamResult,
};
use wasmtime::{AsContextMut, Result, StoreContextMut};

use crate::lent::{Counted, Through};
use crate::store::State;
use sandbox_broker_core::sandbox::{CHUNK_BYTES, PIPE_CHUNKS};

/// Bytes on their way into a guest. The stream ends when the sender is gone.
///
/// What the guest has not read is kept here and not in the engine's buffer, so that [`take`] loses nothing.
pub(crate) struct Inward {
    rx: mpsc::Receiver<Bytes>,
    current: Bytes,
}

impl Inward {
    pub(crate) fn new(rx: mpsc::Receiver<Bytes>) -> Self {
        Inward { rx, current: Bytes::new() }
    }

    /// The bytes that the guest has not read.
    fn into_receiver(self) -> mpsc::Receiver<Bytes> {
        let Inward { mut rx, current } = self;
        if current.is_empty() {
            return rx;
        }
        let (to, rest) = mpsc::channel(PIPE_CHUNKS);
        tokio::spawn(async move {
            let mut next = Some(current);
            while let Some(chunk) = next {
                if to.send(chunk).await.is_err() {
                    return;
                }
                next = rx.recv().await;
            }
        });
        rest
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

    fn try_into(me: Pin<Box<Self>>, ty: TypeId) -> std::result::Result<Box<dyn Any>, Pin<Box<Self>>> {
        if ty == TypeId::of::<Self>() { Ok(Box::new(*Pin::into_inner(me))) } else { Err(me) }
    }
}

/// Takes a stream from a guest. One that the host made is taken out of the Store, with what the guest has not read of it.
/// Any other is read through the Store, which `through` then counts.
pub(crate) fn take(
    mut store: impl AsContextMut<Data = State>,
    stream: StreamReader<u8>,
    through: &Through,
) -> Result<mpsc::Receiver<Bytes>> {
    match take_out(&mut store, stream) {
        Ok(taken) => Ok(taken),
        Err(stream) => read_through(store, stream, through),
    }
}

/// Takes a stream that the host made out of the Store. Gives back any other.
pub(crate) fn take_out(
    mut store: impl AsContextMut<Data = State>,
    stream: StreamReader<u8>,
) -> std::result::Result<mpsc::Receiver<Bytes>, StreamReader<u8>> {
    stream.try_into::<Inward>(&mut store).map(Inward::into_receiver)
}

/// Reads a stream through the Store. When the Store goes, it looks as if the stream had ended.
pub(crate) fn read_through(
    mut store: impl AsContextMut<Data = State>,
    stream: StreamReader<u8>,
    through: &Through,
) -> Result<mpsc::Receiver<Bytes>> {
    let (to, taken) = mpsc::channel(PIPE_CHUNKS);
    stream.pipe(&mut store, Outward { to: PollSender::new(to), _counted: through.count() })?;
    Ok(taken)
}

/// Bytes on their way out of a guest. The guest waits while the channel is full, and learns from a closed channel that
/// nobody reads.
struct Outward {
    to: PollSender<Bytes>,
    _counted: Counted,
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
        match self.to.poll_reserve(cx) {
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
            self.to.abort_send();
            return Poll::Ready(Ok(StreamResult::Completed));
        }
        let chunk = Bytes::copy_from_slice(&offered[..n]);
        direct.mark_read(n);
        meter.moved(n);
        match self.to.send_item(chunk) {
            Ok(()) => Poll::Ready(Ok(StreamResult::Completed)),
            Err(_) => Poll::Ready(Ok(StreamResult::Dropped)),
        }
    }
}

/// Takes the one value of a guest's future.
pub(crate) struct OutwardValue<T>(Option<oneshot::Sender<T>>);

impl<T> OutwardValue<T> {
    pub(crate) fn new(tx: oneshot::Sender<T>) -> Self {
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
pub(crate) struct InwardValue<T, F> {
    rx: oneshot::Receiver<T>,
    otherwise: F,
}

impl<T, F> InwardValue<T, F> {
    pub(crate) fn new(rx: oneshot::Receiver<T>, otherwise: F) -> Self {
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
