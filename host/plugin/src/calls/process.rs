//! Terminals and processes of a sandbox.
//!
//! Owns how one is started, steered and waited for. If the plugin hands back a connection that the host made, the Store goes
//! and the bytes flow without it. Deliberately does not know what the bytes mean.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};
use wasmtime::component::{Accessor, StreamReader};

use super::caller::{Guest, ask};
use super::service::{Sandboxes, WitResult, outcome, serve, unsaid};
use crate::bindings::guest::{exec, terminal as wit_terminal};
use crate::bindings::streams::Ending;
use crate::convert;
use crate::endings::{self, Awaited};
use crate::lent::Through;
use crate::load::exports::SandboxExports;
use crate::store::State;
use crate::streams::{self, Inward};
use sandbox_broker_core::sandbox::{
    Call, Code, Control, ControlRequest, Error, Exit, Fault, Process, Result, SandboxRef, Terminal,
};

/// Whose process it is.
pub(super) struct Owner<'a> {
    pub(super) caller: &'a Arc<Sandboxes>,
    pub(super) call: &'a Call,
    pub(super) sandbox: &'a SandboxRef,
}

/// Starts a terminal with `start`.
pub(super) async fn terminal<F>(
    owner: Owner<'_>,
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
    let (done_tx, done) = oneshot::channel();
    let asking = asking(&owner, Kind::Terminal);
    let ((pty, output), lifetime) = serve(
        owner.caller,
        owner.call,
        what,
        done_tx,
        move |acc, guest, up| {
            Box::pin(async move {
                let input = acc.with(|mut a| StreamReader::new(&mut a, Inward::new(input)))?;
                let live = match start(acc, guest, input).await? {
                    Ok(live) => live,
                    Err(e) => return Ok(up.refuse(e)),
                };
                let ((output, end), through) = acc.with(|mut a| -> wasmtime::Result<_> {
                    let through = a.get().lent().through.clone();
                    let output = streams::take(&mut a, live.output, &through)?;
                    Ok(((output, End::take(&mut a, live.done, &through)?), through))
                })?;
                let pty = convert::id(live.pty);
                let known = pty.clone().unwrap_or_default();
                up.ready(pty.map(|pty| (pty, output)));
                end.reached(acc, &through, known).await
            })
        },
        asking,
    )
    .await?;
    let control = steer(&owner, Kind::Terminal, pty.clone());
    Ok(Terminal { pty, output, done, control, lifetime })
}

/// Starts a process with `start`.
pub(super) async fn process<F>(owner: Owner<'_>, stdin: mpsc::Receiver<Bytes>, start: F) -> Result<Process>
where
    F: for<'a> FnOnce(&'a Accessor<State>, &'a SandboxExports, StreamReader<u8>) -> Guest<'a, WitResult<exec::Process>>
        + Send
        + 'static,
{
    let (done_tx, done) = oneshot::channel();
    let asking = asking(&owner, Kind::Process);
    let ((id, stdout, stderr), lifetime) = serve(
        owner.caller,
        owner.call,
        "run",
        done_tx,
        move |acc, guest, up| {
            Box::pin(async move {
                let stdin = acc.with(|mut a| StreamReader::new(&mut a, Inward::new(stdin)))?;
                let live = match start(acc, guest, stdin).await? {
                    Ok(live) => live,
                    Err(e) => return Ok(up.refuse(e)),
                };
                let ((stdout, stderr, end), through) = acc.with(|mut a| -> wasmtime::Result<_> {
                    let through = a.get().lent().through.clone();
                    let stdout = streams::take(&mut a, live.stdout, &through)?;
                    let stderr = streams::take(&mut a, live.stderr, &through)?;
                    Ok(((stdout, stderr, End::take(&mut a, live.done, &through)?), through))
                })?;
                let id = convert::id(live.id);
                let known = id.clone().unwrap_or_default();
                up.ready(id.map(|id| (id, stdout, stderr)));
                end.reached(acc, &through, known).await
            })
        },
        asking,
    )
    .await?;
    let control = steer(&owner, Kind::Process, id.clone());
    Ok(Process { id, stdout, stderr, done, control, lifetime })
}

/// What the plugin gave to learn how a process ends.
enum End {
    Told(oneshot::Receiver<WitResult<crate::bindings::host::types::Exit>>),
    Reported(Awaited),
}

/// What is known when a Store is not needed any more.
enum Reached {
    /// How the process ended.
    Exit(Exit),
    /// The process of this id has a connection that says when to ask.
    Connection(String, Awaited),
}

impl End {
    fn take(
        mut access: impl wasmtime::AsContextMut<Data = State>,
        ending: Ending,
        through: &Through,
    ) -> wasmtime::Result<Self> {
        Ok(match ending {
            Ending::Told(told) => End::Told(outcome(&mut access, told)?),
            Ending::Reported(ended) => End::Reported(endings::take(&mut access, ended, through)?.0),
        })
    }

    /// Waits until the Store is not needed any more.
    async fn reached(
        self,
        acc: &Accessor<State>,
        through: &Through,
        id: String,
    ) -> wasmtime::Result<Option<Result<Reached>>> {
        let mut ended = match self {
            End::Told(told) => {
                let said =
                    |end: WitResult<_>| end.map(|exit| Reached::Exit(convert::exit(exit))).map_err(convert::error);
                return Ok(told.await.ok().map(said));
            }
            End::Reported(ended) => ended,
        };
        let idle = async {
            through.none().await;
            poll_fn(|cx| acc.poll_no_interesting_tasks(cx)).await;
        };
        tokio::select! {
            () = idle => Ok(Some(Ok(Reached::Connection(id, ended)))),
            last = &mut ended => {
                // What the plugin computes of the connection's bytes may lag behind. A plugin that keeps a stream open for no
                // reason is the business of whoever waits for that stream.
                through.none().await;
                Ok(Some(Ok(Reached::Connection(id, Box::pin(std::future::ready(last))))))
            }
        }
    }
}

/// Which interface has the process.
#[derive(Clone, Copy)]
enum Kind {
    Terminal,
    Process,
}

/// Turns what was reached into how the process ended, and asks the plugin where a connection reported its end.
fn asking(
    owner: &Owner<'_>,
    kind: Kind,
) -> impl FnOnce(Result<Reached>) -> Pin<Box<dyn Future<Output = Result<Exit>> + Send>> + Send + 'static {
    let (caller, call, sandbox) = (owner.caller.clone(), owner.call.clone(), owner.sandbox.clone());
    move |reached| {
        Box::pin(async move {
            let (id, ended) = match reached? {
                Reached::Exit(exit) => return Ok(exit),
                Reached::Connection(id, ended) => (id, ended),
            };
            let Some(report) = ended.await else { return Err(unsaid(&caller, "run")) };
            let (call, s) = (&call, convert::to_sandbox_ref(&sandbox));
            // Boxed, because until the end this future only waits.
            let exit = match kind {
                Kind::Terminal => Box::pin(ask!(caller, call, "exit-of", terminal.call_exit_of(s, id, report))).await?,
                Kind::Process => Box::pin(ask!(caller, call, "exit-of", exec.call_exit_of(s, id, report))).await?,
            };
            Ok(convert::exit(exit))
        })
    }
}

/// Steers a process, one request at a time, until nobody holds the control. Each request is a call with an instance of its
/// own.
fn steer(owner: &Owner<'_>, kind: Kind, id: String) -> Control {
    let (control, mut requests) = Control::new();
    let (caller, call, sandbox) = (owner.caller.clone(), owner.call.clone(), owner.sandbox.clone());
    tokio::spawn(async move {
        while let Some(request) = requests.recv().await {
            let (call, s, id) = (&call, convert::to_sandbox_ref(&sandbox), id.clone());
            // Boxed, because a process that nobody steers should hold little.
            let (result, reply) = match (kind, request) {
                (Kind::Terminal, ControlRequest::Resize(size, reply)) => {
                    let asked = ask!(caller, call, "resize", terminal.call_resize(s, id, size.cols, size.rows));
                    (Box::pin(asked).await, reply)
                }
                (Kind::Process, ControlRequest::Resize(_, reply)) => {
                    let message = "a process without a terminal has no size";
                    (Err(Error::new(Fault::Operator, Code::FailedPrecondition, message.to_owned())), reply)
                }
                (Kind::Terminal, ControlRequest::Signal(name, reply)) => {
                    (Box::pin(ask!(caller, call, "signal", terminal.call_signal(s, id, name))).await, reply)
                }
                (Kind::Process, ControlRequest::Signal(name, reply)) => {
                    (Box::pin(ask!(caller, call, "signal", exec.call_signal(s, id, name))).await, reply)
                }
            };
            // Whoever asked may have left.
            let _ = reply.send(result);
        }
    });
    control
}
