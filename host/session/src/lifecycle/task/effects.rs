//! Does what the machine says.
//!
//! Owns what each effect becomes: a call that is begun, an order, or a line in
//! the log of the session.

use std::future::ready;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use tokio::time::Instant;
use tracing::info;

use super::parts::{CallResult, Left, SessionTask};
use crate::handle::summary::Phase;
use crate::lifecycle::lease;
use crate::output::event::Readiness;
use crate::storage::{Storage, StorageOrder};
use sandbox_broker_policy::machine::{Effect, MachineEvent};
use sandbox_broker_policy::outcome::Outcome;

/// Shortest time between two resizes. Each makes the program on the terminal
/// draw everything again. If sizes come faster, the latest counts.
const RESIZE_EVERY: Duration = Duration::from_millis(40);

impl SessionTask {
    pub(super) fn step(&mut self, event: MachineEvent) {
        for effect in self.machine.step(event, Instant::now()) {
            self.apply(effect);
        }
    }

    pub(super) fn apply(&mut self, effect: Effect) {
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
                let (live, ledger) = (self.live(sandbox), Arc::clone(&self.ledger));
                if self.blueprint.provider.abilities().lease.is_renewed() {
                    let keep = lease::keep(self.provider(), self.call.clone(), live, ledger, self.blueprint.lease);
                    self.lease = Some(keep.map(CallResult::LeaseLost).boxed());
                }
            }
            Effect::Mount(sandbox) => {
                self.shared.set_phase(Phase::Mounting);
                self.order(StorageOrder::Mount(self.live(sandbox)));
            }
            Effect::Unmount => {
                self.shared.set_phase(Phase::Ending);
                self.lifecycle = None;
                self.order(StorageOrder::Unmount);
            }
            Effect::Release => self.order(StorageOrder::Release),
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
                self.resize = self.terminal.as_ref().map(|live| live.resize(size, begins));
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
                self.lifecycle = Some(if replaced { ready(CallResult::Cleaned).boxed() } else { self.leave(sandbox) });
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

    fn order(&self, order: StorageOrder) {
        if let Some(storage) = &self.storage {
            storage.order(order);
        }
    }
}
