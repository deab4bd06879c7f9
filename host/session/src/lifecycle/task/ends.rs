//! The calls of a session that is over: how long a sandbox stays for its last
//! output, and how it is ended or left.
//!
//! Owns the deadlines of these calls. Deliberately decides nothing; the machine
//! does.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::time::{Instant, sleep, timeout};
use tracing::{info, warn};

use super::parts::{CallResult, SessionTask};
use crate::failure::log_failure;
use crate::ledger::Noted;
use crate::lifecycle::cleanup;
use crate::lifecycle::lease::renewed_as;
use crate::output::event::Durability;
use sandbox_broker_core::sandbox::SandboxRef;
use sandbox_broker_journal as journal;

/// How long the last renewal of a sandbox's lease may take before the broker
/// stops. The lease that the sandbox has lasts for some time, too.
const LEAVE_DEADLINE: Duration = Duration::from_secs(5);

/// How long the sandbox of an ended shell waits for clients that have not got
/// its last output from the recorder. Never longer than half a lease.
const SLOW_READERS: Duration = Duration::from_secs(30);

impl SessionTask {
    /// Waits until no client needs the sandbox for the end: all that were here
    /// lately were told, or the sandbox never had their output.
    pub(super) fn fetched(&self) -> BoxFuture<'static, CallResult> {
        let durable = self.shared.durability() == Some(Durability::Durable);
        let (mut wishes, ended, lately) = (self.wishes.clone(), Instant::now(), self.blueprint.keep);
        async move {
            if durable {
                // On an error the sender is gone: the session table was
                // dropped. Treat it as a shutdown.
                let _ = wishes.wait_for(|wishes| !wishes.roster.awaits(ended, lately)).await;
            }
            CallResult::Fetched
        }
        .boxed()
    }

    pub(super) fn kill(&self, sandbox: SandboxRef) -> BoxFuture<'static, CallResult> {
        let (provider, call, lease) = (self.provider(), self.call.clone(), self.blueprint.lease);
        let (ledger, live) = (Arc::clone(&self.ledger), self.live(sandbox));
        // The recorder's output goes with the sandbox.
        let settled = (self.shared.durability() == Some(Durability::Durable)).then(|| self.log.source().settled());
        let (mut wishes, patience) = (self.wishes.clone(), SLOW_READERS.min(lease / 2));
        async move {
            if ledger.note(|entry| entry.state = journal::State::Ending).await == Noted::Lost {
                return CallResult::Lost;
            }
            if let Some(settled) = settled {
                tokio::select! {
                    () = settled => {}
                    () = sleep(patience) => info!(?patience, "a client is too slow for the last output"),
                    // On an error the sender is gone: the session table was
                    // dropped. Treat it as a shutdown.
                    _ = wishes.wait_for(|wishes| wishes.shutdown || wishes.kill) => {}
                }
            }
            cleanup::kill(&*provider, &call, &live.get(), lease).await;
            CallResult::Cleaned
        }
        .boxed()
    }

    pub(super) fn leave(&self, sandbox: Option<SandboxRef>) -> BoxFuture<'static, CallResult> {
        let (provider, call, lease) = (self.provider(), self.call.clone(), self.blueprint.lease);
        let (ledger, live) = (Arc::clone(&self.ledger), sandbox.map(|sandbox| self.live(sandbox)));
        async move {
            let Some(live) = live else {
                info!("left to the next broker; its sandbox was not found yet");
                return CallResult::Cleaned;
            };
            let sandbox = live.get();
            if !provider.abilities().lease.is_renewed() {
                info!(sandbox = sandbox.id, "left to the next broker; its lease cannot be renewed");
                return CallResult::Cleaned;
            }
            match timeout(LEAVE_DEADLINE, provider.extend(&call, &sandbox, lease)).await {
                Ok(Ok(newest)) => {
                    renewed_as(newest, &live, &ledger).await;
                    info!(sandbox = sandbox.id, ?lease, "left to the next broker");
                }
                Ok(Err(error)) => {
                    log_failure("left to the next broker; its lease could not be renewed once more", &error)
                }
                Err(_) => {
                    warn!(sandbox = sandbox.id, "left to the next broker; its lease could not be renewed in time")
                }
            }
            CallResult::Cleaned
        }
        .boxed()
    }

    pub(super) fn find_and_kill(&self) -> BoxFuture<'static, CallResult> {
        let (provider, call, lease) = (self.provider(), self.call.clone(), self.blueprint.lease);
        let (labels, mut wishes) = (cleanup::labels(&self.blueprint.broker_id, &self.shared.id), self.wishes.clone());
        async move {
            let hurry = async move {
                // On an error the sender is gone: the session table was
                // dropped. Treat it as a shutdown.
                let _ = wishes.wait_for(|wishes| wishes.shutdown).await;
            };
            cleanup::find_and_kill(&*provider, &call, &labels, lease, hurry).await;
            CallResult::Cleaned
        }
        .boxed()
    }
}
