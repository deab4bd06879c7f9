//! The bytes of files, up and down, of any number in bounded memory.
//!
//! Owns the pace of a transfer: it may take as long as it moves. Deliberately
//! never interprets what it carries, and tells browsers not to either: a file
//! of the sandbox is served from the broker's own origin.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::{Duration, UNIX_EPOCH};

use axum::Json;
use axum::body::Body;
use axum::extract::{Extension, Path, RawQuery, State};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::header::{
    ACCEPT_RANGES, CONTENT_DISPOSITION, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG,
    LAST_MODIFIED,
};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use http_body::{Frame, SizeHint};
use http_body_util::BodyExt;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout};

use super::act::{beside, replace};
use super::path::CleanPath;
use super::place::Last;
use super::refusal::Refusal;
use super::slots::Slot;
use super::{Work, describe, required};
use crate::Shared;
use crate::auth::Pass;
use crate::conditions::{self, Part};
use crate::serve::{Connection, Transfer};
use sandbox_broker_core::sandbox::{
    self, CHUNK_BYTES, Code, Download, Entry, EntryKind, Fault, Location, PIPE_CHUNKS, Upload,
};
use sandbox_broker_session::{Session, Workspace};

/// How long a transfer may stand still on either side. Longer than a phone
/// needs to change its network.
const IDLE: Duration = Duration::from_secs(30);

/// Bytes of an upload in [`IDLE`] of waiting for its client, at least: 500 a
/// second, a tenth of the slowest mobile network. Who sends less holds a place,
/// and keeps a session alive, for nothing.
const LEAST: u64 = 500 * IDLE.as_secs();

/// How often a moving transfer counts as use of the session.
const TOUCH_EVERY: Duration = Duration::from_secs(5);

/// Bytes of a download that the connection takes at a time. It takes another
/// while it has some left, and a slow client has only
/// [`Limits::stop`](crate::Limits::stop) for what it has at the end.
const PIECE: usize = 16 << 10;

/// What a file's content may do in a browser that shows it against our will.
const NOTHING: HeaderValue = HeaderValue::from_static("sandbox; default-src 'none'");

const OCTETS: HeaderValue = HeaderValue::from_static("application/octet-stream");

/// `GET` and `HEAD …/files/content`.
pub(super) async fn download(
    State(shared): State<Shared>,
    Extension(connection): Extension<Connection>,
    Extension(pass): Extension<Pass>,
    Path(id): Path<String>,
    RawQuery(query): RawQuery,
    method: Method,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let work = Work::begin(&shared, &pass, &id)?;
    let path = required(query.as_deref())?;
    let place = work.find(&path, Last::Follow).await?;
    let named = || path.as_str().to_owned();
    if !place.exists() {
        return Err(Refusal::Missing(named()));
    }
    if place.is_directory() {
        return Err(Refusal::IsDirectory(named()));
    }
    if !place.is_file() {
        return Err(Refusal::NotFile(named()));
    }
    if !place.may_read() {
        return Err(Refusal::Forbidden { what: "read", path: named() });
    }
    let Workspace { provider, sandbox, call, .. } = &work.workspace;
    let at = place.location(&work.workspace);
    let entry = provider.stat(call, sandbox, &at).await?;
    if entry.kind != EntryKind::File {
        return Err(Refusal::NotFile(named()));
    }
    let size = entry.size;
    let etag = etag(&entry);
    let mut answer = about(&path, &entry, etag.as_deref());
    if etag.as_deref().is_some_and(|etag| conditions::is_known(&headers, etag)) {
        return Ok((StatusCode::NOT_MODIFIED, answer).into_response());
    }
    let part = match method {
        Method::HEAD => None, // RFC 9110, section 14.2: a range is of a GET
        _ => conditions::part(&headers, size, etag.as_deref()).map_err(|_| Refusal::Range(size))?,
    };
    let (status, Part { start, length }) = match part {
        Some(part) => (StatusCode::PARTIAL_CONTENT, part),
        None => (StatusCode::OK, Part { start: 0, length: size }),
    };
    if part.is_some() {
        let range = format!("bytes {start}-{}/{size}", start + length - 1);
        answer.insert(CONTENT_RANGE, HeaderValue::try_from(range).expect("digits"));
    }
    answer.insert(CONTENT_LENGTH, HeaderValue::from(length));
    if method == Method::HEAD || length == 0 {
        return Ok((status, answer).into_response());
    }
    work.session.touch();
    let download = provider.read(call, sandbox, &at, start, Some(length)).await?;
    let (to, data) = mpsc::channel(1);
    let transfer = connection.transfer();
    let served = Served { data, held: Bytes::new(), left: length, _transfer: transfer.clone(), _slot: work.slot };
    tokio::spawn(pump(download, length, to, transfer, work.session));
    Ok((status, answer, Body::new(served)).into_response())
}

/// Fields of every answer about a file's content.
fn about(path: &CleanPath, entry: &Entry, etag: Option<&str>) -> HeaderMap {
    let mut fields = HeaderMap::new();
    fields.insert(CONTENT_TYPE, OCTETS);
    fields.insert(CONTENT_DISPOSITION, disposition(path.name()));
    fields.insert(CONTENT_SECURITY_POLICY, NOTHING);
    fields.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    let modified = entry.modified.and_then(|time| jiff::Timestamp::try_from(time).ok());
    let modified = modified.map(|time| time.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string());
    if let Some(date) = modified.and_then(|date| HeaderValue::try_from(date).ok()) {
        fields.insert(LAST_MODIFIED, date);
    }
    if let Some(etag) = etag.and_then(|etag| HeaderValue::try_from(etag).ok()) {
        fields.insert(ETAG, etag);
    }
    fields
}

/// A file's version, as far as its size and time tell it apart; none where the
/// time is not known.
fn etag(entry: &Entry) -> Option<String> {
    let modified = entry.modified?.duration_since(UNIX_EPOCH).ok()?;
    Some(format!("\"{:x}-{:x}\"", modified.as_millis(), entry.size))
}

/// RFC 8187, section 3.2.1: what need not be encoded.
const ATTR_CHAR: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'!')
    .remove(b'#')
    .remove(b'$')
    .remove(b'&')
    .remove(b'+')
    .remove(b'-')
    .remove(b'.')
    .remove(b'^')
    .remove(b'_')
    .remove(b'`')
    .remove(b'|')
    .remove(b'~');

/// RFC 6266: to be saved, under this name; in a second form, plain, for clients
/// that know only that.
fn disposition(name: &str) -> HeaderValue {
    let plain = |c: char| if matches!(c, ' '..='~') && !matches!(c, '"' | '\\' | '%') { c } else { '_' };
    let (plain, encoded) = (name.chars().map(plain).collect::<String>(), utf8_percent_encode(name, ATTR_CHAR));
    HeaderValue::try_from(format!("attachment; filename=\"{plain}\"; filename*=UTF-8''{encoded}"))
        .expect("both forms are printable ASCII")
}

/// The body of a download: as many bytes as were promised, or an error, which
/// breaks the connection off.
struct Served {
    data: mpsc::Receiver<io::Result<Bytes>>,
    /// The rest of a chunk.
    held: Bytes,
    left: u64,
    _transfer: Transfer,
    _slot: Slot,
}

impl http_body::Body for Served {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        if self.left == 0 {
            return Poll::Ready(None);
        }
        if self.held.is_empty() {
            match ready!(self.data.poll_recv(cx)) {
                Some(Ok(chunk)) => self.held = chunk,
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => return Poll::Ready(Some(Err(io::Error::other("the transfer was given up")))),
            }
        }
        let len = self.held.len().min(PIECE);
        let piece = self.held.split_to(len);
        self.left -= piece.len() as u64;
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

/// Carries `left` bytes to the body as fast as the client takes them. A client
/// that takes none is cut: nobody else would notice, for a body that is not
/// asked for bytes cannot act.
async fn pump(
    download: Download,
    mut left: u64,
    to: mpsc::Sender<io::Result<Bytes>>,
    transfer: Transfer,
    session: Session,
) {
    let Download { mut data, done, lifetime: _lifetime } = download;
    let mut use_of = Use::begin(session);
    let stopped = loop {
        if left == 0 {
            break None;
        }
        let mut chunk = match timeout(IDLE, data.recv()).await {
            Ok(Some(chunk)) => chunk,
            Ok(None) => match timeout(IDLE, done).await {
                Ok(Ok(Err(error))) => break Some(error.to_string()),
                _ => break Some("the file became shorter while it was read".to_owned()),
            },
            Err(_) => break Some(format!("the sandbox sent nothing for {} s", IDLE.as_secs())),
        };
        chunk.truncate(usize::try_from(left).unwrap_or(usize::MAX));
        left -= chunk.len() as u64;
        use_of.goes_on();
        match timeout(IDLE, to.send(Ok(chunk))).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => return, // the client has gone
            Err(_) => return transfer.cut(),
        }
    };
    if let Some(why) = stopped {
        tracing::warn!(session = use_of.session.id(), left, why, "broke a download off");
        // The body may be waiting; if it is not, the end of the channel says as much.
        let _ = to.try_send(Err(io::Error::other(why)));
    }
    if timeout(IDLE, to.closed()).await.is_err() {
        transfer.cut();
    }
}

/// Tells a session now and then that it is in use.
struct Use {
    session: Session,
    told: Instant,
}

impl Use {
    fn begin(session: Session) -> Self {
        session.touch();
        Use { session, told: Instant::now() }
    }

    fn goes_on(&mut self) {
        if self.told.elapsed() >= TOUCH_EVERY {
            self.told = Instant::now();
            self.session.touch();
        }
    }
}

/// `PUT …/files/content`: a whole file, replacing an old one once all of it is
/// there.
pub(super) async fn upload(
    State(shared): State<Shared>,
    Extension(connection): Extension<Connection>,
    Extension(pass): Extension<Pass>,
    Path(id): Path<String>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refusal> {
    let work = Work::begin(&shared, &pass, &id)?;
    let path = required(query.as_deref())?;
    if headers.contains_key(CONTENT_RANGE) {
        return Err(Refusal::Body("only a whole file can be written, not a part of it"));
    }
    let place = work.find(&path, Last::Follow).await?;
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
    match feed(body, to, Use::begin(work.session)).await {
        // The task that writes may have ended; then `written` says why.
        Ok(()) => drop(finish.send(())),
        // Nothing more comes, and nobody must wait for it.
        Err(Stop::Sandbox) => drop(finish),
        Err(Stop::Refused(refusal)) => return Err(refusal),
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
    /// Says that those were all. Dropped, the file is not written.
    finish: oneshot::Sender<()>,
    written: oneshot::Receiver<sandbox::Result<Entry>>,
}

/// Writes in a task of its own: a request is dropped when its client goes, and
/// then the provider still has to take away what it has of the file.
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
        // Nobody waits for it where the client has gone.
        let _ = tell.send(result);
    });
    Writing { to, finish, written }
}

/// Why an upload is not fed to its end.
enum Stop {
    /// The sandbox takes no more, and says why.
    Sandbox,
    Refused(Refusal),
}

/// Carries the body to the sandbox at the pace of both, but for a client that
/// hardly sends. Its time counts only while it is waited for: what the sandbox
/// takes slowly is not its fault.
async fn feed(mut body: Body, to: mpsc::Sender<Bytes>, mut use_of: Use) -> Result<(), Stop> {
    let (mut waited, mut came) = (Duration::ZERO, 0);
    loop {
        let began = Instant::now();
        let frame = tokio::select! {
            frame = timeout(IDLE.saturating_sub(waited), body.frame()) => frame,
            () = to.closed() => return Err(Stop::Sandbox),
        };
        waited += began.elapsed();
        let mut bytes = match frame {
            Ok(Some(Ok(frame))) => frame.into_data().unwrap_or_default(),
            Ok(None) => return Ok(()),
            Ok(Some(Err(_))) => return Err(Stop::Refused(Refusal::BrokeOff)),
            Err(_) => Bytes::new(),
        };
        came += bytes.len() as u64;
        if waited >= IDLE {
            if came < LEAST {
                return Err(Stop::Refused(Refusal::Stalled(IDLE.as_secs())));
            }
            (waited, came) = (Duration::ZERO, 0);
        }
        while !bytes.is_empty() {
            let chunk = bytes.split_to(bytes.len().min(CHUNK_BYTES));
            match timeout(IDLE, to.send(chunk)).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) => return Err(Stop::Sandbox),
                Err(_) => {
                    let message = format!("the sandbox took nothing for {} s; nothing was kept", IDLE.as_secs());
                    let error = sandbox::Error::new(Fault::Provider, Code::DeadlineExceeded, message);
                    return Err(Stop::Refused(error.into()));
                }
            }
        }
        use_of.goes_on();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_saved_under_its_name_whatever_that_is() {
        for (name, field) in [
            ("a.txt", "attachment; filename=\"a.txt\"; filename*=UTF-8''a.txt"),
            ("a b", "attachment; filename=\"a b\"; filename*=UTF-8''a%20b"),
            ("\"q\".\\", "attachment; filename=\"_q_._\"; filename*=UTF-8''%22q%22.%5C"),
            ("100%;x=y", "attachment; filename=\"100_;x=y\"; filename*=UTF-8''100%25%3Bx%3Dy"),
            ("ü\r\nX: y", "attachment; filename=\"___X: y\"; filename*=UTF-8''%C3%BC%0D%0AX%3A%20y"),
            ("it's (*)", "attachment; filename=\"it's (*)\"; filename*=UTF-8''it%27s%20%28%2A%29"),
        ] {
            assert_eq!(disposition(name), field, "{name:?}");
        }
    }
}
