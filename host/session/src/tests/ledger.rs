//! A session's page in the journal by itself.

use async_trait::async_trait;
use tokio::sync::Semaphore;

use super::*;
use crate::ledger::{Ledger, Noted};
use sandbox_broker_journal::{Entry, Record, Result};

/// A journal whose first update waits, like that of a busy database.
#[derive(Debug)]
struct Delayed {
    memory: Memory,
    first: Semaphore,
}

impl Delayed {
    fn new() -> Arc<Self> {
        Arc::new(Delayed { memory: Memory::default(), first: Semaphore::new(1) })
    }
}

#[async_trait]
impl Journal for Delayed {
    async fn create(&self, id: &str, owner: &Owner, entry: &Entry, lease_ends: SystemTime) -> Result<u64> {
        self.memory.create(id, owner, entry, lease_ends).await
    }

    async fn update(&self, id: &str, epoch: u64, entry: &Entry) -> Result<()> {
        if let Ok(first) = self.first.try_acquire() {
            first.forget();
            let busy = std::future::pending::<()>();
            assert!(timeout(Duration::from_secs(1), busy).await.is_err());
        }
        self.memory.update(id, epoch, entry).await
    }

    async fn remove(&self, id: &str, epoch: u64) -> Result<()> {
        self.memory.remove(id, epoch).await
    }

    async fn renew(&self, owner: &Owner, lease_ends: SystemTime) -> Result<u64> {
        self.memory.renew(owner, lease_ends).await
    }

    async fn claim(
        &self,
        id: &str,
        epoch: u64,
        owner: &Owner,
        now: SystemTime,
        lease_ends: SystemTime,
    ) -> Result<Record> {
        self.memory.claim(id, epoch, owner, now, lease_ends).await
    }

    async fn keep(&self) -> Result<()> {
        self.memory.keep().await
    }

    async fn list(&self) -> Result<Vec<Record>> {
        self.memory.list().await
    }
}

fn owner(instance: &str) -> Owner {
    Owner { broker: "b".to_owned(), instance: instance.to_owned() }
}

/// The page of a session whose sandbox is about to be made.
async fn page(journal: &Arc<Delayed>) -> Ledger {
    let entry = Entry {
        state: State::Intent,
        provider: "fake".to_owned(),
        nonce: "n".to_owned(),
        sandbox: None,
        terminal: None,
        durable: true,
        user: None,
        name: None,
        size: (80, 24),
        created: SystemTime::UNIX_EPOCH,
        storage: Vec::new(),
        driver: None,
    };
    let ledger = Ledger::new(Arc::clone(journal) as _, owner("1"), "s".into(), LEASE, entry);
    ledger.intend().await.unwrap();
    ledger
}

async fn written(journal: &Delayed) -> Record {
    journal.list().await.unwrap().remove(0)
}

#[tokio::test(start_paused = true)]
async fn what_was_noted_last_is_written_last() {
    let journal = Delayed::new();
    let ledger = page(&journal).await;
    let made = ledger.note(|entry| entry.sandbox = Some("made".to_owned()));
    let running = ledger.note(|entry| entry.state = State::Running);
    assert_eq!(tokio::join!(made, running), (Noted::Kept, Noted::Kept));
    let entry = written(&journal).await.entry;
    assert_eq!((entry.state, entry.sandbox.as_deref()), (State::Running, Some("made")));
}

#[tokio::test(start_paused = true)]
async fn a_note_that_is_given_up_is_written_and_not_after_a_later_one() {
    let journal = Delayed::new();
    let ledger = page(&journal).await;
    let made = ledger.note(|entry| (entry.state, entry.sandbox) = (State::Made, Some("made".to_owned())));
    assert!(timeout(Duration::from_millis(1), made).await.is_err());
    ledger.note(|entry| entry.state = State::Running).await;
    assert_eq!(written(&journal).await.entry, ledger.entry());
    let ending = ledger.note(|entry| entry.state = State::Ending);
    assert!(timeout(Duration::ZERO, ending).await.is_err());
    let ends = async {
        while written(&journal).await.entry.state != State::Ending {
            tokio::task::yield_now().await;
        }
    };
    soon(ends).await;
}

#[tokio::test(start_paused = true)]
async fn a_page_that_another_broker_has_claimed_is_lost() {
    let journal = Delayed::new();
    let ledger = page(&journal).await;
    let record = written(&journal).await;
    let now = SystemTime::now();
    let claimed = journal.claim("s", record.epoch, &owner("2"), now, now + LEASE).await.unwrap();
    assert_eq!(ledger.note(|entry| entry.state = State::Ending).await, Noted::Lost);
    ledger.forget().await;
    assert_eq!(written(&journal).await, claimed, "it is as the other one has it");
}
