//! The table of live sessions.
//!
//! Owns which sessions there are, how many there may be and how all of them
//! end together. Deliberately knows nothing of what goes on inside one.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, timeout};
use tokio_util::task::TaskTracker;
use tracing::{Instrument, error, info, info_span};

use super::Blueprint;
use super::driver::Driver;
use super::handle::{Client, Session, Shared, Summary};
use super::log::Appender;
use crate::sandbox::Size;

/// How long [`Sessions::shutdown`] waits for storage to be saved, of all
/// sessions at the same time, and for sandboxes to be ended. With what comes
/// before and after it, within the 20 s that a supervisor grants.
pub const SHUTDOWN_DEADLINE: Duration = Duration::from_secs(15);

/// Why a session was not opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// As many as allowed.
    #[error("the broker already serves its limit of {limit} sessions; try again when one has ended")]
    Full {
        /// How many are allowed.
        limit: usize,
    },
    /// The broker goes down.
    #[error("the broker is shutting down; connect again")]
    ShuttingDown,
}

/// The live sessions. Cheap to clone.
#[derive(Clone)]
pub struct Sessions(Arc<Table>);

struct Table {
    blueprint: watch::Receiver<Arc<Blueprint>>,
    live: Mutex<Live>,
    drivers: TaskTracker,
}

#[derive(Default)]
struct Live {
    sessions: HashMap<Arc<str>, Arc<Shared>>,
    shutting_down: bool,
}

impl Sessions {
    /// An empty table. Each new session is made of the latest blueprint.
    pub fn new(blueprint: watch::Receiver<Arc<Blueprint>>) -> Self {
        Sessions(Arc::new(Table { blueprint, live: Mutex::default(), drivers: TaskTracker::new() }))
    }

    /// Starts a session and returns at once, with its first client: dropping
    /// that ends the session. Must be called within a tokio runtime.
    pub fn open(&self, size: Option<Size>) -> Result<Client, Refused> {
        let blueprint = Arc::clone(&self.0.blueprint.borrow());
        let mut live = self.0.lock();
        if live.shutting_down {
            return Err(Refused::ShuttingDown);
        }
        if live.sessions.len() >= blueprint.max_sessions {
            return Err(Refused::Full { limit: blueprint.max_sessions });
        }
        let id = new_id();
        let provider: Arc<str> = blueprint.provider.name().into();
        let span = info_span!("session", %id, %provider);
        let log = Appender::new();
        let size = size.unwrap_or(Size::DEFAULT);
        let (shared, inbox) = Shared::new(Arc::clone(&id), provider, blueprint.generation, size, log.source());
        live.sessions.insert(Arc::clone(&id), Arc::clone(&shared));
        let seat = Seat { table: Arc::clone(&self.0), id };
        let driver = Driver::new(Arc::clone(&shared), blueprint, log, inbox);
        self.0.drivers.spawn(
            async move {
                driver.run().await;
                drop(seat);
            }
            .instrument(span),
        );
        Ok(Client::first(shared))
    }

    /// The one with this id, as long as it or its sandbox lives.
    pub fn get(&self, id: &str) -> Option<Session> {
        self.0.lock().sessions.get(id).map(|shared| Session(Arc::clone(shared)))
    }

    /// How many there are, those included whose sandbox is being ended.
    pub fn count(&self) -> usize {
        self.0.lock().sessions.len()
    }

    /// All of them, the oldest first.
    pub fn list(&self) -> Vec<Summary> {
        let mut list: Vec<_> = self.0.lock().sessions.values().map(|shared| shared.summary()).collect();
        list.sort_by(|a, b| b.age.cmp(&a.age).then_with(|| a.id.cmp(&b.id)));
        list
    }

    /// Ends all sessions and refuses new ones. Returns when every sandbox is
    /// ended, or after [`SHUTDOWN_DEADLINE`] with a line in the log for each
    /// that may be left to its lease.
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
    id: Arc<str>,
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.table.lock().sessions.remove(&self.id);
    }
}

/// 128 random bits: nobody guesses another's session.
pub(super) fn new_id() -> Arc<str> {
    let mut bits = [0; 16];
    getrandom::fill(&mut bits).expect("the system has a source of random numbers");
    format!("{:032x}", u128::from_be_bytes(bits)).into()
}
