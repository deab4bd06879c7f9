//! Listing, making, renaming and removing.
//!
//! Owns these routes. Deliberately decides nothing that the sandbox can decide.

use axum::Json;
use axum::body::Body;
use axum::extract::{Extension, Path, RawQuery, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get, post};
use http::header::{CONTENT_TYPE, ETAG};
use http::{HeaderMap, HeaderValue, StatusCode};
use serde::Deserialize;
use serde_json::json;
use sha2::{Digest, Sha256};

use super::path::{CleanPath, MAX_PATH};
use super::request::{FileRequest, describe, is_storage, required};
use super::resolve::{self, LastPart, ResolvedPath};
use super::{change, download, upload};
use crate::access::auth::Pass;
use crate::api::body;
use crate::api::refusal::Refusal;
use crate::conditions;
use crate::state::Shared;
use sandbox_broker_session::Workspace;

/// Entries of one answer, at most: about 2 MB of JSON. A page cannot show more.
const MAX_ENTRIES: usize = 10_000;

/// Bytes of a request to rename, at most: two paths in which JSON writes each byte as
/// six, and the rest.
const MAX_RENAME: usize = 2 * 6 * MAX_PATH + 1024;

/// The routes, each beginning with [`FILES`](crate::paths::FILES).
pub(crate) fn routes() -> Vec<(&'static str, MethodRouter<Shared>)> {
    vec![
        ("/api/sessions/{id}/files", get(list).delete(remove)),
        ("/api/sessions/{id}/files/content", get(download::download).put(upload::upload)),
        ("/api/sessions/{id}/files/directory", post(make_directory)),
        ("/api/sessions/{id}/files/rename", post(rename)),
    ]
}

/// `GET …/files`: the session's directories, or what is in one of them.
///
/// It does not count as use of the session: a page that is left open asks all the
/// time.
async fn list(
    State(shared): State<Shared>,
    Extension(pass): Extension<Pass>,
    Path(id): Path<String>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let work = FileRequest::begin(&shared, &pass, &id)?;
    let Some(path) = CleanPath::in_query(query.as_deref())? else {
        let root = |path: &String| json!({ "path": path, "storage": is_storage(&work.workspace, path) });
        let roots: Vec<_> = work.workspace.roots.iter().map(root).collect();
        return Ok(Json(json!({ "roots": roots })).into_response());
    };
    let place = work.find(&path, LastPart::Follow).await?;
    if !place.exists() {
        return Err(Refusal::Missing(path.as_str().to_owned()));
    }
    if !place.is_directory() {
        return Err(Refusal::NotDirectory(path.as_str().to_owned()));
    }
    if !place.may_read() {
        return Err(Refusal::Forbidden { what: "look into", path: path.as_str().to_owned() });
    }
    let Workspace { provider, sandbox, call, .. } = &work.workspace;
    let found = provider.list_whole_dir(call, sandbox, &place.location(&work.workspace)).await?;
    let entries: Vec<_> = found
        .iter()
        .take(MAX_ENTRIES)
        .map(|entry| describe(&work.workspace, &path.entry(&entry.name), entry))
        .collect();
    let answer = json!({ "path": path.as_str(), "entries": entries, "total": found.len() }).to_string();
    // A client that asks every few seconds gets the list only if it changed.
    let hash: [u8; 16] = Sha256::digest(&answer)[..16].try_into().expect("16 of 32 bytes");
    let etag = format!("\"{:032x}\"", u128::from_be_bytes(hash));
    let tag = [(ETAG, HeaderValue::try_from(&etag).expect("hexadecimal"))];
    if conditions::is_known(&headers, &etag) {
        return Ok((StatusCode::NOT_MODIFIED, tag).into_response());
    }
    Ok((tag, [(CONTENT_TYPE, "application/json")], answer).into_response())
}

/// `POST …/files/directory`: makes a directory and those above it.
async fn make_directory(
    State(shared): State<Shared>,
    Extension(pass): Extension<Pass>,
    Path(id): Path<String>,
    RawQuery(query): RawQuery,
) -> Result<Response, Refusal> {
    let work = FileRequest::begin(&shared, &pass, &id)?;
    let path = required(query.as_deref())?;
    let place = work.find(&path, LastPart::Keep).await?;
    if place.exists() {
        return Err(Refusal::Exists(path.as_str().to_owned()));
    }
    may_change(&place, "make a directory at", &path)?;
    work.session.touch();
    let entry = change::make_dir(&work.workspace, &place.location(&work.workspace)).await?;
    Ok((StatusCode::CREATED, Json(describe(&work.workspace, path.as_str(), &entry))).into_response())
}

/// The body of a request to rename.
#[derive(Deserialize)]
struct Rename {
    from: String,
    to: String,
}

/// `POST …/files/rename`: renames a file, a directory or a link itself, and never
/// over something else.
async fn rename(
    State(shared): State<Shared>,
    Extension(pass): Extension<Pass>,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refusal> {
    let work = FileRequest::begin(&shared, &pass, &id)?;
    let shape = "send `{\"from\": PATH, \"to\": PATH}`";
    let Rename { from, to } = body::json(&headers, body, MAX_RENAME, shape).await?;
    let (from, to) = (CleanPath::parse(&from)?, CleanPath::parse(&to)?);
    let [source, destination] =
        resolve::find(&work.workspace, [(&from, LastPart::Keep), (&to, LastPart::Keep)]).await?;
    may_go(&source, &from)?;
    if destination.exists() {
        return Err(Refusal::Exists(to.as_str().to_owned()));
    }
    may_change(&source, "rename", &from)?;
    may_change(&destination, "rename something to", &to)?;
    work.session.touch();
    let [source, destination] = [source, destination].map(|place| place.location(&work.workspace));
    let entry = change::rename(&work.workspace, &source, &destination).await?;
    Ok(Json(describe(&work.workspace, to.as_str(), &entry)).into_response())
}

/// `DELETE …/files`: removes a file, a link itself, or a directory with everything in
/// it.
async fn remove(
    State(shared): State<Shared>,
    Extension(pass): Extension<Pass>,
    Path(id): Path<String>,
    RawQuery(query): RawQuery,
) -> Result<Response, Refusal> {
    let work = FileRequest::begin(&shared, &pass, &id)?;
    let path = required(query.as_deref())?;
    let place = work.find(&path, LastPart::Keep).await?;
    may_go(&place, &path)?;
    may_change(&place, "remove", &path)?;
    work.session.touch();
    change::remove(&work.workspace, &place.location(&work.workspace)).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// Refuses to take away what does not exist, and what the session needs.
fn may_go(place: &ResolvedPath, path: &CleanPath) -> Result<(), Refusal> {
    if place.holds_root {
        return Err(Refusal::Root(path.as_str().to_owned()));
    }
    if !place.exists() {
        return Err(Refusal::Missing(path.as_str().to_owned()));
    }
    Ok(())
}

/// Refuses if the user may not change the directory.
fn may_change(place: &ResolvedPath, what: &'static str, path: &CleanPath) -> Result<(), Refusal> {
    if place.may_change_directory() {
        return Ok(());
    }
    Err(Refusal::Forbidden { what, path: path.as_str().to_owned() })
}
