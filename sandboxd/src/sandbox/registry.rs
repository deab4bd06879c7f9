//! The live sandboxes: the bound on their number, their leases, and the one task that ends each.
//!
//! Knows nothing of the API. A sandbox is in the registry exactly as long as requests may find it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use super::lease::Lease;
use super::live::Sandbox;
use super::make::{MakeContext, MakeError, SandboxSpec, make};
use super::teardown::Teardown;
use crate::limits::disk::{self, DiskWatch, Excess};
use crate::network::Networks;
use sandbox_stdx::lock::lock;

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

/// A handle that is cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Registry(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    context: MakeContext,
    limit: usize,
    slots: Arc<Semaphore>,
    live: Mutex<HashMap<String, Arc<Sandbox>>>,
    /// The number of sandboxes that live, are being made, or are being taken down.
    count: watch::Sender<usize>,
    tasks: TaskTracker,
}

impl Registry {
    pub(crate) fn new(context: MakeContext, limit: usize) -> Self {
        let slots = Arc::new(Semaphore::new(limit));
        let inner = Inner {
            context,
            limit,
            slots,
            live: Mutex::default(),
            count: watch::Sender::new(0),
            tasks: TaskTracker::new(),
        };
        Self(Arc::new(inner))
    }

    /// Makes a sandbox and keeps it until its lease ends. This completes even if the caller goes away. A sandbox whose
    /// answer was lost ends by its lease.
    pub(crate) async fn create(&self, spec: SandboxSpec) -> Result<Arc<Sandbox>, CreateError> {
        let slot = match self.0.slots.clone().try_acquire_owned() {
            Ok(permit) => SandboxSlot::new(permit, &self.0.count),
            Err(tokio::sync::TryAcquireError::NoPermits) => {
                return Err(CreateError::Full { limit: self.0.limit });
            }
            Err(tokio::sync::TryAcquireError::Closed) => return Err(CreateError::Closing),
        };
        let this = self.clone();
        let task = self.0.tasks.spawn(async move {
            let begun = Instant::now();
            let id = spec.id.clone();
            match make(&this.0.context, spec).await {
                Ok((sandbox, teardown)) => {
                    let sandbox = Arc::new(sandbox);
                    let taken_in = {
                        let mut live = this.lock();
                        let open = !this.0.slots.is_closed();
                        if open {
                            live.insert(id.clone(), sandbox.clone());
                        }
                        open
                    };
                    if !taken_in {
                        teardown.take_down().await;
                        return Err(CreateError::Closing);
                    }
                    tracing::info!(sandbox = %id, duration_ms = milliseconds(begun), "sandbox created");
                    this.0.tasks.spawn(this.clone().keep(sandbox.clone(), teardown, slot));
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

    /// How sandboxes get their networks.
    pub(crate) fn networks(&self) -> &Networks {
        &self.0.context.networks
    }

    pub(crate) fn get(&self, id: &str) -> Option<Arc<Sandbox>> {
        self.lock().get(id).cloned()
    }

    /// All live sandboxes, in no order.
    pub(crate) fn all(&self) -> Vec<Arc<Sandbox>> {
        self.lock().values().cloned().collect()
    }

    /// Changes the end of a live sandbox. `choose` gets the present lease and returns the new one. `None` if there is
    /// no such sandbox.
    pub(crate) fn renew(&self, id: &str, choose: impl FnOnce(Lease) -> Lease) -> Option<Arc<Sandbox>> {
        // Holds the lock, so that a lease that runs out now is either renewed or ends, not both.
        let live = self.lock();
        let sandbox = live.get(id)?.clone();
        sandbox.lease.send_modify(|lease| *lease = choose(*lease));
        Some(sandbox)
    }

    /// Ends a sandbox and waits until its last process has ended. `false` if there is no such sandbox.
    pub(crate) async fn kill(&self, id: &str) -> bool {
        let Some(sandbox) = self.lock().remove(id) else {
            return false;
        };
        sandbox.stop.cancel();
        sandbox.gone.cancelled().await;
        true
    }

    /// Refuses new sandboxes, ends all others as at the end of their leases, and waits until they are gone.
    pub(crate) async fn close(&self) {
        self.0.slots.close();
        let live: Vec<Arc<Sandbox>> = self.lock().drain().map(|(_, sandbox)| sandbox).collect();
        for sandbox in &live {
            sandbox.close.cancel();
        }
        self.0.tasks.close();
        self.0.tasks.wait().await;
    }

    /// Ends sandboxes that take too much disk space. Never returns.
    pub(crate) async fn watch_disk(self) {
        let context = &self.0.context;
        let mut watch = DiskWatch::new(context.sandboxes.clone(), context.init.clone(), context.limits.disk);
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
        self.0.context.trash.emptied().await;
    }

    /// The number of sandboxes that live, are being made, or are being taken down.
    pub(crate) fn count(&self) -> watch::Receiver<usize> {
        self.0.count.subscribe()
    }

    /// The task of one sandbox, from its creation to its end.
    async fn keep(self, sandbox: Arc<Sandbox>, mut teardown: Teardown, slot: SandboxSlot) {
        let mut lease = sandbox.lease.subscribe();
        let mut excess = sandbox.excess.subscribe();
        let (reason, in_order) = loop {
            let until = lease.borrow_and_update().until;
            tokio::select! {
                biased;
                () = sandbox.stop.cancelled() => break ("killed", false),
                () = teardown.died() => break ("its init died", false),
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
        teardown.take_down().await;
        drop(slot);
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
        lock(&self.0.live)
    }
}

fn milliseconds(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX)
}

/// One of the allowed sandboxes. It counts as long as this exists.
struct SandboxSlot {
    _permit: OwnedSemaphorePermit,
    count: watch::Sender<usize>,
}

impl SandboxSlot {
    fn new(permit: OwnedSemaphorePermit, count: &watch::Sender<usize>) -> Self {
        count.send_modify(|count| *count += 1);
        Self { _permit: permit, count: count.clone() }
    }
}

impl Drop for SandboxSlot {
    fn drop(&mut self) {
        self.count.send_modify(|count| *count -= 1);
    }
}
