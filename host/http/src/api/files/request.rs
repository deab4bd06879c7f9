//! What a request about files works on, and how an entry is described.
//!
//! Deliberately does nothing to a file.

use std::time::SystemTime;

use serde_json::{Value, json};

use super::path::{CleanPath, NotAPath};
use super::resolve::{self, LastPart, ResolvedPath};
use crate::access::auth::Pass;
use crate::api::refusal::Refusal;
use crate::api::slots::Slot;
use crate::state::Shared;
use sandbox_broker_core::sandbox::{Entry, EntryKind};
use sandbox_broker_session::{Session, Workspace};

/// What a request works on, with its place among the session's requests.
pub(super) struct FileRequest {
    pub(super) session: Session,
    pub(super) workspace: Workspace,
    pub(super) slot: Slot,
}

impl FileRequest {
    /// Finds the session and takes a place.
    pub(super) fn begin(shared: &Shared, pass: &Pass, id: &str) -> Result<Self, Refusal> {
        let session = shared.session(pass, id)?;
        let workspace = session.workspace().ok_or(Refusal::NotRunning)?;
        let slot = shared.slots.take(session.id()).ok_or(Refusal::Busy)?;
        Ok(FileRequest { session, workspace, slot })
    }

    /// Finds where a path leads.
    pub(super) async fn find(&self, path: &CleanPath, last: LastPart) -> Result<ResolvedPath, Refusal> {
        let [found] = resolve::find(&self.workspace, [(path, last)]).await?;
        Ok(found)
    }
}

/// Whether storage is mounted at this path.
pub(super) fn is_storage(workspace: &Workspace, path: &str) -> bool {
    workspace.mounts.iter().any(|mount| mount.trim_end_matches('/') == path.trim_end_matches('/'))
}

/// Describes an entry for clients, under the path by which they know it.
pub(super) fn describe(workspace: &Workspace, path: &str, entry: &Entry) -> Value {
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

/// Writes a time as RFC 3339, to the millisecond.
fn rfc_3339(time: SystemTime) -> Option<String> {
    let time = jiff::Timestamp::try_from(time).ok()?;
    Some(time.strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string())
}

/// Reads the path of a query that must have one.
pub(super) fn required(query: Option<&str>) -> Result<CleanPath, Refusal> {
    CleanPath::in_query(query)?.ok_or(Refusal::Path(NotAPath::Missing))
}
