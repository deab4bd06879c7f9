//! Files on their way out of a sandbox and into one.
//!
//! Owns how long a transfer may stand still, and that a cut-off one never looks whole. Deliberately does not know what the
//! bytes mean.

use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};
use wasmtime::component::{Accessor, FutureReader, StreamReader};

use super::caller::Guest;
use super::service::{Sandboxes, WitResult, outcome, serve};
use crate::bindings::guest::files;
use crate::bindings::host::types as wit;
use crate::convert;
use crate::load::exports::SandboxExports;
use crate::store::State;
use crate::streams::{self, Inward, InwardValue};
use sandbox_broker_core::sandbox::{Call, Download, Entry, Result, Upload};

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
    let (done_tx, done) = oneshot::channel();
    let (data, lifetime) = serve(
        caller,
        call,
        "read",
        done_tx,
        move |acc, guest, up| {
            Box::pin(async move {
                let (stream, end) = match start(acc, guest).await? {
                    Ok(live) => live,
                    Err(e) => return Ok(up.refuse(e)),
                };
                let (data, done) = acc.with(|mut a| -> wasmtime::Result<_> {
                    let through = a.get().lent().through.clone();
                    Ok((streams::take(&mut a, stream, &through)?, outcome(&mut a, end)?))
                })?;
                up.ready(Ok(data));
                Ok(done.await.ok().map(|end| end.map_err(convert::error)))
            })
        },
        std::future::ready,
    )
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
