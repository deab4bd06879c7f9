//! The table of a sandbox's processes: those that live, the room for those that start, and recent ends.
//!
//! Plain data behind one lock. Starts nothing and waits for nothing.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use super::error::{MAX_PROCESSES, ProcessError, Selector};
use super::handle::Process;
use sandbox_stdx::lock::lock;

/// How long a client can still ask for the end of a process, as in E2B's daemon.
const END_KEPT: Duration = Duration::from_secs(30);

/// The largest number of ends that are kept. The oldest one goes first.
const MAX_ENDS: usize = 1024;

/// The table, shared by the calls of the API and by the pump of each process.
#[derive(Debug, Default)]
pub(super) struct ProcessTable(Mutex<Rows>);

#[derive(Debug, Default)]
struct Rows {
    live: HashMap<u32, Arc<Process>>,
    starting: usize,
    ended: VecDeque<Ended>,
}

#[derive(Debug)]
struct Ended {
    pid: u32,
    tag: Option<String>,
    at: Instant,
    event: Bytes,
}

impl ProcessTable {
    /// The live process that a request names.
    pub(super) fn find(&self, selector: &Selector) -> Result<Arc<Process>, ProcessError> {
        let rows = self.lock();
        let found = match selector {
            Selector::Pid(pid) => rows.live.get(pid),
            Selector::Tag(tag) => rows.live.values().find(|process| process.description.tag.as_ref() == Some(tag)),
        };
        found.cloned().ok_or_else(|| ProcessError::NotFound(selector.clone()))
    }

    /// The live processes in the order of their pids.
    pub(super) fn list(&self) -> Vec<Arc<Process>> {
        let mut live: Vec<_> = self.lock().live.values().cloned().collect();
        live.sort_by_key(|process| process.pid);
        live
    }

    /// Moves a process from the live ones to those whose end is kept.
    pub(super) fn end(&self, pid: u32, event: Bytes) {
        let mut rows = self.lock();
        let process = rows.live.remove(&pid);
        let tag = process.and_then(|process| process.description.tag.clone());
        while rows.ended.len() >= MAX_ENDS || rows.ended.front().is_some_and(|ended| ended.at.elapsed() >= END_KEPT) {
            rows.ended.pop_front();
        }
        rows.ended.push_back(Ended { pid, tag, at: Instant::now(), event });
    }

    /// The pid and the end of a process that ended at most [`END_KEPT`] ago.
    pub(super) fn recent_end(&self, selector: &Selector) -> Option<(u32, Bytes)> {
        let rows = self.lock();
        let ended = rows.ended.iter().rev().find(|ended| {
            ended.at.elapsed() < END_KEPT
                && match selector {
                    Selector::Pid(pid) => ended.pid == *pid,
                    Selector::Tag(tag) => ended.tag.as_ref() == Some(tag),
                }
        })?;
        Some((ended.pid, ended.event.clone()))
    }

    fn lock(&self) -> MutexGuard<'_, Rows> {
        lock(&self.0)
    }
}

/// Room for one of the [`MAX_PROCESSES`]. Dropping it gives the room back unless a process has filled it.
pub(super) struct ProcessSlot(Option<Arc<ProcessTable>>);

impl ProcessSlot {
    pub(super) fn take(table: &Arc<ProcessTable>) -> Result<Self, ProcessError> {
        let mut rows = table.lock();
        if rows.live.len() + rows.starting >= MAX_PROCESSES {
            return Err(ProcessError::TooMany);
        }
        rows.starting += 1;
        Ok(Self(Some(table.clone())))
    }

    pub(super) fn fill(mut self, process: Arc<Process>) {
        if let Some(table) = self.0.take() {
            let mut rows = table.lock();
            rows.starting -= 1;
            rows.live.insert(process.pid, process);
        }
    }
}

impl Drop for ProcessSlot {
    fn drop(&mut self) {
        if let Some(table) = &self.0 {
            table.lock().starting -= 1;
        }
    }
}
