//! The one task that owns a session.
//!
//! Owns the session's calls to the provider, its terminal and the writing end
//! of its log. Deliberately decides nothing: it tells the state machine what
//! happened and does what that says. No call to the provider ever stands in
//! the way of a byte: each runs beside the loop until it answers.

mod ends;

use std::collections::VecDeque;
use std::future::{pending, ready};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, Sleep, sleep_until, timeout};
use tracing::{debug, info, warn};

use super::age::{Age, Due};
use super::event::Readiness;
use super::handing::Handing;
use super::handle::{Input, Phase, Shared, Wishes, Workspace};
use super::ledger::Ledger;
use super::log::Appender;
use super::looks::Colors;
use super::mount::{News, Order, Storage};
use super::opening::{Opened, Opening, Shell, find};
use super::output::{Chunk, Output, append};
use super::state::{Effect, Event, Machine, Presence, Terms};
use super::tape::{self, Recorded};
use super::waits::{exited, next_stage, next_taken, room_in};
use super::{Blueprint, LABEL_NONCE, Outcome, Stage, cleanup, lease};
use sandbox_broker_core::sandbox::{
    Call, Code, Command, Control, Error, Exit, Fault, Lifetime, PIPE_CHUNKS, Provider, Result, SandboxRef, Size, Spec,
    Terminal,
};
use sandbox_broker_journal as journal;

/// Time between two sizes of a terminal: each makes the program on it draw
/// everything again. Of those that come faster the latest counts.
const RESIZE_EVERY: Duration = Duration::from_millis(40);

/// How long a resize may take before the next one is tried.
const RESIZE_DEADLINE: Duration = Duration::from_secs(10);

/// Drives one session from its first call to the end of its sandbox.
pub(super) struct Driver {
    shared: Arc<Shared>,
    blueprint: Arc<Blueprint>,
    call: Call,
    machine: Machine,
    /// What to do first.
    first: Vec<Effect>,
    log: Appender,
    ledger: Arc<Ledger>,
    inbox: mpsc::Receiver<Input>,
    wishes: watch::Receiver<Wishes>,
    /// Create, then open, then kill: one after the other, and none while the
    /// storage is mounted or unmounted.
    lifecycle: Option<BoxFuture<'static, Answer>>,
    lease: Option<BoxFuture<'static, Answer>>,
    /// None before Prepare, and where there is none.
    storage: Option<Storage>,
    resize: Option<BoxFuture<'static, Answer>>,
    /// Writes down who drives.
    note: Option<BoxFuture<'static, Answer>>,
    /// When control passes on.
    passes_at: Option<Instant>,
    /// No resize begins before.
    next_resize: Instant,
    terminal: Option<Live>,
    /// Towards the shell. None before the shell is asked for, and after it.
    pipe: Option<mpsc::Sender<Bytes>>,
    /// Input that the pipe had no room for. While there is some the inbox is
    /// not read, so it holds no more than what was kept before the shell ran.
    outbox: VecDeque<Bytes>,
    /// What came from clients, and who waits for it to be handed on.
    handing: Handing,
    /// Bytes of it that the pipe took.
    handed: u64,
    /// The session is another broker's now, or the next one's.
    left: Option<Left>,
    /// None where sessions may grow as old as they like.
    age: Option<Age>,
    /// Never later than the machine's deadline.
    timer: Option<Pin<Box<Sleep>>>,
}

/// The parts of a live terminal.
struct Live {
    output: Option<Output>,
    done: Option<oneshot::Receiver<Result<Exit>>>,
    control: Control,
    /// How much input the shell's terminal has taken, where the recorder tells.
    taken: Option<watch::Receiver<u64>>,
    /// What the recorder's keeper tells clients.
    news: Option<mpsc::Receiver<Stage>>,
    /// How the driver's terminal looks, for the recorder.
    colors: Option<watch::Sender<Option<Colors>>>,
    _lifetime: Lifetime,
}

/// To whom a session was left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Left {
    /// The next broker on this state directory.
    ToTheNext,
    /// A broker that has it already.
    Replaced,
}

/// What a call beside the loop has come to.
enum Answer {
    Created(Result<SandboxRef>),
    Opened(Box<Result<Opened>>),
    Resized(Size, Result<()>),
    LeaseLost(Error),
    Noted,
    Fetched,
    /// The sandbox was to be ended and is another broker's.
    Lost,
    Cleaned,
}

/// Why the loop turns.
enum Turn {
    Answer(Answer),
    Storage(News),
    Told(Stage),
    Wishes,
    Input(Input),
    /// The pipe has room, or its reader is gone.
    Pipe(bool),
    /// The shell's terminal has taken so many bytes of input.
    Taken(u64),
    Output(Option<Chunk>),
    Done(Result<Exit>),
    Age(Due),
    Time,
}

impl Driver {
    /// The driver of a new session, or of one whose sandbox an earlier broker
    /// has made: then `ledger` knows it.
    pub(super) fn new(
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
        // Of one that an earlier broker has opened, too.
        let age = Age::new(blueprint.max_age, ledger.entry().created.elapsed().unwrap_or_default());
        let call = Call { session: Some(shared.id.to_string()), user: shared.user.as_deref().map(str::to_owned) };
        Driver {
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
            age,
            timer: None,
        }
    }

    /// Returns when the session is over and its sandbox gone, or given up; or
    /// when it is left to another broker, which is told.
    pub(super) async fn run(mut self) -> Option<Left> {
        for effect in std::mem::take(&mut self.first) {
            self.apply(effect);
        }
        while !self.machine.is_finished() {
            let turn = self.turn().await;
            self.handle(turn);
            self.arm();
        }
        if self.left.is_none() {
            self.ledger.forget().await;
        }
        self.left
    }

    /// Picks what happens next. Every arm is cancel-safe: what it would take
    /// stays where it is when another one wins.
    async fn turn(&mut self) -> Turn {
        let (output, done, taken, stages) = match &mut self.terminal {
            Some(live) => (live.output.as_mut(), live.done.as_mut(), live.taken.as_mut(), live.news.as_mut()),
            None => (None, None, None, None),
        };
        let takes_input = self.outbox.is_empty() && self.machine.wants_input();
        let waits_for_pipe = !self.outbox.is_empty();
        tokio::select! {
            answer = answer(&mut self.lifecycle) => Turn::Answer(answer),
            answer = answer(&mut self.lease) => Turn::Answer(answer),
            answer = answer(&mut self.resize) => Turn::Answer(answer),
            answer = answer(&mut self.note) => Turn::Answer(answer),
            news = told(&mut self.storage) => Turn::Storage(news),
            stage = next_stage(stages) => Turn::Told(stage),
            Ok(()) = self.wishes.changed() => Turn::Wishes,
            Some(input) = self.inbox.recv(), if takes_input => Turn::Input(input),
            taken = next_taken(taken) => Turn::Taken(taken),
            open = room_in(self.pipe.as_ref()), if waits_for_pipe => Turn::Pipe(open),
            chunk = next_chunk(&self.log, output) => Turn::Output(chunk),
            exit = exited(done) => Turn::Done(exit),
            due = Age::next(&mut self.age) => Turn::Age(due),
            () = fired(&mut self.timer) => Turn::Time,
        }
    }

    fn handle(&mut self, turn: Turn) {
        match turn {
            Turn::Answer(answer) => self.answered(answer),
            Turn::Storage(News::Prepared(result)) => self.step(Event::Prepared(result)),
            Turn::Storage(News::Mounted(result)) => self.step(Event::Mounted(result)),
            Turn::Storage(News::Tell(stage)) => self.step(Event::News(stage)),
            Turn::Told(stage) => self.step(Event::News(stage)),
            Turn::Storage(News::Unmounted) => self.step(Event::Unmounted),
            Turn::Storage(News::Lost) => {
                self.storage = None;
                self.lost(Event::Replaced);
            }
            Turn::Storage(News::Released) => {
                self.storage = None;
                self.step(Event::Released);
            }
            Turn::Wishes => {
                self.tell_colors();
                let (size, presence, shutdown, kill, touched) = {
                    let wishes = self.wishes.borrow_and_update();
                    let presence = match &wishes.roster {
                        roster if roster.own() > 0 => Presence::Here,
                        roster if roster.is_closed(self.blueprint.keep, Instant::now()) => Presence::Closed,
                        _ => Presence::Away,
                    };
                    self.passes_at = wishes.roster.passes_at();
                    (wishes.size, presence, wishes.shutdown, wishes.kill, wishes.touched)
                };
                self.note_driver();
                self.step(Event::Touched(touched));
                self.step(Event::Clients(presence));
                if kill {
                    self.step(Event::Kill);
                }
                if shutdown {
                    self.step(Event::Shutdown);
                }
                self.step(Event::Resize(size));
            }
            Turn::Input(Input { bytes, from }) => {
                self.handing.received(bytes.len() as u64, from);
                self.step(Event::Input(bytes));
            }
            Turn::Taken(count) => self.handing.handed(count),
            Turn::Pipe(true) => self.flush(),
            // The shell takes no more input, and soon `done` says why. Until
            // then input waits, for it must not be lost in silence.
            Turn::Pipe(false) => self.pipe = None,
            Turn::Output(Some(chunk)) => self.output(chunk),
            Turn::Output(None) => {
                if let Some(live) = &mut self.terminal {
                    live.output = None;
                }
                self.step(Event::Drained);
            }
            Turn::Done(exit) => {
                if let Some(live) = &mut self.terminal {
                    live.done = None;
                }
                match exit {
                    Err(error) if tape::is_replaced(&error) => self.replaced(),
                    Err(error) => {
                        failed("lost the terminal", &error);
                        self.step(Event::Exited(Err(error)));
                    }
                    Ok(exit) => {
                        info!(%exit, bytes = self.log.offset(), "shell ended");
                        self.step(Event::Exited(Ok(exit)));
                    }
                }
            }
            Turn::Age(Due::Notice(stage)) => self.step(Event::News(stage)),
            Turn::Age(Due::End(limit)) => self.step(Event::Aged(limit)),
            Turn::Time => {
                self.shared.pass_on(Instant::now());
                self.step(Event::Time);
            }
        }
    }

    fn answered(&mut self, answer: Answer) {
        match answer {
            Answer::Created(result) => {
                if let Ok(sandbox) = &result {
                    self.shared.set_sandbox(sandbox.clone());
                }
                self.step(Event::Created(result));
            }
            Answer::Opened(opened) => match *opened {
                Ok(opened) => self.opened(opened),
                Err(error) if tape::is_replaced(&error) => self.replaced(),
                Err(error) => self.step(Event::Opened(Err(error))),
            },
            Answer::Resized(size, result) => {
                if result.is_ok() {
                    self.log.resized(None, size);
                    self.shared.set_size(size);
                }
                self.step(Event::Resized(result));
            }
            Answer::LeaseLost(error) => self.step(Event::LeaseLost(error)),
            Answer::Noted => self.note_driver(),
            Answer::Fetched => self.step(Event::Fetched),
            Answer::Lost => self.lost(Event::Cleaned),
            Answer::Cleaned => {
                self.shared.set_gone();
                self.step(Event::Cleaned);
            }
        }
    }

    fn lost(&mut self, event: Event) {
        warn!("another broker has claimed the session: its sandbox and its storage are left to that one");
        self.left = Some(Left::Replaced);
        self.step(event);
    }

    fn replaced(&mut self) {
        warn!(
            "another broker has attached to the recorder: it serves the session now, and this broker leaves it alone"
        );
        self.left = Some(Left::Replaced);
        self.step(Event::Replaced);
    }

    fn opened(&mut self, Opened { shell, input, cwd, note }: Opened) {
        self.pipe = Some(input);
        if let Some(note) = note {
            self.step(Event::News(note));
        }
        let (live, size, recorded) = match shell {
            Shell::Plain(Terminal { output, done, control, lifetime, .. }, size) => {
                let output = Some(Output::Plain(output));
                let done = Some(done);
                let live = Live { output, done, control, taken: None, news: None, colors: None, _lifetime: lifetime };
                (live, size, None)
            }
            Shell::Recorded(recorded, tape) => {
                self.log.begin_at(recorded.begins, recorded.old);
                let Recorded { output, size, about, colors, taken, news, done, control, lifetime, .. } = recorded;
                let output = Some(Output::Recorded(output));
                let (done, taken, news, colors) = (Some(done), Some(taken), Some(news), Some(colors));
                let live = Live { output, done, control, taken, news, colors, _lifetime: lifetime };
                (live, Some(size), Some((tape, about)))
            }
        };
        self.terminal = Some(live);
        self.tell_colors();
        self.shared.set_running(|sandbox| self.workspace(sandbox, cwd), recorded);
        if let Some(size) = size {
            let wanted = self.shared.has_size(size);
            self.step(Event::Resize(wanted));
        }
        self.step(Event::Opened(Ok(size)));
    }

    fn tell_colors(&self) {
        let Some(colors) = self.terminal.as_ref().and_then(|live| live.colors.as_ref()) else { return };
        let wanted = self.wishes.borrow().colors;
        colors.send_if_modified(|colors| std::mem::replace(colors, wanted) != wanted);
    }

    /// Appends a chunk, and what else one filling of the pipe has brought.
    fn output(&mut self, chunk: Chunk) {
        append(&self.log, &self.shared, chunk);
        if let Some(output) = self.terminal.as_mut().and_then(|live| live.output.as_mut()) {
            for _ in 1..PIPE_CHUNKS {
                if !self.log.has_room() {
                    break;
                }
                let Some(chunk) = output.try_recv() else { break };
                append(&self.log, &self.shared, chunk);
            }
        }
        self.step(Event::Output);
    }

    fn step(&mut self, event: Event) {
        for effect in self.machine.step(event, Instant::now()) {
            self.apply(effect);
        }
    }

    fn apply(&mut self, effect: Effect) {
        match effect {
            Effect::Prepare => {
                self.shared.set_phase(Phase::Preparing);
                self.storage = Some(Storage::start(&self.blueprint, &self.call, &self.ledger, self.wishes.clone()));
            }
            Effect::Create => {
                self.shared.set_phase(Phase::Creating);
                self.lifecycle = Some(self.create());
            }
            Effect::KeepAlive(sandbox) => {
                let keep = lease::keep(self.provider(), self.call.clone(), sandbox, self.blueprint.lease);
                self.lease = Some(keep.map(Answer::LeaseLost).boxed());
            }
            Effect::Mount(sandbox) => {
                self.shared.set_phase(Phase::Mounting);
                self.order(Order::Mount(sandbox));
            }
            Effect::Unmount => {
                self.shared.set_phase(Phase::Ending);
                self.lifecycle = None;
                self.order(Order::Unmount);
            }
            Effect::Release => self.order(Order::Release),
            Effect::Open(sandbox, size) => {
                self.shared.set_phase(Phase::Opening);
                self.lifecycle = Some(self.open(sandbox, size));
            }
            Effect::Write(bytes) => {
                self.outbox.push_back(bytes);
                self.flush();
            }
            Effect::Resize(size) => {
                let begins = self.next_resize.max(Instant::now());
                self.next_resize = begins + RESIZE_EVERY;
                self.resize = self.terminal.as_ref().map(|live| resize(&live.control, size, begins));
            }
            Effect::CloseInput => {
                self.inbox.close();
                while self.inbox.try_recv().is_ok() {}
                self.outbox.clear();
                self.pipe = None;
            }
            Effect::HangUp => self.hang_up(),
            Effect::Kill(sandbox) => {
                self.shared.set_phase(Phase::Ending);
                self.lease = None;
                self.lifecycle = Some(self.kill(sandbox));
            }
            Effect::FindAndKill => self.lifecycle = Some(self.find_and_kill()),
            Effect::Leave(sandbox) => {
                self.shared.set_phase(Phase::Ending);
                (self.lease, self.storage) = (None, None);
                let replaced = *self.left.get_or_insert(Left::ToTheNext) == Left::Replaced;
                self.lifecycle = Some(if replaced { ready(Answer::Cleaned).boxed() } else { self.leave(sandbox) });
            }
            Effect::Await => self.lifecycle = Some(self.fetched()),
            Effect::Stage(stage) => self.log.stage(stage),
            Effect::Ready(size) => {
                self.log.ready(Readiness {
                    session: Arc::clone(&self.shared.id),
                    provider: Arc::clone(&self.shared.provider),
                    isolation: self.blueprint.provider.isolation().map(Arc::from),
                    size,
                    durability: self.shared.durability().unwrap_or_default(),
                });
            }
            Effect::End(outcome) => {
                self.shared.set_ended(outcome.clone());
                let (age, bytes) = (self.shared.opened.elapsed(), self.log.offset());
                match &outcome {
                    Outcome::Failed(error) => info!(?age, bytes, code = ?error.code, "session failed"),
                    outcome => info!(?age, bytes, %outcome, "session ended"),
                }
                self.log.end(outcome);
            }
            Effect::Close => self.shared.close(),
        }
    }

    /// Writes down who drives, where that has changed: the next broker waits for
    /// that client.
    fn note_driver(&mut self) {
        if self.note.is_some() || !self.shared.kept {
            return;
        }
        let driver = self.wishes.borrow().roster.driver().map(|name| name.to_string());
        if driver != self.ledger.entry().driver {
            let ledger = Arc::clone(&self.ledger);
            self.note = Some(
                async move {
                    ledger.note(|entry| entry.driver = driver).await;
                    Answer::Noted
                }
                .boxed(),
            );
        }
    }

    fn order(&self, order: Order) {
        if let Some(storage) = &self.storage {
            storage.order(order);
        }
    }

    /// Moves input into the pipe as far as there is room.
    fn flush(&mut self) {
        let Some(pipe) = &self.pipe else { return };
        while let Some(bytes) = self.outbox.pop_front() {
            let len = bytes.len() as u64;
            if let Err(error) = pipe.try_send(bytes) {
                self.outbox.push_front(error.into_inner());
                break;
            }
            self.handed += len;
        }
        // The recorder tells what has arrived; of a provider's own terminal no
        // more is known than that it has the bytes.
        if self.terminal.as_ref().is_some_and(|live| live.taken.is_none()) {
            self.handing.handed(self.handed);
        }
    }

    /// Lets go of the terminal. What its pipe still holds is told, beyond the
    /// window by at most that pipe.
    fn hang_up(&mut self) {
        self.resize = None;
        let Some(live) = self.terminal.take() else { return };
        if let Some(mut output) = live.output {
            output.close();
            while let Some(chunk) = output.try_recv() {
                append(&self.log, &self.shared, chunk);
            }
        }
    }

    fn arm(&mut self) {
        let deadline = [self.machine.deadline(), self.passes_at].into_iter().flatten().min();
        match (deadline, &mut self.timer) {
            (None, timer) => *timer = None,
            (Some(at), timer @ None) => *timer = Some(Box::pin(sleep_until(at))),
            // A deadline that has moved later is looked at when the timer fires.
            (Some(at), Some(timer)) if timer.is_elapsed() || at < timer.deadline() => timer.as_mut().reset(at),
            (Some(_), Some(_)) => {}
        }
    }

    fn provider(&self) -> Arc<dyn Provider> {
        Arc::clone(&self.blueprint.provider)
    }

    fn workspace(&self, sandbox: SandboxRef, cwd: Option<String>) -> Workspace {
        let Command { cwd: wanted, user, .. } = &self.blueprint.command;
        let mounts: Vec<_> = self.blueprint.mounts.iter().map(|mount| mount.path.clone()).collect();
        let mut roots = mounts.clone();
        let cwd = if mounts.is_empty() { cwd } else { wanted.clone() };
        roots.extend(cwd.filter(|cwd| !mounts.contains(cwd)));
        Workspace { provider: self.provider(), sandbox, call: self.call.clone(), roots, mounts, user: user.clone() }
    }

    fn create(&self) -> BoxFuture<'static, Answer> {
        let (provider, call, ledger) = (self.provider(), self.call.clone(), Arc::clone(&self.ledger));
        let mut labels = cleanup::labels(&self.blueprint.broker_id, &self.shared.id);
        labels.insert(LABEL_NONCE.to_owned(), ledger.entry().nonce);
        let spec = Spec { labels, env: self.blueprint.sandbox_env.clone(), ttl: self.blueprint.lease };
        async move {
            let began = Instant::now();
            if let Some(id) = ledger.entry().sandbox {
                let found = find(&*provider, &call, id, spec.ttl).await;
                match &found {
                    Ok(sandbox) => info!(sandbox = sandbox.id, elapsed = ?began.elapsed(), "sandbox found again"),
                    Err(error) => failed("could not find the sandbox again", error),
                }
                return Answer::Created(found);
            }
            if let Err(error) = ledger.intend().await {
                failed("could not write down that a sandbox is to be made", &error);
                return Answer::Created(Err(error));
            }
            let result = provider.create(&call, &spec).await;
            match &result {
                Ok(sandbox) => {
                    let id = sandbox.id.clone();
                    ledger.note(|entry| (entry.state, entry.sandbox) = (journal::State::Made, Some(id))).await;
                    info!(sandbox = sandbox.id, elapsed = ?began.elapsed(), "sandbox created");
                }
                Err(error) => failed("could not create a sandbox", error),
            }
            Answer::Created(result)
        }
        .boxed()
    }

    fn open(&self, sandbox: SandboxRef, size: Size) -> BoxFuture<'static, Answer> {
        let (provider, call, ledger) = (self.provider(), self.call.clone(), Arc::clone(&self.ledger));
        let lease = self.blueprint.lease;
        let mut command = self.blueprint.command.clone();
        if let Some(first) = self.blueprint.mounts.first() {
            command.cwd = Some(first.path.clone());
        }
        let opening = Opening { provider, call, sandbox, command, size, lease };
        let recorder = self.blueprint.recorder.clone().filter(|_| self.shared.kept);
        async move {
            let began = Instant::now();
            let before = ledger.entry().terminal;
            let id = opening.sandbox.id.clone();
            let opened = match &before {
                Some(journal::Terminal::Recorded { .. }) => opening.resume().await,
                Some(journal::Terminal::Plain { pty }) => opening.attach(pty).await,
                None => opening.start(recorder).await,
            };
            match &opened {
                Ok(opened) => {
                    let terminal = match &opened.shell {
                        Shell::Plain(terminal, _) => journal::Terminal::Plain { pty: terminal.pty.clone() },
                        Shell::Recorded(..) => journal::Terminal::Recorded { directory: tape::DIRECTORY.to_owned() },
                    };
                    info!(sandbox = id, ?terminal, elapsed = ?began.elapsed(), "shell started");
                    ledger
                        .note(|entry| (entry.state, entry.terminal) = (journal::State::Running, Some(terminal)))
                        .await;
                }
                Err(error) => failed("could not start the shell", error),
            }
            Answer::Opened(Box::new(opened))
        }
        .boxed()
    }
}

fn resize(control: &Control, size: Size, begins: Instant) -> BoxFuture<'static, Answer> {
    let control = control.clone();
    async move {
        sleep_until(begins).await;
        let late = |_| Err(Error::new(Fault::Provider, Code::DeadlineExceeded, "the resize was not answered in time"));
        let result = timeout(RESIZE_DEADLINE, control.resize(size)).await.unwrap_or_else(late);
        match &result {
            Ok(()) => debug!(cols = size.cols, rows = size.rows, "resized"),
            Err(error) => failed("could not resize the terminal", error),
        }
        Answer::Resized(size, result)
    }
    .boxed()
}

/// Waits for a call, if there is one, and forgets it when it has answered.
async fn answer(call: &mut Option<BoxFuture<'static, Answer>>) -> Answer {
    let Some(running) = call else { return pending().await };
    let answer = running.await;
    *call = None;
    answer
}

/// Waits for news of the storage, if there is some.
async fn told(storage: &mut Option<Storage>) -> News {
    match storage {
        Some(storage) => storage.next().await,
        None => pending().await,
    }
}

/// Waits for room in the log, then for output; none at its end.
async fn next_chunk(log: &Appender, output: Option<&mut Output>) -> Option<Chunk> {
    let Some(output) = output else { return pending().await };
    log.room().await;
    output.recv().await
}

async fn fired(timer: &mut Option<Pin<Box<Sleep>>>) {
    match timer {
        Some(timer) => timer.await,
        None => pending().await,
    }
}

pub(super) fn failed(what: &str, error: &Error) {
    warn!(fault = ?error.fault, code = ?error.code, attrs = ?error.attrs, %error, "{what}");
}
