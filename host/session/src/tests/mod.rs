//! What a session promises, shown against an in-memory provider on a stopped
//! clock: no test sleeps, and a wait that nothing ends fails at once.

mod contract;
mod control;
mod ends;
mod fake;
mod fallback;
mod flow;
mod handed;
mod kept;
mod ledger;
mod liar;
mod life;
mod log;
mod logs;
mod mount;
mod mounted;
mod reaper;
mod time;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::watch;
use tokio::time::timeout;

use super::{
    Blueprint, Client, Event, Invitation, Invitations, Join, Mount, Outcome, Reader, Refused, Sessions, SizeRule,
    SlowClient, StageState, Step,
};
use fake::{Fake, FakeMounter};
use sandbox_broker_core::sandbox::{Choices, Command, Size};
use sandbox_broker_journal::memory::Memory;
use sandbox_broker_journal::{Journal, Owner, State};

/// Longer than anything here may take by the stopped clock. A wait that nothing
/// ends reaches it at once.
const PATIENCE: Duration = Duration::from_secs(24 * 3600);

const IDLE: Duration = Duration::from_secs(3600);
/// How long a session waits for its clients.
const KEEP: Duration = Duration::from_secs(60);
const LEASE: Duration = Duration::from_secs(300);
const MAX_SESSIONS: usize = 50;

/// A table of sessions on a fake provider.
struct Bed {
    fake: Arc<Fake>,
    journal: Arc<Memory>,
    sessions: Sessions,
    blueprint: watch::Sender<Arc<Blueprint>>,
    tasks: usize,
}

impl Bed {
    fn new() -> Self {
        Bed::on(Fake::new("fake"), Arc::default())
    }

    /// A table that starts with what an earlier broker has left.
    fn on(fake: Arc<Fake>, journal: Arc<Memory>) -> Self {
        let mut first = blueprint(&fake);
        first.journal = Arc::clone(&journal) as _;
        let (blueprint, current) = watch::channel(Arc::new(first));
        Bed { fake, journal, sessions: Sessions::new(current), blueprint, tasks: tasks() }
    }

    /// A table whose sessions have storage at [`FILES`].
    fn with_storage() -> (Self, Arc<FakeMounter>) {
        let bed = Bed::new();
        let mounter = FakeMounter::new(&bed.fake);
        bed.change(|blueprint| blueprint.mounts = vec![mount(&mounter, FILES)]);
        (bed, mounter)
    }

    /// A session that ends with its client.
    fn open(&self, size: Option<Size>) -> Result<Client, Refused> {
        self.sessions.open(Join { size, ..Join::default() }, false)
    }

    /// Changes what later sessions are made of.
    fn change(&self, change: impl FnOnce(&mut Blueprint)) {
        self.blueprint.send_modify(|blueprint| change(Arc::make_mut(blueprint)));
    }

    /// Waits until every session has ended, then checks that nothing is left.
    async fn all_gone(&self) {
        until(|| self.sessions.count() == 0).await;
        until(|| tasks() == self.tasks).await;
        assert_eq!(self.fake.living(), Vec::<String>::new(), "no sandbox outlives its session");
    }
}

fn blueprint(fake: &Arc<Fake>) -> Blueprint {
    Blueprint {
        provider: Arc::clone(fake) as _,
        broker_id: "broker-1".to_owned(),
        command: Command { argv: vec!["/bin/bash".to_owned()], ..Command::default() },
        sandbox_env: [("NAME".to_owned(), "env-canary".to_owned())].into(),
        choices: Choices { image: Some("image-1".to_owned()), ..Choices::default() },
        idle_timeout: IDLE,
        max_age: None,
        lease: LEASE,
        generation: 1,
        max_sessions: MAX_SESSIONS,
        max_sessions_per_user: MAX_SESSIONS,
        mounts: Vec::new(),
        keep: KEEP,
        slow: SlowClient::Gap,
        size: SizeRule::Driver,
        recorder: None,
        journal: Arc::new(Memory::default()),
        owner: Owner { broker: "broker-1".to_owned(), instance: "1".to_owned() },
        invitations: Invitations::new(&[1; 32]),
    }
}

/// A client that may drive.
fn driver(client: &str) -> Join {
    Join { client: client.into(), returns: true, ..Join::default() }
}

/// Continues, as a later process `instance`, with what is in the journal.
fn claim_all(bed: &Bed, instance: &str) -> impl Future<Output = ()> {
    let (journal, sessions) = (Arc::clone(&bed.journal), bed.sessions.clone());
    let mut next = (**bed.blueprint.borrow()).clone();
    next.owner.instance = instance.to_owned();
    async move {
        let next = Arc::new(next);
        for record in journal.list().await.unwrap() {
            let now = SystemTime::now();
            let record = journal.claim(&record.id, record.epoch, &next.owner, now, now + LEASE).await.unwrap();
            if record.entry.durable && record.entry.state == State::Running {
                sessions.take_over(record, Arc::clone(&next));
            } else {
                sessions.clear(record, &next);
            }
        }
    }
}

/// Where storage is mounted.
const FILES: &str = "/workspace/files";

fn mount(mounter: &Arc<FakeMounter>, path: &str) -> Mount {
    Mount { mounter: Arc::clone(mounter) as _, path: path.to_owned(), read_only: false }
}

fn tasks() -> usize {
    tokio::runtime::Handle::current().metrics().num_alive_tasks()
}

/// Waits for a condition.
/// Looks every millisecond at first, and less often the longer it takes: an hour
/// of the stopped clock is not millions of looks.
async fn until(condition: impl Fn() -> bool) {
    let since = tokio::time::Instant::now();
    let poll = async {
        while !condition() {
            tokio::time::sleep((since.elapsed() / 100).max(Duration::from_millis(1))).await;
        }
    };
    soon(poll).await;
}

/// Waits for what must come.
async fn soon<T>(wait: impl Future<Output = T>) -> T {
    timeout(PATIENCE, wait).await.expect("it never comes")
}

/// All that a reader is told, up to the end.
#[derive(Debug, Default)]
struct Told {
    stages: Vec<(Step, StageState)>,
    /// What was said about storage and the way to the shell after `ready`.
    news: Vec<String>,
    ready: Option<Event>,
    output: Vec<u8>,
    outcome: Option<Outcome>,
}

impl Told {
    /// Takes in one event and checks its place among the others.
    fn take(&mut self, event: Event) {
        assert!(self.outcome.is_none(), "nothing comes after the end, but {event:?}");
        match event {
            Event::Stage(stage) if matches!(stage.name, Step::Mount | Step::Shell) && self.ready.is_some() => {
                self.news.push(stage.message);
            }
            Event::Stage(stage) => {
                assert!(self.ready.is_none(), "{stage:?} comes after ready");
                assert!(!stage.message.is_empty());
                self.stages.push((stage.name, stage.state));
            }
            Event::Ready { .. } => assert!(self.ready.replace(event).is_none(), "ready comes once"),
            Event::Output { offset, bytes } => {
                assert!(self.ready.is_some(), "output comes after ready");
                assert!(!bytes.is_empty());
                assert_eq!(offset, self.output.len() as u64, "offsets have no gap");
                self.output.extend_from_slice(&bytes);
            }
            Event::Size(_) => {}
            Event::Gap { .. } | Event::Behind { .. } => panic!("{event:?}, and nothing was lost"),
            Event::Ended(outcome) => self.outcome = Some(outcome),
        }
    }

    async fn read_to_end(mut reader: Reader) -> Self {
        let mut told = Told::default();
        while let Some(event) = soon(reader.next()).await {
            told.take(event);
        }
        assert!(told.outcome.is_some(), "the last event is the end");
        told
    }

    /// The outcome's words.
    fn ended(&self) -> String {
        self.outcome.as_ref().expect("it has ended").to_string()
    }
}

/// Reads until the shell is ready.
async fn ready(reader: &mut Reader) {
    loop {
        match soon(reader.next()).await {
            Some(Event::Ready { .. }) => return,
            Some(Event::Stage(_)) => {}
            other => panic!("{other:?} instead of ready"),
        }
    }
}

/// Bytes in which no stretch equals another at a different offset.
fn pattern(from: u64, len: usize) -> Vec<u8> {
    (from..).take(len).map(|i| (i.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 56) as u8).collect()
}
