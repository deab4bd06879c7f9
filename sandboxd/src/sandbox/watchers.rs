//! The watchers of a sandbox that clients poll, and the events that wait in them.
//!
//! The events come from `directory_watch`; the messages are in `envd::watch`.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use serde::Serialize;
use tokio_util::sync::CancellationToken;

use crate::connect::ConnectError;
use sandboxd_init::wire::EntryInfo;

/// Polled watchers of one sandbox.
pub(crate) const MAX_WATCHERS: usize = 64;

/// What happened, with the names of `filesystem.EventType`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(crate) enum ChangeKind {
    #[serde(rename = "EVENT_TYPE_CREATE")]
    Create,
    #[serde(rename = "EVENT_TYPE_WRITE")]
    Write,
    #[serde(rename = "EVENT_TYPE_REMOVE")]
    Remove,
    #[serde(rename = "EVENT_TYPE_RENAME")]
    Rename,
    #[serde(rename = "EVENT_TYPE_CHMOD")]
    Chmod,
}

/// One change. The name is relative to the watched directory.
#[derive(Debug, Clone)]
pub(crate) struct Change {
    pub(crate) name: String,
    pub(crate) kind: ChangeKind,
}

#[derive(Debug, Serialize)]
pub(crate) struct FilesystemEvent {
    pub(crate) name: String,
    #[serde(rename = "type")]
    pub(crate) kind: ChangeKind,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) entry: Option<Box<EntryInfo>>,
}

/// A watcher that a client polls. Dropping it ends its task.
#[derive(Debug)]
pub(crate) struct PolledWatcher {
    pub(crate) queue: Arc<Mutex<EventQueue>>,
    pub(crate) stop: CancellationToken,
}

#[derive(Debug, Default)]
pub(crate) struct EventQueue {
    pub(crate) events: VecDeque<FilesystemEvent>,
    pub(crate) failure: Option<ConnectError>,
}

impl Drop for PolledWatcher {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}
