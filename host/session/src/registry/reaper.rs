//! Ends the sandboxes of this broker that no session knows: of creates whose
//! answer was lost, and of processes that did not live to end theirs.
//!
//! Owns when it looks and what makes an orphan. Deliberately knows no session:
//! the caller says which sandboxes are known, and which providers there are.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use futures_util::{StreamExt as _, stream};
use tokio::time::{Instant, sleep_until, timeout};
use tracing::{info, warn};

use crate::blueprint::LABEL_BROKER;
use crate::lifecycle::cleanup::list_labelled;
use sandbox_broker_core::sandbox::{Call, Code, Error, Listed, Provider, SandboxRef};

/// Time between the starts of two looks, while nothing is suspect.
const PERIOD: Duration = Duration::from_secs(30);

/// A sandbox that no session knows is ended if it is still unknown after this
/// time. A sandbox that was just made is known by then. Together with
/// [`PERIOD`], an orphan is gone within 60 s. Ten of these are for the
/// provider's answers.
const CONFIRMED_AFTER: Duration = Duration::from_secs(20);

/// Longest time for one look at one provider, with the ending. The next look
/// does the rest, so a provider that hangs delays no other for longer.
const PATIENCE: Duration = Duration::from_secs(30);

/// Largest number of pages of one listing. It stops a cursor that runs in
/// circles.
const PAGES: usize = 1000;

/// Number of sandboxes of one provider that are ended at the same time.
const KILLS: usize = 8;

/// By sandbox id: when a sandbox was first seen without a session that knows
/// it.
type Sightings = HashMap<String, Instant>;

/// Looks for orphans as long as it is polled, the first time at once.
/// `providers` and `known` are asked anew each time. Sessions that are taken
/// over from an earlier process must be known before it starts. A sandbox that
/// does not carry `broker_id` under [`LABEL_BROKER`] is never touched, whatever
/// the provider lists. If a look fails, that is logged and the next look tries
/// again.
pub async fn reap(broker_id: String, providers: impl Fn() -> Vec<Arc<dyn Provider>>, known: impl Fn(&Listed) -> bool) {
    let labels = BTreeMap::from([(LABEL_BROKER.to_owned(), broker_id)]);
    let mut sightings: HashMap<String, Sightings> = HashMap::new();
    loop {
        let began = Instant::now();
        let looks = providers().into_iter().map(|provider| {
            let mut seen = sightings.remove(provider.name()).unwrap_or_default();
            let (labels, known) = (&labels, &known);
            async move {
                if timeout(PATIENCE, look(&*provider, labels, known, &mut seen)).await.is_err() {
                    warn!(provider = provider.name(), patience = ?PATIENCE,
                        "looking for sandboxes that no session knows took too long; the next look continues");
                }
                (provider.name().to_owned(), seen)
            }
        });
        // Nothing is remembered of a provider that is no longer configured.
        sightings = join_all(looks).await.into_iter().collect();
        // Not before the first suspect is old enough, or the look would be
        // useless. A suspect that could not be ended has its next try after the
        // same time.
        let due = |first: &Instant| Some(*first + CONFIRMED_AFTER).filter(|due| *due > began);
        let suspects = sightings.values().flat_map(HashMap::values);
        let next = suspects.map(|first| due(first).unwrap_or(began + CONFIRMED_AFTER)).min();
        sleep_until(next.unwrap_or(began + PERIOD)).await;
    }
}

/// Looks once at one provider. Leaves in `seen` what is unknown and was not
/// ended.
async fn look(
    provider: &dyn Provider,
    labels: &BTreeMap<String, String>,
    known: impl Fn(&Listed) -> bool,
    seen: &mut Sightings,
) {
    let name = provider.name();
    let listed = match list_labelled(provider, &Call::default(), labels, PAGES).await {
        Ok(listed) => listed,
        Err(error) => return log_retry("could not look for sandboxes that no session knows", name, None, &error),
    };
    let now = Instant::now();
    let unknown: Vec<Listed> = listed.into_iter().filter(|listed| !known(listed)).collect();
    let before = std::mem::take(seen);
    seen.extend(unknown.iter().map(|listed| {
        let first = before.get(&listed.id).copied().unwrap_or(now);
        (listed.id.clone(), first)
    }));
    let confirmed = |listed: &Listed| before.get(&listed.id).is_some_and(|first| *first + CONFIRMED_AFTER <= now);
    let kills = unknown.into_iter().filter(confirmed).map(|listed| kill(provider, listed));
    let mut kills = std::pin::pin!(stream::iter(kills).buffer_unordered(KILLS));
    while let Some(ended) = kills.next().await {
        if let Some(id) = ended {
            seen.remove(&id);
        }
    }
}

/// Tries once to end a sandbox and returns its id when that is done.
async fn kill(provider: &dyn Provider, orphan: Listed) -> Option<String> {
    let Listed { id, labels, .. } = orphan;
    let sandbox = SandboxRef { id: id.clone(), state: Default::default() };
    match provider.kill(&Call::default(), &sandbox).await {
        Err(error) if error.code != Code::NotFound => {
            log_retry("could not end a sandbox that no session knows", provider.name(), Some(&id), &error);
            None
        }
        _ => {
            info!(provider = provider.name(), sandbox = id, ?labels, "ended a sandbox that no session knows");
            Some(id)
        }
    }
}

fn log_retry(what: &str, provider: &str, sandbox: Option<&str>, error: &Error) {
    warn!(provider, sandbox, fault = ?error.fault, code = ?error.code, attrs = ?error.attrs, %error,
        "{what}; trying again");
}
