//! What the clients of a session read: its stages, its readiness, its output
//! with news between it, and its end, in that order.
//!
//! Owns the output as an append-only sequence with absolute byte offsets, and
//! the place of each reader in it. News stands between two bytes of it. One source serves any number of readers,
//! so there is no seam between old and new output. Deliberately knows neither
//! where bytes come from nor who reads them.
//!
//! ```text
//!   let go of      held                            next byte
//!  ──────────────┬────────────┬──────────────────┬──────────▶ offsets
//!              start    slowest reader          end
//!                              └── < WINDOW ─────┘
//! ```
//!
//! The appender waits while the slowest reader is a window behind, which
//! stops the shell and not the broker: nothing is lost and memory is bounded.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;

use bytes::Bytes;
use tokio::sync::Notify;

use super::{Outcome, Stage};
use crate::sandbox::{Code, Error, Fault, Size};

/// Bytes that the slowest reader may be behind before the shell waits. Twice
/// what one turn of a pipe brings, and a quarter of the 2 MiB that a frozen
/// client may cost.
pub const WINDOW: u64 = 512 * 1024;

/// Chunks that the log holds before the shell waits, so that output in single
/// bytes costs no more than about 256 KiB of bookkeeping.
pub const WINDOW_CHUNKS: usize = 4096;

/// News that the log holds for a reader that does not read. What is told of a
/// live session is little and late news matters most: beyond it the oldest
/// goes.
const NEWS: usize = 64;

/// What a reader is told. `Ready` comes before `Output`, that before `Ended`;
/// each of `Ready` and `Ended` at most once. `Stage` may come at any time
/// before `Ended`, after `Ready` at the place in the output at which it was
/// told.
#[derive(Clone, Debug)]
pub enum Event {
    /// News of a step on the way to the shell, or of a live session's storage.
    Stage(Stage),
    /// The shell runs.
    Ready {
        /// The session's id.
        session: Arc<str>,
        /// Offset of the first output byte that follows.
        offset: u64,
        /// The provider's name.
        provider: Arc<str>,
        /// What a person should know about its isolation.
        isolation: Option<Arc<str>>,
        /// The terminal's size at its start.
        size: Size,
    },
    /// What the shell printed. Never empty; follows the last without a gap.
    Output {
        /// Of the first byte, counted from the start of the shell.
        offset: u64,
        /// The bytes.
        bytes: Bytes,
    },
    /// The session is over, and all output was told.
    Ended(Outcome),
}

/// What `Ready` says of a session, the same for every reader.
#[derive(Clone, Debug)]
pub(super) struct Readiness {
    pub(super) session: Arc<str>,
    pub(super) provider: Arc<str>,
    pub(super) isolation: Option<Arc<str>>,
    pub(super) size: Size,
}

#[derive(Debug, Default)]
struct Log {
    inner: Mutex<Inner>,
    /// Something was added.
    grown: Notify,
    /// The appender may go on.
    room: Notify,
}

#[derive(Debug, Default)]
struct Inner {
    stages: Vec<Stage>,
    ready: Option<Readiness>,
    outcome: Option<Outcome>,
    /// Each with the offset of its first byte; without gaps from the first
    /// one's offset to `end`.
    chunks: VecDeque<(u64, Bytes)>,
    end: u64,
    /// Stages told after `ready`, each with the offset of the byte that it
    /// comes before. At most [`NEWS`].
    news: VecDeque<(u64, Stage)>,
    /// How many news were let go.
    old_news: u64,
    readers: Vec<Place>,
    next_reader: ReaderId,
}

type ReaderId = u64;

/// Where a reader is.
#[derive(Debug)]
struct Place {
    id: ReaderId,
    /// Of the next byte.
    offset: u64,
    /// News passed, counted from the first of the session.
    news: u64,
}

impl Log {
    /// A panic elsewhere must not spread to the drops that come here.
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What a reader does: may make room, and then says so to the appender.
    fn read<T>(&self, f: impl FnOnce(&mut Inner) -> T) -> T {
        let (result, freed) = {
            let mut inner = self.lock();
            let had_room = inner.has_room();
            (f(&mut inner), !had_room && inner.has_room())
        };
        if freed {
            self.room.notify_one();
        }
        result
    }
}

impl Inner {
    fn start(&self) -> u64 {
        self.chunks.front().map_or(self.end, |(offset, _)| *offset)
    }

    /// Where the slowest reader is; without one, where a new one would begin.
    fn slowest(&self) -> u64 {
        self.readers.iter().map(|place| place.offset).min().unwrap_or_else(|| self.start())
    }

    fn has_room(&self) -> bool {
        self.end - self.slowest() < WINDOW && self.chunks.len() < WINDOW_CHUNKS
    }

    /// Lets go of what every reader has passed. Without any reader everything
    /// stays for the next one.
    fn trim(&mut self) {
        if self.readers.is_empty() {
            return;
        }
        let slowest = self.slowest();
        while self.chunks.front().is_some_and(|(offset, chunk)| offset + chunk.len() as u64 <= slowest) {
            self.chunks.pop_front();
        }
        let told = self.readers.iter().map(|place| place.news).min();
        while told.is_some_and(|told| self.old_news < told) && self.news.pop_front().is_some() {
            self.old_news += 1;
        }
    }

    fn place(&mut self, reader: ReaderId) -> &mut Place {
        let place = self.readers.iter_mut().find(|place| place.id == reader);
        place.expect("a reader is listed until it is dropped")
    }

    /// Which of `news` stands before the reader's next byte, if one does.
    fn due(&mut self, reader: ReaderId) -> Option<usize> {
        if self.news.is_empty() {
            return None;
        }
        let old = self.old_news;
        let place = self.place(reader);
        place.news = place.news.max(old);
        let (offset, next) = (place.offset, (place.news - old) as usize);
        self.news.get(next).filter(|(at, _)| *at <= offset).map(|_| next)
    }

    /// The news that stands before the reader's next byte.
    fn take_news(&mut self, reader: ReaderId) -> Option<Stage> {
        let next = self.due(reader)?;
        let stage = self.news[next].1.clone();
        self.place(reader).news += 1;
        self.trim();
        Some(stage)
    }

    /// At most `max` bytes of the chunk at the reader's offset, if no news
    /// stands before it: news stands between chunks, never within one.
    fn take(&mut self, reader: ReaderId, max: usize) -> Option<(u64, Bytes)> {
        let offset = self.place(reader).offset;
        if offset == self.end || max == 0 || self.due(reader).is_some() {
            return None;
        }
        let next = self.chunks.partition_point(|(start, _)| *start <= offset);
        let (start, chunk) = &self.chunks[next - 1];
        let skip = (offset - start) as usize;
        let bytes = chunk.slice(skip..chunk.len().min(skip.saturating_add(max)));
        self.place(reader).offset += bytes.len() as u64;
        self.trim();
        Some((offset, bytes))
    }

    fn next(&mut self, cursor: &mut Cursor) -> Poll<Option<Event>> {
        if cursor.ended {
            return Poll::Ready(None);
        }
        if let Some(stage) = self.stages.get(cursor.stages) {
            cursor.stages += 1;
            return Poll::Ready(Some(Event::Stage(stage.clone())));
        }
        if !cursor.ready
            && let Some(Readiness { session, provider, isolation, size }) = self.ready.clone()
        {
            cursor.ready = true;
            let offset = self.place(cursor.id).offset;
            return Poll::Ready(Some(Event::Ready { session, offset, provider, isolation, size }));
        }
        if let Some(stage) = self.take_news(cursor.id) {
            return Poll::Ready(Some(Event::Stage(stage)));
        }
        if let Some((offset, bytes)) = self.take(cursor.id, usize::MAX) {
            return Poll::Ready(Some(Event::Output { offset, bytes }));
        }
        if let Some(outcome) = self.outcome.clone() {
            cursor.ended = true;
            return Poll::Ready(Some(Event::Ended(outcome)));
        }
        Poll::Pending
    }
}

/// The writing end; there is one per session. Dropped before [`Appender::end`]
/// it ends the log as the broker's own failure, so that no reader waits for a
/// driver that is no more.
#[derive(Debug)]
pub(super) struct Appender(Arc<Log>);

impl Appender {
    pub(super) fn new() -> Self {
        Appender(Arc::default())
    }

    /// Makes readers of this log.
    pub(super) fn source(&self) -> Source {
        Source(Arc::clone(&self.0))
    }

    /// Tells a stage, after all output until now. On the way to the shell
    /// there are as many as there are steps; later ones are bounded.
    pub(super) fn stage(&self, stage: Stage) {
        {
            let mut inner = self.0.lock();
            if inner.ready.is_none() {
                inner.stages.push(stage);
            } else {
                let end = inner.end;
                inner.news.push_back((end, stage));
                if inner.news.len() > NEWS {
                    inner.news.pop_front();
                    inner.old_news += 1;
                }
            }
        }
        self.0.grown.notify_waiters();
    }

    /// Tells that the shell runs; once, before any output.
    pub(super) fn ready(&self, readiness: Readiness) {
        self.0.lock().ready = Some(readiness);
        self.0.grown.notify_waiters();
    }

    /// Whether [`Appender::room`] returns at once.
    pub(super) fn has_room(&self) -> bool {
        self.0.lock().has_room()
    }

    /// Waits until the slowest reader is less than a window behind.
    /// Cancel-safe.
    pub(super) async fn room(&self) {
        loop {
            let room = self.0.room.notified();
            if self.has_room() {
                return;
            }
            room.await;
        }
    }

    /// Adds output. Never waits and never refuses: the caller asks for room.
    pub(super) fn append(&self, bytes: Bytes) {
        if bytes.is_empty() {
            return;
        }
        {
            let mut inner = self.0.lock();
            let offset = inner.end;
            inner.end += bytes.len() as u64;
            inner.chunks.push_back((offset, bytes));
        }
        self.0.grown.notify_waiters();
    }

    /// Ends the log. The first outcome stands. Where nobody can come back for
    /// it, what was not read is let go.
    pub(super) fn end(&self, outcome: Outcome) {
        {
            let mut inner = self.0.lock();
            if inner.readers.is_empty() && matches!(outcome, Outcome::Detached) {
                inner.chunks = VecDeque::new();
            }
            inner.outcome.get_or_insert(outcome);
        }
        self.0.grown.notify_waiters();
    }

    /// Offset after the last byte.
    pub(super) fn offset(&self) -> u64 {
        self.0.lock().end
    }
}

impl Drop for Appender {
    fn drop(&mut self) {
        let message = "the session stopped by a fault of the broker; connect again";
        self.end(Outcome::Failed(Error::new(Fault::Broker, Code::Internal, message)));
    }
}

/// Where readers come from.
#[derive(Clone, Debug)]
pub(super) struct Source(Arc<Log>);

impl Source {
    /// A reader from the oldest byte that is still held: offset 0 for the
    /// first reader of a session.
    pub(super) fn reader(&self) -> Reader {
        let mut inner = self.0.lock();
        let id = inner.next_reader;
        inner.next_reader += 1;
        let (offset, news) = (inner.start(), inner.old_news);
        inner.readers.push(Place { id, offset, news });
        Reader { log: Arc::clone(&self.0), cursor: Cursor { id, stages: 0, ready: false, ended: false } }
    }
}

/// Reads a session from its own offset, at its own pace. A reader that does
/// not read stops the shell when it is [`WINDOW`] behind; dropping it lets
/// the others go on.
#[derive(Debug)]
pub struct Reader {
    log: Arc<Log>,
    cursor: Cursor,
}

/// What a reader was told, besides its offset.
#[derive(Debug)]
struct Cursor {
    id: ReaderId,
    stages: usize,
    ready: bool,
    ended: bool,
}

impl Reader {
    /// The next event; waits for one. `None` after `Ended`.
    ///
    /// Output comes in the chunks in which it arrived. Cancel-safe: an event
    /// is either returned or still to come.
    pub async fn next(&mut self) -> Option<Event> {
        let Reader { log, cursor } = self;
        loop {
            // Made before the look, so that what is added after it is not missed.
            let grown = log.grown.notified();
            if let Poll::Ready(event) = log.read(|inner| inner.next(cursor)) {
                return event;
            }
            grown.await;
        }
    }

    /// The next output if it is there now: a whole chunk, or its first `max`
    /// bytes. `None` when there is none now or something else comes first.
    ///
    /// For a pump that fills one frame under load without waiting for more.
    pub fn try_output(&mut self, max: usize) -> Option<Bytes> {
        if !self.cursor.ready {
            return None;
        }
        self.log.read(|inner| inner.take(self.cursor.id, max)).map(|(_, bytes)| bytes)
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.log.read(|inner| {
            inner.readers.retain(|place| place.id != self.cursor.id);
            if inner.readers.is_empty() && inner.outcome.is_some() {
                inner.chunks = VecDeque::new();
            }
            inner.trim();
        });
    }
}
