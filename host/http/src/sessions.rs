//! The sessions of whoever asks: all of them, one, its name, its end and its
//! recording.
//!
//! Owns these routes and the shape of their answers. Deliberately decides
//! nothing about a session. `docs/attach.md` says what clients may rely on.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::Json;
use axum::body::Body;
use axum::extract::{Extension, Path, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get};
use bytes::Bytes;
use http::header::{CONTENT_DISPOSITION, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, StatusCode};
use http_body::Frame;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::auth::Pass;
use super::cast::Cast;
use super::files::{Refusal, Slot};
use super::routes::seconds;
use super::serve::{Connection, Transfer};
use super::{Shared, body};
use sandbox_broker_core::sandbox::{self, Code, Exit, Fault, Process, Size};
use sandbox_broker_core::words::misleads;
use sandbox_broker_session::{Invitation, Outcome, Summary};

/// The route that waits for a sandbox.
pub(super) const RECORDING: &str = "/api/sessions/{id}/recording";

/// How long a recording may stand still on either side, as a file does.
const IDLE: Duration = Duration::from_secs(30);

/// Bytes of the recorder's complaints that are told.
const COMPLAINT: usize = 1024;

pub(super) fn routes() -> Vec<(&'static str, MethodRouter<Shared>)> {
    vec![
        ("/api/sessions", get(list)),
        ("/api/sessions/{id}", get(one).patch(rename).delete(kill)),
        (RECORDING, get(recording)),
    ]
}

/// Characters of a session's name, at most: a line of a list.
const MAX_NAME: usize = 80;

/// Bytes of a request that renames: a name in which JSON writes each character
/// as a pair of six bytes, and the rest.
const MAX_RENAME: usize = 2 * 6 * MAX_NAME + 1024;

/// A session as its user sees it.
fn describe(session: &Summary) -> Value {
    let clients: Vec<_> = session
        .clients
        .iter()
        .map(|client| {
            let (cols, rows) = client.size.map(|size| (size.cols, size.rows)).unzip();
            json!({
                "client": &*client.client,
                "role": client.role.as_str(),
                "cols": cols,
                "rows": rows,
                "guest": client.guest.as_deref(),
            })
        })
        .collect();
    json!({
        "id": &*session.id,
        "provider": &*session.provider,
        "state": session.phase.as_str(),
        "outcome": session.outcome.as_ref().map(told),
        "age": seconds(session.age),
        "kept_for": session.kept_for.map(seconds),
        "name": session.name,
        "generation": session.generation,
        "sandbox": session.sandbox,
        "kept": session.kept,
        "durability": session.durability.map(|durability| durability.as_str()),
        "size": session.size.map(|Size { cols, rows }| json!({ "cols": cols, "rows": rows })),
        "title": session.about.title,
        "directory": session.about.directory,
        "user": session.user.as_deref(),
        "clients": clients,
    })
}

/// How a session ended.
fn told(outcome: &Outcome) -> Value {
    let (code, signal) = match outcome {
        Outcome::Exited(Exit::Code(code)) => (Some(*code), None),
        Outcome::Exited(Exit::Signal(name)) => (None, Some(name)),
        _ => (None, None),
    };
    json!({ "code": code, "signal": signal, "reason": outcome.to_string() })
}

/// The caller's own, the oldest first.
pub(super) fn own(shared: &Shared, pass: &Pass) -> Vec<Value> {
    let settings = shared.settings();
    let all = shared.app.sessions.list();
    all.iter().filter(|one| shared.auth.owns(&settings, pass, one.user.as_deref())).map(describe).collect()
}

/// `GET /api/sessions`.
async fn list(State(shared): State<Shared>, Extension(pass): Extension<Pass>) -> Response {
    Json(json!({ "sessions": own(&shared, &pass) })).into_response()
}

/// `GET /api/sessions/{id}`.
async fn one(
    State(shared): State<Shared>,
    Extension(pass): Extension<Pass>,
    Path(id): Path<String>,
) -> Result<Response, Refusal> {
    let session = shared.session(&pass, &id)?;
    let mut answer = describe(&session.summary());
    answer["invitation"] = json!(session.invitation().map(Invitation::expose));
    Ok(Json(answer).into_response())
}

#[derive(Deserialize)]
struct Rename {
    name: String,
}

/// `PATCH /api/sessions/{id}`: gives it a name, or with an empty one none.
/// Answers with the session.
async fn rename(
    State(shared): State<Shared>,
    Extension(pass): Extension<Pass>,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refusal> {
    let session = shared.session(&pass, &id)?;
    let Rename { name } = body::json(&headers, body, MAX_RENAME, "send `{\"name\": TEXT}`").await?;
    let name = name.trim();
    if name.chars().any(misleads) {
        return Err(Refusal::Body("a name is one line of text, without control characters"));
    }
    if name.chars().count() > MAX_NAME {
        return Err(Refusal::Body("a name has at most 80 characters"));
    }
    if !session.rename((!name.is_empty()).then(|| name.to_owned())).await {
        return Err(Refusal::Elsewhere);
    }
    Ok(Json(describe(&session.summary())).into_response())
}

/// `DELETE /api/sessions/{id}`: ends it. Its sandbox ends after the answer.
async fn kill(
    State(shared): State<Shared>,
    Extension(connection): Extension<Connection>,
    Extension(pass): Extension<Pass>,
    Path(id): Path<String>,
) -> Result<StatusCode, Refusal> {
    let session = shared.session(&pass, &id)?;
    tracing::info!(session = session.id(), peer = %connection.peer, "ended over HTTP");
    session.kill();
    Ok(StatusCode::NO_CONTENT)
}

/// `GET /api/sessions/{id}/recording`: what the recorder still has of it, as
/// asciicast v3. Looking is no use of the session.
async fn recording(
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
    let slot = shared.files.take(session.id()).ok_or(Refusal::Busy)?;
    let mut process = tape.cast().await?;
    // What fails before its first line is told as what it is.
    let mut cast = Cast::default();
    let first = loop {
        match timeout(IDLE, process.stdout.recv()).await {
            Ok(Some(bytes)) => match cast.take(&bytes) {
                Ok(lines) if lines.is_empty() => {}
                Ok(lines) => break lines,
                Err(error) => return Err(failed(&error.to_string()).into()),
            },
            Ok(None) => {
                return Err(ended(&mut process).await.err().unwrap_or_else(|| failed("it told nothing")).into());
            }
            Err(_) => return Err(still().into()),
        }
    };
    let body = carried((process, cast), first, connection.transfer(), slot, session.id().to_owned());
    let name = format!("attachment; filename=\"{}.cast\"", session.id());
    let name = HeaderValue::try_from(name).expect("an id is hexadecimal");
    let kind = HeaderValue::from_static("application/x-asciicast");
    Ok(([(CONTENT_TYPE, kind), (CONTENT_DISPOSITION, name)], body).into_response())
}

/// What a recording's body gets.
enum Piece {
    Bytes(Bytes),
    /// That was all.
    Whole,
    /// There is more, but it does not come.
    Broken,
}

/// The body of a recording: all of it, or an error, which breaks the connection
/// off so that a part never looks like the whole.
struct Served {
    data: mpsc::Receiver<Piece>,
    _transfer: Transfer,
    _slot: Slot,
}

impl http_body::Body for Served {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        Poll::Ready(match ready!(self.data.poll_recv(cx)) {
            Some(Piece::Bytes(bytes)) => Some(Ok(Frame::data(bytes))),
            Some(Piece::Whole) => None,
            Some(Piece::Broken) | None => Some(Err(io::Error::other("the recording broke off"))),
        })
    }
}

/// The body of an answer that is this process's output, whose first lines were
/// checked.
fn carried(told: (Process, Cast), first: Bytes, transfer: Transfer, slot: Slot, session: String) -> Body {
    let (to, data) = mpsc::channel(1);
    let served = Served { data, _transfer: transfer.clone(), _slot: slot };
    tokio::spawn(pump(told, first, to, transfer, session));
    Body::new(served)
}

/// Carries a recording to the body as fast as the client takes it. A client
/// that takes nothing is cut, as with files.
async fn pump(
    (mut process, mut cast): (Process, Cast),
    first: Bytes,
    to: mpsc::Sender<Piece>,
    transfer: Transfer,
    session: String,
) {
    let mut piece = Piece::Bytes(first);
    loop {
        let last = !matches!(piece, Piece::Bytes(_));
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
                    lines => break lines.map(Piece::Bytes).map_err(|error| failed(&error.to_string())),
                },
                // A way to it that broke tells of a good end all the same.
                Ok(None) => {
                    break ended(&mut process).await.and_then(|()| match cast.is_whole() {
                        true => Ok(Piece::Whole),
                        false => Err(failed("part of what it said was lost")),
                    });
                }
                Err(_) => break Err(still()),
            }
        };
        piece = next.unwrap_or_else(|error| {
            tracing::warn!(session, fault = ?error.fault, code = ?error.code, %error, "broke a recording off");
            Piece::Broken
        });
    }
    if timeout(IDLE, to.closed()).await.is_err() {
        transfer.cut();
    }
}

/// How the recorder's process ended, once it has said all.
async fn ended(process: &mut Process) -> sandbox::Result<()> {
    let exit = match timeout(IDLE, &mut process.done).await {
        Ok(Ok(exit)) => exit?,
        Ok(Err(_)) => return Err(failed("its plugin stopped without saying how it ended")),
        Err(_) => return Err(still()),
    };
    if exit == Exit::Code(0) {
        return Ok(());
    }
    let mut said = Vec::new();
    while let Ok(chunk) = process.stderr.try_recv() {
        said.extend_from_slice(&chunk[..chunk.len().min(COMPLAINT - said.len())]);
    }
    Err(failed(&format!("{exit}: {}", String::from_utf8_lossy(&said).replace(misleads, " ").trim())))
}

fn failed(why: &str) -> sandbox::Error {
    sandbox::Error::new(Fault::Provider, Code::DataLoss, format!("the recorder in the sandbox failed: {why}"))
}

fn still() -> sandbox::Error {
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
    use crate::files::Slots;
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
        let body = carried((process, cast), first, transfer, slot, "s".to_owned());
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
