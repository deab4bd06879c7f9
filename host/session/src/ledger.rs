//! A session's page in the journal.
//!
//! Owns what is written when, so that a broker that starts again knows every
//! sandbox. Deliberately decides nothing: a sandbox is ended even if its page
//! cannot be written, and the caller is told when the page belongs to another
//! broker.

use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use tracing::error;

use sandbox_broker_core::lock::lock;
use sandbox_broker_core::sandbox::{Code, Error, Fault, Result};
use sandbox_broker_journal::{self as journal, Entry, Journal, Owner, Record};

/// Epoch of a page that is not in the journal yet.
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

/// One session's page. A clone is the same page.
#[derive(Clone, Debug)]
pub(crate) struct Ledger(Arc<Page>);

#[derive(Debug)]
struct Page {
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
    /// A page that [`Ledger::intend`] will write.
    pub(crate) fn new(journal: Arc<dyn Journal>, owner: Owner, id: Arc<str>, lease: Duration, entry: Entry) -> Self {
        let (entry, epoch) = (Mutex::new(entry), tokio::sync::Mutex::new(UNWRITTEN));
        Ledger(Arc::new(Page { journal, owner, id, lease, entry, epoch }))
    }

    /// A page that was taken over.
    pub(crate) fn of(journal: Arc<dyn Journal>, record: Record, lease: Duration) -> Self {
        let Record { id, owner, epoch, entry, .. } = record;
        let (entry, epoch) = (Mutex::new(entry), tokio::sync::Mutex::new(epoch));
        Ledger(Arc::new(Page { journal, owner, id: id.into(), lease, entry, epoch }))
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
        let page = &self.0;
        let mut epoch = page.epoch.lock().await;
        let ends = SystemTime::now() + page.lease;
        match page.journal.create(&page.id, &page.owner, &page.entry(), ends).await {
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
        let page = Arc::clone(&self.0);
        change(&mut lock(&page.entry));
        // This runs in a task of its own. If a write were given up half-way, an
        // older note might be written after a newer one.
        let written = tokio::spawn(async move { page.write().await });
        written.await.unwrap_or(Noted::Kept)
    }

    /// Removes the page. The sandbox is gone or was never made.
    pub(crate) async fn forget(&self) {
        let page = &self.0;
        let epoch = page.epoch.lock().await;
        if let Err(error) = page.journal.remove(&page.id, *epoch).await {
            page.complain("forget", &error);
        }
    }
}

impl Page {
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
                self.complain("note", &error);
                if error == journal::Error::Stale { Noted::Lost } else { Noted::Kept }
            }
        }
    }

    fn complain(&self, what: &'static str, error: &journal::Error) {
        error!(session = %self.id, what, %error, "the journal does not have this session as it is now");
    }
}
