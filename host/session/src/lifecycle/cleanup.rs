//! Ends sandboxes for certain, or says in the log which ones it could not.
//!
//! Owns the retries. Deliberately knows nothing of the session but the labels
//! that its sandbox carries.

use std::collections::BTreeMap;
use std::time::Duration;

use sandbox_broker_core::abilities::Lease;
use sandbox_broker_core::sandbox::{Call, Code, Error, Fault, Listed, Provider, Result, SandboxRef};
use tokio::time::{Instant, sleep, sleep_until, timeout_at};
use tracing::{error, info, warn};

use crate::blueprint::{LABEL_BROKER, LABEL_SESSION};
use crate::retry::{Backoff, PAUSE, may_succeed_later};

/// How long a kill is tried. A provider that restarts is back by then; after
/// it, the lease does the work. Never longer than the lease.
pub(crate) const KILL_DEADLINE: Duration = Duration::from_secs(120);

/// When to look for the sandbox of a create whose answer was lost, counted
/// from the error: at once, and until a provider that is still at work has
/// surely listed it.
pub(crate) const SIGHTINGS: [Duration; 4] =
    [Duration::ZERO, Duration::from_secs(5), Duration::from_secs(20), Duration::from_secs(50)];

/// Largest number of pages of one listing. A session's labels match one
/// sandbox. A provider that ignores labels must not keep the broker reading.
const PAGES: usize = 100;

/// Largest number of sandboxes of one listing. It is more than any broker
/// makes. A provider that invents sandboxes costs no more memory than that.
const FOUND: usize = 10_000;

/// The labels by which the sandboxes of a session are found.
pub(crate) fn labels(broker_id: &str, session: &str) -> BTreeMap<String, String> {
    BTreeMap::from([(LABEL_BROKER.to_owned(), broker_id.to_owned()), (LABEL_SESSION.to_owned(), session.to_owned())])
}

/// Ends a sandbox. Tries again while that may help. If it gives up, the log
/// names the sandbox.
pub(crate) async fn kill(provider: &dyn Provider, call: &Call, sandbox: &SandboxRef, lease: Duration) {
    let began = Instant::now();
    let deadline = began + KILL_DEADLINE.min(lease);
    let mut backoff = Backoff::new(PAUSE);
    let error = loop {
        let answer = timeout_at(deadline, provider.kill(call, sandbox)).await;
        let error = match answer.unwrap_or_else(|_| Err(no_answer())) {
            Ok(()) => {
                info!(sandbox = sandbox.id, elapsed = ?began.elapsed(), "sandbox ended");
                return;
            }
            Err(error) if error.code == Code::NotFound => {
                info!(sandbox = sandbox.id, elapsed = ?began.elapsed(), "sandbox was gone already");
                return;
            }
            Err(error) => error,
        };
        let next = Instant::now() + backoff.after(&error);
        if !may_succeed_later(&error) || next >= deadline {
            break error;
        }
        warn!(sandbox = sandbox.id, fault = ?error.fault, code = ?error.code, attrs = ?error.attrs, %error,
            "could not end the sandbox, trying again");
        sleep_until(next).await;
    };
    error!(sandbox = sandbox.id, fault = ?error.fault, code = ?error.code, attrs = ?error.attrs, %error, ?lease,
        elapsed = ?began.elapsed(), "gave up ending the sandbox; {} at the latest", last_end(provider));
}

/// Ends every sandbox that carries all `labels`. Looks several times, because a
/// sandbox may still be on its way. After `hurry` it looks once more and then
/// leaves the rest to the lease.
pub(crate) async fn find_and_kill(
    provider: &dyn Provider,
    call: &Call,
    labels: &BTreeMap<String, String>,
    lease: Duration,
    hurry: impl Future<Output = ()>,
) {
    let began = Instant::now();
    let mut hurry = std::pin::pin!(hurry);
    let mut last = false;
    let mut blind = None;
    for sighting in SIGHTINGS {
        if last {
            break;
        }
        tokio::select! {
            biased; // After `hurry` every pause is over, the first one too.
            () = &mut hurry => last = true,
            () = sleep(sighting.saturating_sub(began.elapsed())) => {}
        }
        match list_labelled(provider, call, labels, PAGES).await {
            Ok(found) => {
                blind = None;
                for Listed { id, .. } in found {
                    info!(sandbox = id, "found the sandbox of a create that failed");
                    let sandbox = SandboxRef { id, state: Default::default() };
                    kill(provider, call, &sandbox, lease).await;
                }
            }
            Err(error) => {
                warn!(fault = ?error.fault, code = ?error.code, attrs = ?error.attrs, %error,
                    "could not look for the sandbox of a create that failed");
                blind = Some(error);
            }
        }
    }
    if let Some(error) = blind {
        error!(?labels, fault = ?error.fault, code = ?error.code, %error, ?lease,
            "gave up looking for the sandbox of a create that failed; if there is one, {}", last_end(provider));
    }
}

/// What ends a sandbox that the broker could not end.
fn last_end(provider: &dyn Provider) -> &'static str {
    match provider.abilities().lease {
        Lease::None => "a later look for sandboxes that no session knows ends it",
        Lease::Settable | Lease::Grows | Lease::Fixed => "its lease ends it",
    }
}

/// Lists the sandboxes that carry all `labels`, reading at most `pages` pages.
/// Does not trust the provider to filter: a foreign sandbox is never touched.
pub(crate) async fn list_labelled(
    provider: &dyn Provider,
    call: &Call,
    labels: &BTreeMap<String, String>,
    pages: usize,
) -> Result<Vec<Listed>> {
    let ours = |listed: &Listed| labels.iter().all(|(key, value)| listed.labels.get(key) == Some(value));
    let mut found = Vec::new();
    let mut cursor = None;
    for _ in 0..pages {
        let page = provider.list(call, labels, cursor).await?;
        found.extend(page.sandboxes.into_iter().filter(ours));
        cursor = page.next;
        if found.len() >= FOUND {
            break;
        }
        if cursor.is_none() {
            return Ok(found);
        }
    }
    found.truncate(FOUND);
    warn!(provider = provider.name(), sandboxes = found.len(), "the provider's listing does not end");
    Ok(found)
}

fn no_answer() -> Error {
    Error::new(Fault::Provider, Code::DeadlineExceeded, "the provider did not answer in time")
}
