//! The table of live sessions.
//!
//! Owns which sessions there are, how many there may be and how all of them
//! end together. Deliberately knows nothing of what goes on inside one.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use tokio::sync::watch;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{Instrument, error, info, info_span};

use super::driver::{Driver, Left};
use super::handle::{Client, Identity, Session, Shared, Summary};
use super::invitation::Invitation;
use super::ledger::Ledger;
use super::log::Appender;
use super::roster::Role;
use super::{Blueprint, KEPT, Mount, cleanup, mount};
use sandbox_broker_core::sandbox::{Call, SandboxRef, Size};
use sandbox_broker_journal::{Entry, Record, State, Terminal};

/// How long [`Sessions::shutdown`] waits for storage to be saved, of all
/// sessions at the same time, and for sandboxes to be ended. With what comes
/// before and after it, within the 20 s that a supervisor grants.
pub const SHUTDOWN_DEADLINE: Duration = Duration::from_secs(15);

/// Sessions that are here only for clients that may come for their end, at
/// most: with what each holds, some 64 MiB. Beyond it the one that ended first
/// goes.
const ENDED: usize = 64;

/// Sessions that others serve of which this broker knows, at most. Beyond it
/// they are as unknown as any other.
const ELSEWHERE: usize = 1024;

/// Why a session was not opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// As many as allowed.
    #[error("the broker already serves its limit of {limit} sessions; try again when one has ended")]
    Full {
        /// How many are allowed.
        limit: usize,
    },
    /// As many as one person may have.
    #[error("you have {limit} sessions already, as many as one person may; end one, or try again when one has ended")]
    FullForUser {
        /// How many are allowed.
        limit: usize,
    },
    /// The broker goes down.
    #[error("the broker is shutting down; connect again")]
    ShuttingDown,
    /// There is none to join, or it is somebody else's.
    #[error("there is no such session, or it has ended; start a new one")]
    NoSession,
    /// An earlier broker began to make it and did not finish.
    #[error(
        "the broker was restarted while it made this sandbox, and what there was of it is gone; start a new session"
    )]
    Interrupted,
    /// It is of an earlier broker, and this one could not claim it yet.
    #[error(
        "the broker cannot go on with this session right now, for it cannot write its journal; the session is not \
         lost: connect again in a moment, or ask the operator to look at the broker's log"
    )]
    Unclaimed,
    /// Another broker serves it.
    #[error("another broker serves this session now; connect again in a moment")]
    Elsewhere,
    /// It has as many clients as it may.
    #[error("this session has as many clients as it may; try again when one has left")]
    Crowded,
}

/// Who comes to a session.
#[derive(Clone, Debug, Default)]
pub struct Join {
    /// Name of the client. A second one of the same name takes the first one's
    /// place. A guest gets one that is new.
    pub client: Arc<str>,
    /// Whether it knows its name and may come back by it: control waits for no
    /// other.
    pub returns: bool,
    /// What it comes to do.
    pub role: Role,
    /// Its size, where it has one.
    pub size: Option<Size>,
    /// Who signed in, where people do.
    pub user: Option<Arc<str>>,
    /// Shown by a guest, who watches whatever the role.
    pub invitation: Option<Invitation>,
}

/// The numbering of a session's output, unless it had to begin anew.
const FIRST_EPOCH: u64 = 1;

/// The live sessions. Cheap to clone.
#[derive(Clone)]
pub struct Sessions(Arc<Table>);

struct Table {
    blueprint: watch::Receiver<Arc<Blueprint>>,
    live: Mutex<Live>,
    drivers: TaskTracker,
    /// Cancelled when all sessions are to end.
    closing: CancellationToken,
}

#[derive(Default)]
struct Live {
    sessions: HashMap<Arc<str>, Arc<Shared>>,
    /// Sessions of an earlier broker whose sandboxes are being ended.
    clearing: HashSet<Arc<str>>,
    /// Sessions that live and are not served here.
    absent: HashMap<Arc<str>, Absent>,
    shutting_down: bool,
}

/// A session that lives and is not served here.
struct Absent {
    user: Option<Arc<str>>,
    /// What its clients are told.
    why: Refused,
}

impl Sessions {
    /// An empty table. Each new session is made of the latest blueprint.
    pub fn new(blueprint: watch::Receiver<Arc<Blueprint>>) -> Self {
        let closing = CancellationToken::new();
        Sessions(Arc::new(Table { blueprint, live: Mutex::default(), drivers: TaskTracker::new(), closing }))
    }

    /// Starts a session and returns at once, with its first client. One that
    /// is `kept` lives on for some time when its last client goes, others end
    /// at once. Must be called within a tokio runtime.
    pub fn open(&self, join: Join, kept: bool) -> Result<Client, Refused> {
        self.open_as(self.0.lock(), new_id(), join, kept)
    }

    /// Comes to the session that its user has named `id`, or starts it where
    /// there is none, so that a client may ask again whose connection broke
    /// before it had an answer. `id` is one of [`Session::id`]'s kind, and kept
    /// secret until then. Must be called within a tokio runtime.
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

    fn open_as(&self, mut live: MutexGuard<'_, Live>, id: Arc<str>, join: Join, kept: bool) -> Result<Client, Refused> {
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
        // Joined before the driver runs, which would else see nobody.
        let (shared, drive) = self.seat(&mut live, identity, blueprint, ledger);
        let client = Client::join(shared, join);
        // To drop what drives it takes the lock.
        drop(live);
        let client = client.ok_or(Refused::Crowded)?;
        self.0.drivers.spawn(drive);
        Ok(client)
    }

    /// Goes on with a session of an earlier broker, which was claimed; its
    /// clients may come as soon as this returns. Must be called within a tokio
    /// runtime, and only for one that runs and is kept.
    pub fn take_over(&self, record: Record, blueprint: Arc<Blueprint>) {
        let mut live = self.0.lock();
        // Left to the next broker, which claims it at once.
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
        let (_, drive) = self.seat(&mut live, identity, blueprint, ledger);
        drop(live);
        self.0.drivers.spawn(drive);
    }

    /// Ends what an earlier broker left behind: a session that was claimed and
    /// that nobody can come back to. Its sandbox is ended, and where it is not
    /// known whether there is one, looked for. One with storage is left to its
    /// lease, by which its files are saved; then what `blueprint` still knows
    /// of the storage is released. Must be called within a tokio runtime.
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
            let (lease, call) = (*lease, Call { session: Some(id.to_string()), user: record.entry.user.clone() });
            let Entry { sandbox, storage, .. } = record.entry.clone();
            let ledger = Arc::new(Ledger::of(Arc::clone(journal), record, lease));
            let done = match sandbox {
                Some(id) if storage.is_empty() => {
                    cleanup::kill(&**provider, &call, &SandboxRef { id, state: Bytes::new() }, lease).await;
                    true
                }
                Some(sandbox) => {
                    info!(sandbox, ?lease, "left to its lease, by which its files are saved");
                    let ended = timeout(lease, closing.cancelled()).await.is_err();
                    if ended {
                        mount::release(&blueprint, &call, &ledger).await;
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
        self.0.drivers.spawn(clear.instrument(span));
    }

    /// Remembers a session that lives and that this broker does not serve, for
    /// now or for good: its clients are told `why`, and its sandbox is
    /// accounted for. Until it is taken over or cleared.
    pub fn set_absent(&self, id: &str, user: Option<&str>, why: Refused) {
        let mut live = self.0.lock();
        if live.absent.len() < ELSEWHERE || live.absent.contains_key(id) {
            live.absent.insert(id.into(), Absent { user: user.map(Arc::from), why });
        }
    }

    /// Whether a sandbox of this session is accounted for: the session lives
    /// here or elsewhere, or what is left of it is being ended. While the
    /// broker shuts down every one is: the next broker knows what was left to
    /// it, and this one no longer does.
    pub fn knows(&self, id: &str) -> bool {
        let live = self.0.lock();
        live.shutting_down
            || live.sessions.contains_key(id)
            || live.clearing.contains(id)
            || live.absent.contains_key(id)
    }

    /// Comes to a session that is kept, as its user or with an invitation.
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

    /// A session's place in the table, and what drives it.
    fn seat(
        &self,
        live: &mut Live,
        identity: Identity,
        blueprint: Arc<Blueprint>,
        ledger: Ledger,
    ) -> (Arc<Shared>, impl Future<Output = ()> + Send + use<>) {
        let id = Arc::clone(&identity.id);
        let span = info_span!("session", %id, provider = %blueprint.provider.name());
        let log = Appender::new(if identity.kept { KEPT } else { 0 });
        let (shared, inbox) = Shared::new(identity, &blueprint, ledger.clone(), log.source());
        live.sessions.insert(Arc::clone(&id), Arc::clone(&shared));
        let seat = Seat { table: Arc::clone(&self.0), shared: Arc::clone(&shared) };
        let table = self.clone();
        let driver = Driver::new(Arc::clone(&shared), blueprint, ledger, log, inbox);
        let drive = async move {
            let left = driver.run().await;
            if left == Some(Left::Replaced) {
                table.set_absent(&seat.shared.id, seat.shared.user.as_deref(), Refused::Elsewhere);
            }
            drop(seat);
        };
        (shared, drive.instrument(span))
    }

    /// The one with this id, as long as it or its sandbox lives.
    pub fn get(&self, id: &str) -> Option<Session> {
        self.0.lock().sessions.get(id).map(|shared| Session(Arc::clone(shared)))
    }

    /// Ends every session of a person of whom `known` says that there is none
    /// any more; how many those are.
    pub fn end_unknown(&self, known: impl Fn(&str) -> bool) -> usize {
        let live = self.0.lock();
        let unknown = live.sessions.values().filter(|one| one.user.as_deref().is_some_and(|user| !known(user)));
        unknown.map(|shared| Session(Arc::clone(shared)).kill()).count()
    }

    /// How many there are, those included whose sandbox is being ended and
    /// those whose end is kept.
    pub fn count(&self) -> usize {
        self.0.lock().sessions.len()
    }

    /// All of them, the oldest first.
    pub fn list(&self) -> Vec<Summary> {
        let mut list: Vec<_> = self.0.lock().sessions.values().map(|shared| shared.summary()).collect();
        list.sort_by(|a, b| b.age.cmp(&a.age).then_with(|| a.id.cmp(&b.id)));
        list
    }

    /// Ends all sessions and refuses new ones; those that are kept are left to
    /// the next broker. Returns when every other sandbox is ended, or after
    /// [`SHUTDOWN_DEADLINE`] with a line in the log for each that may be left
    /// to its lease.
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
        self.0.drivers.close();
        if timeout(SHUTDOWN_DEADLINE, self.0.drivers.wait()).await.is_ok() {
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
    /// A panic elsewhere must not spread to the drops that come here.
    fn lock(&self) -> MutexGuard<'_, Live> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A session's place in the table, given back however its driver ends.
struct Seat {
    table: Arc<Table>,
    shared: Arc<Shared>,
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut live = self.table.lock();
        // It may have come back since.
        if live.sessions.get(&self.shared.id).is_some_and(|listed| Arc::ptr_eq(listed, &self.shared)) {
            live.sessions.remove(&self.shared.id);
        }
    }
}

/// 128 random bits in 32 hexadecimal digits: nobody guesses another's session,
/// and no two names are the same.
pub fn new_id() -> Arc<str> {
    let mut bits = [0; 16];
    getrandom::fill(&mut bits).expect("the system has a source of random numbers");
    format!("{:032x}", u128::from_be_bytes(bits)).into()
}
