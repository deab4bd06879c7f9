//! The task that owns a session's mounts, and the session's task's end of it.
//!
//! Owns the order in which mounts are worked on and how long all of them may
//! take. Dropping [`Storage`] leaves everything as it is, for a later broker to
//! continue with. What that broker needs is in the session's record.

use std::future::pending;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{join_all, try_join_all};
use sandbox_broker_core::sandbox::{Call, Code, Error, Fault, Result};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::task::AbortOnDropHandle;
use tracing::{Instrument, error, info};

use super::inside::Inside;
use super::mount::{SessionMount, timed_out};
use super::news::{StorageNews, StorageOrder, Tell};
use super::record::MountRecord;
use crate::blueprint::{Blueprint, Mount};
use crate::failure::log_failure;
use crate::handle::wishes::Wishes;
use crate::ledger::{Ledger, Noted};
use crate::live_sandbox::LiveSandbox;
use crate::shutdown::SHUTDOWN_DEADLINE;
use sandbox_broker_policy::outcome::during;
use sandbox_broker_policy::stage::{Stage, Step};

/// How long checking the storage may take, before anything is made.
pub(crate) const PREPARE_DEADLINE: Duration = Duration::from_secs(15);

/// How long unmounting may take while the broker shuts down. The rest of
/// [`SHUTDOWN_DEADLINE`] is for telling the outcome, ending the sandbox and
/// releasing the storage. It is also less than the time that clients are waited
/// for then.
pub(crate) const SHUTDOWN_SHARE: Duration = Duration::from_secs(9);
const _: () = assert!(SHUTDOWN_SHARE.as_secs() + 5 <= SHUTDOWN_DEADLINE.as_secs());

/// After this time clients are told that files are being saved.
pub(crate) const NOTICEABLE: Duration = Duration::from_secs(1);

/// Number of orders that may wait. A session gives at most three.
const ORDERS: usize = 3;

/// Number of news that may wait for the session's task, which always takes it.
const NEWS: usize = 8;

/// A session's storage. It is being prepared from the start.
#[derive(Debug)]
pub(crate) struct Storage {
    orders: mpsc::Sender<StorageOrder>,
    news: mpsc::Receiver<StorageNews>,
    task: AbortOnDropHandle<()>,
}

impl Storage {
    pub(crate) fn start(
        blueprint: &Blueprint,
        call: &Call,
        ledger: &Arc<Ledger>,
        wishes: watch::Receiver<Wishes>,
    ) -> Self {
        let (orders, queue) = mpsc::channel(ORDERS);
        let (tell, news) = mpsc::channel(NEWS);
        let (mounts, ledger) = (mounts(blueprint, call, ledger), Arc::clone(ledger));
        let task = StorageTask { mounts, ledger, wishes, tell: Tell(tell) };
        let (provider, call) = (blueprint.provider.clone(), call.clone());
        let inside = move |sandbox| Inside { provider, call, sandbox };
        let task = AbortOnDropHandle::new(tokio::spawn(task.run(queue, inside).in_current_span()));
        Storage { orders, news, task }
    }

    pub(crate) fn order(&self, order: StorageOrder) {
        // There is room for all orders. If the task is gone it has panicked,
        // and `next` passes the panic on.
        let _ = self.orders.try_send(order);
    }

    /// Returns the next news. None comes after `Released`. Cancel-safe.
    pub(crate) async fn next(&mut self) -> StorageNews {
        if let Some(news) = self.news.recv().await {
            return news;
        }
        match (&mut self.task).await {
            Err(panicked) if panicked.is_panic() => std::panic::resume_unwind(panicked.into_panic()),
            _ => pending().await,
        }
    }
}

/// Releases the storage of a session that an earlier broker began, once nothing
/// of it is mounted any more.
pub(crate) async fn release(blueprint: &Blueprint, call: &Call, ledger: &Arc<Ledger>) {
    join_all(mounts(blueprint, call, ledger).iter_mut().map(SessionMount::release)).await;
}

/// The record lists storage in the order of the blueprint.
fn mounts(blueprint: &Blueprint, call: &Call, ledger: &Arc<Ledger>) -> Vec<SessionMount> {
    let Blueprint { mounts, command, broker_id, .. } = blueprint;
    let one = |(index, mount): (usize, &Mount)| {
        let record = MountRecord { ledger: Arc::clone(ledger), index };
        SessionMount::new(mount.mounter.clone(), call.clone(), command.user.clone(), broker_id.clone(), record)
    };
    mounts.iter().enumerate().map(one).collect()
}

/// The task that owns a session's mounts.
struct StorageTask {
    mounts: Vec<SessionMount>,
    ledger: Arc<Ledger>,
    wishes: watch::Receiver<Wishes>,
    tell: Tell,
}

impl StorageTask {
    /// Returns after `Release`, or when nobody gives orders any more.
    async fn run(mut self, mut orders: mpsc::Receiver<StorageOrder>, inside: impl FnOnce(LiveSandbox) -> Inside) {
        let mut order = until_ordered(&mut orders, self.prepare()).await;
        if let Some(StorageOrder::Mount(sandbox)) = order {
            let inside = inside(sandbox);
            order = until_ordered(&mut orders, self.mount(&inside)).await;
            if let Some(StorageOrder::Unmount) = order {
                if self.is_lost().await {
                    return;
                }
                order = until_ordered(&mut orders, self.unmount(&inside)).await;
            }
        }
        if order.is_some() {
            if self.is_lost().await {
                return;
            }
            join_all(self.mounts.iter_mut().map(SessionMount::release)).await;
            // A later broker that continues the session has no storage to
            // continue with.
            self.ledger.note(|entry| entry.storage.clear()).await;
            self.tell.news(StorageNews::Released).await;
        }
    }

    /// Whether another broker has claimed the session. That broker then uses
    /// this storage, so nothing of it may be taken away.
    async fn is_lost(&self) -> bool {
        let lost = self.ledger.note(|_| ()).await == Noted::Lost;
        if lost {
            self.tell.news(StorageNews::Lost).await;
        }
        lost
    }

    /// The titles of all storage, in one line.
    fn titles(&self) -> String {
        let mut titles: Vec<_> = self.mounts.iter().map(SessionMount::title).collect();
        titles.sort_unstable();
        titles.dedup();
        titles.join(" and ")
    }

    async fn prepare(&mut self) {
        // An earlier broker has prepared it, and its grants are still valid.
        if self.mounts.iter().all(SessionMount::is_inherited) {
            return self.tell.news(StorageNews::Prepared(Ok(()))).await;
        }
        let (began, titles) = (Instant::now(), self.titles());
        self.tell.stage(Stage::started(Step::Storage, format!("Checking {titles}..."))).await;
        let preparing = try_join_all(self.mounts.iter_mut().map(|mount| mount.prepare(&self.tell)));
        let prepared = match timeout(PREPARE_DEADLINE, preparing).await {
            Ok(prepared) => prepared,
            Err(_) => {
                let message = format!("Failed to prepare {titles}: no answer within {} s", PREPARE_DEADLINE.as_secs());
                Err(Error::new(Fault::Provider, Code::DeadlineExceeded, message))
            }
        };
        let stage = match &prepared {
            Ok(_) => Stage::done(Step::Storage, &format!("{titles} checked"), began.elapsed()),
            Err(error) => Stage::failed(Step::Storage, &error.message, began.elapsed()),
        };
        self.tell.stage(stage).await;
        self.tell.news(StorageNews::Prepared(prepared.map(drop))).await;
    }

    /// Mounts one after the other, then keeps all of them. Returns only when
    /// one cannot be mounted.
    async fn mount(&mut self, inside: &Inside) {
        for mount in &mut self.mounts {
            if mount.is_inherited() {
                mount.take_up(inside, &self.tell).await;
                continue;
            }
            let (began, title, path) = (Instant::now(), mount.title().to_owned(), mount.path().to_owned());
            self.tell.stage(Stage::started(Step::Mount, format!("Mounting {title} at {path}..."))).await;
            let mounted =
                mount.mount(inside).await.map_err(|e| during(&format!("Failed to mount {title} at {path}"), e));
            match mounted {
                Ok(()) => {
                    info!(storage = title, path, elapsed = ?began.elapsed(), "storage mounted");
                    let what = format!("{title} mounted at {path}");
                    self.tell.stage(Stage::done(Step::Mount, &what, began.elapsed())).await;
                }
                Err(error) => {
                    log_failure("could not mount storage", &error);
                    self.tell.stage(Stage::failed(Step::Mount, &error.message, began.elapsed())).await;
                    return self.tell.news(StorageNews::Mounted(Err(error))).await;
                }
            }
        }
        self.tell.news(StorageNews::Mounted(Ok(()))).await;
        join_all(self.mounts.iter_mut().map(|mount| mount.keep(inside, &self.tell))).await;
    }

    /// Unmounts all of it at the same time. Tells clients if that takes long,
    /// and what is not saved.
    async fn unmount(&mut self, inside: &Inside) {
        let (began, titles) = (Instant::now(), self.titles());
        let unmounting = self.mounts.iter_mut().map(async |mount| {
            let result = tokio::select! {
                result = mount.unmount(inside, &self.tell) => result,
                () = hurry(self.wishes.clone()) => Err(timed_out("saving", SHUTDOWN_SHARE)),
            };
            result.map_err(|error| during(&format!("Not all files are saved in {}", mount.name()), error))
        });
        let mut unmounting = pin!(join_all(unmounting));
        let (results, told) = match timeout(NOTICEABLE, &mut unmounting).await {
            Ok(results) => (results, false),
            Err(_) => {
                self.tell.stage(Stage::started(Step::Mount, format!("Saving files to {titles}..."))).await;
                (unmounting.await, true)
            }
        };
        let elapsed = began.elapsed();
        if results.iter().all(Result::is_ok) {
            info!(storage = titles, ?elapsed, "storage unmounted");
            if told {
                self.tell.stage(Stage::done(Step::Mount, &format!("Files saved to {titles}"), elapsed)).await;
            }
        }
        for error in results.into_iter().filter_map(Result::err) {
            error!(fault = ?error.fault, code = ?error.code, attrs = ?error.attrs, %error, ?elapsed,
                "could not unmount storage");
            self.tell.stage(Stage::failed(Step::Mount, &error.message, elapsed)).await;
        }
        self.tell.news(StorageNews::Unmounted).await;
    }
}

/// Works until the next order comes, then gives up what is not done.
async fn until_ordered(
    orders: &mut mpsc::Receiver<StorageOrder>,
    work: impl Future<Output = ()>,
) -> Option<StorageOrder> {
    let work = async {
        work.await;
        pending().await
    };
    tokio::select! {
        biased; // An order that has come already goes before any work.
        order = orders.recv() => order,
        never = work => never,
    }
}

/// Returns when a shutdown has lasted for as long as unmounting may take.
async fn hurry(mut wishes: watch::Receiver<Wishes>) {
    // On an error the sender is gone: the session table was dropped. Treat it
    // as a shutdown.
    let _ = wishes.wait_for(|wishes| wishes.shutdown).await;
    sleep(SHUTDOWN_SHARE).await;
}
