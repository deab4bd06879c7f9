//! What was mounted last, or is being mounted: its plan and its processes.
//!
//! Owns how a plan is carried out until the mount is proved. What happens to it later is in `mount`.

use std::future::pending;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use sandbox_broker_core::sandbox::{Error, Result};
use sandbox_broker_core::storage::{Command, Plan, Step};
use tokio::time::{Instant, sleep};

use super::inside::{End, Inside, Supervised};
use super::renewal::Renewal;
use crate::retry::Backoff;

/// First and longest pause between two checks of a new mount. A mount takes
/// some tenths of a second, and each check is a process.
const VERIFY_PAUSE: (Duration, Duration) = (Duration::from_millis(50), Duration::from_millis(500));

#[derive(Debug)]
pub(super) struct LiveMount {
    pub(super) plan: Plan,
    pub(super) processes: Vec<Supervised>,
    pub(super) since: Instant,
    pub(super) renewal: Renewal,
}

impl LiveMount {
    /// Carries out the steps of `mount` in order. The end of one of its
    /// processes is an error.
    pub(super) async fn mount(&mut self, inside: &Inside) -> Result<()> {
        for step in &self.plan.mount {
            tokio::select! {
                biased;
                error = ended(&mut self.processes) => return Err(error),
                done = async {
                    match step {
                        Step::Supervise(command) => inside.supervise(command).await.map(Some),
                        step => inside.act(step).await.map(|()| None),
                    }
                } => self.processes.extend(done?),
            }
        }
        Ok(())
    }

    /// Repeats `verify` until it succeeds. `last` is the reason of the last
    /// failure.
    pub(super) async fn verify(&mut self, inside: &Inside, last: &mut Option<Error>) -> Result<()> {
        let proved = async {
            let mut backoff = Backoff::new(VERIFY_PAUSE);
            while let Err(error) = run_all(inside, &self.plan.verify).await {
                *last = Some(error);
                sleep(backoff.next()).await;
            }
        };
        tokio::select! {
            biased;
            error = ended(&mut self.processes) => Err(error),
            () = proved => Ok(()),
        }
    }
}

/// Runs these, in order, until one fails.
pub(super) async fn run_all(inside: &Inside, commands: &[Command]) -> Result<()> {
    for command in commands {
        inside.run(command).await?;
    }
    Ok(())
}

/// Waits until one of a mount's processes ends. Returns its last words.
pub(super) async fn ended(processes: &mut [Supervised]) -> Error {
    let mut ends: FuturesUnordered<_> = processes.iter_mut().map(Supervised::ended).collect();
    while let Some(end) = ends.next().await {
        if let End::Ended { error, .. } = end {
            return error;
        }
    }
    pending().await
}
