//! The lock around what the log holds, and its two signals.
//!
//! Owns who is woken when. Deliberately decides nothing about what is held.

use std::sync::{Mutex, MutexGuard};

use sandbox_stdx::lock::lock;
use tokio::sync::Notify;

use super::contents::Contents;

/// A session's log, as its ends share it.
#[derive(Debug, Default)]
pub(super) struct Log {
    pub(super) contents: Mutex<Contents>,
    /// Something was added.
    pub(super) grown: Notify,
    /// The appender may go on. After the end it says that a reader has moved.
    /// Several may wait, so each looks only after it has begun to listen.
    pub(super) room: Notify,
}

impl Log {
    pub(super) fn lock(&self) -> MutexGuard<'_, Contents> {
        lock(&self.contents)
    }

    /// Does what a reader wants. If that makes room, the appender is woken.
    pub(super) fn read<T>(&self, f: impl FnOnce(&mut Contents) -> T) -> T {
        let (result, freed) = {
            let mut contents = self.lock();
            let had_room = contents.has_room();
            (f(&mut contents), !had_room && contents.has_room() || contents.outcome.is_some())
        };
        if freed {
            self.room.notify_waiters();
        }
        result
    }
}
