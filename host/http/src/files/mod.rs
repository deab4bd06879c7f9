//! The files of a session, for the page's panel and for programs.
//!
//! Owns the routes below `/api/sessions/{id}/files`, the shape of their answers
//! and the rules of what may be touched. Deliberately has no file of its own:
//! each operation is one of the port's, done as the session's user in its
//! sandbox. `docs/files-api.md` says what clients may rely on.
//!
//! | file | what it is |
//! |---|---|
//! | `path` | what a path may look like |
//! | `place` | where it leads in the sandbox, and what its user may do there |
//! | `act` | changes, each by a process of that user |
//! | `content` | bytes up and down, of any number |
//! | `slots` | how many requests at a time |
//! | `refusal` | why not, in words and as a status |

mod act;
mod content;
mod path;
mod place;
mod refusal;
mod slots;

use std::time::SystemTime;

use axum::Json;
use axum::body::Body;
use axum::extract::{Extension, Path, RawQuery, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get, post};
use http::header::{CONTENT_TYPE, ETAG};
use http::{HeaderMap, HeaderValue, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

pub(super) use refusal::Refusal;
pub(super) use slots::{Slot, Slots};

use self::path::{CleanPath, MAX_PATH, NotAPath};
use self::place::{Last, Place};
use super::auth::Pass;
use super::{Shared, body, conditions};
use sandbox_broker_core::sandbox::{Entry, EntryKind};
use sandbox_broker_session::{Session, Workspace};

/// Entries of one answer, at most: about 2 MB of JSON. A page cannot show more.
const MAX_ENTRIES: usize = 10_000;

/// Bytes of a request to rename, at most: two paths in which JSON writes each
/// byte as six, and the rest.
const MAX_RENAME: usize = 2 * 6 * MAX_PATH + 1024;

/// What these routes begin with.
pub(super) const PREFIX: &str = "/api/sessions/{id}/files";

/// The routes, each beginning with [`PREFIX`].
pub(super) fn routes() -> Vec<(&'static str, MethodRouter<Shared>)> {
    vec![
        ("/api/sessions/{id}/files", get(list).delete(remove)),
        ("/api/sessions/{id}/files/content", get(content::download).put(content::upload)),
        ("/api/sessions/{id}/files/directory", post(make_directory)),
        ("/api/sessions/{id}/files/rename", post(rename)),
    ]
}

/// What a request works on, with its place among those of the session.
struct Work {
    session: Session,
    workspace: Workspace,
    slot: Slot,
}

impl Work {
    fn begin(shared: &Shared, pass: &Pass, id: &str) -> Result<Self, Refusal> {
        let session = shared.session(pass, id)?;
        let workspace = session.workspace().ok_or(Refusal::NotRunning)?;
        let slot = shared.files.take(session.id()).ok_or(Refusal::Busy)?;
        Ok(Work { session, workspace, slot })
    }

    async fn find(&self, path: &CleanPath, last: Last) -> Result<Place, Refusal> {
        let [place] = place::find(&self.workspace, [(path, last)]).await?;
        Ok(place)
    }
}

/// Whether what is at this path is storage.
fn is_storage(workspace: &Workspace, path: &str) -> bool {
    workspace.mounts.iter().any(|mount| mount.trim_end_matches('/') == path.trim_end_matches('/'))
}

/// An entry as clients see it, under the path by which they know it.
fn describe(workspace: &Workspace, path: &str, entry: &Entry) -> Value {
    let kind = match entry.kind {
        EntryKind::File => "file",
        EntryKind::Directory => "directory",
        EntryKind::Symlink => "link",
        EntryKind::Other => "other",
    };
    json!({
        "name": path.rsplit_once('/').map_or("", |(_, name)| name),
        "kind": kind,
        "size": entry.size,
        "mode": format!("{:04o}", entry.mode),
        "modified": entry.modified.and_then(rfc_3339),
        "storage": is_storage(workspace, path),
    })
}

fn rfc_3339(time: SystemTime) -> Option<String> {
    let time = jiff::Timestamp::try_from(time).ok()?;
    Some(time.strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string())
}

/// The path of a query, which has to have one.
fn required(query: Option<&str>) -> Result<CleanPath, Refusal> {
    CleanPath::in_query(query)?.ok_or(Refusal::Path(NotAPath::Missing))
}

/// `GET …/files`: the session's directories, or what is in one of them.
///
/// Looking is no use of the session: a page left open looks all the time.
async fn list(
    State(shared): State<Shared>,
    Extension(pass): Extension<Pass>,
    Path(id): Path<String>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let work = Work::begin(&shared, &pass, &id)?;
    let Some(path) = CleanPath::in_query(query.as_deref())? else {
        let root = |path: &String| json!({ "path": path, "storage": is_storage(&work.workspace, path) });
        let roots: Vec<_> = work.workspace.roots.iter().map(root).collect();
        return Ok(Json(json!({ "roots": roots })).into_response());
    };
    let place = work.find(&path, Last::Follow).await?;
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
    let found = provider.list_dir(call, sandbox, &place.location(&work.workspace)).await?;
    let entries: Vec<_> = found
        .iter()
        .take(MAX_ENTRIES)
        .map(|entry| describe(&work.workspace, &path.entry(&entry.name), entry))
        .collect();
    let answer = json!({ "path": path.as_str(), "entries": entries, "total": found.len() }).to_string();
    // A client that asks every few seconds gets the list only when it changed.
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
    let work = Work::begin(&shared, &pass, &id)?;
    let path = required(query.as_deref())?;
    let place = work.find(&path, Last::Keep).await?;
    if place.exists() {
        return Err(Refusal::Exists(path.as_str().to_owned()));
    }
    may_change(&place, "make a directory at", &path)?;
    work.session.touch();
    let entry = act::make_dir(&work.workspace, &place.location(&work.workspace)).await?;
    Ok((StatusCode::CREATED, Json(describe(&work.workspace, path.as_str(), &entry))).into_response())
}

#[derive(Deserialize)]
struct Rename {
    from: String,
    to: String,
}

/// `POST …/files/rename`: never over something else. A link is renamed itself.
async fn rename(
    State(shared): State<Shared>,
    Extension(pass): Extension<Pass>,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refusal> {
    let work = Work::begin(&shared, &pass, &id)?;
    let shape = "send `{\"from\": PATH, \"to\": PATH}`";
    let Rename { from, to } = body::json(&headers, body, MAX_RENAME, shape).await?;
    let (from, to) = (CleanPath::parse(&from)?, CleanPath::parse(&to)?);
    let [source, destination] = place::find(&work.workspace, [(&from, Last::Keep), (&to, Last::Keep)]).await?;
    may_go(&source, &from)?;
    if destination.exists() {
        return Err(Refusal::Exists(to.as_str().to_owned()));
    }
    may_change(&source, "rename", &from)?;
    may_change(&destination, "rename something to", &to)?;
    work.session.touch();
    let [source, destination] = [source, destination].map(|place| place.location(&work.workspace));
    let entry = act::rename(&work.workspace, &source, &destination).await?;
    Ok(Json(describe(&work.workspace, to.as_str(), &entry)).into_response())
}

/// `DELETE …/files`: a file, a link itself, or a directory with all in it.
async fn remove(
    State(shared): State<Shared>,
    Extension(pass): Extension<Pass>,
    Path(id): Path<String>,
    RawQuery(query): RawQuery,
) -> Result<Response, Refusal> {
    let work = Work::begin(&shared, &pass, &id)?;
    let path = required(query.as_deref())?;
    let place = work.find(&path, Last::Keep).await?;
    may_go(&place, &path)?;
    may_change(&place, "remove", &path)?;
    work.session.touch();
    act::remove(&work.workspace, &place.location(&work.workspace)).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// Refuses what is not there, and what the session stands on.
fn may_go(place: &Place, path: &CleanPath) -> Result<(), Refusal> {
    if place.holds_root {
        return Err(Refusal::Root(path.as_str().to_owned()));
    }
    if !place.exists() {
        return Err(Refusal::Missing(path.as_str().to_owned()));
    }
    Ok(())
}

fn may_change(place: &Place, what: &'static str, path: &CleanPath) -> Result<(), Refusal> {
    if place.may_change_directory() {
        return Ok(());
    }
    Err(Refusal::Forbidden { what, path: path.as_str().to_owned() })
}
