//! The task's loop: waits for the next wakeup and handles it.
//!
//! Decides which event is handled next, and translates it for the policy's state
//! machine.

use std::future::pending;
use std::pin::Pin;
use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::time::{Instant, Sleep, sleep_until};
use tracing::{info, warn};

use super::parts::{CallResult, Left, SessionTask, Wakeup};
use crate::failure::log_failure;
use crate::input::mailbox::Input;
use crate::lifecycle::age::{Age, Due};
use crate::lifecycle::terminal_output::{OutputChunk, TerminalOutput};
use crate::lifecycle::waits::{exited, next_report, next_stage, next_taken, room_in};
use crate::live_sandbox::LiveSandbox;
use crate::output::appender::Appender;
use crate::replaced::is_replaced;
use crate::storage::{Storage, StorageNews};
use sandbox_broker_policy::machine::{Attendance, MachineEvent};
use sandbox_broker_policy::stage::{Stage, Step};

impl SessionTask {
    /// Returns once the session is over and its sandbox is gone or given up. The
    /// result says to which broker the session was left, if it was.
    pub(crate) async fn run(mut self) -> Option<Left> {
        for effect in std::mem::take(&mut self.first) {
            self.apply(effect);
        }
        while !self.machine.is_finished() {
            let wakeup = self.next_wakeup().await;
            self.handle(wakeup);
            self.arm();
        }
        if self.left.is_none() {
            self.ledger.forget().await;
        }
        self.left
    }

    /// Picks what happens next. Every arm is cancel-safe: when another arm
    /// wins, nothing is lost from this one. When several are ready, one is picked
    /// at random, so that a flood of output does not keep input waiting. The
    /// policy's machine accepts events in any order.
    async fn next_wakeup(&mut self) -> Wakeup {
        let (output, done, taken, stages) = match &mut self.terminal {
            Some(live) => (live.output.as_mut(), live.done.as_mut(), live.taken.as_mut(), live.news.as_mut()),
            None => (None, None, None, None),
        };
        let takes_input = self.outbox.is_empty() && self.machine.wants_input();
        let waits_for_pipe = !self.outbox.is_empty();
        tokio::select! {
            result = call_result(&mut self.lifecycle) => Wakeup::Call(result),
            result = call_result(&mut self.lease) => Wakeup::Call(result),
            result = call_result(&mut self.resize) => Wakeup::Call(result),
            result = call_result(&mut self.note) => Wakeup::Call(result),
            news = next_news(&mut self.storage) => Wakeup::Storage(news),
            stage = next_stage(stages) => Wakeup::Told(stage),
            report = next_report(&mut self.reports) => Wakeup::Told(Stage::started(Step::Create, report.to_string())),
            Ok(()) = self.wishes.changed() => Wakeup::Wishes,
            Some(input) = self.inbox.recv(), if takes_input => Wakeup::Input(input),
            taken = next_taken(taken) => Wakeup::Taken(taken),
            open = room_in(self.pipe.as_ref()), if waits_for_pipe => Wakeup::Pipe(open),
            chunk = next_chunk(&self.log, output) => Wakeup::Output(chunk),
            exit = exited(done) => Wakeup::Done(exit),
            due = Age::next(&mut self.age) => Wakeup::Age(due),
            () = fired(&mut self.timer) => Wakeup::Time,
        }
    }

    fn handle(&mut self, wakeup: Wakeup) {
        match wakeup {
            Wakeup::Call(result) => self.handle_result(result),
            Wakeup::Storage(StorageNews::Prepared(result)) => self.step(MachineEvent::Prepared(result)),
            Wakeup::Storage(StorageNews::Mounted(result)) => self.step(MachineEvent::Mounted(result)),
            Wakeup::Storage(StorageNews::Tell(stage)) => self.step(MachineEvent::News(stage)),
            Wakeup::Told(stage) => self.step(MachineEvent::News(stage)),
            Wakeup::Storage(StorageNews::Unmounted) => self.step(MachineEvent::Unmounted),
            Wakeup::Storage(StorageNews::Lost) => {
                self.storage = None;
                self.lost(MachineEvent::Replaced);
            }
            Wakeup::Storage(StorageNews::Released) => {
                self.storage = None;
                self.step(MachineEvent::Released);
            }
            Wakeup::Wishes => {
                self.tell_colors();
                let (size, presence, shutdown, kill, touched) = {
                    let wishes = self.wishes.borrow_and_update();
                    let presence = match &wishes.roster {
                        roster if roster.own() > 0 => Attendance::Here,
                        roster if roster.is_closed(self.blueprint.keep, Instant::now()) => Attendance::Closed,
                        _ => Attendance::Away,
                    };
                    self.passes_at = wishes.roster.passes_at();
                    (wishes.size, presence, wishes.shutdown, wishes.kill, wishes.touched)
                };
                self.note_driver();
                self.step(MachineEvent::Touched(touched));
                self.step(MachineEvent::Clients(presence));
                if kill {
                    self.step(MachineEvent::Kill);
                }
                if shutdown {
                    self.step(MachineEvent::Shutdown);
                }
                self.step(MachineEvent::Resize(size));
            }
            Wakeup::Input(Input { bytes, from }) => {
                self.handing.received(bytes.len() as u64, from);
                self.step(MachineEvent::Input(bytes));
            }
            Wakeup::Taken(count) => self.handing.handed(count),
            Wakeup::Pipe(true) => self.flush(),
            // The shell no longer takes input, and `done` will soon say why.
            // Input is kept until then, so that it is not lost silently.
            Wakeup::Pipe(false) => self.pipe = None,
            Wakeup::Output(Some(chunk)) => self.output(chunk),
            Wakeup::Output(None) => {
                if let Some(live) = &mut self.terminal {
                    live.output = None;
                }
                self.step(MachineEvent::Drained);
            }
            Wakeup::Done(exit) => {
                if let Some(live) = &mut self.terminal {
                    live.done = None;
                }
                match exit {
                    Err(error) if is_replaced(&error) => self.replaced(),
                    Err(error) => {
                        log_failure("lost the terminal", &error);
                        self.step(MachineEvent::Exited(Err(error)));
                    }
                    Ok(exit) => {
                        info!(%exit, bytes = self.log.offset(), "shell ended");
                        self.step(MachineEvent::Exited(Ok(exit)));
                    }
                }
            }
            Wakeup::Age(Due::Notice(stage)) => self.step(MachineEvent::News(stage)),
            Wakeup::Age(Due::End(limit)) => self.step(MachineEvent::Aged(limit)),
            Wakeup::Time => {
                self.shared.pass_on(Instant::now());
                self.step(MachineEvent::Time);
            }
        }
    }

    fn handle_result(&mut self, result: CallResult) {
        match result {
            CallResult::Created(result) => {
                self.reports = None;
                if let Ok(sandbox) = &result {
                    let live = LiveSandbox::new(sandbox.clone());
                    self.sandbox = Some(live.clone());
                    self.shared.set_sandbox(live);
                }
                self.step(MachineEvent::Created(result));
            }
            CallResult::Opened(opened) => match *opened {
                Ok(opened) => self.opened(opened),
                Err(error) if is_replaced(&error) => self.replaced(),
                Err(error) => self.step(MachineEvent::Opened(Err(error))),
            },
            CallResult::Resized(size, result) => {
                if result.is_ok() {
                    self.log.resized(None, size);
                    self.shared.set_size(size);
                }
                self.step(MachineEvent::Resized(result));
            }
            CallResult::LeaseLost(error) => self.step(MachineEvent::LeaseLost(error)),
            CallResult::Noted => self.note_driver(),
            CallResult::Fetched => self.step(MachineEvent::Fetched),
            CallResult::Lost => self.lost(MachineEvent::Cleaned),
            CallResult::Cleaned => {
                self.shared.set_gone();
                self.step(MachineEvent::Cleaned);
            }
        }
    }

    fn lost(&mut self, event: MachineEvent) {
        warn!("another broker has claimed the session: its sandbox and its storage are left to that one");
        self.left = Some(Left::Replaced);
        self.step(event);
    }

    fn replaced(&mut self) {
        warn!(
            "another broker has attached to the recorder: it serves the session now, and this broker leaves it alone"
        );
        self.left = Some(Left::Replaced);
        self.step(MachineEvent::Replaced);
    }

    /// Records the driver in the journal, if it has changed. The next broker waits for
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
                    CallResult::Noted
                }
                .boxed(),
            );
        }
    }

    fn arm(&mut self) {
        let deadline = [self.machine.deadline(), self.passes_at].into_iter().flatten().min();
        match (deadline, &mut self.timer) {
            (None, timer) => *timer = None,
            (Some(at), timer @ None) => *timer = Some(Box::pin(sleep_until(at))),
            // If the deadline moved later, the timer fires early and is set again.
            (Some(at), Some(timer)) if timer.is_elapsed() || at < timer.deadline() => timer.as_mut().reset(at),
            (Some(_), Some(_)) => {}
        }
    }
}

/// Waits for the running call and clears it. Never returns if there is none.
async fn call_result(call: &mut Option<BoxFuture<'static, CallResult>>) -> CallResult {
    let Some(running) = call else { return pending().await };
    let result = running.await;
    *call = None;
    result
}

/// Waits for news of the storage, if there is any storage.
async fn next_news(storage: &mut Option<Storage>) -> StorageNews {
    match storage {
        Some(storage) => storage.next().await,
        None => pending().await,
    }
}

/// Waits for room in the log, then for output. Returns none once the output has ended.
async fn next_chunk(log: &Appender, output: Option<&mut TerminalOutput>) -> Option<OutputChunk> {
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
