//! A session's recording as a download.
//!
//! Owns the pace of it, and that a part never looks like the whole. Deliberately
//! knows no line of a recording; `cast` checks them.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Extension, Path, State};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::HeaderValue;
use http::header::{CONTENT_DISPOSITION, CONTENT_TYPE};
use http_body::Frame;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::cast::Cast;
use super::refusal::Refusal;
use super::slots::Slot;
use crate::access::auth::Pass;
use crate::connection::exchange::{Connection, Transfer};
use crate::state::Shared;
use sandbox_broker_core::sandbox::{self, Code, Exit, Fault, Process};
use sandbox_stdx::words::misleads;

/// How long a recording may stand still on either side; the same as for a file.
const IDLE: Duration = Duration::from_secs(30);

/// Bytes of the recorder's complaints that are repeated, at most.
const COMPLAINT: usize = 1024;

/// `GET /api/sessions/{id}/recording`: what the recorder still has, as asciicast
/// v3. It does not count as use of the session.
pub(crate) async fn recording(
    State(shared): State<Shared>,
    Extension(connection): Extension<Connection>,
    Extension(pass): Extension<Pass>,
    Path(id): Path<String>,
) -> Result<Response, Refusal> {
    let session = shared.session(&pass, &id)?;
    let Some(tape) = session.tape() else {
        session.workspace().ok_or(Refusal::NotRunning)?;
        return Err(Refusal::NotRecorded);
    };
    let slot = shared.slots.take(session.id()).ok_or(Refusal::Busy)?;
    let mut process = tape.cast().await?;
    // A failure before the first line gets an answer of its own.
    let mut cast = Cast::default();
    let first = loop {
        match timeout(IDLE, process.stdout.recv()).await {
            Ok(Some(bytes)) => match cast.take(&bytes) {
                Ok(lines) if lines.is_empty() => {}
                Ok(lines) => break lines,
                Err(error) => return Err(recorder_failed(&error.to_string()).into()),
            },
            Ok(None) => {
                return Err(ended(&mut process)
                    .await
                    .err()
                    .unwrap_or_else(|| recorder_failed("it told nothing"))
                    .into());
            }
            Err(_) => return Err(recorder_stalled().into()),
        }
    };
    let body = recording_body((process, cast), first, connection.transfer(), slot, session.id().to_owned());
    let name = format!("attachment; filename=\"{}.cast\"", session.id());
    let name = HeaderValue::try_from(name).expect("an id is hexadecimal");
    let kind = HeaderValue::from_static("application/x-asciicast");
    Ok(([(CONTENT_TYPE, kind), (CONTENT_DISPOSITION, name)], body).into_response())
}

/// What a recording's body is sent.
enum RecordingPiece {
    Bytes(Bytes),
    /// That was all.
    Whole,
    /// There is more, but it will not come.
    Broken,
}

/// The body of a recording: all of it, or an error. An error breaks the connection
/// off, so that a part never looks like the whole.
struct RecordingBody {
    data: mpsc::Receiver<RecordingPiece>,
    _transfer: Transfer,
    _slot: Slot,
}

impl http_body::Body for RecordingBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        Poll::Ready(match ready!(self.data.poll_recv(cx)) {
            Some(RecordingPiece::Bytes(bytes)) => Some(Ok(Frame::data(bytes))),
            Some(RecordingPiece::Whole) => None,
            Some(RecordingPiece::Broken) | None => Some(Err(io::Error::other("the recording broke off"))),
        })
    }
}

/// Makes the body of an answer from a process's output. Its first lines were
/// checked already.
fn recording_body(source: (Process, Cast), first: Bytes, transfer: Transfer, slot: Slot, session: String) -> Body {
    let (to, data) = mpsc::channel(1);
    let served = RecordingBody { data, _transfer: transfer.clone(), _slot: slot };
    tokio::spawn(pump(source, first, to, transfer, session));
    Body::new(served)
}

/// Carries a recording to the body as fast as the client takes it. A client
/// that takes nothing is cut, as with files.
async fn pump(
    (mut process, mut cast): (Process, Cast),
    first: Bytes,
    to: mpsc::Sender<RecordingPiece>,
    transfer: Transfer,
    session: String,
) {
    let mut piece = RecordingPiece::Bytes(first);
    loop {
        let last = !matches!(piece, RecordingPiece::Bytes(_));
        match timeout(IDLE, to.send(piece)).await {
            Ok(Ok(())) if last => break,
            Ok(Ok(())) => {}
            Ok(Err(_)) => return, // the client has gone
            Err(_) => return transfer.cut(),
        }
        let next = loop {
            match timeout(IDLE, process.stdout.recv()).await {
                Ok(Some(bytes)) => match cast.take(&bytes) {
                    Ok(lines) if lines.is_empty() => {}
                    lines => {
                        break lines.map(RecordingPiece::Bytes).map_err(|error| recorder_failed(&error.to_string()));
                    }
                },
                // If the connection to the sandbox broke, the process may still seem to end
                // well. So the recording's last line counts.
                Ok(None) => {
                    break ended(&mut process).await.and_then(|()| match cast.is_whole() {
                        true => Ok(RecordingPiece::Whole),
                        false => Err(recorder_failed("part of what it said was lost")),
                    });
                }
                Err(_) => break Err(recorder_stalled()),
            }
        };
        piece = next.unwrap_or_else(|error| {
            tracing::warn!(session, fault = ?error.fault, code = ?error.code, %error, "broke a recording off");
            RecordingPiece::Broken
        });
    }
    if timeout(IDLE, to.closed()).await.is_err() {
        transfer.cut();
    }
}

/// Waits for the end of the recorder's process once all its output was read.
async fn ended(process: &mut Process) -> sandbox::Result<()> {
    let exit = timeout(IDLE, sandbox::await_exit(&mut process.done)).await.map_err(|_| recorder_stalled())??;
    if exit == Exit::Code(0) {
        return Ok(());
    }
    let mut said = Vec::new();
    while let Ok(chunk) = process.stderr.try_recv() {
        said.extend_from_slice(&chunk[..chunk.len().min(COMPLAINT - said.len())]);
    }
    Err(recorder_failed(&format!("{exit}: {}", String::from_utf8_lossy(&said).replace(misleads, " ").trim())))
}

/// The error when the recorder's process fails.
fn recorder_failed(why: &str) -> sandbox::Error {
    sandbox::Error::new(Fault::Provider, Code::DataLoss, format!("the recorder in the sandbox failed: {why}"))
}

/// The error when the recorder's process says nothing.
fn recorder_stalled() -> sandbox::Error {
    let message = format!("the recorder in the sandbox told nothing for {} s", IDLE.as_secs());
    sandbox::Error::new(Fault::Provider, Code::DeadlineExceeded, message)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use http_body_util::BodyExt as _;
    use tokio::sync::{Semaphore, oneshot};
    use tokio_util::task::AbortOnDropHandle;

    use super::*;
    use crate::api::slots::Slots;
    use sandbox_broker_core::sandbox::Control;

    /// A recorder, and what steers it: what it prints, its complaints and its end.
    fn recorder() -> (Process, mpsc::Sender<Bytes>, mpsc::Sender<Bytes>, oneshot::Sender<sandbox::Result<Exit>>) {
        let ((print, stdout), (complain, stderr)) = (mpsc::channel(8), mpsc::channel(8));
        let (end, done) = oneshot::channel();
        let lifetime = AbortOnDropHandle::new(tokio::spawn(std::future::pending()));
        let (control, _) = Control::new();
        (Process { id: "1".to_owned(), stdout, stderr, done, control, lifetime }, print, complain, end)
    }

    const HEADER: &str = "{\"version\":3,\"term\":{\"cols\":80,\"rows\":24}}\n";

    /// What a client gets of it.
    async fn got(process: Process) -> Result<String, axum::Error> {
        let place = Arc::new(Semaphore::new(1)).try_acquire_owned().unwrap();
        let address = "127.0.0.1:1".parse().unwrap();
        let transfer = Connection::new(address, address, Arc::new(place)).transfer();
        let slot = Slots::default().take("s").unwrap();
        let mut cast = Cast::default();
        let first = cast.take(HEADER.as_bytes()).unwrap();
        let body = recording_body((process, cast), first, transfer, slot, "s".to_owned());
        body.collect().await.map(|body| String::from_utf8(body.to_bytes().to_vec()).unwrap())
    }

    #[tokio::test]
    async fn a_recording_is_whole_or_broken_off() {
        let end: &[&'static [u8]] = &[b"[0,\"o\",\"a", b"b\"]\n# end", b" of", b" recording\n"];
        let random: &[&'static [u8]] = &[b"\xff\x00\x1b[2J\n", b"# end of recording\n"];
        for (last, exit, whole) in [
            (end, Some(Ok(Exit::Code(0))), true),
            (random, Some(Ok(Exit::Code(0))), false),
            (&end[..3], Some(Ok(Exit::Code(0))), false),
            (end, Some(Ok(Exit::Code(1))), false),
            (end, Some(Ok(Exit::Signal("SIGKILL".to_owned()))), false),
            (end, Some(Err(sandbox::Error::new(Fault::Provider, Code::Unavailable, "gone"))), false),
            (end, None, false),
        ] {
            let text = format!("{last:?} {exit:?}");
            let (process, print, complain, end) = recorder();
            for bytes in last {
                print.send(Bytes::from_static(bytes)).await.unwrap();
            }
            complain.send(Bytes::from_static(b"no space left")).await.unwrap();
            drop((print, complain));
            match exit {
                Some(exit) => end.send(exit).unwrap(),
                None => drop(end),
            }
            let all = || format!("{HEADER}[0,\"o\",\"ab\"]\n# end of recording\n");
            assert_eq!(got(process).await.ok(), whole.then(all), "{text}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_recorder_that_hangs_breaks_the_recording_off() {
        let (process, _print, _complain, _end) = recorder();
        assert!(got(process).await.is_err());
    }
}
