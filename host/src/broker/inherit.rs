//! What an earlier broker left: this broker goes on with its sessions or ends them, and ends sandboxes that no session has.
//!
//! Owns the order of a start: claim, then serve. Sessions that cannot be claimed yet are claimed later. Deliberately knows
//! neither how a session is taken over nor how a sandbox is found.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use sandboxd_gatekeeper::Gatekeeper;
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};
use tracing::{error, info, warn};

use super::blueprint::{Base, blueprint};
use super::loader::Checked;
use super::providers::{Mounters, embedded_for, provider};
use super::surroundings::Surroundings;
use crate::embedded::Embedded;
use sandbox_broker_config::{Config, Kind};
use sandbox_broker_core::sandbox::{Listed, Provider};
use sandbox_broker_journal::{self as journal, Entry, Record, State};
use sandbox_broker_plugin::LiveMounts;
use sandbox_broker_session::{self as session, Blueprint, LABEL_SESSION, Mount, Refused, Sessions};

/// The generation of sessions from before this process.
const BEFORE: u64 = 0;

/// Time between two tries to claim sessions while the journal cannot be written: short enough for a client that waits, and
/// long enough to cause no load.
const CLAIM_AGAIN: Duration = Duration::from_secs(2);

/// The sessions of an earlier broker, and the providers that have their sandboxes.
pub(super) struct Inherited {
    /// Sessions that this broker has claimed.
    claimed: Vec<InheritedSession>,
    /// Sessions whose claim could not be written.
    unclaimed: Vec<InheritedSession>,
    /// Sessions that another broker has claimed since.
    lost: Vec<Record>,
    providers: BTreeMap<String, Arc<dyn Provider>>,
}

/// A session of an earlier broker.
struct InheritedSession {
    record: Record,
    /// Its storage, to go on with or to be released.
    mounts: Vec<Mount>,
    /// Whether clients can come back to it.
    goes_on: bool,
}

/// Claims every session that the journal has for this broker. When one claim cannot be written, the others are not tried,
/// because a busy or full journal would delay the start once for each of them.
///
/// # Errors
/// When the journal cannot be read, or a provider cannot be made.
pub(super) async fn claim_all(
    checked: &Checked,
    selected: &Arc<dyn Provider>,
    embedded: Option<Arc<Embedded>>,
    gatekeeper: &Gatekeeper,
    surroundings: &Surroundings,
    base: &Base,
    live_mounts: &LiveMounts,
) -> anyhow::Result<Inherited> {
    let mut mounters = Mounters::new(checked, live_mounts);
    let mut providers = BTreeMap::from([(selected.name().to_owned(), Arc::clone(selected))]);
    let mut server = embedded;
    let (mut claimed, mut unclaimed, mut lost) = (Vec::new(), Vec::new(), Vec::new());
    for record in base.journal.list().await? {
        let Record { id, epoch, entry, .. } = &record;
        if !providers.contains_key(&entry.provider) {
            if checked.providers.get(&entry.provider).is_none_or(|(plugin, _)| plugin.description.kind != Kind::Sandbox)
            {
                error!(
                    session = id,
                    provider = entry.provider,
                    sandbox = entry.sandbox,
                    "the provider of this session is no longer configured; its sandbox ends by its lease"
                );
                if let Err(error) = base.journal.remove(id, *epoch).await {
                    warn!(session = id, %error, "the journal could not forget this session");
                }
                continue;
            }
            // Its sessions' own requests keep the server up.
            let needed = embedded_for(&checked.config, &entry.provider, surroundings, server.clone(), gatekeeper);
            let needed = needed.await?;
            providers.insert(
                entry.provider.clone(),
                provider(checked, &entry.provider, needed.as_deref(), base.recorder.as_ref())?,
            );
            server = server.or(needed);
        }
        let (mounts, same) = storage(&mut mounters, &record)?;
        if record.entry.sandbox.is_some() {
            for mount in &record.entry.storage {
                live_mounts.inherit(&mount.id);
            }
        }
        let goes_on = same && can_go_on(&record.entry) && has_user(checked, &record);
        let mut session = InheritedSession { record, mounts, goes_on };
        if !unclaimed.is_empty() {
            unclaimed.push(session);
            continue;
        }
        match claim(base, &session.record, checked.config.sandbox.lease).await {
            Ok(record) => {
                session.record = record;
                claimed.push(session);
            }
            Err(error @ journal::Error::Failed(_)) => {
                error!(session = session.record.id, %error, "cannot claim the sessions of an earlier broker; trying again");
                unclaimed.push(session);
            }
            Err(error) => {
                warn!(session = session.record.id, %error, "this session is not ours");
                lost.push(session.record);
            }
        }
    }
    Ok(Inherited { claimed, unclaimed, lost, providers })
}

async fn claim(base: &Base, Record { id, epoch, .. }: &Record, lease: Duration) -> journal::Result<Record> {
    let now = SystemTime::now();
    base.journal.claim(id, *epoch, &base.owner, now, now + lease).await
}

/// A session's storage if the configuration still has all of it, and otherwise none; and whether the settings are still
/// those with which it was mounted.
fn storage(mounters: &mut Mounters<'_>, record: &Record) -> anyhow::Result<(Vec<Mount>, bool)> {
    let (mut mounts, mut same) = (Vec::new(), true);
    for journal::Mount { provider, settings, path, read_only, .. } in &record.entry.storage {
        let mounter = mounters.find(provider)?;
        if mounter.as_ref().is_none_or(|mounter| mounter.settings() != settings) {
            error!(
                session = record.id,
                storage = provider,
                path,
                "the settings of this session's storage have changed since it began, so it ends; its files are saved \
                 when its lease does"
            );
            same = false;
        }
        let Some(mounter) = mounter else { return Ok((Vec::new(), false)) };
        mounts.push(Mount { mounter, path: path.clone(), read_only: *read_only });
    }
    Ok((mounts, same))
}

/// Whether the session's user still has a token. When nobody needs a token, every session goes on.
fn has_user(checked: &Checked, record: &Record) -> bool {
    let (Some(auth), Some(user)) = (&checked.config.auth, &record.entry.user) else { return true };
    let known = auth.tokens.iter().any(|token| token.name == *user);
    if !known {
        warn!(session = record.id, user, "the token of this session's person was withdrawn, so it ends");
    }
    known
}

impl Inherited {
    /// The providers that may still have sandboxes of this broker, the selected one first.
    pub(super) fn providers(&self, selected: &Arc<dyn Provider>) -> Vec<Arc<dyn Provider>> {
        let others = self.providers.values().filter(|provider| provider.name() != selected.name());
        std::iter::once(selected).chain(others).cloned().collect()
    }

    /// Puts the sessions into the table, or ends what is left of them. Returns those that still have to be claimed.
    pub(super) fn enter(self, sessions: &Sessions, config: &Config, base: &Base) -> Unclaimed {
        let Inherited { claimed, unclaimed, lost, providers } = self;
        let planned = |InheritedSession { record, mounts, goes_on }| {
            let provider = Arc::clone(&providers[&record.entry.provider]);
            (record, Arc::new(blueprint(config, provider, mounts, base, BEFORE)), goes_on)
        };
        let (kept, all) = (claimed.iter().filter(|session| session.goes_on).count(), claimed.len());
        for (record, blueprint, goes_on) in claimed.into_iter().map(planned) {
            settle(sessions, record, blueprint, goes_on);
        }
        let absent = |record: &Record, why| sessions.set_absent(&record.id, record.entry.user.as_deref(), why);
        unclaimed.iter().for_each(|session| absent(&session.record, Refused::Unclaimed));
        lost.iter().for_each(|record| absent(record, Refused::Elsewhere));
        if all + unclaimed.len() > 0 {
            info!(kept, ended = all - kept, unclaimed = unclaimed.len(), "sessions of an earlier broker");
        }
        Unclaimed(unclaimed.into_iter().map(planned).collect())
    }
}

/// Goes on with a session that was claimed, or ends what is left of it.
fn settle(sessions: &Sessions, record: Record, blueprint: Arc<Blueprint>, goes_on: bool) {
    if goes_on {
        sessions.take_over(record, blueprint);
    } else {
        sessions.clear(record, &blueprint);
    }
}

/// Sessions of an earlier broker that could not be claimed at the start. Each has its blueprint, and whether clients can
/// come back to it.
pub(super) struct Unclaimed(Vec<(Record, Arc<Blueprint>, bool)>);

impl Unclaimed {
    /// Claims them as soon as the journal can be written.
    pub(super) async fn claim(self, sessions: Sessions, base: Base, lease: Duration) {
        let mut waiting = self.0;
        let mut ticks = interval(CLAIM_AGAIN);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while !waiting.is_empty() {
            ticks.tick().await;
            for (record, blueprint, goes_on) in std::mem::take(&mut waiting) {
                if !waiting.is_empty() {
                    waiting.push((record, blueprint, goes_on));
                    continue;
                }
                match claim(&base, &record, lease).await {
                    Ok(claimed) => {
                        info!(session = claimed.id, goes_on, "claimed a session of an earlier broker at last");
                        settle(&sessions, claimed, blueprint, goes_on);
                    }
                    Err(journal::Error::Failed(_)) => waiting.push((record, blueprint, goes_on)),
                    Err(error) => {
                        warn!(session = record.id, %error, "this session is not ours");
                        sessions.set_absent(&record.id, record.entry.user.as_deref(), Refused::Elsewhere);
                    }
                }
            }
        }
    }
}

/// Whether clients can come back to it.
fn can_go_on(entry: &Entry) -> bool {
    entry.durable && entry.state == State::Running && entry.sandbox.is_some()
}

/// Adds a provider to the known ones, in place of an older one with its name.
pub(super) fn replace(known: &mut Vec<Arc<dyn Provider>>, provider: &Arc<dyn Provider>) {
    known.retain(|old| old.name() != provider.name());
    known.insert(0, Arc::clone(provider));
}

/// Renews this process's claim on its sessions, three times per lease, until
/// the broker ends.
pub(super) async fn renew(base: Base, lease: Duration) {
    let mut ticks = interval(lease / 3);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        if let Err(error) = base.journal.renew(&base.owner, SystemTime::now() + lease).await {
            error!(%error, "could not renew the claim on this broker's sessions");
        }
    }
}

/// Ends sandboxes of this broker that no session has. Runs until the broker ends.
pub(super) async fn reap(sessions: Sessions, broker_id: String, providers: watch::Receiver<Vec<Arc<dyn Provider>>>) {
    let known = move |listed: &Listed| listed.labels.get(LABEL_SESSION).is_some_and(|session| sessions.knows(session));
    session::reap(broker_id, || providers.borrow().clone(), known).await;
}
