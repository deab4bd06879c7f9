//! Storage in a session's sandbox: prepared before there is one, mounted in
//! it, kept mounted, saved and unmounted at the end, and released.
//!
//! Owns a session's mounts, in one task that the driver gives orders and that
//! tells what has come of them. An order ends what was going on before it.
//! Deliberately decides neither when to mount nor when to let go: `state`
//! does. Dropping [`Storage`] gives everything up where it is, for a later
//! broker to go on with: what that takes is in the session's page.
//!
//! | file | what it is |
//! |---|---|
//! | `place` | one mount: planned, mounted, watched, renewed, mounted again, unmounted |
//! | `inside` | files and processes in the sandbox |

mod inside;
mod place;

use std::future::pending;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{join_all, try_join_all};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::task::AbortOnDropHandle;
use tracing::{Instrument, error, info};

use self::inside::Inside;
use self::place::Place;
use super::handle::Wishes;
use super::ledger::{Ledger, Noted};
use super::sessions::SHUTDOWN_DEADLINE;
use super::{Blueprint, Stage, Step, during};
use sandbox_broker_core::sandbox::{Call, Code, Error, Fault, Result, SandboxRef};
use sandbox_broker_journal as journal;

/// How long the storage may take to be looked at, before anything is made.
pub(super) const PREPARE_DEADLINE: Duration = Duration::from_secs(15);

/// How long unmounting may take while the broker shuts down: less than
/// [`SHUTDOWN_DEADLINE`] by what telling the outcome, ending the sandbox and
/// releasing the storage take, and less than clients are then waited for.
pub(super) const SHUTDOWN_SHARE: Duration = Duration::from_secs(9);
const _: () = assert!(SHUTDOWN_SHARE.as_secs() + 5 <= SHUTDOWN_DEADLINE.as_secs());

/// After this time saving is worth a word to those who wait for it.
pub(super) const NOTICEABLE: Duration = Duration::from_secs(1);

/// Directory of the sandbox in which each mount has a workspace, named by its
/// id: on the sandbox's disk, and not where people work.
pub const WORKSPACES: &str = "/var/lib/sandbox-broker";

/// Orders that wait: a session gives at most three.
const ORDERS: usize = 3;

/// News that waits for the driver, which always takes it.
const NEWS: usize = 8;

/// What to do next; each once at most, in this order, and any may be left out.
#[derive(Debug)]
pub(super) enum Order {
    /// Mount everything and keep it mounted; only after `Prepared(Ok)`.
    Mount(SandboxRef),
    /// Save and unmount; only after `Mount`.
    Unmount,
    /// Take back what was prepared; the last order.
    Release,
}

/// What has come of it.
#[derive(Debug)]
pub(super) enum News {
    /// All storage was looked at. The error is in words for the outcome.
    Prepared(Result<()>),
    /// All of it is mounted. The error is in words for the outcome.
    Mounted(Result<()>),
    /// All of it is unmounted, or `Tell` has said what is not saved.
    Unmounted,
    /// Another broker has claimed the session: nothing was unmounted or taken
    /// back, and nothing will be. The last news.
    Lost,
    /// Released, or the log says what was not. The last news.
    Released,
    /// For clients.
    Tell(Stage),
}

/// A session's storage. It is being prepared from the start.
#[derive(Debug)]
pub(super) struct Storage {
    orders: mpsc::Sender<Order>,
    news: mpsc::Receiver<News>,
    task: AbortOnDropHandle<()>,
}

impl Storage {
    pub(super) fn start(
        blueprint: &Blueprint,
        call: &Call,
        ledger: &Arc<Ledger>,
        wishes: watch::Receiver<Wishes>,
    ) -> Self {
        let (orders, queue) = mpsc::channel(ORDERS);
        let (tell, news) = mpsc::channel(NEWS);
        let (places, ledger) = (places(blueprint, call, ledger), Arc::clone(ledger));
        let keeper = Keeper { places, ledger, wishes, tell: Tell(tell) };
        let (provider, call) = (blueprint.provider.clone(), call.clone());
        let inside = move |sandbox| Inside { provider, call, sandbox };
        let task = AbortOnDropHandle::new(tokio::spawn(keeper.run(queue, inside).in_current_span()));
        Storage { orders, news, task }
    }

    pub(super) fn order(&self, order: Order) {
        // There is room for all; a keeper that is gone has panicked, which
        // `next` tells.
        let _ = self.orders.try_send(order);
    }

    /// The next news; none comes after `Released`. Cancel-safe.
    pub(super) async fn next(&mut self) -> News {
        if let Some(news) = self.news.recv().await {
            return news;
        }
        match (&mut self.task).await {
            Err(panicked) if panicked.is_panic() => std::panic::resume_unwind(panicked.into_panic()),
            _ => pending().await,
        }
    }
}

/// Takes back what the storage of a session got that an earlier broker began
/// and of which nothing is mounted any more.
pub(super) async fn release(blueprint: &Blueprint, call: &Call, ledger: &Arc<Ledger>) {
    join_all(places(blueprint, call, ledger).iter_mut().map(Place::release)).await;
}

/// What the page has of storage is in the order of the blueprint.
fn places(blueprint: &Blueprint, call: &Call, ledger: &Arc<Ledger>) -> Vec<Place> {
    let Blueprint { mounts, command, broker_id, .. } = blueprint;
    let place = |(index, mount): (usize, &super::Mount)| {
        let page = Page { ledger: Arc::clone(ledger), index };
        Place::new(mount.mounter.clone(), call.clone(), command.user.clone(), broker_id.clone(), page)
    };
    mounts.iter().enumerate().map(place).collect()
}

/// What the session's page has of one mount.
#[derive(Debug)]
struct Page {
    ledger: Arc<Ledger>,
    index: usize,
}

impl Page {
    fn mount(&self) -> journal::Mount {
        self.ledger.entry().storage[self.index].clone()
    }

    /// Writes down what has become of it, before anything is done that stands
    /// on it.
    async fn note(&self, change: impl FnOnce(&mut journal::Mount)) -> Noted {
        self.ledger.note(|entry| change(&mut entry.storage[self.index])).await
    }
}

/// Where news goes. That nobody takes it means that the session is gone.
#[derive(Clone)]
struct Tell(mpsc::Sender<News>);

impl Tell {
    async fn news(&self, news: News) {
        let _ = self.0.send(news).await;
    }

    async fn stage(&self, stage: Stage) {
        self.news(News::Tell(stage)).await;
    }
}

/// The task that owns a session's mounts.
struct Keeper {
    places: Vec<Place>,
    ledger: Arc<Ledger>,
    wishes: watch::Receiver<Wishes>,
    tell: Tell,
}

impl Keeper {
    /// Returns after `Release`, or when nobody gives orders any more.
    async fn run(mut self, mut orders: mpsc::Receiver<Order>, inside: impl FnOnce(SandboxRef) -> Inside) {
        let mut order = until_ordered(&mut orders, self.prepare()).await;
        if let Some(Order::Mount(sandbox)) = order {
            let inside = inside(sandbox);
            order = until_ordered(&mut orders, self.mount(&inside)).await;
            if let Some(Order::Unmount) = order {
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
            join_all(self.places.iter_mut().map(Place::release)).await;
            // A broker that goes on with what is left of the session has no
            // storage to go on with.
            self.ledger.note(|entry| entry.storage.clear()).await;
            self.tell.news(News::Released).await;
        }
    }

    /// Whether another broker has claimed the session, which then works with
    /// this storage: nothing may be taken from under it.
    async fn is_lost(&self) -> bool {
        let lost = self.ledger.note(|_| ()).await == Noted::Lost;
        if lost {
            self.tell.news(News::Lost).await;
        }
        lost
    }

    /// What people call the storage, all of it.
    fn titles(&self) -> String {
        let mut titles: Vec<_> = self.places.iter().map(Place::title).collect();
        titles.sort_unstable();
        titles.dedup();
        titles.join(" and ")
    }

    async fn prepare(&mut self) {
        // An earlier broker did, and its grants are still good.
        if self.places.iter().all(Place::is_inherited) {
            return self.tell.news(News::Prepared(Ok(()))).await;
        }
        let (began, titles) = (Instant::now(), self.titles());
        self.tell.stage(Stage::started(Step::Storage, format!("Checking {titles}..."))).await;
        let preparing = try_join_all(self.places.iter_mut().map(Place::prepare));
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
        self.tell.news(News::Prepared(prepared.map(drop))).await;
    }

    /// Mounts one after the other, then keeps all of them. Returns only when
    /// one cannot be mounted.
    async fn mount(&mut self, inside: &Inside) {
        for place in &mut self.places {
            if place.is_inherited() {
                place.take_up(inside, &self.tell).await;
                continue;
            }
            let (began, title, path) = (Instant::now(), place.title().to_owned(), place.path().to_owned());
            self.tell.stage(Stage::started(Step::Mount, format!("Mounting {title} at {path}..."))).await;
            let mounted =
                place.mount(inside).await.map_err(|e| during(&format!("Failed to mount {title} at {path}"), e));
            match mounted {
                Ok(()) => {
                    info!(storage = title, path, elapsed = ?began.elapsed(), "storage mounted");
                    let what = format!("{title} mounted at {path}");
                    self.tell.stage(Stage::done(Step::Mount, &what, began.elapsed())).await;
                }
                Err(error) => {
                    super::driver::failed("could not mount storage", &error);
                    self.tell.stage(Stage::failed(Step::Mount, &error.message, began.elapsed())).await;
                    return self.tell.news(News::Mounted(Err(error))).await;
                }
            }
        }
        self.tell.news(News::Mounted(Ok(()))).await;
        join_all(self.places.iter_mut().map(|place| place.keep(inside, &self.tell))).await;
    }

    /// All at the same time. Says so when it takes long, and what is not saved.
    async fn unmount(&mut self, inside: &Inside) {
        let (began, titles) = (Instant::now(), self.titles());
        let unmounting = self.places.iter_mut().map(async |place| {
            let result = tokio::select! {
                result = place.unmount(inside, &self.tell) => result,
                () = hurry(self.wishes.clone()) => Err(place::late("saving", SHUTDOWN_SHARE)),
            };
            result.map_err(|error| during(&format!("Not all files are saved in {}", place.name()), error))
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
        self.tell.news(News::Unmounted).await;
    }
}

/// Works until the next order comes, then gives up what is not done.
async fn until_ordered(orders: &mut mpsc::Receiver<Order>, work: impl Future<Output = ()>) -> Option<Order> {
    let work = async {
        work.await;
        pending().await
    };
    tokio::select! {
        biased; // What is ordered already is not begun with something else.
        order = orders.recv() => order,
        never = work => never,
    }
}

/// Returns when the broker has shut down for as long as unmounting may take.
async fn hurry(mut wishes: watch::Receiver<Wishes>) {
    // An error is a table that is no more: hurry as well.
    let _ = wishes.wait_for(|wishes| wishes.shutdown).await;
    sleep(SHUTDOWN_SHARE).await;
}
