//! File contents over REST: download with ranges, upload as a form or as bytes, and composing.
//!
//! The init of the sandbox opens the files; this module moves their bytes. Does not resolve paths.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{FromRequest, Multipart, Query, Request};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use http::header::{ACCEPT_RANGES, CONTENT_DISPOSITION, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, RANGE};
use http::{HeaderMap, HeaderValue, StatusCode};
use serde::{Deserialize, Serialize};
use tokio::fs::File;
use tokio::io::{AsyncReadExt, AsyncSeekExt, AsyncWriteExt};
use tokio_util::io::ReaderStream;

use super::signature::{self, Operation, Signed};
use crate::control::error::ApiError;
use crate::isolation::DEFAULT_USER;
use crate::sandbox::Sandbox;
use sandboxd_init::wire::{EntryInfo, Failure, FailureKind, FileOp, Reply};

/// Bytes of one read of a download.
const CHUNK: usize = 128 * 1024;

/// Files of one upload.
const MAX_PARTS: usize = 4096;

/// The largest total size of the keys and values of one upload's metadata in bytes, and that of one key.
const MAX_METADATA: usize = 4096;
const MAX_METADATA_KEY: usize = 246;

/// The largest request to compose, in bytes, and its largest number of sources.
const MAX_COMPOSE_BODY: usize = 1024 * 1024;
const MAX_SOURCES: usize = 10_000;

#[derive(Debug, Default, Deserialize)]
pub(crate) struct FileQuery {
    path: Option<String>,
    username: Option<String>,
    pub(crate) signature: Option<String>,
    signature_expiration: Option<i64>,
}

impl FileQuery {
    /// Whether the URL is signed for a sandbox with this token.
    pub(crate) fn check(&self, operation: Operation, token: &str) -> Result<(), signature::SignatureError> {
        let signed = Signed {
            path: self.path.as_deref().unwrap_or_default(),
            username: self.username.as_deref().unwrap_or_default(),
            signature: self.signature.as_deref().unwrap_or_default(),
            expiration: self.signature_expiration,
        };
        signature::check(signed, operation, token, jiff::Timestamp::now().as_second())
    }

    fn user(&self) -> &str {
        self.username.as_deref().filter(|name| !name.is_empty()).unwrap_or(DEFAULT_USER)
    }
}

#[derive(Debug, Serialize)]
struct WrittenFile {
    path: String,
    name: String,
    #[serde(rename = "type")]
    kind: &'static str,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    metadata: BTreeMap<String, String>,
}

impl From<EntryInfo> for WrittenFile {
    fn from(entry: EntryInfo) -> Self {
        Self { path: entry.path, name: entry.name, kind: "file", metadata: entry.metadata }
    }
}

impl From<Failure> for ApiError {
    fn from(failure: Failure) -> Self {
        let status = match failure.kind {
            FailureKind::InvalidArgument | FailureKind::AlreadyExists => StatusCode::BAD_REQUEST,
            FailureKind::NotFound => StatusCode::NOT_FOUND,
            FailureKind::PermissionDenied => StatusCode::FORBIDDEN,
            FailureKind::Unauthenticated => StatusCode::UNAUTHORIZED,
            FailureKind::ResourceExhausted => StatusCode::TOO_MANY_REQUESTS,
            FailureKind::NoSpace => StatusCode::INSUFFICIENT_STORAGE,
            FailureKind::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Self::new(status, failure.message)
    }
}

/// Accepts a request that carries the token, or whose URL is signed.
fn authorize(sandbox: &Sandbox, headers: &HeaderMap, query: &FileQuery, operation: Operation) -> Result<(), ApiError> {
    // The router's middleware has compared the token.
    if headers.contains_key("x-access-token") {
        return Ok(());
    }
    let unauthorized = |message: String| ApiError::new(StatusCode::UNAUTHORIZED, message);
    if query.signature.is_none() {
        return Err(unauthorized("missing signature or access token".to_owned()));
    }
    query.check(operation, &sandbox.token).map_err(|error| unauthorized(error.to_string()))
}

async fn open(sandbox: &Sandbox, user: &str, op: FileOp) -> Result<(EntryInfo, File), ApiError> {
    match sandbox.file(user, op).await? {
        (Reply::Entry(entry), Some(descriptor)) => Ok((*entry, File::from_std(descriptor.into()))),
        _ => Err(ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "the sandbox opened no file")),
    }
}

/// `GET /files`
pub(super) async fn download(
    Extension(sandbox): Extension<Arc<Sandbox>>,
    Query(query): Query<FileQuery>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    authorize(&sandbox, &headers, &query, Operation::Read)?;
    let path = query.path.clone().unwrap_or_default();
    let (entry, mut file) = open(&sandbox, query.user(), FileOp::Read { path }).await?;
    // The size as seen inside the sandbox: this process cannot see into a file system that is mounted there.
    let size = entry.size.as_deref().and_then(|size| size.parse().ok()).unwrap_or(0);
    let range = headers.get(RANGE).and_then(|value| parse_range(value.to_str().ok()?, size));
    let (status, start, length) = match range {
        None => (StatusCode::OK, 0, size),
        Some(Ok((start, end))) => (StatusCode::PARTIAL_CONTENT, start, end - start + 1),
        Some(Err(Unsatisfiable)) => {
            let mut response =
                ApiError::new(StatusCode::RANGE_NOT_SATISFIABLE, "the range lies outside of the file").into_response();
            response.headers_mut().insert(CONTENT_RANGE, header(format!("bytes */{size}")));
            return Ok(response);
        }
    };
    if start > 0 {
        file.seek(std::io::SeekFrom::Start(start)).await.map_err(|error| transfer_error(&error))?;
    }
    let body = Body::from_stream(ReaderStream::with_capacity(file.take(length), CHUNK));
    let mut response = (status, body).into_response();
    let answer = response.headers_mut();
    answer.insert(CONTENT_LENGTH, HeaderValue::from(length));
    answer.insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    answer.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    answer.insert(CONTENT_DISPOSITION, disposition(&entry.name));
    if status == StatusCode::PARTIAL_CONTENT {
        answer.insert(CONTENT_RANGE, header(format!("bytes {start}-{}/{size}", start + length - 1)));
    }
    Ok(response)
}

fn header(value: String) -> HeaderValue {
    HeaderValue::try_from(value).expect("digits are a header value")
}

/// RFC 6266 with the extended form, which can express any file name.
fn disposition(name: &str) -> HeaderValue {
    let encoded = percent_encoding::utf8_percent_encode(name, percent_encoding::NON_ALPHANUMERIC);
    HeaderValue::try_from(format!("inline; filename*=UTF-8''{encoded}")).expect("percent-encoding leaves ASCII")
}

struct Unsatisfiable;

/// Parses one range (RFC 9110). Several ranges and other units are ignored, as the RFC allows. Both ends are inclusive.
fn parse_range(value: &str, size: u64) -> Option<Result<(u64, u64), Unsatisfiable>> {
    let (first, last) = value.strip_prefix("bytes=")?.split_once('-')?;
    let (start, end) = match (first.trim(), last.trim()) {
        ("", suffix) => match suffix.parse::<u64>().ok()? {
            0 => return Some(Err(Unsatisfiable)),
            suffix => (size.saturating_sub(suffix), size.saturating_sub(1)),
        },
        (first, "") => (first.parse().ok()?, size.saturating_sub(1)),
        (first, last) => {
            let (start, end): (u64, u64) = (first.parse().ok()?, last.parse().ok()?);
            if end < start {
                return None;
            }
            (start, end.min(size.saturating_sub(1)))
        }
    };
    Some(if start < size { Ok((start, end)) } else { Err(Unsatisfiable) })
}

/// `POST /files`
pub(super) async fn upload(
    Extension(sandbox): Extension<Arc<Sandbox>>,
    Query(query): Query<FileQuery>,
    request: Request,
) -> Result<Response, ApiError> {
    authorize(&sandbox, request.headers(), &query, Operation::Write)?;
    let metadata = metadata(request.headers())?;
    let content_type = request.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let written = if content_type.starts_with("application/octet-stream") {
        let path = query.path.clone().filter(|path| !path.is_empty());
        let path = path.ok_or_else(|| ApiError::bad_request("an upload of bytes needs the path in the query"))?;
        let body = request.into_body().into_data_stream();
        vec![write_file(&sandbox, query.user(), path, metadata, body).await?]
    } else if content_type.starts_with("multipart/form-data") {
        let form =
            Multipart::from_request(request, &()).await.map_err(|error| ApiError::bad_request(error.body_text()))?;
        write_form(&sandbox, &query, &metadata, form).await?
    } else {
        return Err(ApiError::bad_request("the content type must be multipart/form-data or application/octet-stream"));
    };
    Ok(Json(written).into_response())
}

async fn write_form(
    sandbox: &Sandbox,
    query: &FileQuery,
    metadata: &BTreeMap<String, String>,
    mut form: Multipart,
) -> Result<Vec<WrittenFile>, ApiError> {
    let mut written = Vec::new();
    let mut paths = HashSet::new();
    while let Some(part) = form.next_field().await.map_err(|error| ApiError::bad_request(error.body_text()))? {
        if part.name() != Some("file") {
            continue;
        }
        let path = query.path.clone().filter(|path| !path.is_empty()).or_else(|| part.file_name().map(str::to_owned));
        let path = path.ok_or_else(|| ApiError::bad_request("a part needs a file name, or the query a path"))?;
        if !paths.insert(path.clone()) {
            return Err(ApiError::bad_request(format!(
                "you cannot upload multiple files to the same path '{path}' in one upload request"
            )));
        }
        if paths.len() > MAX_PARTS {
            return Err(ApiError::bad_request(format!("an upload may have at most {MAX_PARTS} files")));
        }
        written.push(write_file(sandbox, query.user(), path, metadata.clone(), part).await?);
    }
    Ok(written)
}

async fn write_file<E: std::fmt::Display>(
    sandbox: &Sandbox,
    user: &str,
    path: String,
    metadata: BTreeMap<String, String>,
    body: impl Stream<Item = Result<Bytes, E>>,
) -> Result<WrittenFile, ApiError> {
    let (entry, mut file) = open(sandbox, user, FileOp::Write { path, metadata }).await?;
    let mut body = std::pin::pin!(body);
    while let Some(chunk) = body.next().await {
        let chunk = chunk
            .map_err(|error| ApiError::bad_request(format!("the upload of '{}' broke off: {error}", entry.path)))?;
        file.write_all(&chunk).await.map_err(|error| transfer_error(&error))?;
    }
    // Waits for the last write and reports its error.
    file.flush().await.map_err(|error| transfer_error(&error))?;
    Ok(entry.into())
}

fn transfer_error(error: &std::io::Error) -> ApiError {
    match error.kind() {
        std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => {
            ApiError::new(StatusCode::INSUFFICIENT_STORAGE, "not enough disk space available")
        }
        _ => ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, format!("the file could not be moved: {error}")),
    }
}

fn metadata(headers: &HeaderMap) -> Result<BTreeMap<String, String>, ApiError> {
    let mut metadata = BTreeMap::new();
    let mut total = 0;
    for (name, value) in headers {
        let Some(key) = name.as_str().strip_prefix("x-metadata-") else {
            continue;
        };
        let value = value.to_str().map_err(|_| ApiError::bad_request(format!("the metadata '{key}' is not ASCII")))?;
        total += key.len() + value.len();
        if key.is_empty() || key.len() > MAX_METADATA_KEY || total > MAX_METADATA {
            let message =
                format!("metadata may have keys of 1 to {MAX_METADATA_KEY} bytes and {MAX_METADATA} bytes in all");
            return Err(ApiError::bad_request(message));
        }
        metadata.insert(key.to_owned(), value.to_owned());
    }
    Ok(metadata)
}

#[derive(Debug, Deserialize)]
struct Compose {
    source_paths: Vec<String>,
    destination: String,
    username: Option<String>,
}

/// `POST /files/compose`: joins the sources into the destination, then removes them.
pub(super) async fn compose(Extension(sandbox): Extension<Arc<Sandbox>>, body: Body) -> Result<Response, ApiError> {
    let bytes = axum::body::to_bytes(body, MAX_COMPOSE_BODY).await.map_err(|_| {
        ApiError::bad_request(format!("the body is cut off, or has more than {MAX_COMPOSE_BODY} bytes"))
    })?;
    let request: Compose = serde_json::from_slice(&bytes)
        .map_err(|error| ApiError::bad_request(format!("the body is not valid: {error}")))?;
    if request.source_paths.is_empty() || request.source_paths.len() > MAX_SOURCES {
        return Err(ApiError::bad_request(format!("source_paths must have 1 to {MAX_SOURCES} paths")));
    }
    if request.source_paths.contains(&request.destination) {
        return Err(ApiError::bad_request("the destination is one of the sources"));
    }
    let user = request.username.as_deref().filter(|name| !name.is_empty()).unwrap_or(DEFAULT_USER);
    for path in &request.source_paths {
        open(&sandbox, user, FileOp::Read { path: path.clone() }).await?;
    }
    let write = FileOp::Write { path: request.destination, metadata: BTreeMap::new() };
    let (entry, mut target) = open(&sandbox, user, write).await?;
    for path in &request.source_paths {
        let (_, mut source) = open(&sandbox, user, FileOp::Read { path: path.clone() }).await?;
        tokio::io::copy(&mut source, &mut target).await.map_err(|error| transfer_error(&error))?;
    }
    target.flush().await.map_err(|error| transfer_error(&error))?;
    for path in request.source_paths {
        sandbox.file(user, FileOp::Remove { path }).await?;
    }
    Ok(Json(WrittenFile::from(entry)).into_response())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Promise: one range is cut to the file as RFC 9110 says, and anything else is ignored.
    #[test]
    fn ranges() {
        let range = |text| parse_range(text, 10).map(Result::ok);
        assert_eq!(range("bytes=0-3"), Some(Some((0, 3))));
        assert_eq!(range("bytes=7-"), Some(Some((7, 9))));
        assert_eq!(range("bytes=-2"), Some(Some((8, 9))));
        assert_eq!(range("bytes=-20"), Some(Some((0, 9))));
        assert_eq!(range("bytes=5-99"), Some(Some((5, 9))));
        assert_eq!(range("bytes=10-"), Some(None));
        assert_eq!(range("bytes=-0"), Some(None));
        assert_eq!(range("bytes=5-3"), None);
        assert_eq!(range("lines=1-2"), None);
        assert!(parse_range("bytes=0-", 0).unwrap().is_err());
    }
}
