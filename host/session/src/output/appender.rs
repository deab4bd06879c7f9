//! The writing end of a session's log.
//!
//! Owns what is added and the end of the log. Deliberately never waits by
//! itself: the caller asks for room.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use bytes::{Buf, Bytes};
use sandbox_broker_core::sandbox::{Code, Error, Fault, Size};

use super::contents::{Contents, MAX_CHUNKS, NEWS};
use super::event::Readiness;
use super::log::Log;
use super::reader::ReaderSource;
use sandbox_broker_policy::outcome::Outcome;
use sandbox_broker_policy::stage::Stage;

/// The writing end. There is one per session. If it is dropped before
/// [`Appender::end`], the log ends with a failure of the broker, so that no
/// reader waits for a task that is gone.
#[derive(Debug)]
pub(crate) struct Appender(Arc<Log>);

impl Appender {
    /// A log that keeps its last `keep` bytes for readers that come later.
    pub(crate) fn new(keep: u64) -> Self {
        let contents = Mutex::new(Contents { keep, ..Contents::default() });
        Appender(Arc::new(Log { contents, ..Log::default() }))
    }

    /// Makes readers of this log.
    pub(crate) fn source(&self) -> ReaderSource {
        ReaderSource::of(Arc::clone(&self.0))
    }

    /// Tells a stage, after all output until now. Before the shell runs there
    /// are only as many stages as steps. Later ones are bounded by [`NEWS`].
    pub(crate) fn stage(&self, stage: Stage) {
        {
            let mut contents = self.0.lock();
            if contents.ready.is_none() {
                contents.stages.push(stage);
            } else {
                let end = contents.end;
                contents.news.push_back((end, stage));
                if contents.news.len() > NEWS {
                    contents.news.pop_front();
                    contents.old_news += 1;
                }
            }
        }
        self.0.grown.notify_waiters();
    }

    /// Tells that the shell runs; once, before any output.
    pub(crate) fn ready(&self, readiness: Readiness) {
        {
            let mut contents = self.0.lock();
            let end = contents.end;
            contents.sizes.change(end, readiness.size);
            contents.ready = Some(readiness);
        }
        self.0.grown.notify_waiters();
    }

    /// Whether [`Appender::room`] returns at once.
    pub(crate) fn has_room(&self) -> bool {
        self.0.lock().has_room()
    }

    /// Waits until the slowest reader that holds is less than a window behind.
    /// Cancel-safe.
    pub(crate) async fn room(&self) {
        loop {
            let room = self.0.room.notified();
            if self.has_room() {
                return;
            }
            room.await;
        }
    }

    /// Adds output. Never waits and never refuses: the caller asks for room.
    pub(crate) fn append(&self, bytes: Bytes) {
        self.add(None, bytes);
    }

    /// Adds output that begins at `offset`. What the log has already is left
    /// out; what lies between its end and `offset` is missing for good.
    pub(crate) fn append_at(&self, offset: u64, bytes: Bytes) {
        self.add(Some(offset), bytes);
    }

    /// The terminal has this size from `offset` on or, without an offset, after
    /// all output until now.
    pub(crate) fn resized(&self, offset: Option<u64>, size: Size) {
        {
            let mut contents = self.0.lock();
            let offset = offset.unwrap_or(contents.end);
            contents.sizes.change(offset, size);
        }
        self.0.grown.notify_waiters();
    }

    fn add(&self, offset: Option<u64>, mut bytes: Bytes) {
        {
            let mut contents = self.0.lock();
            let offset = offset.unwrap_or(contents.end);
            let known = contents.end.saturating_sub(offset);
            // Offsets are checked where they come from. Output whose end
            // overflows is ignored.
            let Some(end) = offset.checked_add(bytes.len() as u64).filter(|end| *end > contents.end) else { return };
            bytes.advance(known as usize);
            contents.end = end;
            contents.chunks.push_back((offset + known, bytes));
            contents.trim();
            if contents.chunks.len() > MAX_CHUNKS {
                contents.compact();
            }
        }
        self.0.grown.notify_waiters();
    }

    /// Begins the log at `offset`. Call it before any output. Everything before
    /// `offset` is elsewhere. What comes before `old` was printed before now.
    pub(crate) fn begin_at(&self, offset: u64, old: u64) {
        let mut contents = self.0.lock();
        (contents.end, contents.old) = (offset, old);
    }

    /// Ends the log. The first outcome stands. If no client can come back, what
    /// was not read is dropped.
    pub(crate) fn end(&self, outcome: Outcome) {
        {
            let mut contents = self.0.lock();
            if contents.readers.is_empty() && matches!(outcome, Outcome::Detached) {
                contents.chunks = VecDeque::new();
            }
            contents.outcome.get_or_insert(outcome);
        }
        self.0.grown.notify_waiters();
        self.0.room.notify_waiters();
    }

    /// Offset after the last byte.
    pub(crate) fn offset(&self) -> u64 {
        self.0.lock().end
    }
}

impl Drop for Appender {
    fn drop(&mut self) {
        let message = "the session stopped by a fault of the broker; connect again";
        self.end(Outcome::Failed(Error::new(Fault::Broker, Code::Internal, message)));
    }
}
