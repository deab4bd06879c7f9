//! The table of live sessions.
//!
//! Owns which sessions there are, how many there may be and how all of them
//! end together. Deliberately knows nothing of what goes on inside one.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::SystemTime;

use bytes::Bytes;
use tokio::sync::watch;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{Instrument, error, info, info_span};

use super::refused::Refused;
use crate::blueprint::{Blueprint, Mount};
use crate::handle::client::Client;
use crate::handle::join::Join;
use crate::handle::session::Session;
use crate::handle::shared::{Identity, Shared};
use crate::handle::summary::Summary;
use crate::id::new_id;
use crate::ledger::Ledger;
use crate::lifecycle::cleanup;
use crate::lifecycle::task::{Left, SessionTask};
use crate::output::appender::Appender;
use crate::output::contents::KEPT;
use crate::shutdown::SHUTDOWN_DEADLINE;
use crate::storage;
use sandbox_broker_core::sandbox::{Call, SandboxRef, Size};
use sandbox_broker_journal::{Entry, Record, State, Terminal};
use sandbox_stdx::lock::lock;

/// Largest number of sessions that are here only for clients that may come for
/// their end. Together they hold some 64 MiB. Beyond it, the one that ended
/// first goes.
const ENDED: usize = 64;

/// Largest number of sessions that this broker remembers although others serve
/// them. Any beyond it are unknown here.
const ELSEWHERE: usize = 1024;

/// The epoch of a session's output, unless the numbering had to begin anew.
const FIRST_EPOCH: u64 = 1;

/// The live sessions. Cheap to clone.
#[derive(Clone)]
pub struct Sessions(Arc<Table>);

struct Table {
    blueprint: watch::Receiver<Arc<Blueprint>>,
    live: Mutex<TableState>,
    tasks: TaskTracker,
    /// Cancelled when all sessions are to end.
    closing: CancellationToken,
}

#[derive(Default)]
struct TableState {
    sessions: HashMap<Arc<str>, Arc<Shared>>,
    /// Sessions of an earlier broker whose sandboxes are being ended.
    clearing: HashSet<Arc<str>>,
    /// Sessions that live and are not served here.
    absent: HashMap<Arc<str>, Elsewhere>,
    shutting_down: bool,
}

/// A session that lives and is not served here.
struct Elsewhere {
    user: Option<Arc<str>>,
    /// What its clients are told.
    why: Refused,
}

impl Sessions {
    /// An empty table. Each new session is made of the latest blueprint.
    pub fn new(blueprint: watch::Receiver<Arc<Blueprint>>) -> Self {
        let closing = CancellationToken::new();
        Sessions(Arc::new(Table { blueprint, live: Mutex::default(), tasks: TaskTracker::new(), closing }))
    }

    /// Starts a session and returns at once, with its first client. A session
    /// that is `kept` lives on for some time after its last client has gone;
    /// others end at once. Must be called within a tokio runtime.
    pub fn open(&self, join: Join, kept: bool) -> Result<Client, Refused> {
        self.open_as(self.0.lock(), new_id(), join, kept)
    }

    /// Joins the session with this `id`, or starts it if there is none. So a
    /// client can ask again if its connection broke before it had an answer.
    /// The client has chosen `id`: it has the form of [`Session::id`] and was
    /// kept secret until now. Must be called within a tokio runtime.
    pub fn join_or_open(&self, id: &str, join: Join) -> Result<Client, Refused> {
        let live = self.0.lock();
        if live.clearing.contains(id) {
            return Err(Refused::Interrupted);
        }
        if live.sessions.contains_key(id) || live.absent.contains_key(id) {
            drop(live);
            return self.join(id, join);
        }
        self.open_as(live, id.into(), join, true)
    }

    fn open_as(
        &self,
        mut live: MutexGuard<'_, TableState>,
        id: Arc<str>,
        join: Join,
        kept: bool,
    ) -> Result<Client, Refused> {
        let blueprint = Arc::clone(&self.0.blueprint.borrow());
        if live.shutting_down {
            return Err(Refused::ShuttingDown);
        }
        let only_kept = live.sessions.values().filter_map(|shared| Some((shared.is_only_kept()?, shared)));
        let ended = only_kept.clone().count();
        if live.sessions.len() - ended >= blueprint.max_sessions {
            return Err(Refused::Full { limit: blueprint.max_sessions });
        }
        let limit = blueprint.max_sessions_per_user;
        let own = |one: &&Arc<Shared>| one.user == join.user && one.is_only_kept().is_none();
        if join.user.is_some() && live.sessions.values().filter(own).count() >= limit {
            return Err(Refused::FullForUser { limit });
        }
        if ended >= ENDED
            && let Some((_, first)) = only_kept.min_by_key(|(at, _)| *at)
        {
            first.wishes.send_modify(|wishes| wishes.kill = true);
        }
        let size = join.size.unwrap_or(Size::DEFAULT);
        let entry = Entry {
            state: State::Intent,
            provider: blueprint.provider.name().to_owned(),
            nonce: new_id().to_string(),
            sandbox: None,
            terminal: None,
            durable: kept,
            user: join.user.as_deref().map(str::to_owned),
            name: None,
            size: (size.cols, size.rows),
            created: SystemTime::now(),
            storage: blueprint.mounts.iter().map(Mount::to_record).collect(),
            driver: None,
        };
        let (journal, owner) = (Arc::clone(&blueprint.journal), blueprint.owner.clone());
        let ledger = Ledger::new(journal, owner, Arc::clone(&id), blueprint.lease, entry);
        let user = join.user.clone();
        let identity = Identity { id, user, kept, epoch: FIRST_EPOCH, size, taken_over: false };
        // The client joins before the task runs, or the task would see no
        // client.
        let (shared, drive) = self.enter(&mut live, identity, blueprint, ledger);
        let client = Client::join(shared, join);
        // Dropping the task takes the lock.
        drop(live);
        let client = client.ok_or(Refused::Crowded)?;
        self.0.tasks.spawn(drive);
        Ok(client)
    }

    /// Continues a session of an earlier broker, after it was claimed. Its
    /// clients may come as soon as this returns. Must be called within a tokio
    /// runtime, and only for a session that runs and is kept.
    pub fn take_over(&self, record: Record, blueprint: Arc<Blueprint>) {
        let mut live = self.0.lock();
        // It is left to the next broker, which claims it at once.
        if live.shutting_down {
            return;
        }
        let entry = &record.entry;
        let size = Size::new(entry.size.0.into(), entry.size.1.into()).unwrap_or(Size::DEFAULT);
        let user = entry.user.as_deref().map(Arc::from);
        // The recorder goes on counting; a terminal of the provider's begins anew.
        let epoch = match entry.terminal {
            Some(Terminal::Plain { .. }) => record.epoch,
            _ => FIRST_EPOCH,
        };
        let id: Arc<str> = record.id.as_str().into();
        live.absent.remove(&id);
        let ledger = Ledger::of(Arc::clone(&blueprint.journal), record, blueprint.lease);
        let identity = Identity { id, user, kept: true, epoch, size, taken_over: true };
        let (_, drive) = self.enter(&mut live, identity, blueprint, ledger);
        drop(live);
        self.0.tasks.spawn(drive);
    }

    /// Ends what an earlier broker left behind: a session that was claimed and
    /// that nobody can come back to. Ends its sandbox, and looks for one if it
    /// is not known whether there is one. A sandbox with storage is left to its
    /// lease, at whose end its files are saved. Then what `blueprint` still
    /// knows of the storage is released. Must be called within a tokio runtime.
    pub fn clear(&self, record: Record, blueprint: &Arc<Blueprint>) {
        let id: Arc<str> = record.id.as_str().into();
        let span = info_span!("session", %id, provider = %blueprint.provider.name());
        {
            let mut live = self.0.lock();
            live.absent.remove(&id);
            live.clearing.insert(Arc::clone(&id));
        }
        let (table, closing) = (Arc::clone(&self.0), self.0.closing.clone());
        let blueprint = Arc::clone(blueprint);
        let clear = async move {
            let Blueprint { provider, broker_id, lease, journal, .. } = &*blueprint;
            let (lease, call) =
                (*lease, Call { session: Some(id.to_string()), user: record.entry.user.clone(), ..Call::default() });
            let Entry { sandbox, storage, .. } = record.entry.clone();
            let ledger = Arc::new(Ledger::of(Arc::clone(journal), record, lease));
            let done = match sandbox {
                Some(id) if storage.is_empty() => {
                    cleanup::kill(&**provider, &call, &SandboxRef { id, state: Bytes::new() }, lease).await;
                    true
                }
                Some(sandbox) => {
                    info!(sandbox, ?lease, "left to its lease; its files are saved when the lease ends");
                    let ended = timeout(lease, closing.cancelled()).await.is_err();
                    if ended {
                        storage::release(&blueprint, &call, &ledger).await;
                    }
                    ended
                }
                None => {
                    let labels = cleanup::labels(broker_id, &id);
                    cleanup::find_and_kill(&**provider, &call, &labels, lease, closing.cancelled()).await;
                    true
                }
            };
            if done {
                ledger.forget().await;
            }
            table.lock().clearing.remove(&id);
        };
        self.0.tasks.spawn(clear.instrument(span));
    }

    /// Remembers a session that lives and that this broker does not serve, for
    /// now or for good, until it is taken over or cleared. Its clients are told
    /// `why`, and its sandbox is accounted for.
    pub fn set_absent(&self, id: &str, user: Option<&str>, why: Refused) {
        let mut live = self.0.lock();
        if live.absent.len() < ELSEWHERE || live.absent.contains_key(id) {
            live.absent.insert(id.into(), Elsewhere { user: user.map(Arc::from), why });
        }
    }

    /// Whether a sandbox of this session is accounted for: the session lives
    /// here or elsewhere, or what is left of it is being ended. While the
    /// broker shuts down every sandbox is accounted for: the next broker knows
    /// what was left to it, and this one no longer does.
    pub fn knows(&self, id: &str) -> bool {
        let live = self.0.lock();
        live.shutting_down
            || live.sessions.contains_key(id)
            || live.clearing.contains(id)
            || live.absent.contains_key(id)
    }

    /// Joins a kept session, as its user or with an invitation.
    pub fn join(&self, id: &str, join: Join) -> Result<Client, Refused> {
        let live = self.0.lock();
        if live.shutting_down {
            return Err(Refused::ShuttingDown);
        }
        if let Some(absent) = live.absent.get(id) {
            let admitted = match &join.invitation {
                Some(shown) => self.0.blueprint.borrow().invitations.to(id) == *shown,
                None => absent.user == join.user,
            };
            return Err(if admitted { absent.why } else { Refused::NoSession });
        }
        let shared = live.sessions.get(id).filter(|shared| shared.admits(&join) && !shared.is_closed());
        let shared = Arc::clone(shared.ok_or(Refused::NoSession)?);
        Client::join(shared, join).ok_or(Refused::Crowded)
    }

    /// Enters a session into the table. Returns it with the future that drives
    /// it.
    fn enter(
        &self,
        live: &mut TableState,
        identity: Identity,
        blueprint: Arc<Blueprint>,
        ledger: Ledger,
    ) -> (Arc<Shared>, impl Future<Output = ()> + Send + use<>) {
        let id = Arc::clone(&identity.id);
        let span = info_span!("session", %id, provider = %blueprint.provider.name());
        let log = Appender::new(if identity.kept { KEPT } else { 0 });
        let (shared, inbox) = Shared::new(identity, &blueprint, ledger.clone(), log.source());
        live.sessions.insert(Arc::clone(&id), Arc::clone(&shared));
        let seat = TableSeat { table: Arc::clone(&self.0), shared: Arc::clone(&shared) };
        let table = self.clone();
        let task = SessionTask::new(Arc::clone(&shared), blueprint, ledger, log, inbox);
        let drive = async move {
            let left = task.run().await;
            if left == Some(Left::Replaced) {
                table.set_absent(&seat.shared.id, seat.shared.user.as_deref(), Refused::Elsewhere);
            }
            drop(seat);
        };
        (shared, drive.instrument(span))
    }

    /// The session with this id, as long as it or its sandbox lives.
    pub fn get(&self, id: &str) -> Option<Session> {
        self.0.lock().sessions.get(id).map(|shared| Session(Arc::clone(shared)))
    }

    /// Ends every session of a person whom `known` no longer knows. Returns how
    /// many.
    pub fn end_unknown(&self, known: impl Fn(&str) -> bool) -> usize {
        let live = self.0.lock();
        let unknown = live.sessions.values().filter(|one| one.user.as_deref().is_some_and(|user| !known(user)));
        unknown.map(|shared| Session(Arc::clone(shared)).kill()).count()
    }

    /// Number of sessions. It includes those whose sandbox is being ended and
    /// those whose end is kept.
    pub fn count(&self) -> usize {
        self.0.lock().sessions.len()
    }

    /// All sessions, the oldest first.
    pub fn list(&self) -> Vec<Summary> {
        let mut list: Vec<_> = self.0.lock().sessions.values().map(|shared| shared.summary()).collect();
        list.sort_by(|a, b| b.age.cmp(&a.age).then_with(|| a.id.cmp(&b.id)));
        list
    }

    /// Ends all sessions and refuses new ones. Kept sessions are left to the
    /// next broker. Returns when every other sandbox has ended, or after
    /// [`SHUTDOWN_DEADLINE`]. Then the log has a line for each sandbox that may
    /// be left to its lease.
    pub async fn shutdown(&self) {
        let began = Instant::now();
        let sessions = {
            let mut live = self.0.lock();
            live.shutting_down = true;
            for shared in live.sessions.values() {
                shared.wishes.send_modify(|wishes| wishes.shutdown = true);
            }
            live.sessions.len()
        };
        self.0.closing.cancel();
        info!(sessions, "ending all sessions");
        self.0.tasks.close();
        if timeout(SHUTDOWN_DEADLINE, self.0.tasks.wait()).await.is_ok() {
            info!(sessions, elapsed = ?began.elapsed(), "all sessions have ended");
            return;
        }
        for Summary { id, provider, sandbox, .. } in self.list() {
            match sandbox {
                Some(sandbox) => error!(session = %id, %provider, sandbox,
                    "gave up waiting for the sandbox to end; its lease ends it at the latest"),
                None => error!(session = %id, %provider,
                    "gave up waiting for a create; if it makes a sandbox, its lease ends it"),
            }
        }
    }
}

impl Table {
    fn lock(&self) -> MutexGuard<'_, TableState> {
        lock(&self.live)
    }
}

/// A session's place in the table. It is given back however its task ends.
struct TableSeat {
    table: Arc<Table>,
    shared: Arc<Shared>,
}

impl Drop for TableSeat {
    fn drop(&mut self) {
        let mut live = self.table.lock();
        // The session may have come back since.
        if live.sessions.get(&self.shared.id).is_some_and(|listed| Arc::ptr_eq(listed, &self.shared)) {
            live.sessions.remove(&self.shared.id);
        }
    }
}
