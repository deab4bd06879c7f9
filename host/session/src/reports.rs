//! What a call reports of itself, for clients.
//!
//! Owns how often they are told: the newest report, four times a second at most.

use std::future::pending;
use std::time::Duration;

use sandbox_broker_core::progress::Report;
use sandbox_broker_core::sandbox::Call;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

/// Shortest time between two reports.
const PACE: Duration = Duration::from_millis(250);

/// The reports of one call.
#[derive(Debug)]
pub(crate) struct Reports {
    news: watch::Receiver<Report>,
    due: Instant,
}

impl Reports {
    /// The same call, which reports now, and its reports.
    pub(crate) fn of(call: &Call) -> (Call, Self) {
        let (progress, news) = watch::channel(Report::default());
        (Call { progress: Some(progress), ..call.clone() }, Reports { news, due: Instant::now() })
    }

    /// The newest report, once it is due. Never ends after the call's end. Cancel-safe.
    pub(crate) async fn next(&mut self) -> Report {
        sleep_until(self.due).await;
        if self.news.changed().await.is_err() {
            return pending().await;
        }
        self.due = Instant::now() + PACE;
        self.news.borrow_and_update().clone()
    }
}
