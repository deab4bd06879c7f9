//! A session's record in the journal.
//!
//! Owns what is written when, so that a broker that starts again knows every
//! sandbox. Deliberately decides nothing: a sandbox is ended even if its record
//! cannot be written, and the caller is told when the record belongs to another
//! broker.

use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use tracing::error;

use sandbox_broker_core::sandbox::{Code, Error, Fault, Result};
use sandbox_broker_journal::{self as journal, Entry, Journal, Owner, Record};
use sandbox_stdx::lock::lock;

/// Epoch of a record that is not in the journal yet.
const UNWRITTEN: u64 = 0;

/// The result of a note.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Noted {
    /// It is in the journal. Or it could not be written and is kept in memory
    /// only.
    Kept,
    /// Another broker has claimed the session. It is no longer ours.
    Lost,
}

/// One session's record. A clone is the same record.
#[derive(Clone, Debug)]
pub(crate) struct Ledger(Arc<LiveRecord>);

#[derive(Debug)]
struct LiveRecord {
    journal: Arc<dyn Journal>,
    owner: Owner,
    id: Arc<str>,
    lease: Duration,
    entry: Mutex<Entry>,
    /// Locked while the journal is written, so that notes are written in their
    /// order.
    epoch: tokio::sync::Mutex<u64>,
}

impl Ledger {
    /// A record that [`Ledger::intend`] will write.
    pub(crate) fn new(journal: Arc<dyn Journal>, owner: Owner, id: Arc<str>, lease: Duration, entry: Entry) -> Self {
        let (entry, epoch) = (Mutex::new(entry), tokio::sync::Mutex::new(UNWRITTEN));
        Ledger(Arc::new(LiveRecord { journal, owner, id, lease, entry, epoch }))
    }

    /// A record that was taken over.
    pub(crate) fn of(journal: Arc<dyn Journal>, record: Record, lease: Duration) -> Self {
        let Record { id, owner, epoch, entry, .. } = record;
        let (entry, epoch) = (Mutex::new(entry), tokio::sync::Mutex::new(epoch));
        Ledger(Arc::new(LiveRecord { journal, owner, id: id.into(), lease, entry, epoch }))
    }

    /// What is known now.
    pub(crate) fn entry(&self) -> Entry {
        self.0.entry()
    }

    /// What its user calls the session.
    pub(crate) fn name(&self) -> Option<String> {
        lock(&self.0.entry).name.clone()
    }

    /// Writes down that a sandbox is about to be made. No sandbox may be made
    /// unless this succeeds.
    pub(crate) async fn intend(&self) -> Result<()> {
        let record = &self.0;
        let mut epoch = record.epoch.lock().await;
        let ends = SystemTime::now() + record.lease;
        match record.journal.create(&record.id, &record.owner, &record.entry(), ends).await {
            Ok(first) => {
                *epoch = first;
                Ok(())
            }
            Err(error) => {
                let message = format!("the broker cannot write down what it is about to make: {error}");
                // This passes with time, so the client is told to try again
                // later.
                Err(Error::new(Fault::Operator, Code::ResourceExhausted, message))
            }
        }
    }

    /// Changes the entry and writes it down. Before [`Ledger::intend`] the
    /// change is kept in memory. If writing fails, the session goes on and the
    /// log says so: the sandbox's lease covers what a later broker would not
    /// know. Dropping the future gives up the answer, not the note.
    pub(crate) async fn note(&self, change: impl FnOnce(&mut Entry)) -> Noted {
        let record = Arc::clone(&self.0);
        change(&mut lock(&record.entry));
        // This runs in a task of its own. If a write were given up half-way, an
        // older note might be written after a newer one.
        let written = tokio::spawn(async move { record.write().await });
        written.await.unwrap_or(Noted::Kept)
    }

    /// Removes the record. The sandbox is gone or was never made.
    pub(crate) async fn forget(&self) {
        let record = &self.0;
        let epoch = record.epoch.lock().await;
        if let Err(error) = record.journal.remove(&record.id, *epoch).await {
            record.log_failure("forget", &error);
        }
    }
}

impl LiveRecord {
    fn entry(&self) -> Entry {
        lock(&self.entry).clone()
    }

    /// Writes the entry as it is when its turn comes. It may be newer than it
    /// was at the call.
    async fn write(&self) -> Noted {
        let epoch = self.epoch.lock().await;
        if *epoch == UNWRITTEN {
            return Noted::Kept;
        }
        match self.journal.update(&self.id, *epoch, &self.entry()).await {
            Ok(()) => Noted::Kept,
            Err(error) => {
                self.log_failure("note", &error);
                if error == journal::Error::Stale { Noted::Lost } else { Noted::Kept }
            }
        }
    }

    fn log_failure(&self, what: &'static str, error: &journal::Error) {
        error!(session = %self.id, what, %error, "the journal could not be brought up to date with this session");
    }
}
