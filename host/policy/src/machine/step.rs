//! Takes in what happened and returns what to do.
//!
//! Owns which event leads to which step. Deliberately does not hold the steps:
//! they are in `starting`, `ending` and `deadlines`.

use tokio::time::Instant;

use super::state::{Machine, SandboxState, ShellState, StorageState};
use super::vocabulary::{Attendance, Effect, MachineEvent};
use crate::outcome::Outcome;

impl Machine {
    /// Takes in what happened at `now`. Returns what to do, in order.
    pub fn step(&mut self, event: MachineEvent, now: Instant) -> Vec<Effect> {
        let mut effects = Vec::new();
        match event {
            MachineEvent::Prepared(result) => self.prepared(result, now, &mut effects),
            MachineEvent::Created(result) => self.created(result, now, &mut effects),
            MachineEvent::Mounted(result) => self.mounted(result, now, &mut effects),
            MachineEvent::News(stage) => {
                if !self.is_told() {
                    effects.push(Effect::Stage(stage));
                }
            }
            MachineEvent::Unmounted => self.unmounted(now, &mut effects),
            MachineEvent::Released => self.storage = StorageState::Gone,
            MachineEvent::Opened(result) => self.opened(result, now, &mut effects),
            MachineEvent::Input(bytes) => self.input(bytes, now, &mut effects),
            MachineEvent::Resize(size) => {
                self.size = size;
                self.resize(&mut effects);
            }
            MachineEvent::Resized(result) => {
                self.resizing = false;
                let failed = self.asked.take_if(|_| result.is_err());
                // The same size would fail again. A new size may not.
                if failed != Some(self.size) {
                    self.resize(&mut effects);
                }
            }
            MachineEvent::Touched(at) => self.active = self.active.max(at),
            MachineEvent::Output => self.active = now,
            MachineEvent::Drained => self.drained(now, &mut effects),
            MachineEvent::Exited(result) => self.exited(result, now, &mut effects),
            MachineEvent::Replaced => self.replaced(&mut effects),
            MachineEvent::Fetched => self.discard(&mut effects),
            MachineEvent::LeaseLost(error) => self.lost(error, now, &mut effects),
            MachineEvent::Clients(presence) if presence != Attendance::Here && self.keep.is_none() => {
                self.over(Outcome::Detached, now, &mut effects);
            }
            // A client that comes back uses the session.
            MachineEvent::Clients(presence) => {
                let runs = matches!(self.shell, ShellState::Running { .. });
                if self.away.changed(presence, runs, now) {
                    self.active = now;
                }
            }
            // The session has ended already and is only kept for its clients.
            MachineEvent::Aged(_) if matches!(self.shell, ShellState::Ended { .. }) => {}
            MachineEvent::Aged(limit) => self.end(Outcome::Aged(limit), now, &mut effects),
            MachineEvent::Kill => {
                self.killed = true;
                self.end(Outcome::Killed, now, &mut effects);
            }
            MachineEvent::Shutdown => {
                self.stops = true;
                self.shutdown(now, &mut effects);
            }
            MachineEvent::Time => self.time(now, &mut effects),
            MachineEvent::Cleaned => self.sandbox = SandboxState::Gone,
        }
        // A kill or a shutdown may have come before the end was told.
        if matches!(self.shell, ShellState::Ended { .. }) {
            if self.killed {
                self.close(&mut effects);
            } else if self.stops {
                self.shutdown(now, &mut effects);
            }
        }
        effects
    }
}
