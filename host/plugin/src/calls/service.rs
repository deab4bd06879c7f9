//! What lives longer than a call: terminals, processes, downloads.
//!
//! Owns the task and the Store of each. Dropping the task's handle drops the Store. Deliberately does not know what is served.

use std::future::Future;

use tokio::sync::oneshot;
use tokio_util::task::AbortOnDropHandle;
use wasmtime::component::{Accessor, FutureReader};

use super::caller::{Caller, Guest, StoppedGuest};
use super::trace::traced;
use crate::bindings::host::types as wit;
use crate::convert;
use crate::load::exports::{SandboxExports, SandboxPre};
use crate::store::State;
use crate::streams::OutwardValue;
use sandbox_broker_core::sandbox::{Call, Code, Error, Fault, Lifetime, Result};

pub(super) type Sandboxes = Caller<SandboxPre>;
pub(super) type WitResult<T> = std::result::Result<T, wit::Error>;

/// Tells the caller that a service has started, or that the plugin refused to start it.
pub(super) struct StartReport<R>(oneshot::Sender<Result<R>>);

impl<R> StartReport<R> {
    pub(super) fn ready(self, value: Result<R>) {
        // Nobody waits any more when the lifetime is about to be dropped.
        let _ = self.0.send(value);
    }

    pub(super) fn refuse<D>(self, e: wit::Error) -> Option<D> {
        let _ = self.0.send(Err(convert::error(e)));
        None
    }
}

/// Runs `body` in a task with a Store of its own and waits until the service has started. When `body` returns, the Store
/// goes, and `finish` makes the service's end of what it returned. The end goes to `done`.
pub(super) async fn serve<R, D, E, F, Finish, Finishing>(
    caller: &Sandboxes,
    call: &Call,
    what: &'static str,
    done: oneshot::Sender<Result<E>>,
    body: F,
    finish: Finish,
) -> Result<(R, Lifetime)>
where
    R: Send + 'static,
    D: Send + 'static,
    E: Send + 'static,
    F: for<'a> FnOnce(&'a Accessor<State>, &'a SandboxExports, StartReport<R>) -> Guest<'a, Option<Result<D>>>
        + Send
        + 'static,
    Finish: FnOnce(Result<D>) -> Finishing + Send + 'static,
    Finishing: Future<Output = Result<E>> + Send,
{
    let instance = caller.instance(call).await.map_err(|e| traced(call, e))?;
    let (tx, rx) = oneshot::channel();
    let (provider, plugin) = caller.id();
    let task = AbortOnDropHandle::new(tokio::spawn(async move {
        let meter = instance.meter();
        // Boxed, because what comes after it may last, and holds little.
        let ran = Box::pin(instance.run(move |acc, guest| body(acc, guest, StartReport(tx)))).await;
        let ended = match ran {
            Ok(Some(ended)) => finish(ended).await,
            // Either the plugin refused, which `rx` has told already, or it did not say how the service ended.
            Ok(None) => Err(not_said(&provider, &plugin, what)),
            Err(e) => Err(StoppedGuest { provider: &provider, plugin: &plugin }.report(what, &meter, &e)),
        };
        // Nobody listens when the caller gave up.
        let _ = done.send(ended);
    }));
    let started = match tokio::time::timeout(caller.deadline(), rx).await {
        Ok(Ok(started)) => started,
        Ok(Err(_)) => Err(Error::new(Fault::Plugin, Code::Internal, STOPPED)),
        Err(_) => Err(caller.late(what)),
    };
    started.map(|up| (up, task)).map_err(|e| traced(call, e))
}

const STOPPED: &str = "the plugin was stopped while it started the service: the broker's log says why";

/// The error for a plugin that drops the future by which it must say how a service ended.
pub(super) fn unsaid(caller: &Sandboxes, what: &str) -> Error {
    let (provider, plugin) = caller.id();
    not_said(&provider, &plugin, what)
}

fn not_said(provider: &str, plugin: &str, what: &str) -> Error {
    let message = format!("the plugin `{plugin}` of provider `{provider}` did not say how `{what}` ended");
    Error::new(Fault::Plugin, Code::Internal, message)
}

/// The guest's future as a channel.
pub(super) fn outcome<T>(
    access: impl wasmtime::AsContextMut<Data = State>,
    future: FutureReader<T>,
) -> wasmtime::Result<oneshot::Receiver<T>>
where
    T: wasmtime::component::Lift + Send + 'static,
{
    let (tx, rx) = oneshot::channel();
    future.pipe(access, OutwardValue::new(tx))?;
    Ok(rx)
}
