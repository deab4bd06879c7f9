//! The bytes of a file from the client, of any number in bounded memory.
//!
//! Owns that a part of an upload never becomes the file. Deliberately never
//! interprets what it carries.

use std::time::Duration;

use axum::Json;
use axum::body::Body;
use axum::extract::{Extension, Path, RawQuery, State};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::header::CONTENT_RANGE;
use http::{HeaderMap, StatusCode};
use http_body_util::BodyExt;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout};

use super::change::{beside, replace};
use super::pace::{IDLE, SessionUse};
use super::request::{FileRequest, describe, required};
use super::resolve::LastPart;
use crate::access::auth::Pass;
use crate::api::refusal::Refusal;
use crate::api::slots::Slot;
use crate::conditions;
use crate::connection::exchange::Connection;
use crate::state::Shared;
use sandbox_broker_core::sandbox::{self, CHUNK_BYTES, Code, Entry, Fault, Location, PIPE_CHUNKS, Upload};
use sandbox_broker_session::Workspace;

/// Bytes that a client must send within [`IDLE`] of waiting for it: 500 a second, a
/// tenth of the slowest mobile network. A client that sends less would hold a place
/// and keep a session alive for nothing.
const LEAST: u64 = 500 * IDLE.as_secs();

/// `PUT …/files/content`: a whole file. It replaces an old one once all of it has
/// come.
pub(super) async fn upload(
    State(shared): State<Shared>,
    Extension(connection): Extension<Connection>,
    Extension(pass): Extension<Pass>,
    Path(id): Path<String>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refusal> {
    let work = FileRequest::begin(&shared, &pass, &id)?;
    let path = required(query.as_deref())?;
    if headers.contains_key(CONTENT_RANGE) {
        return Err(Refusal::Body("only a whole file can be written, not a part of it"));
    }
    let place = work.find(&path, LastPart::Follow).await?;
    let named = || path.as_str().to_owned();
    if place.is_directory() {
        return Err(Refusal::IsDirectory(named()));
    }
    if place.exists() && !place.is_file() {
        return Err(Refusal::NotFile(named()));
    }
    if place.exists() && conditions::only_if_new(&headers) {
        return Err(Refusal::NotReplaced(named()));
    }
    if !place.may_change_directory() || (place.exists() && !place.may_write()) {
        return Err(Refusal::Forbidden { what: "write", path: named() });
    }
    let status = if place.exists() { StatusCode::OK } else { StatusCode::CREATED };
    let _transfer = connection.transfer();
    let at = place.location(&work.workspace);
    let size = http_body::Body::size_hint(&body).exact();
    let Writing { to, finish, written } = write(work.workspace.clone(), work.slot, at, size);
    match feed(body, to, SessionUse::begin(work.session)).await {
        // The writing task may have ended. Then `written` says why.
        Ok(()) => drop(finish.send(())),
        // Nothing more comes, and nobody must wait for more.
        Err(FeedStop::Sandbox) => drop(finish),
        Err(FeedStop::Refused(refusal)) => return Err(refusal),
    }
    let entry = written.await.unwrap_or_else(|_| {
        Err(sandbox::Error::new(Fault::Broker, Code::Internal, "the broker gave the upload up; see its log"))
    })?;
    Ok((status, Json(describe(&work.workspace, path.as_str(), &entry))).into_response())
}

/// An upload on its way into the sandbox.
struct Writing {
    /// Takes the file's bytes, in chunks of at most [`CHUNK_BYTES`].
    to: mpsc::Sender<Bytes>,
    /// Says that all bytes have come. If it is dropped, the file is not written.
    finish: oneshot::Sender<()>,
    written: oneshot::Receiver<sandbox::Result<Entry>>,
}

/// Writes in a task of its own. A request is dropped when its client leaves, and the
/// provider must still remove what it has of the file.
fn write(workspace: Workspace, slot: Slot, at: Location, size: Option<u64>) -> Writing {
    let (to, data) = mpsc::channel(PIPE_CHUNKS);
    let (finish, finished) = oneshot::channel();
    let (complete, whole) = oneshot::channel();
    let (tell, written) = oneshot::channel();
    tokio::spawn(async move {
        let _slot = slot;
        let Workspace { provider, sandbox, call, .. } = &workspace;
        let upload = Upload { size, data, complete: whole };
        let part = beside(&at, call.session.as_deref().unwrap_or_default());
        let mut writing = provider.write(call, sandbox, &part, upload);
        let result = tokio::select! {
            result = &mut writing => result,
            finished = finished => {
                match finished {
                    Ok(()) => drop(complete.send(Ok(()))),
                    Err(_) => drop(complete),
                }
                writing.await
            }
        };
        let result = match result {
            Ok(_) => replace(&workspace, &part, &at).await,
            Err(error) => Err(error),
        };
        // If the client has left, nobody waits for this.
        let _ = tell.send(result);
    });
    Writing { to, finish, written }
}

/// Why an upload stops before its end.
enum FeedStop {
    /// The sandbox takes no more and says why.
    Sandbox,
    /// The client or the sandbox is too slow, or the client left.
    Refused(Refusal),
}

/// Carries the body to the sandbox at the pace of both. Refuses a client that hardly
/// sends; its time counts only while this waits for it, because a slow sandbox is
/// not the client's fault.
async fn feed(mut body: Body, to: mpsc::Sender<Bytes>, mut use_of: SessionUse) -> Result<(), FeedStop> {
    let (mut waited, mut came) = (Duration::ZERO, 0);
    loop {
        let began = Instant::now();
        let frame = tokio::select! {
            frame = timeout(IDLE.saturating_sub(waited), body.frame()) => frame,
            () = to.closed() => return Err(FeedStop::Sandbox),
        };
        waited += began.elapsed();
        let mut bytes = match frame {
            Ok(Some(Ok(frame))) => frame.into_data().unwrap_or_default(),
            Ok(None) => return Ok(()),
            Ok(Some(Err(_))) => return Err(FeedStop::Refused(Refusal::BrokeOff)),
            Err(_) => Bytes::new(),
        };
        came += bytes.len() as u64;
        if waited >= IDLE {
            if came < LEAST {
                return Err(FeedStop::Refused(Refusal::Stalled(IDLE.as_secs())));
            }
            (waited, came) = (Duration::ZERO, 0);
        }
        while !bytes.is_empty() {
            let chunk = bytes.split_to(bytes.len().min(CHUNK_BYTES));
            match timeout(IDLE, to.send(chunk)).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) => return Err(FeedStop::Sandbox),
                Err(_) => {
                    let message = format!("the sandbox took nothing for {} s; nothing was kept", IDLE.as_secs());
                    let error = sandbox::Error::new(Fault::Provider, Code::DeadlineExceeded, message);
                    return Err(FeedStop::Refused(error.into()));
                }
            }
        }
        use_of.goes_on();
    }
}
