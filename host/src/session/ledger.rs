//! A session's page in the journal.
//!
//! Owns what is written when, so that a broker that comes back knows of every
//! sandbox. Deliberately decides nothing: a page that cannot be written keeps
//! no sandbox from being ended.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use tracing::error;

use crate::journal::{self, Entry, Journal, Owner, Record};
use crate::sandbox::{Code, Error, Fault, Result};

/// Epoch of a page that is not in the journal yet.
const UNWRITTEN: u64 = 0;

/// One session's page.
#[derive(Debug)]
pub(super) struct Ledger {
    journal: Arc<dyn Journal>,
    owner: Owner,
    id: Arc<str>,
    lease: Duration,
    epoch: AtomicU64,
    entry: Mutex<Entry>,
}

impl Ledger {
    /// A page that is yet to be written, by [`Ledger::intend`].
    pub(super) fn new(journal: Arc<dyn Journal>, owner: Owner, id: Arc<str>, lease: Duration, entry: Entry) -> Self {
        Ledger { journal, owner, id, lease, epoch: AtomicU64::new(UNWRITTEN), entry: Mutex::new(entry) }
    }

    /// A page that was taken over.
    pub(super) fn of(journal: Arc<dyn Journal>, record: Record, lease: Duration) -> Self {
        let Record { id, owner, epoch, entry, .. } = record;
        Ledger { journal, owner, id: id.into(), lease, epoch: AtomicU64::new(epoch), entry: Mutex::new(entry) }
    }

    /// What is known now.
    pub(super) fn entry(&self) -> Entry {
        self.entry.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Writes down that a sandbox is about to be made. Without that none may
    /// be made.
    pub(super) async fn intend(&self) -> Result<()> {
        let ends = SystemTime::now() + self.lease;
        match self.journal.create(&self.id, &self.owner, &self.entry(), ends).await {
            Ok(epoch) => {
                self.epoch.store(epoch, Ordering::Relaxed);
                Ok(())
            }
            Err(error) => {
                let message = format!("the broker cannot write down what it is about to make: {error}");
                // Which passes: the client is told to try again later.
                Err(Error::new(Fault::Operator, Code::ResourceExhausted, message))
            }
        }
    }

    /// Writes down what has become of it; before [`Ledger::intend`] it is only
    /// kept for that. Where writing fails the session goes on and the log says
    /// so: the lease covers what a later broker would not know.
    pub(super) async fn note(&self, change: impl FnOnce(&mut Entry)) {
        let entry = {
            let mut entry = self.entry.lock().unwrap_or_else(PoisonError::into_inner);
            change(&mut entry);
            entry.clone()
        };
        let epoch = self.epoch.load(Ordering::Relaxed);
        if epoch == UNWRITTEN {
            return;
        }
        match self.journal.update(&self.id, epoch, &entry).await {
            Ok(()) => {}
            Err(error) => self.complain("note", &error),
        }
    }

    /// Forgets the session; its sandbox is gone or was never made.
    pub(super) async fn forget(&self) {
        match self.journal.remove(&self.id, self.epoch.load(Ordering::Relaxed)).await {
            Ok(()) => {}
            Err(error) => self.complain("forget", &error),
        }
    }

    fn complain(&self, what: &'static str, error: &journal::Error) {
        error!(session = %self.id, what, %error, "the journal does not have this session as it is now");
    }
}
