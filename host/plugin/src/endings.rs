//! The end of a connection, lent to a guest as a future and taken back.
//!
//! Owns the future's two ways out of a Store: a future that the host lent is closed there and awaited outside; any other is
//! read through the Store. Deliberately does not know what the end means.

use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;
use wasmtime::component::{FutureProducer, FutureReader};
use wasmtime::{AsContextMut, Result, StoreContextMut};

use crate::bindings::host::types as wit;
use crate::convert;
use crate::lent::{Slot, Through};
use crate::net::carry::{self, Broken, Ending};
use crate::store::State;
use crate::streams::OutwardValue;
use sandbox_stdx::lock::lock;

/// The last words of a connection as a guest sees them.
pub(crate) type Ended = std::result::Result<String, wit::Error>;

/// Tells a guest how a connection ended.
struct Telling(Arc<Slot>);

impl<D> FutureProducer<D> for Telling {
    type Item = Ended;

    fn poll_produce(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        _: StoreContextMut<D>,
        finish: bool,
    ) -> Poll<Result<Option<Ended>>> {
        let mut slot = lock(&self.0);
        // A future that was taken back is closed, and nobody asks it any more.
        let Some(ended) = slot.as_mut() else { return Poll::Ready(Ok(None)) };
        match Pin::new(&mut ended.ending).poll(cx) {
            Poll::Ready(ending) => Poll::Ready(Ok(Some(told(ending)))),
            Poll::Pending if finish => Poll::Ready(Ok(None)),
            Poll::Pending => Poll::Pending,
        }
    }
}

/// What a guest is told. The sender is gone when the connection was given up.
fn told(ending: std::result::Result<Ending, oneshot::error::RecvError>) -> Ended {
    match ending {
        Ok(Ok(report)) => Ok(report),
        Ok(Err(Broken::Told(error))) => Err(error),
        Ok(Err(broken)) => Err(convert::denial(wit::Code::Unavailable, broken.to_string())),
        Err(_) => Err(convert::denial(wit::Code::Cancelled, "the connection was given up")),
    }
}

/// Lends the end of a connection to a guest.
pub(crate) fn lend(mut store: impl AsContextMut<Data = State>, ended: carry::Ended) -> Result<FutureReader<Ended>> {
    let slot = Arc::new(Mutex::new(Some(ended)));
    let future = FutureReader::new(&mut store, Telling(slot.clone()))?.try_into_future_any(&mut store)?;
    store.as_context_mut().data_mut().lent().note(future.clone(), &slot);
    FutureReader::try_from_future_any(future)
}

/// The end of a connection, as the host sees it.
pub(crate) type Awaited = Pin<Box<dyn Future<Output = Option<Ended>> + Send>>;

/// Takes the end of a connection from a guest: out of the Store, if the host lent it, or else through the Store. None is told
/// when the guest dropped its side. What is returned beside it ends the connection, if it is the host's.
pub(crate) fn take(
    mut store: impl AsContextMut<Data = State>,
    future: FutureReader<Ended>,
    through: &Through,
) -> Result<(Awaited, CancellationToken)> {
    let mut future = future.try_into_future_any(&mut store)?;
    let slot = store.as_context_mut().data_mut().lent().find(&future);
    if let Some(ours) = slot.and_then(|slot| lock(&slot).take()) {
        future.close(&mut store)?;
        let carry::Ended { ending, cut } = ours;
        return Ok((Box::pin(async move { Some(told(ending.await)) }), cut));
    }
    let (to, taken) = oneshot::channel();
    let future = FutureReader::try_from_future_any(future)?;
    let counted = through.count();
    future.pipe(&mut store, OutwardValue::new(to))?;
    let awaited = Box::pin(async move {
        let _counted = counted;
        taken.await.ok()
    });
    Ok((awaited, CancellationToken::new()))
}
