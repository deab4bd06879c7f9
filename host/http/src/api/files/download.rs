//! The bytes of a file to the client, of any number in bounded memory.
//!
//! Owns the fields of the answer. Deliberately never interprets what it carries,
//! and tells browsers not to either: a file of the sandbox is served from the
//! broker's own origin.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::UNIX_EPOCH;

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
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::pace::{IDLE, SessionUse};
use super::path::CleanPath;
use super::request::{FileRequest, required};
use super::resolve::LastPart;
use crate::access::auth::Pass;
use crate::api::refusal::Refusal;
use crate::api::slots::Slot;
use crate::conditions::{self, ByteRange};
use crate::connection::exchange::{Connection, Transfer};
use crate::state::Shared;
use sandbox_broker_core::sandbox::{Download, Entry, EntryKind};
use sandbox_broker_session::{Session, Workspace};

/// Bytes of a download that the connection takes at a time, at most. It takes the
/// next piece while it still has some, and at the end a slow client has only
/// [`Limits::stop`](crate::Limits::stop) for the rest.
const PIECE: usize = 16 << 10;

/// What a file's content may do in a browser that shows it although it should save
/// it: nothing.
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
    let work = FileRequest::begin(&shared, &pass, &id)?;
    let path = required(query.as_deref())?;
    let place = work.find(&path, LastPart::Follow).await?;
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
        Method::HEAD => None, // only a GET has a range (RFC 9110 section 14.2)
        _ => conditions::byte_range(&headers, size, etag.as_deref()).map_err(|_| Refusal::Range(size))?,
    };
    let (status, ByteRange { start, length }) = match part {
        Some(part) => (StatusCode::PARTIAL_CONTENT, part),
        None => (StatusCode::OK, ByteRange { start: 0, length: size }),
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
    let served = DownloadBody { data, held: Bytes::new(), left: length, _transfer: transfer.clone(), _slot: work.slot };
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

/// A file's version, as far as its size and time tell versions apart. None if the
/// time is not known.
fn etag(entry: &Entry) -> Option<String> {
    let modified = entry.modified?.duration_since(UNIX_EPOCH).ok()?;
    Some(format!("\"{:x}-{:x}\"", modified.as_millis(), entry.size))
}

/// The characters that need no encoding (RFC 8187 section 3.2.1).
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

/// Says that the file is to be saved under this name (RFC 6266). The plain form is
/// for clients that know no other.
fn disposition(name: &str) -> HeaderValue {
    let plain = |c: char| if matches!(c, ' '..='~') && !matches!(c, '"' | '\\' | '%') { c } else { '_' };
    let (plain, encoded) = (name.chars().map(plain).collect::<String>(), utf8_percent_encode(name, ATTR_CHAR));
    HeaderValue::try_from(format!("attachment; filename=\"{plain}\"; filename*=UTF-8''{encoded}"))
        .expect("both forms are printable ASCII")
}

/// The body of a download: as many bytes as were promised, or an error. An error
/// breaks the connection off.
struct DownloadBody {
    data: mpsc::Receiver<io::Result<Bytes>>,
    /// The rest of a chunk.
    held: Bytes,
    left: u64,
    _transfer: Transfer,
    _slot: Slot,
}

impl http_body::Body for DownloadBody {
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

/// Carries `left` bytes to the body as fast as the client takes them. Cuts off a
/// client that takes none: nobody else would notice, because a body that is not
/// asked for bytes cannot act.
async fn pump(
    download: Download,
    mut left: u64,
    to: mpsc::Sender<io::Result<Bytes>>,
    transfer: Transfer,
    session: Session,
) {
    let Download { mut data, done, lifetime: _lifetime } = download;
    let mut use_of = SessionUse::begin(session);
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
        // The body may be waiting. If it is not, the end of the channel says the same.
        let _ = to.try_send(Err(io::Error::other(why)));
    }
    if timeout(IDLE, to.closed()).await.is_err() {
        transfer.cut();
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
