//! A session's page in the journal.
//!
//! Owns what is written when, so that a broker that comes back knows of every
//! sandbox. Deliberately decides nothing: a page that cannot be written keeps
//! no sandbox from being ended, and whoever asks is told when the page belongs
//! to another broker.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use tracing::error;

use sandbox_broker_core::sandbox::{Code, Error, Fault, Result};
use sandbox_broker_journal::{self as journal, Entry, Journal, Owner, Record};

/// Epoch of a page that is not in the journal yet.
const UNWRITTEN: u64 = 0;

/// What has become of a note.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Noted {
    /// It is in the journal, or could not be written and is only kept here.
    Kept,
    /// Another broker has claimed the session, which is no longer ours.
    Lost,
}

/// One session's page. A clone is the same page.
#[derive(Clone, Debug)]
pub(super) struct Ledger(Arc<Page>);

#[derive(Debug)]
struct Page {
    journal: Arc<dyn Journal>,
    owner: Owner,
    id: Arc<str>,
    lease: Duration,
    entry: Mutex<Entry>,
    /// Held while the journal is written: what was noted first is written
    /// first.
    epoch: tokio::sync::Mutex<u64>,
}

impl Ledger {
    /// A page that is yet to be written, by [`Ledger::intend`].
    pub(super) fn new(journal: Arc<dyn Journal>, owner: Owner, id: Arc<str>, lease: Duration, entry: Entry) -> Self {
        let (entry, epoch) = (Mutex::new(entry), tokio::sync::Mutex::new(UNWRITTEN));
        Ledger(Arc::new(Page { journal, owner, id, lease, entry, epoch }))
    }

    /// A page that was taken over.
    pub(super) fn of(journal: Arc<dyn Journal>, record: Record, lease: Duration) -> Self {
        let Record { id, owner, epoch, entry, .. } = record;
        let (entry, epoch) = (Mutex::new(entry), tokio::sync::Mutex::new(epoch));
        Ledger(Arc::new(Page { journal, owner, id: id.into(), lease, entry, epoch }))
    }

    /// What is known now.
    pub(super) fn entry(&self) -> Entry {
        self.0.entry()
    }

    /// What its user calls the session.
    pub(super) fn name(&self) -> Option<String> {
        self.0.entry.lock().unwrap_or_else(PoisonError::into_inner).name.clone()
    }

    /// Writes down that a sandbox is about to be made. Without that none may
    /// be made.
    pub(super) async fn intend(&self) -> Result<()> {
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
                // Which passes: the client is told to try again later.
                Err(Error::new(Fault::Operator, Code::ResourceExhausted, message))
            }
        }
    }

    /// Writes down what has become of it; before [`Ledger::intend`] it is only
    /// kept for that. Where writing fails the session goes on and the log says
    /// so: the lease covers what a later broker would not know. Dropping the
    /// future gives up the answer, not the note.
    pub(super) async fn note(&self, change: impl FnOnce(&mut Entry)) -> Noted {
        let page = Arc::clone(&self.0);
        change(&mut page.entry.lock().unwrap_or_else(PoisonError::into_inner));
        // A task of its own: given up half-way, an older note might be written
        // after a newer one.
        let written = tokio::spawn(async move { page.write().await });
        written.await.unwrap_or(Noted::Kept)
    }

    /// Forgets the session; its sandbox is gone or was never made.
    pub(super) async fn forget(&self) {
        let page = &self.0;
        let epoch = page.epoch.lock().await;
        if let Err(error) = page.journal.remove(&page.id, *epoch).await {
            page.complain("forget", &error);
        }
    }
}

impl Page {
    fn entry(&self) -> Entry {
        self.entry.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Writes what is known when its turn comes, which may be more than was
    /// known when it was asked.
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
