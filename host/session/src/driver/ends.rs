//! What a driver asks for when its session is over: how long a sandbox stays
//! for its last output, and how it goes.
//!
//! Owns the deadlines. Deliberately decides nothing; `state` does.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::time::{Instant, sleep, timeout};
use tracing::{info, warn};

use super::{Answer, Driver, failed};
use crate::Durability;
use crate::cleanup;
use crate::ledger::Noted;
use sandbox_broker_core::sandbox::SandboxRef;
use sandbox_broker_journal as journal;

/// Time for a sandbox's last lease before the broker goes; the one that it has
/// lasts for some time, too.
const LEAVE_DEADLINE: Duration = Duration::from_secs(5);

/// How long the sandbox of a shell that has ended waits for clients that are yet
/// to get its last output from the recorder. Never longer than half a lease.
const SLOW_READERS: Duration = Duration::from_secs(30);

impl Driver {
    /// Waits until the sandbox is of no use for clients that may come for the
    /// end: all that were here lately were told, or it never had their output.
    pub(super) fn fetched(&self) -> BoxFuture<'static, Answer> {
        let durable = self.shared.durability() == Some(Durability::Durable);
        let (mut wishes, ended, lately) = (self.wishes.clone(), Instant::now(), self.blueprint.keep);
        async move {
            if durable {
                // An error is a table that is no more: hurry.
                let _ = wishes.wait_for(|wishes| !wishes.roster.awaits(ended, lately)).await;
            }
            Answer::Fetched
        }
        .boxed()
    }

    pub(super) fn kill(&self, sandbox: SandboxRef) -> BoxFuture<'static, Answer> {
        let (provider, call, lease) = (self.provider(), self.call.clone(), self.blueprint.lease);
        let ledger = Arc::clone(&self.ledger);
        // What the recorder has goes with the sandbox.
        let settled = (self.shared.durability() == Some(Durability::Durable)).then(|| self.log.source().settled());
        let (mut wishes, patience) = (self.wishes.clone(), SLOW_READERS.min(lease / 2));
        async move {
            if ledger.note(|entry| entry.state = journal::State::Ending).await == Noted::Lost {
                return Answer::Lost;
            }
            if let Some(settled) = settled {
                tokio::select! {
                    () = settled => {}
                    () = sleep(patience) => info!(?patience, "a client is too slow for the last output"),
                    // An error is a table that is no more: hurry as well.
                    _ = wishes.wait_for(|wishes| wishes.shutdown || wishes.kill) => {}
                }
            }
            cleanup::kill(&*provider, &call, &sandbox, lease).await;
            Answer::Cleaned
        }
        .boxed()
    }

    pub(super) fn leave(&self, sandbox: Option<SandboxRef>) -> BoxFuture<'static, Answer> {
        let (provider, call, lease) = (self.provider(), self.call.clone(), self.blueprint.lease);
        async move {
            let Some(sandbox) = sandbox else {
                info!("left to the next broker, not found yet");
                return Answer::Cleaned;
            };
            match timeout(LEAVE_DEADLINE, provider.extend(&call, &sandbox, lease)).await {
                Ok(Ok(())) => info!(sandbox = sandbox.id, ?lease, "left to the next broker"),
                Ok(Err(error)) => failed("left to the next broker with what is left of its lease", &error),
                Err(_) => warn!(sandbox = sandbox.id, "left to the next broker with what is left of its lease"),
            }
            Answer::Cleaned
        }
        .boxed()
    }

    pub(super) fn find_and_kill(&self) -> BoxFuture<'static, Answer> {
        let (provider, call, lease) = (self.provider(), self.call.clone(), self.blueprint.lease);
        let (labels, mut wishes) = (cleanup::labels(&self.blueprint.broker_id, &self.shared.id), self.wishes.clone());
        async move {
            let hurry = async move {
                // An error is a table that is no more: hurry as well.
                let _ = wishes.wait_for(|wishes| wishes.shutdown).await;
            };
            cleanup::find_and_kill(&*provider, &call, &labels, lease, hurry).await;
            Answer::Cleaned
        }
        .boxed()
    }
}
