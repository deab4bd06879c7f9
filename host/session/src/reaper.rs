//! Ends the sandboxes of this broker that no session knows: of creates whose
//! answer was lost, and of processes that did not live to end theirs.
//!
//! Owns when it looks and what makes an orphan. Deliberately knows no session:
//! who starts it says which sandboxes are known, and which providers there are.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use futures_util::{StreamExt as _, stream};
use tokio::time::{Instant, sleep_until, timeout};
use tracing::{info, warn};

use super::LABEL_BROKER;
use super::cleanup::find;
use sandbox_broker_core::sandbox::{Call, Code, Error, Listed, Provider, SandboxRef};

/// Between the beginnings of two looks, where nothing is suspect.
const PERIOD: Duration = Duration::from_secs(30);

/// A sandbox seen unknown is ended when it is so again this long after. What
/// was made just now is known by then. With [`PERIOD`] before it, an orphan is
/// gone within 60 s, ten of which are for the provider's answers.
const CONFIRMED_AFTER: Duration = Duration::from_secs(20);

/// Bound on one look at one provider, the ending included. What it does not
/// reach is left to the next look, so one provider that hangs delays no other
/// for longer.
const PATIENCE: Duration = Duration::from_secs(30);

/// Pages of one listing that are read: a cursor that runs in circles ends.
const PAGES: usize = 1000;

/// Sandboxes that are ended at the same time, of one provider.
const KILLS: usize = 8;

/// When each sandbox, by its id, was first seen without a session that knows
/// it, since nobody has known it.
type Sightings = HashMap<String, Instant>;

/// Looks for orphans as long as it is polled, first at once. `providers` and
/// `known` are asked anew each time; sessions that are taken over from an
/// earlier process must be known before it starts. A sandbox that does not
/// carry `broker_id` under [`LABEL_BROKER`] is never touched, whatever the
/// provider's listing is about. A failure is logged and tried again with the
/// next look.
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
                        "looking for sandboxes that no session knows takes too long; going on with the next look");
                }
                (provider.name().to_owned(), seen)
            }
        });
        // Of a provider that is configured no more, nothing is remembered.
        sightings = join_all(looks).await.into_iter().collect();
        // Not before the first suspect is old enough, or the look would be in
        // vain; what was and could not be ended has its next try after as long.
        let due = |first: &Instant| Some(*first + CONFIRMED_AFTER).filter(|due| *due > began);
        let suspects = sightings.values().flat_map(HashMap::values);
        let next = suspects.map(|first| due(first).unwrap_or(began + CONFIRMED_AFTER)).min();
        sleep_until(next.unwrap_or(began + PERIOD)).await;
    }
}

/// One look at one provider. Leaves in `seen` what is unknown and not ended.
async fn look(
    provider: &dyn Provider,
    labels: &BTreeMap<String, String>,
    known: impl Fn(&Listed) -> bool,
    seen: &mut Sightings,
) {
    let name = provider.name();
    let listed = match find(provider, &Call::default(), labels, PAGES).await {
        Ok(listed) => listed,
        Err(error) => return failed("could not look for sandboxes that no session knows", name, None, &error),
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
            failed("could not end a sandbox that no session knows", provider.name(), Some(&id), &error);
            None
        }
        _ => {
            info!(provider = provider.name(), sandbox = id, ?labels, "ended a sandbox that no session knows");
            Some(id)
        }
    }
}

fn failed(what: &str, provider: &str, sandbox: Option<&str>, error: &Error) {
    warn!(provider, sandbox, fault = ?error.fault, code = ?error.code, attrs = ?error.attrs, %error,
        "{what}; trying again");
}
