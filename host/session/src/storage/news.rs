//! The orders to the storage task, and what it tells.
//!
//! Owns these words. Deliberately decides nothing.

use sandbox_broker_core::sandbox::Result;
use tokio::sync::mpsc;

use crate::live_sandbox::LiveSandbox;
use sandbox_broker_policy::stage::Stage;

/// What to do next. Orders come in this order, each at most once, and any may
/// be left out.
#[derive(Debug)]
pub(crate) enum StorageOrder {
    /// Mount everything and keep it mounted; only after `Prepared(Ok)`.
    Mount(LiveSandbox),
    /// Save and unmount; only after `Mount`.
    Unmount,
    /// Release what was prepared. The last order.
    Release,
}

/// What has come of an order.
#[derive(Debug)]
pub(crate) enum StorageNews {
    /// All storage was checked. The error is worded for the outcome.
    Prepared(Result<()>),
    /// All of it is mounted. The error is worded for the outcome.
    Mounted(Result<()>),
    /// All of it is unmounted, or `Tell` has said what is not saved.
    Unmounted,
    /// Another broker has claimed the session: nothing was unmounted or
    /// released, and nothing will be. The last news.
    Lost,
    /// Released, or the log says what was not. The last news.
    Released,
    /// News for clients.
    Tell(Stage),
}

/// Where news goes. If nobody receives it, the session is gone.
#[derive(Clone)]
pub(super) struct Tell(pub(super) mpsc::Sender<StorageNews>);

impl Tell {
    pub(super) async fn news(&self, news: StorageNews) {
        let _ = self.0.send(news).await;
    }

    pub(super) async fn stage(&self, stage: Stage) {
        self.news(StorageNews::Tell(stage)).await;
    }
}
