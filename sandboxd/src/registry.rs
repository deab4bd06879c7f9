//! The live sandboxes: their number's bound, their leases, and the one task that ends each.
//!
//! Knows nothing of the API. A sandbox is in the registry exactly while requests may find it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use crate::disk::{self, Excess, Watch};
use crate::network::Networks;
use crate::sandbox::{Ground, Lease, MakeError, Plan, Remains, Sandbox};

/// Why no sandbox was made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CreateError {
    #[error("{limit} sandboxes are live, the most that this server allows: end one, or raise --max-sandboxes")]
    Full { limit: usize },
    #[error("the server is shutting down")]
    Closing,
    #[error(transparent)]
    Make(#[from] MakeError),
}

/// A cheap handle.
#[derive(Debug, Clone)]
pub(crate) struct Registry(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    ground: Ground,
    limit: usize,
    places: Arc<Semaphore>,
    live: Mutex<HashMap<String, Arc<Sandbox>>>,
    /// Sandboxes that live or are being made or taken down.
    count: watch::Sender<usize>,
    keepers: TaskTracker,
}

impl Registry {
    pub(crate) fn new(ground: Ground, limit: usize) -> Self {
        let places = Arc::new(Semaphore::new(limit));
        let inner = Inner {
            ground,
            limit,
            places,
            live: Mutex::default(),
            count: watch::Sender::new(0),
            keepers: TaskTracker::new(),
        };
        Self(Arc::new(inner))
    }

    /// Makes a sandbox and keeps it until its lease ends. Runs to its end even if the caller goes away: a sandbox whose
    /// answer was lost ends by its lease.
    pub(crate) async fn create(&self, plan: Plan) -> Result<Arc<Sandbox>, CreateError> {
        let place = match self.0.places.clone().try_acquire_owned() {
            Ok(permit) => Place::new(permit, &self.0.count),
            Err(tokio::sync::TryAcquireError::NoPermits) => {
                return Err(CreateError::Full { limit: self.0.limit });
            }
            Err(tokio::sync::TryAcquireError::Closed) => return Err(CreateError::Closing),
        };
        let this = self.clone();
        let task = self.0.keepers.spawn(async move {
            let begun = Instant::now();
            let id = plan.id.clone();
            match Sandbox::make(&this.0.ground, plan).await {
                Ok((sandbox, remains)) => {
                    let sandbox = Arc::new(sandbox);
                    let taken_in = {
                        let mut live = this.lock();
                        let open = !this.0.places.is_closed();
                        if open {
                            live.insert(id.clone(), sandbox.clone());
                        }
                        open
                    };
                    if !taken_in {
                        remains.take_down().await;
                        return Err(CreateError::Closing);
                    }
                    tracing::info!(sandbox = %id, duration_ms = milliseconds(begun), "sandbox created");
                    this.0.keepers.spawn(this.clone().keep(sandbox.clone(), remains, place));
                    Ok(sandbox)
                }
                Err(error) => {
                    tracing::error!(sandbox = %id, duration_ms = milliseconds(begun), error = &error as &dyn std::error::Error, "sandbox not created");
                    Err(error.into())
                }
            }
        });
        task.await.unwrap_or(Err(CreateError::Closing))
    }

    /// How its sandboxes get their networks.
    pub(crate) fn networks(&self) -> &Networks {
        &self.0.ground.networks
    }

    pub(crate) fn get(&self, id: &str) -> Option<Arc<Sandbox>> {
        self.lock().get(id).cloned()
    }

    /// All live sandboxes, in no order.
    pub(crate) fn all(&self) -> Vec<Arc<Sandbox>> {
        self.lock().values().cloned().collect()
    }

    /// Changes the end of a live sandbox; `None` if there is none. `choose` gets the present lease and gives the new one.
    pub(crate) fn renew(&self, id: &str, choose: impl FnOnce(Lease) -> Lease) -> Option<Arc<Sandbox>> {
        // Under the lock, so that a lease that runs out now is either renewed or ends, not both.
        let live = self.lock();
        let sandbox = live.get(id)?.clone();
        sandbox.lease.send_modify(|lease| *lease = choose(*lease));
        Some(sandbox)
    }

    /// Ends a sandbox and waits for the end of its last process; `false` if there is none.
    pub(crate) async fn kill(&self, id: &str) -> bool {
        let Some(sandbox) = self.lock().remove(id) else {
            return false;
        };
        sandbox.stop.cancel();
        sandbox.gone.cancelled().await;
        true
    }

    /// Refuses new sandboxes, ends all as at the end of their leases, and waits until they are gone.
    pub(crate) async fn close(&self) {
        self.0.places.close();
        let live: Vec<Arc<Sandbox>> = self.lock().drain().map(|(_, sandbox)| sandbox).collect();
        for sandbox in &live {
            sandbox.close.cancel();
        }
        self.0.keepers.close();
        self.0.keepers.wait().await;
    }

    /// Ends sandboxes that take too much of the disk, for ever.
    pub(crate) async fn watch_disk(self) {
        let ground = &self.0.ground;
        let mut watch = Watch::new(ground.sandboxes.clone(), ground.init.clone(), ground.limits.disk);
        loop {
            tokio::time::sleep(disk::LOOK).await;
            let live = self.all().iter().map(|sandbox| (sandbox.id.clone(), sandbox.init_pid)).collect();
            match watch.look(live).await {
                Ok(ending) => {
                    for (id, excess) in ending {
                        if let Some(sandbox) = self.get(&id) {
                            tracing::warn!(sandbox = %id, reason = excess.reason(), "a sandbox is ended");
                            sandbox.excess.send_replace(Some(excess));
                        }
                    }
                }
                Err(error) => tracing::warn!(%error, "cannot measure what sandboxes take of the disk"),
            }
        }
    }

    /// Returns when the files of ended sandboxes are removed.
    pub(crate) async fn files_removed(&self) {
        self.0.ground.trash.emptied().await;
    }

    /// The number of sandboxes that live, are being made, or are being taken down.
    pub(crate) fn count(&self) -> watch::Receiver<usize> {
        self.0.count.subscribe()
    }

    /// The task of one sandbox, from its creation to its end.
    async fn keep(self, sandbox: Arc<Sandbox>, mut remains: Remains, place: Place) {
        let mut lease = sandbox.lease.subscribe();
        let mut excess = sandbox.excess.subscribe();
        let (reason, in_order) = loop {
            let until = lease.borrow_and_update().until;
            tokio::select! {
                biased;
                () = sandbox.stop.cancelled() => break ("killed", false),
                () = remains.died() => break ("its init died", false),
                () = sandbox.close.cancelled() => break ("the server ends", true),
                Ok(excess) = excess.wait_for(Option::is_some) => break (excess.map_or("", Excess::reason), false),
                _ = lease.changed() => {}
                () = tokio::time::sleep_until(until) => {
                    if self.remove_if_due(&sandbox) {
                        break ("its lease ended", true);
                    }
                }
            }
        };
        let begun = Instant::now();
        self.lock().remove(&sandbox.id);
        if in_order {
            sandbox.wind_down().await;
        }
        remains.take_down().await;
        drop(place);
        sandbox.gone.cancel();
        tracing::info!(sandbox = %sandbox.id, reason, duration_ms = milliseconds(begun), "sandbox ended");
    }

    fn remove_if_due(&self, sandbox: &Sandbox) -> bool {
        let mut live = self.lock();
        let due = sandbox.lease.borrow().until <= Instant::now();
        if due {
            live.remove(&sandbox.id);
        }
        due
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Arc<Sandbox>>> {
        self.0.live.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn milliseconds(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX)
}

/// A place among the allowed sandboxes, counted.
struct Place {
    _permit: OwnedSemaphorePermit,
    count: watch::Sender<usize>,
}

impl Place {
    fn new(permit: OwnedSemaphorePermit, count: &watch::Sender<usize>) -> Self {
        count.send_modify(|count| *count += 1);
        Self { _permit: permit, count: count.clone() }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.count.send_modify(|count| *count -= 1);
    }
}

/// The lease that a request asks for, never shorter than the present one.
pub(crate) fn extended(present: Lease, length: Duration) -> Lease {
    let wanted = Lease::of(length);
    if wanted.until > present.until { wanted } else { present }
}
