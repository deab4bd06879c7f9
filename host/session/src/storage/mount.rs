//! One mount: planned, mounted, watched, renewed, mounted again when it dies,
//! unmounted, released.
//!
//! Owns its schedule and what is running for it. A mount that died is never a
//! directory that looks like one: until it is mounted again nothing but root
//! can write there, and clients are told. A mount of an earlier broker is taken
//! up as it is.

use std::convert::Infallible;
use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD as BASE64;
use sandbox_broker_core::sandbox::{Call, Code, Error, Fault, Result};
use sandbox_broker_core::storage::{self, Grant, Mounter, Plan, Target};
use sandbox_broker_journal as journal;
use tokio::time::{Instant, sleep, sleep_until, timeout, timeout_at};
use tracing::{debug, error, info};

use super::inside::{End, Inside};
use super::live_mount::{LiveMount, ended, run_all};
use super::news::Tell;
use super::record::MountRecord;
use super::renewal::{PAUSE, Renewal};
use crate::failure::log_failure;
use crate::ledger::Noted;
use crate::reports::Reports;
use crate::retry::Backoff;
use sandbox_broker_policy::outcome::during;
use sandbox_broker_policy::stage::{Stage, Step};

/// Directory of the sandbox in which each mount has a workspace, named by the
/// mount's id. It is on the sandbox's disk, and not where people work.
pub const WORKSPACES: &str = "/var/lib/sandbox-broker";

/// Longest time for `mount` and `verify`, whatever the plan says: a person
/// waits.
const MOUNT_DEADLINE: Duration = Duration::from_secs(60);

/// Longest time for `unmount` and the end of its process, whatever the plan
/// says. It is as long as the broker tries to end a sandbox. Large files that
/// were open are saved only now, so what is cut off here is lost.
const UNMOUNT_DEADLINE: Duration = Duration::from_secs(120);

/// Longest time for clearing a dead mount away.
const CLEAR_DEADLINE: Duration = Duration::from_secs(15);

/// Longest time for a renewal, the plugin's part and the sandbox's.
const RENEW_DEADLINE: Duration = Duration::from_secs(20);

/// How long a release is tried. The access ends by itself later.
const RELEASE_DEADLINE: Duration = Duration::from_secs(30);

/// How often a live mount is checked.
const WATCH_PERIOD: Duration = Duration::from_secs(10);

/// A mount is dead after this many failed checks in a row.
const WATCH_FAILURES: u32 = 2;

/// Tries to mount again before clients are told that it does not work.
const TRIES: u32 = 3;

/// A mount that lived this long is mounted again at once when it dies; one
/// that keeps dying waits longer each time.
const STABLE: Duration = Duration::from_secs(60);

/// One mount of a session.
#[derive(Debug)]
pub(super) struct SessionMount {
    mounter: Arc<dyn Mounter>,
    call: Call,
    target: Target,
    /// Its line in the session's record.
    record: MountRecord,
    /// None before `prepare` was called. Empty until it has answered.
    grant: Option<Grant>,
    /// An earlier broker has mounted it, and this one does not watch it yet.
    inherited: bool,
    /// What was mounted last, or is being mounted.
    live: Option<LiveMount>,
    /// Why it is not mounted any more.
    dead: Option<Error>,
    backoff: Backoff,
}

impl SessionMount {
    /// A mount that is to be prepared, or that an earlier broker has mounted.
    pub(super) fn new(
        mounter: Arc<dyn Mounter>,
        call: Call,
        user: Option<String>,
        broker: String,
        record: MountRecord,
    ) -> Self {
        let journal::Mount { id, path, read_only, begun, grant, .. } = record.mount();
        let inherited = begun > 0;
        let workspace = workspace(&id, begun);
        let target = Target { id, path, workspace, read_only, user, broker };
        // A damaged grant opens nothing, like an empty one.
        let kept = |text| Grant { kept: BASE64.decode(text).unwrap_or_default().into(), ..Grant::default() };
        let grant = grant.map(kept);
        SessionMount {
            mounter,
            call,
            target,
            record,
            grant,
            inherited,
            live: None,
            dead: None,
            backoff: Backoff::new(PAUSE),
        }
    }

    /// Whether it is mounted already, as far as this broker knows.
    pub(super) fn is_inherited(&self) -> bool {
        self.inherited
    }

    /// What people call the storage.
    pub(super) fn title(&self) -> &str {
        self.mounter.title()
    }

    pub(super) fn path(&self) -> &str {
        &self.target.path
    }

    /// The storage's title and its path.
    pub(super) fn name(&self) -> String {
        format!("{} ({})", self.title(), self.path())
    }

    /// Prepares the storage. The error is worded for the outcome.
    pub(super) async fn prepare(&mut self, tell: &Tell) -> Result<()> {
        // From here on the storage must be released, however this ends.
        self.grant = Some(Grant::default());
        let began = Instant::now();
        let (call, mut reports) = Reports::of(&self.call);
        let mut preparing = self.mounter.prepare(&call, &self.target);
        let prepared = loop {
            tokio::select! {
                biased;
                prepared = &mut preparing => break prepared,
                report = reports.next() => {
                    tell.stage(Stage::started(Step::Storage, format!("{}: {report}", self.title()))).await;
                }
            }
        };
        drop(preparing);
        match prepared {
            Ok(grant) => {
                info!(storage = self.mounter.name(), elapsed = ?began.elapsed(), "storage prepared");
                // If the session is lost by now, the release finds that out.
                let _ = self.record.note_grant(&grant).await;
                self.grant = Some(grant);
                Ok(())
            }
            Err(error) => {
                log_failure("could not prepare storage", &error);
                Err(during(&format!("Failed to prepare {}", self.title()), error))
            }
        }
    }

    /// Plans the mount, carries the plan out and waits until the mount works.
    /// What was mounted before is forgotten.
    pub(super) async fn mount(&mut self, inside: &Inside) -> Result<()> {
        if self.record.note(|mount| mount.begun += 1).await == Noted::Lost {
            let message = "another broker has claimed the session, and its storage with it";
            return Err(Error::new(Fault::Operator, Code::FailedPrecondition, message));
        }
        self.settle_user(inside).await;
        self.target.workspace = workspace(&self.target.id, self.record.mount().begun);
        let plan = self.plan().await?;
        let target = &self.target;
        let limit = plan.mount_timeout.min(MOUNT_DEADLINE);
        let (now, renewal) = (Instant::now(), Renewal::new(plan.renew_after));
        let live = self.live.insert(LiveMount { plan, processes: Vec::new(), since: now, renewal });
        let mut last = None;
        let mounted = timeout_at(now + limit, async {
            inside.make(target).await?;
            live.mount(inside).await?;
            live.verify(inside, &mut last).await
        });
        let mounted = mounted.await.unwrap_or_else(|_| {
            let late = timed_out("mounting", limit);
            Err(last.map_or_else(|| late.clone(), |last: Error| during(&late.message, last)))
        });
        live.since = Instant::now();
        mounted
    }

    /// Finds out who owns the files, if the configuration does not say.
    async fn settle_user(&mut self, inside: &Inside) {
        if self.target.user.is_none() {
            self.target.user = inside.default_user().await;
        }
    }

    async fn plan(&self) -> Result<Plan> {
        let grant = self.grant.clone().unwrap_or_default();
        self.mounter.plan(&self.call, &self.target, &grant).await
    }

    /// Takes up what an earlier broker has mounted: it is watched from now on,
    /// and gets fresh credentials at once. If that fails, clients are told the
    /// first time, and it can be tried again. What is mounted stays.
    pub(super) async fn take_up(&mut self, inside: &Inside, tell: &Tell) {
        self.settle_user(inside).await;
        match self.plan().await {
            Ok(plan) => {
                info!(storage = self.mounter.name(), path = self.path(), "storage of an earlier broker taken up");
                let renewal = Renewal::at_once(plan.renew_after);
                // This broker does not see the process that serves the mount.
                self.live = Some(LiveMount { plan, processes: Vec::new(), since: Instant::now(), renewal });
                (self.inherited, self.dead) = (false, None);
            }
            Err(error) => {
                log_failure("could not take up storage of an earlier broker, trying again", &error);
                let message = format!("{} is not looked after until its plugin works again: {error}", self.name());
                if self.dead.replace(error).is_none() {
                    tell.stage(Stage::failed(Step::Mount, message, Duration::ZERO)).await;
                }
            }
        }
    }

    /// Keeps what is mounted mounted.
    pub(super) async fn keep(&mut self, inside: &Inside, tell: &Tell) -> Infallible {
        while self.inherited {
            sleep(self.backoff.next()).await;
            self.take_up(inside, tell).await;
        }
        loop {
            let cause = self.watch(inside, tell).await;
            self.mount_again(cause, inside, tell).await;
        }
    }

    /// Checks the mount and renews its credentials until it is dead.
    async fn watch(&mut self, inside: &Inside, tell: &Tell) -> Error {
        let name = self.name();
        let SessionMount { mounter, call, target, grant, live, record, .. } = self;
        let (Some(LiveMount { plan, processes, renewal, .. }), Some(grant)) = (live, grant) else {
            return pending().await;
        };
        let mut look = Instant::now() + WATCH_PERIOD;
        let mut failures = 0;
        loop {
            // Each arm has a deadline, so neither delays the other for longer.
            let work = async {
                tokio::select! {
                    () = due(renewal.due) => Work::Renewed(timeout(RENEW_DEADLINE, async {
                        let storage::Renewal { steps, grant: new, renew_after } =
                            mounter.renew(call, target, grant).await?;
                        if new != *grant {
                            // If the session is lost by now, the other broker renews.
                            let _ = record.note_grant(&new).await;
                            *grant = new;
                        }
                        act_all(inside, &steps).await?;
                        Ok(renew_after)
                    }).await.unwrap_or_else(|_| Err(timed_out("renewing", RENEW_DEADLINE)))),
                    () = sleep_until(look) => Work::Looked(run_all(inside, &plan.watch).await),
                }
            };
            let done = tokio::select! {
                error = ended(processes) => return error,
                done = work => done,
            };
            if matches!(done, Work::Looked(_)) {
                look = Instant::now() + WATCH_PERIOD;
            }
            match done {
                Work::Looked(Ok(())) => failures = 0,
                Work::Looked(Err(error)) => {
                    failures += 1;
                    debug!(path = target.path, failures, %error, "a mount does not answer");
                    if failures == WATCH_FAILURES {
                        return error;
                    }
                }
                Work::Renewed(Ok(after)) => {
                    info!(storage = mounter.name(), path = target.path, "storage credentials renewed");
                    if renewal.overdue {
                        let message = format!("The access to {name} is renewed");
                        tell.stage(Stage::done(Step::Mount, &message, renewal.late())).await;
                    }
                    *renewal = Renewal::new(after);
                }
                Work::Renewed(Err(error)) => {
                    log_failure("could not renew storage credentials, trying again", &error);
                    if renewal.postpone(error.retry_after) {
                        let message = format!(
                            "The access to {name} could not be renewed: {error}; until it is, files may not be saved"
                        );
                        tell.stage(Stage::failed(Step::Mount, message, renewal.late())).await;
                    }
                }
            }
        }
    }

    /// Tries until it is mounted.
    async fn mount_again(&mut self, cause: Error, inside: &Inside, tell: &Tell) {
        let (died, title, path) = (Instant::now(), self.title().to_owned(), self.path().to_owned());
        log_failure("a mount died, mounting it again", &during(&self.name(), cause.clone()));
        let message = format!("{title} at {path} stopped working: {cause}. Mounting it again...");
        tell.stage(Stage::failed(Step::Mount, message, Duration::ZERO)).await;
        self.dead = Some(cause);
        if self.live.as_ref().is_some_and(|live| live.since.elapsed() >= STABLE) {
            self.backoff = Backoff::new(PAUSE);
        } else {
            sleep(self.backoff.next()).await;
        }
        for tries in 1_u32.. {
            if self.record.note(|_| ()).await == Noted::Lost {
                // The other broker looks after it.
                return pending().await;
            }
            self.clear(inside).await;
            let error = match self.mount(inside).await {
                Ok(()) => break,
                Err(error) => error,
            };
            log_failure("could not mount storage again", &during(&self.name(), error.clone()));
            if tries == TRIES {
                let message = format!(
                    "{title} could not be mounted again at {path}: {error}. Files in {path} are not available; \
                     it is tried again every minute"
                );
                tell.stage(Stage::failed(Step::Mount, message, died.elapsed())).await;
            }
            self.dead = Some(error);
            sleep(self.backoff.next()).await;
        }
        self.dead = None;
        info!(storage = title, path, elapsed = ?died.elapsed(), "storage mounted again");
        tell.stage(Stage::done(Step::Mount, &format!("{title} mounted again at {path}"), died.elapsed())).await;
    }

    /// Clears away what a dead mount has left. Best effort.
    async fn clear(&mut self, inside: &Inside) {
        let Some(live) = &self.live else { return };
        let clear = async {
            for step in &live.plan.clear {
                if let Err(error) = inside.act(step).await {
                    log_failure("could not clear a dead mount away", &error);
                }
            }
            for process in &live.processes {
                process.kill().await;
            }
        };
        if timeout(CLEAR_DEADLINE, clear).await.is_err() {
            log_failure("could not clear a dead mount away", &timed_out("clearing", CLEAR_DEADLINE));
        }
    }

    /// Saves and unmounts, as far as it was mounted. The error says why it is
    /// not certain that all is saved.
    pub(super) async fn unmount(&mut self, inside: &Inside, tell: &Tell) -> Result<()> {
        if self.inherited {
            self.take_up(inside, tell).await;
        }
        if let Some(cause) = &self.dead {
            return Err(during("it had stopped working", cause.clone()));
        }
        let Some(LiveMount { plan, processes, .. }) = &mut self.live else { return Ok(()) };
        let limit = plan.unmount_timeout.min(UNMOUNT_DEADLINE);
        let unmount = async {
            act_all(inside, &plan.unmount).await?;
            for process in processes {
                if let End::Ended { clean: false, error } = process.ended().await {
                    return Err(error);
                }
            }
            Ok(())
        };
        timeout(limit, unmount).await.unwrap_or_else(|_| Err(timed_out("saving", limit)))
    }

    /// Releases what `prepare` got, if it was ever called. Tries again while
    /// that may help. If it gives up, the log says so.
    pub(super) async fn release(&mut self) {
        let Some(grant) = self.grant.take() else { return };
        let (began, storage) = (Instant::now(), self.mounter.name());
        let deadline = began + RELEASE_DEADLINE;
        let mut backoff = Backoff::new(PAUSE);
        loop {
            let released = timeout_at(deadline, self.mounter.release(&self.call, &self.target, &grant)).await;
            let error = match released.unwrap_or_else(|_| Err(timed_out("releasing", RELEASE_DEADLINE))) {
                Ok(()) => return info!(storage, elapsed = ?began.elapsed(), "storage released"),
                Err(error) => error,
            };
            let next = Instant::now() + backoff.after(&error);
            if !(error.code.is_transient() || error.fault == Fault::Plugin) || next >= deadline {
                error!(storage, fault = ?error.fault, code = ?error.code, attrs = ?error.attrs, %error,
                    "gave up withdrawing a sandbox's access to storage; the access ends with its token");
                return;
            }
            log_failure("could not withdraw a sandbox's access to storage, trying again", &error);
            sleep_until(next).await;
        }
    }
}

enum Work {
    Looked(Result<()>),
    /// Says when to renew next.
    Renewed(Result<Option<Duration>>),
}

/// The workspace of a mount that was begun this many times.
fn workspace(id: &str, begun: u32) -> String {
    match begun {
        0 | 1 => format!("{WORKSPACES}/{id}"),
        again => format!("{WORKSPACES}/{id}-{again}"),
    }
}

async fn act_all(inside: &Inside, steps: &[storage::Step]) -> Result<()> {
    for step in steps {
        inside.act(step).await?;
    }
    Ok(())
}

async fn due(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => pending().await,
    }
}

/// The error of an activity that did not finish in time.
pub(super) fn timed_out(activity: &str, limit: Duration) -> Error {
    let message = format!("{activity} did not finish within {} s", limit.as_secs_f32());
    Error::new(Fault::Provider, Code::DeadlineExceeded, message)
}
