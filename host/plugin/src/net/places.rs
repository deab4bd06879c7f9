//! How much a plugin may have open at once.
//!
//! Owns the bounds on requests, connections and look-ups of names, of one Store and of a section. Who finds no place waits
//! for a while, and is then told that the limit of connections is reached. Deliberately knows no request and no address.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use http::{HeaderMap, HeaderValue};
use rustix::process::{Resource, getrlimit};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use super::errors::Crowded;

/// Requests that one Store may have open, until the last byte of the answer. A session has about four.
pub(crate) const REQUESTS: usize = 64;

/// Requests that the Stores of a section may have open together: eight of each of a thousand sessions.
const SECTION_REQUESTS: usize = 8192;

/// Connections that a section may have, those included that wait for their next request. A session has two to four.
const CONNECTIONS: usize = 8192;

/// The part of the process's open files that one section may have as connections.
const OF_OPEN_FILES: u64 = 2;

/// Look-ups of names that a section may have at once, and the whole process. Each takes a thread for as long as the
/// resolver takes, whether anybody still waits for it or not. Tokio has 512 such threads, which files need as well.
const LOOKUPS: usize = 16;
const ALL_LOOKUPS: usize = 64;

/// How long to wait for a place.
const PATIENCE: Duration = Duration::from_secs(5);

/// A place that is given back when this is dropped.
pub(super) type Place = OwnedSemaphorePermit;

/// What the Stores of a section may have open together.
#[derive(Clone, Debug)]
pub(super) struct SectionPlaces {
    requests: Arc<Semaphore>,
    connections: Arc<Semaphore>,
    lookups: Arc<Semaphore>,
    pub(super) patience: Duration,
}

impl SectionPlaces {
    pub(super) fn new() -> Self {
        let files = getrlimit(Resource::Nofile).current.map_or(u64::MAX, |files| files / OF_OPEN_FILES);
        let connections = CONNECTIONS.min(usize::try_from(files).unwrap_or(usize::MAX));
        Self::with(SECTION_REQUESTS, connections, LOOKUPS)
    }

    pub(super) fn with(requests: usize, connections: usize, lookups: usize) -> Self {
        let places = |most| Arc::new(Semaphore::new(most));
        SectionPlaces {
            requests: places(requests),
            connections: places(connections),
            lookups: places(lookups),
            patience: PATIENCE,
        }
    }

    /// One of these places, within the section's patience.
    async fn place(&self, of: &Arc<Semaphore>) -> Result<Place, Crowded> {
        timeout(self.patience, of.clone().acquire_owned()).await.ok().and_then(Result::ok).ok_or(Crowded)
    }

    /// A place for a connection.
    pub(super) async fn connection(&self) -> Result<Place, Crowded> {
        self.place(&self.connections).await
    }

    /// Two places for a look-up: the section's and the process's.
    pub(super) async fn lookup(&self) -> Result<[Place; 2], Crowded> {
        static ALL: LazyLock<Arc<Semaphore>> = LazyLock::new(|| Arc::new(Semaphore::new(ALL_LOOKUPS)));
        Ok([self.place(&self.lookups).await?, self.place(&ALL).await?])
    }
}

/// The requests of one Store.
#[derive(Debug)]
pub(crate) struct StoreRequests {
    open: Arc<Semaphore>,
    dead: AtomicBool,
    /// What finds them in a provider's logs.
    traceparent: Option<HeaderValue>,
}

impl Default for StoreRequests {
    fn default() -> Self {
        StoreRequests { open: Arc::new(Semaphore::new(REQUESTS)), dead: AtomicBool::new(false), traceparent: None }
    }
}

impl StoreRequests {
    /// Those of a call with this `traceparent`.
    pub(crate) fn of(traceparent: &str) -> Self {
        StoreRequests { traceparent: HeaderValue::try_from(traceparent).ok(), ..Self::default() }
    }

    /// Adds the header `traceparent`, unless the guest wrote one.
    pub(super) fn trace(&self, headers: &mut HeaderMap) {
        if let Some(value) = &self.traceparent {
            headers.entry("traceparent").or_insert_with(|| value.clone());
        }
    }

    /// Marks the Store as gone. A request body that ends after it fails.
    pub(crate) fn end(&self) {
        self.dead.store(true, Ordering::SeqCst);
    }

    /// The same places for a request whose body does not come from the Store, and is whole when it ends.
    pub(crate) fn outliving_the_store(&self) -> Arc<Self> {
        let (open, traceparent) = (self.open.clone(), self.traceparent.clone());
        Arc::new(StoreRequests { open, dead: AtomicBool::new(false), traceparent })
    }

    pub(super) fn are_dead(&self) -> bool {
        self.dead.load(Ordering::SeqCst)
    }

    /// Two places for a request: the Store's and the section's.
    pub(super) async fn open(&self, section: &SectionPlaces) -> Result<Arc<[Place; 2]>, Crowded> {
        Ok(Arc::new([section.place(&self.open).await?, section.place(&section.requests).await?]))
    }
}
