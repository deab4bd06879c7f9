//! What the task holds, and why its loop wakes.
//!
//! Owns the task's fields and its start. What it does is in the files beside
//! this one.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use sandbox_broker_core::sandbox::{Call, Control, Error, Exit, Lifetime, Provider, Result, SandboxRef, Size};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, Sleep};

use crate::blueprint::Blueprint;
use crate::handle::shared::Shared;
use crate::handle::wishes::Wishes;
use crate::input::handing::Handing;
use crate::input::mailbox::Input;
use crate::ledger::Ledger;
use crate::lifecycle::age::{Age, Due};
use crate::lifecycle::opening::Opened;
use crate::lifecycle::terminal_output::{OutputChunk, TerminalOutput};
use crate::live_sandbox::LiveSandbox;
use crate::output::appender::Appender;
use crate::recorder::looks::Colors;
use crate::reports::Reports;
use crate::storage::{Storage, StorageNews};
use sandbox_broker_policy::machine::{Effect, Machine, Terms};
use sandbox_broker_policy::stage::Stage;

/// Drives one session from its first call to the end of its sandbox.
pub(crate) struct SessionTask {
    pub(super) shared: Arc<Shared>,
    pub(super) blueprint: Arc<Blueprint>,
    pub(super) call: Call,
    pub(super) machine: Machine,
    /// What to do first.
    pub(super) first: Vec<Effect>,
    pub(super) log: Appender,
    pub(super) ledger: Arc<Ledger>,
    pub(super) inbox: mpsc::Receiver<Input>,
    pub(super) wishes: watch::Receiver<Wishes>,
    /// The call that is on its way: create, then open, then kill, one after the
    /// other. There is none while the storage is mounted or unmounted.
    pub(super) lifecycle: Option<BoxFuture<'static, CallResult>>,
    pub(super) lease: Option<BoxFuture<'static, CallResult>>,
    /// None before Prepare, and if the session has no storage.
    pub(super) storage: Option<Storage>,
    pub(super) resize: Option<BoxFuture<'static, CallResult>>,
    /// Writes down who drives.
    pub(super) note: Option<BoxFuture<'static, CallResult>>,
    /// When control passes on.
    pub(super) passes_at: Option<Instant>,
    /// No resize begins before this time.
    pub(super) next_resize: Instant,
    pub(super) terminal: Option<LiveTerminal>,
    /// The pipe to the shell. None before the shell is asked for, and after its
    /// end.
    pub(super) pipe: Option<mpsc::Sender<Bytes>>,
    /// Input that the pipe had no room for. While there is some the inbox is
    /// not read, so it holds no more than what was kept before the shell ran.
    pub(super) outbox: VecDeque<Bytes>,
    /// What came from clients, and who waits for it to be handed on.
    pub(super) handing: Handing,
    /// Bytes of input that the pipe took.
    pub(super) handed: u64,
    /// To whom the session was left, if it was.
    pub(super) left: Option<Left>,
    /// None if there is no greatest age.
    pub(super) age: Option<Age>,
    /// The sandbox, once it is made.
    pub(super) sandbox: Option<LiveSandbox>,
    /// What the creation of the sandbox reports.
    pub(super) reports: Option<Reports>,
    /// Never later than the machine's deadline.
    pub(super) timer: Option<Pin<Box<Sleep>>>,
}

/// The parts of a live terminal.
pub(super) struct LiveTerminal {
    pub(super) output: Option<TerminalOutput>,
    pub(super) done: Option<oneshot::Receiver<Result<Exit>>>,
    pub(super) control: Control,
    /// How much input the shell's terminal has taken, if a recorder tells.
    pub(super) taken: Option<watch::Receiver<u64>>,
    /// News of the connection to the recorder, for clients.
    pub(super) news: Option<mpsc::Receiver<Stage>>,
    /// How the driver's terminal looks, for the recorder.
    pub(super) colors: Option<watch::Sender<Option<Colors>>>,
    pub(super) _lifetime: Lifetime,
}

/// To whom a session was left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Left {
    /// The next broker on this state directory.
    ToTheNext,
    /// A broker that has it already.
    Replaced,
}

/// The result of a call that ran beside the loop.
pub(super) enum CallResult {
    Created(Result<SandboxRef>),
    Opened(Box<Result<Opened>>),
    Resized(Size, Result<()>),
    LeaseLost(Error),
    Noted,
    Fetched,
    /// The sandbox was to be ended, but it belongs to another broker.
    Lost,
    Cleaned,
}

/// Why the loop woke.
pub(super) enum Wakeup {
    Call(CallResult),
    Storage(StorageNews),
    Told(Stage),
    Wishes,
    Input(Input),
    /// The pipe has room, or its reader is gone.
    Pipe(bool),
    /// The shell's terminal has taken so many bytes of input.
    Taken(u64),
    Output(Option<OutputChunk>),
    Done(Result<Exit>),
    Age(Due),
    Time,
}

impl SessionTask {
    /// The task of a new session, or of a session whose sandbox an earlier
    /// broker made. Then `ledger` knows the sandbox.
    pub(crate) fn new(
        shared: Arc<Shared>,
        blueprint: Arc<Blueprint>,
        ledger: Ledger,
        log: Appender,
        inbox: mpsc::Receiver<Input>,
    ) -> Self {
        let wishes = shared.wishes.subscribe();
        let size = wishes.borrow().size;
        let terms = Terms {
            idle_timeout: blueprint.idle_timeout,
            keep: shared.kept.then_some(blueprint.keep),
            storage: !blueprint.mounts.is_empty(),
            taken_over: ledger.entry().sandbox.is_some(),
        };
        let (machine, first) = Machine::start(size, terms, Instant::now());
        // The age counts the time with an earlier broker too.
        let age = Age::new(blueprint.max_age, ledger.entry().created.elapsed().unwrap_or_default());
        let user = shared.user.as_deref().map(str::to_owned);
        let call = Call { session: Some(shared.id.to_string()), user, ..Call::default() };
        SessionTask {
            shared,
            blueprint,
            call,
            machine,
            first,
            log,
            ledger: Arc::new(ledger),
            inbox,
            wishes,
            lifecycle: None,
            lease: None,
            storage: None,
            resize: None,
            note: None,
            passes_at: None,
            next_resize: Instant::now(),
            terminal: None,
            pipe: None,
            outbox: VecDeque::new(),
            handing: Handing::default(),
            handed: 0,
            left: None,
            sandbox: None,
            reports: None,
            age,
            timer: None,
        }
    }

    /// The sandbox, by its newest reference.
    pub(super) fn live(&self, sandbox: SandboxRef) -> LiveSandbox {
        self.sandbox.clone().unwrap_or_else(|| LiveSandbox::new(sandbox))
    }

    pub(super) fn provider(&self) -> Arc<dyn Provider> {
        Arc::clone(&self.blueprint.provider)
    }
}
