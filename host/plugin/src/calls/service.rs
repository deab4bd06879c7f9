//! What lives longer than a call: terminals, processes, downloads, uploads.
//!
//! Each is a task that owns one Store, connects the guest's streams to channels and serves control requests until the
//! guest says how it ended. Dropping the task's handle drops the Store. Deliberately does not know what the bytes mean.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};
use tokio_util::task::AbortOnDropHandle;
use wasmtime::component::{Accessor, FutureReader, ResourceAny, StreamReader};

use super::caller::{Caller, Guest, StoppedGuest};
use super::streams::{Inward, InwardValue, Outward, OutwardValue};
use crate::bindings::guest::{exec, files, terminal as wit_terminal};
use crate::bindings::host::types as wit;
use crate::convert;
use crate::load::exports::{SandboxExports, SandboxPre};
use crate::store::State;
use sandbox_broker_core::sandbox::{
    Call, Code, Control, ControlRequest, Download, Entry, Error, Exit, Fault, Lifetime, PIPE_CHUNKS, Process, Result,
    Terminal, Upload,
};

type Sandboxes = Caller<SandboxPre>;
type WitResult<T> = std::result::Result<T, wit::Error>;
type WitExit = WitResult<wit::Exit>;

/// Starts a terminal with `start`.
pub(super) async fn terminal<F>(
    caller: &Sandboxes,
    call: &Call,
    what: &'static str,
    input: mpsc::Receiver<Bytes>,
    start: F,
) -> Result<Terminal>
where
    F: for<'a> FnOnce(
            &'a Accessor<State>,
            &'a SandboxExports,
            StreamReader<u8>,
        ) -> Guest<'a, WitResult<wit_terminal::Attachment>>
        + Send
        + 'static,
{
    let (out_tx, output) = mpsc::channel(PIPE_CHUNKS);
    let (done_tx, done) = oneshot::channel();
    let (control, requests) = Control::new();
    let (pty, lifetime) = serve(caller, call, what, done_tx, move |acc, guest, up| {
        Box::pin(async move {
            let input = acc.with(|mut a| StreamReader::new(&mut a, Inward::new(input)))?;
            let live = match start(acc, guest, input).await? {
                Ok(live) => live,
                Err(e) => return Ok(up.refuse(e)),
            };
            let done = acc.with(|mut a| {
                live.output.pipe(&mut a, Outward::new(out_tx))?;
                outcome(&mut a, live.done)
            })?;
            up.ready(convert::id(live.pty));
            let resource = live.control;
            control_until(done, requests, |request| Box::pin(steer_terminal(acc, guest, resource, request))).await
        })
    })
    .await?;
    Ok(Terminal { pty, output, done, control, lifetime })
}

/// Starts a process with `start`.
pub(super) async fn process<F>(
    caller: &Sandboxes,
    call: &Call,
    stdin: mpsc::Receiver<Bytes>,
    start: F,
) -> Result<Process>
where
    F: for<'a> FnOnce(&'a Accessor<State>, &'a SandboxExports, StreamReader<u8>) -> Guest<'a, WitResult<exec::Process>>
        + Send
        + 'static,
{
    let (out_tx, stdout) = mpsc::channel(PIPE_CHUNKS);
    let (err_tx, stderr) = mpsc::channel(PIPE_CHUNKS);
    let (done_tx, done) = oneshot::channel();
    let (control, requests) = Control::new();
    let (id, lifetime) = serve(caller, call, "run", done_tx, move |acc, guest, up| {
        Box::pin(async move {
            let stdin = acc.with(|mut a| StreamReader::new(&mut a, Inward::new(stdin)))?;
            let live = match start(acc, guest, stdin).await? {
                Ok(live) => live,
                Err(e) => return Ok(up.refuse(e)),
            };
            let done = acc.with(|mut a| {
                live.stdout.pipe(&mut a, Outward::new(out_tx))?;
                live.stderr.pipe(&mut a, Outward::new(err_tx))?;
                outcome(&mut a, live.done)
            })?;
            up.ready(convert::id(live.id));
            let resource = live.control;
            control_until(done, requests, |request| Box::pin(steer_process(acc, guest, resource, request))).await
        })
    })
    .await?;
    Ok(Process { id, stdout, stderr, done, control, lifetime })
}

/// Starts a download with `start`.
pub(super) async fn download<F>(caller: &Sandboxes, call: &Call, start: F) -> Result<Download>
where
    F: for<'a> FnOnce(
            &'a Accessor<State>,
            &'a SandboxExports,
        ) -> Guest<'a, WitResult<(StreamReader<u8>, FutureReader<WitResult<()>>)>>
        + Send
        + 'static,
{
    let (tx, data) = mpsc::channel(PIPE_CHUNKS);
    let (done_tx, done) = oneshot::channel();
    let ((), lifetime) = serve(caller, call, "read", done_tx, move |acc, guest, up| {
        Box::pin(async move {
            let (stream, end) = match start(acc, guest).await? {
                Ok(live) => live,
                Err(e) => return Ok(up.refuse(e)),
            };
            let done = acc.with(|mut a| {
                stream.pipe(&mut a, Outward::new(tx))?;
                outcome(&mut a, end)
            })?;
            up.ready(Ok(()));
            Ok(done.await.ok().map(|end| end.map_err(convert::error)))
        })
    })
    .await?;
    Ok(Download { data, done, lifetime })
}

/// Time from the last byte of an upload until the file is written. On mounted storage, the content travels once more in
/// that time.
pub(super) const WRITTEN_WITHIN: Duration = Duration::from_secs(15 * 60);

/// Writes a file with `start` and returns when the plugin has written all of it. Fails when bytes are ready and the
/// plugin takes none for as long as a call may take.
pub(super) async fn upload<F>(caller: &Sandboxes, call: &Call, upload: Upload, start: F) -> Result<Entry>
where
    F: for<'a> FnOnce(
            &'a Accessor<State>,
            &'a SandboxExports,
            Option<u64>,
            StreamReader<u8>,
            FutureReader<WitResult<()>>,
        ) -> Guest<'a, WitResult<files::Entry>>
        + Send
        + 'static,
{
    let instance = caller.instance(call).await?;
    let meter = instance.meter();
    let (to, taken) = mpsc::channel(1);
    let Upload { size, data, complete } = upload;
    let stalled = stalls(data, to, caller.deadline());
    let written = instance.run(move |acc, guest| {
        Box::pin(async move {
            let (tx, rx) = oneshot::channel();
            let cut_off = || Err(convert::denial(wit::Code::Cancelled, "the upload broke off"));
            let (data, end) = acc.with(|mut a| -> wasmtime::Result<_> {
                let data = StreamReader::new(&mut a, Inward::new(taken))?;
                Ok((data, FutureReader::new(&mut a, InwardValue::new(rx, cut_off))?))
            })?;
            let pass = async move {
                let whole = matches!(complete.await, Ok(Ok(())));
                // Nobody waits when the plugin has given up.
                let _ = tx.send(if whole { Ok(()) } else { cut_off() });
            };
            let mut writing = start(acc, guest, size, data, end);
            // A plugin may refuse before the last byte. Its answer must not wait for bytes that nobody takes.
            tokio::select! {
                written = &mut writing => return written,
                () = pass => {}
            }
            writing.await
        })
    });
    let written = tokio::select! {
        written = written => written,
        () = stalled => return Err(caller.late("write")),
    };
    match written {
        Ok(Ok(entry)) => convert::entry(entry),
        Ok(Err(e)) => Err(convert::error(e)),
        Err(e) => Err(caller.stopped("write", &meter, &e)),
    }
}

/// Passes a file's bytes on. Returns when nobody takes one for `limit`, or [`WRITTEN_WITHIN`] after the last was taken.
async fn stalls(mut from: mpsc::Receiver<Bytes>, to: mpsc::Sender<Bytes>, limit: Duration) {
    while let Some(chunk) = from.recv().await {
        match tokio::time::timeout(limit, to.send(chunk)).await {
            Ok(Ok(())) => {}
            // The plugin refused; its answer says why.
            Ok(Err(_)) => break,
            Err(_) => return,
        }
    }
    // The source learns that nobody reads.
    drop((from, to));
    tokio::time::sleep(WRITTEN_WITHIN).await;
}

/// Tells the caller that a service has started, or that the plugin refused to start it.
struct StartReport<R>(oneshot::Sender<Result<R>>);

impl<R> StartReport<R> {
    fn ready(self, value: Result<R>) {
        // Nobody waits any more when the lifetime is about to be dropped.
        let _ = self.0.send(value);
    }

    fn refuse<D>(self, e: wit::Error) -> Option<D> {
        let _ = self.0.send(Err(convert::error(e)));
        None
    }
}

/// Runs `body` in a task with a Store of its own and waits until the service has started. Its end goes to `done`.
async fn serve<R, D, F>(
    caller: &Sandboxes,
    call: &Call,
    what: &'static str,
    done: oneshot::Sender<Result<D>>,
    body: F,
) -> Result<(R, Lifetime)>
where
    R: Send + 'static,
    D: Send + 'static,
    F: for<'a> FnOnce(&'a Accessor<State>, &'a SandboxExports, StartReport<R>) -> Guest<'a, Option<Result<D>>>
        + Send
        + 'static,
{
    let instance = caller.instance(call).await?;
    let (tx, rx) = oneshot::channel();
    let (name, plugin) = caller.id();
    let task = AbortOnDropHandle::new(tokio::spawn(async move {
        let meter = instance.meter();
        let ended = instance.run(move |acc, guest| body(acc, guest, StartReport(tx))).await;
        let ended = match ended {
            Ok(Some(ended)) => ended,
            // Either the plugin refused, which `rx` has told already, or it dropped its `done`, which breaks the
            // contract.
            Ok(None) => Err(Error::new(
                Fault::Plugin,
                Code::Internal,
                format!("the plugin `{plugin}` of provider `{name}` did not say how `{what}` ended"),
            )),
            Err(e) => Err(StoppedGuest { provider: &name, plugin: &plugin }.report(what, &meter, &e)),
        };
        // Nobody listens when the caller gave up.
        let _ = done.send(ended);
    }));
    match tokio::time::timeout(caller.deadline(), rx).await {
        Ok(Ok(up)) => Ok((up?, task)),
        Ok(Err(_)) => Err(Error::new(Fault::Plugin, Code::Internal, STOPPED)),
        Err(_) => Err(caller.late(what)),
    }
}

const STOPPED: &str = "the plugin was stopped while it started the service";

/// The guest's future as a channel.
fn outcome<T>(
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

type Steering<'a> = Pin<Box<dyn Future<Output = wasmtime::Result<()>> + Send + 'a>>;

/// Serves control requests, one at a time, until the guest says how it ended.
async fn control_until<'a>(
    done: oneshot::Receiver<WitExit>,
    mut requests: mpsc::Receiver<ControlRequest>,
    steer: impl Fn(ControlRequest) -> Steering<'a>,
) -> wasmtime::Result<Option<Result<Exit>>> {
    let mut done = std::pin::pin!(done);
    let said = |end: std::result::Result<WitExit, _>| match end {
        Ok(end) => Some(end.map(convert::exit).map_err(convert::error)),
        Err(oneshot::error::RecvError { .. }) => None,
    };
    let mut steering: Option<Steering<'a>> = None;
    loop {
        tokio::select! {
            end = &mut done => return Ok(said(end)),
            result = async { steering.as_mut().expect("guarded").await }, if steering.is_some() => {
                result?;
                steering = None;
            }
            Some(request) = requests.recv(), if steering.is_none() => steering = Some(steer(request)),
        }
    }
}

async fn steer_terminal(
    acc: &Accessor<State>,
    guest: &SandboxExports,
    resource: ResourceAny,
    request: ControlRequest,
) -> wasmtime::Result<()> {
    let control = guest.terminal().control();
    let (result, reply) = match request {
        ControlRequest::Resize(size, reply) => (control.call_resize(acc, resource, size.cols, size.rows).await?, reply),
        ControlRequest::Signal(name, reply) => (control.call_signal(acc, resource, name).await?, reply),
    };
    let _ = reply.send(result.map_err(convert::error));
    Ok(())
}

async fn steer_process(
    acc: &Accessor<State>,
    guest: &SandboxExports,
    resource: ResourceAny,
    request: ControlRequest,
) -> wasmtime::Result<()> {
    let control = guest.exec().control();
    let (result, reply) = match request {
        ControlRequest::Resize(_, reply) => {
            let message = "a process without a terminal has no size";
            (Err(convert::denial(wit::Code::FailedPrecondition, message)), reply)
        }
        ControlRequest::Signal(name, reply) => (control.call_signal(acc, resource, name).await?, reply),
    };
    let _ = reply.send(result.map_err(convert::error));
    Ok(())
}
