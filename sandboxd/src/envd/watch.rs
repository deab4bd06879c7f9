//! Watches directories of a sandbox: `WatchDir` as a stream, and the `CreateWatcher` family by polling.
//!
//! Source: E2B's `envd` 0.6.13. Contains only messages and queues; the events come from
//! [`crate::sandbox::directory_watch`].

use std::collections::VecDeque;
use std::path::Path;
use std::sync::{Arc, Mutex};

use axum::body::Body;
use axum::response::Response;
use axum::routing::post;
use axum::{Extension, Router};
use bytes::Bytes;
use http::HeaderMap;
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use super::caller::{Caller, UnaryResult, acting_user};
use crate::connect::{self, Code, ConnectError, stream};
use crate::sandbox::Sandbox;
use crate::sandbox::directory_watch::{DirectoryWatch, WatchError};
use crate::sandbox::watchers::{Change, ChangeKind, EventQueue, FilesystemEvent, MAX_WATCHERS, PolledWatcher};
use crate::secret;
use sandbox_stdx::lock::lock;
use sandboxd_init::wire::{EntryInfo, FileOp, Reply};

/// Events that wait for one polling client. If there are more, the client is told that events were lost.
const MAX_PENDING: usize = 16_384;

/// Routes of `filesystem.Filesystem` for watching.
pub(super) fn routes() -> Router {
    Router::new()
        .route("/filesystem.Filesystem/WatchDir", post(watch_dir))
        .route("/filesystem.Filesystem/CreateWatcher", post(create_watcher))
        .route("/filesystem.Filesystem/GetWatcherEvents", post(get_watcher_events))
        .route("/filesystem.Filesystem/RemoveWatcher", post(remove_watcher))
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct WatchRequest {
    path: String,
    recursive: bool,
    #[serde(alias = "include_entry")]
    include_entry: bool,
    #[serde(alias = "allow_network_mounts")]
    allow_network_mounts: bool,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct WatcherName {
    #[serde(alias = "watcher_id")]
    watcher_id: String,
}

impl From<WatchError> for ConnectError {
    fn from(error: WatchError) -> Self {
        let code = match &error {
            WatchError::Refused(failure) => return failure.clone().into(),
            WatchError::Overflow | WatchError::TooManyDirectories => Code::ResourceExhausted,
            WatchError::Io(_) => Code::Internal,
        };
        Self::new(code, error.to_string())
    }
}

/// Turns changes into the events that a request asked for.
struct EventSource {
    sandbox: Arc<Sandbox>,
    user: String,
    request: WatchRequest,
    watch: DirectoryWatch,
}

impl EventSource {
    async fn begin(sandbox: Arc<Sandbox>, headers: &HeaderMap, request: WatchRequest) -> Result<Self, ConnectError> {
        let user = acting_user(headers);
        let op = FileOp::OpenDir { path: request.path.clone(), allow_network_mounts: request.allow_network_mounts };
        let (_, root) = sandbox.file(&user, op).await?;
        let root = root.ok_or_else(|| ConnectError::new(Code::Internal, "the sandbox opened no directory"))?;
        let watch = DirectoryWatch::begin(sandbox.clone(), user.clone(), root, request.recursive).await?;
        Ok(Self { sandbox, user, request, watch })
    }

    /// The next event. Cancelling loses no event.
    async fn next(&mut self) -> Result<FilesystemEvent, WatchError> {
        let change = self.watch.next().await?;
        let entry = self.entry(&change).await;
        self.watch.taken();
        Ok(FilesystemEvent { name: change.name, kind: change.kind, entry })
    }

    async fn entry(&self, change: &Change) -> Option<Box<EntryInfo>> {
        if !self.request.include_entry
            || !matches!(change.kind, ChangeKind::Create | ChangeKind::Write | ChangeKind::Chmod)
        {
            return None;
        }
        let path = Path::new(&self.request.path).join(&change.name).to_string_lossy().into_owned();
        match self.sandbox.file(&self.user, FileOp::Stat { path }).await {
            Ok((Reply::Entry(entry), _)) => Some(entry),
            _ => None,
        }
    }
}

async fn watch_dir(Extension(sandbox): Caller, headers: HeaderMap, body: Body) -> Response {
    watch_stream(sandbox, &headers, body).await.unwrap_or_else(ConnectError::into_stream)
}

async fn watch_stream(sandbox: Arc<Sandbox>, headers: &HeaderMap, body: Body) -> UnaryResult {
    let timeout = connect::timeout(headers)?;
    let request: WatchRequest = connect::read_stream_request(headers, body).await?;
    let gone = sandbox.gone.clone();
    let mut events = EventSource::begin(sandbox, headers, request).await?;
    let start = connect::message(&serde_json::json!({ "start": {} }));
    let keepalive = connect::message(&serde_json::json!({ "keepalive": {} }));
    let (producer, stream) = stream::channel(start, keepalive);
    tokio::spawn(async move {
        #[derive(Serialize)]
        struct Message {
            filesystem: FilesystemEvent,
        }
        loop {
            let event = tokio::select! {
                () = producer.queue.closed() => return,
                () = gone.cancelled() => {
                    return producer.fail(ConnectError::new(Code::Unavailable, "the sandbox ended before the stream completed"));
                }
                event = events.next() => event,
            };
            match event {
                Ok(event) => {
                    let frame: Bytes = connect::message(&Message { filesystem: event });
                    if producer.queue.send(frame).await.is_err() {
                        return;
                    }
                }
                Err(error) => return producer.fail(error.into()),
            }
        }
    });
    Ok(connect::streaming(Body::new(stream.into_body(connect::keepalive(headers), timeout))))
}

async fn create_watcher(Extension(sandbox): Caller, headers: HeaderMap, body: Body) -> UnaryResult {
    let request: WatchRequest = connect::read_unary(&headers, body).await?;
    let mut events = EventSource::begin(sandbox.clone(), &headers, request).await?;
    let queue = Arc::new(Mutex::new(EventQueue::default()));
    let stop = CancellationToken::new();
    let watcher_id = format!("w{}", secret::sandbox_id());
    {
        let mut watchers = lock(&sandbox.watchers);
        if watchers.len() >= MAX_WATCHERS {
            let message = format!("the sandbox has {MAX_WATCHERS} watchers already: remove one first");
            return Err(ConnectError::new(Code::ResourceExhausted, message));
        }
        watchers.insert(watcher_id.clone(), PolledWatcher { queue: queue.clone(), stop: stop.clone() });
    }
    let gone = sandbox.gone.clone();
    tokio::spawn(async move {
        loop {
            let event = tokio::select! {
                () = stop.cancelled() => return,
                () = gone.cancelled() => return,
                event = events.next() => event,
            };
            let mut queue = lock(&queue);
            match event {
                Ok(_) if queue.events.len() >= MAX_PENDING => {
                    queue.events.clear();
                    queue.failure = Some(WatchError::Overflow.into());
                    return;
                }
                Ok(event) => queue.events.push_back(event),
                Err(error) => {
                    queue.failure = Some(error.into());
                    return;
                }
            }
        }
    });
    Ok(connect::unary(&WatcherName { watcher_id }))
}

fn no_watcher(id: &str) -> ConnectError {
    ConnectError::new(Code::NotFound, format!("watcher with id {id} not found"))
}

async fn get_watcher_events(Extension(sandbox): Caller, headers: HeaderMap, body: Body) -> UnaryResult {
    #[derive(Serialize)]
    struct EventsResponse {
        #[serde(skip_serializing_if = "VecDeque::is_empty")]
        events: VecDeque<FilesystemEvent>,
    }
    let WatcherName { watcher_id } = connect::read_unary(&headers, body).await?;
    let watchers = lock(&sandbox.watchers);
    let watcher = watchers.get(&watcher_id).ok_or_else(|| no_watcher(&watcher_id))?;
    let mut queue = lock(&watcher.queue);
    let events = std::mem::take(&mut queue.events);
    match &queue.failure {
        Some(failure) if events.is_empty() => Err(failure.clone()),
        _ => Ok(connect::unary(&EventsResponse { events })),
    }
}

async fn remove_watcher(Extension(sandbox): Caller, headers: HeaderMap, body: Body) -> UnaryResult {
    let WatcherName { watcher_id } = connect::read_unary(&headers, body).await?;
    let mut watchers = lock(&sandbox.watchers);
    watchers.remove(&watcher_id).ok_or_else(|| no_watcher(&watcher_id))?;
    Ok(connect::unary(&serde_json::json!({})))
}
