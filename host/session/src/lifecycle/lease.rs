//! Keeps a sandbox alive: renews its lease until it is told not to.
//!
//! Owns the schedule, and that the newest reference to the sandbox is used. Deliberately decides nothing about the
//! session: it returns only when the provider says that the sandbox is gone.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};
use tracing::{debug, warn};

use crate::ledger::Ledger;
use crate::live_sandbox::LiveSandbox;
use sandbox_broker_core::sandbox::{Call, Code, Error, Provider, SandboxRef};

/// Renewals within one lease: two may fail before the sandbox is in danger.
const RENEWALS: u32 = 3;

/// Tries within one period while the provider is in trouble.
const TRIES: u32 = 4;

/// The shortest time between two requests, whatever the lease.
const SHORTEST: Duration = Duration::from_secs(1);

/// Renews the lease of a new sandbox at fixed times, until the future is
/// dropped. Returns the error by which the provider says that the sandbox is
/// gone. Any other failure is logged and tried again, sooner if it may pass.
/// Whether a sandbox with a late lease still lives is seen at its terminal.
pub(crate) async fn keep(
    provider: Arc<dyn Provider>,
    call: Call,
    live: LiveSandbox,
    ledger: Arc<Ledger>,
    lease: Duration,
) -> Error {
    let period = (lease / RENEWALS).max(SHORTEST);
    let retry = (period / TRIES).max(SHORTEST);
    let mut renewed = Instant::now();
    let mut due = renewed + period;
    loop {
        sleep_until(due).await;
        let (asked, sandbox) = (Instant::now(), live.get());
        match provider.extend(&call, &sandbox, lease).await {
            Ok(newest) => {
                renewed_as(newest, &live, &ledger).await;
                debug!(sandbox = sandbox.id, elapsed = ?asked.elapsed(), "lease renewed");
                renewed = asked;
                due = asked + period;
            }
            Err(error) if error.code == Code::NotFound => return error,
            Err(error) => {
                warn!(
                    sandbox = sandbox.id,
                    fault = ?error.fault,
                    code = ?error.code,
                    attrs = ?error.attrs,
                    %error,
                    left = ?lease.saturating_sub(renewed.elapsed()),
                    "could not renew the lease; the sandbox ends when it runs out"
                );
                let pause = if error.code.is_transient() { retry } else { period };
                due = Instant::now() + error.retry_after.unwrap_or(pause).clamp(SHORTEST, period);
            }
        }
    }
}

/// Uses this reference to the sandbox from now on, and writes its id down if it has changed.
pub(crate) async fn renewed_as(newest: SandboxRef, live: &LiveSandbox, ledger: &Ledger) {
    if newest.id != live.get().id {
        let id = newest.id.clone();
        ledger.note(|entry| entry.sandbox = Some(id)).await;
    }
    live.set(newest);
}
