//! What the session's task waits for of a live terminal. Each wait is cancel-safe, and
//! a wait for a part that is not there never ends. Owns no state and decides
//! nothing.

use std::future::pending;

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot, watch};

use crate::reports::Reports;
use sandbox_broker_core::progress::Report;
use sandbox_broker_core::sandbox::{Exit, Result, await_exit};
use sandbox_broker_policy::stage::Stage;

/// Waits for the recorder to take more input.
pub(crate) async fn next_taken(taken: Option<&mut watch::Receiver<u64>>) -> u64 {
    let Some(taken) = taken else { return pending().await };
    match taken.changed().await {
        Ok(()) => *taken.borrow_and_update(),
        Err(_) => pending().await,
    }
}

/// Waits for news of the terminal. There is none after its task has ended.
pub(crate) async fn next_stage(news: Option<&mut mpsc::Receiver<Stage>>) -> Stage {
    let Some(news) = news else { return pending().await };
    match news.recv().await {
        Some(stage) => stage,
        None => pending().await,
    }
}

/// Waits for a report of the creation, while there is one.
pub(crate) async fn next_report(reports: &mut Option<Reports>) -> Report {
    match reports {
        Some(reports) => reports.next().await,
        None => pending().await,
    }
}

/// Waits for room in the pipe to the shell; false when nobody reads it.
pub(crate) async fn room_in(pipe: Option<&mpsc::Sender<Bytes>>) -> bool {
    match pipe {
        Some(pipe) => pipe.reserve().await.is_ok(),
        None => pending().await,
    }
}

/// Waits to be told how the shell ended.
pub(crate) async fn exited(done: Option<&mut oneshot::Receiver<Result<Exit>>>) -> Result<Exit> {
    let Some(done) = done else { return pending().await };
    await_exit(done).await
}
