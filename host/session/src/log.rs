//! What the clients of a session read: its stages, its readiness, its output
//! with news between it, and its end, in that order.
//!
//! Owns the output as an append-only sequence with absolute byte offsets, and
//! the place of each reader in it. News stands between two bytes of it. One
//! source serves any number of readers, so there is no seam between old and
//! new output. Deliberately knows neither where bytes come from nor who reads
//! them.
//!
//! ```text
//!   let go of      held                                next byte
//!  ──────────────┬────────────┬──────────────────┬─────────▶ offsets
//!              start   slowest that holds       end
//!                              └── < WINDOW ─────┘
//! ```
//!
//! A reader that *holds* makes the appender wait when it is a window behind,
//! which stops the shell and not the broker. One that does not hold is left
//! behind: it is told which bytes it has missed, and finds them elsewhere or
//! not at all. The last `keep` bytes stay for readers that come later.
//! Either way memory is bounded.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;

use bytes::{Buf, Bytes, BytesMut};
use tokio::sync::Notify;

use super::event::{Event, Readiness};
use super::sizes::Sizes;
use super::{Outcome, Stage};
use sandbox_broker_core::sandbox::{Code, Error, Fault, Size};

/// Bytes that the slowest reader may be behind before the shell waits. Twice
/// what one turn of a pipe brings, and a quarter of the 2 MiB that a frozen
/// client may cost.
pub const WINDOW: u64 = 512 * 1024;

/// Chunks that the log holds before it joins small ones, so that output in
/// single bytes costs no more than about 256 KiB of bookkeeping.
const MAX_CHUNKS: usize = 4096;

/// Bytes of a chunk made of small ones, at most.
const JOINED: usize = 16 * 1024;

/// News that the log holds for a reader that does not read. What is told of a
/// live session is little and late news matters most: beyond it the oldest
/// goes.
const NEWS: usize = 64;

#[derive(Debug, Default)]
struct Log {
    inner: Mutex<Inner>,
    /// Something was added.
    grown: Notify,
    /// The appender may go on; after the end, a reader has moved. Whoever waits
    /// looks after it has begun to listen, for several may wait.
    room: Notify,
}

#[derive(Debug, Default)]
struct Inner {
    stages: Vec<Stage>,
    ready: Option<Readiness>,
    outcome: Option<Outcome>,
    /// Each with the offset of its first byte, rising. Where one does not
    /// begin at the last one's end, bytes are missing.
    chunks: VecDeque<(u64, Bytes)>,
    end: u64,
    /// What comes before it is old, whoever reads it.
    old: u64,
    /// Bytes that stay for later readers.
    keep: u64,
    /// Stages told after `ready`, each with the offset of the byte that it
    /// comes before. At most [`NEWS`].
    news: VecDeque<(u64, Stage)>,
    /// How many news were let go.
    old_news: u64,
    /// Empty until the shell runs.
    sizes: Sizes,
    readers: Vec<Place>,
    next_reader: ReaderId,
}

type ReaderId = u64;

/// Where the output goes on for a reader.
enum Stand {
    /// In this chunk, after so many bytes of it.
    At(usize, usize),
    /// Bytes are missing here.
    Gap { from: u64, to: u64 },
    /// Before what is held.
    Behind { from: u64, to: u64 },
    /// There is no more yet.
    End,
}

/// Where a reader is.
#[derive(Debug)]
struct Place {
    id: ReaderId,
    /// Of the next byte.
    offset: u64,
    /// News passed, counted from the first of the session.
    news: u64,
    /// The size that it knows of, and the offset from which on it does.
    size: (u64, Option<Size>),
    /// Whether the appender waits for it.
    holds: bool,
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
            (f(&mut inner), !had_room && inner.has_room() || inner.outcome.is_some())
        };
        if freed {
            self.room.notify_waiters();
        }
        result
    }
}

impl Inner {
    fn start(&self) -> u64 {
        self.chunks.front().map_or(self.end, |(offset, _)| *offset)
    }

    /// Where the slowest reader that holds is.
    fn slowest(&self) -> Option<u64> {
        self.readers.iter().filter(|place| place.holds).map(|place| place.offset).min()
    }

    /// A log that keeps nothing for later readers waits for its first one.
    fn has_room(&self) -> bool {
        let waits_for = match self.slowest() {
            None if self.keep == 0 && self.readers.is_empty() => Some(self.start()),
            slowest => slowest,
        };
        waits_for.is_none_or(|offset| self.end.saturating_sub(offset) < WINDOW)
    }

    /// Lets go of what nobody waits for and what is not kept. Without any
    /// reader, a log that keeps nothing holds everything for the next one.
    fn trim(&mut self) {
        let kept = self.end.saturating_sub(self.keep);
        let floor = match self.slowest() {
            Some(slowest) => slowest.min(kept),
            None if self.keep == 0 => return,
            None => kept,
        };
        while self.chunks.front().is_some_and(|(offset, chunk)| offset + chunk.len() as u64 <= floor) {
            self.chunks.pop_front();
        }
        let told = self.readers.iter().map(|place| place.news).min();
        while told.is_some_and(|told| self.old_news < told) && self.news.pop_front().is_some() {
            self.old_news += 1;
        }
        self.sizes.forget(self.start());
    }

    /// Joins small neighbours. Each byte is copied a few times at most before
    /// it is let go: chunks of half the joined size are left alone.
    fn compact(&mut self) {
        let mut joined: VecDeque<(u64, Bytes)> = VecDeque::new();
        let (mut at, mut run) = (0, BytesMut::new());
        for (offset, chunk) in std::mem::take(&mut self.chunks) {
            let small = chunk.len() < JOINED / 2;
            let follows = at + run.len() as u64 == offset;
            let joins = small && follows && run.len() + chunk.len() <= JOINED;
            if !joins && !run.is_empty() {
                joined.push_back((at, run.split().freeze()));
            }
            if !small {
                joined.push_back((offset, chunk));
                continue;
            }
            if run.is_empty() {
                at = offset;
            }
            run.extend_from_slice(&chunk);
        }
        if !run.is_empty() {
            joined.push_back((at, run.freeze()));
        }
        self.chunks = joined;
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

    /// The size that the terminal has at the reader's offset, if the reader
    /// knows of another one. What is not held has sizes that nobody here knows.
    fn new_size(&self, reader: ReaderId) -> Option<(u64, Size)> {
        let Place { offset, size: (since, known), .. } = self.readers.iter().find(|place| place.id == reader)?;
        if *offset < self.start() {
            return None;
        }
        self.sizes.between(*since, *offset).filter(|(_, size)| Some(*size) != *known)
    }

    /// Where the output goes on at the reader's offset.
    fn stand(&mut self, reader: ReaderId) -> Stand {
        let offset = self.place(reader).offset;
        if offset >= self.end {
            return Stand::End;
        }
        let start = self.start();
        if offset < start {
            return Stand::Behind { from: offset, to: start };
        }
        let next = self.chunks.partition_point(|(start, _)| *start <= offset);
        let (start, chunk) = &self.chunks[next - 1];
        let skip = (offset - start) as usize;
        if skip < chunk.len() {
            return Stand::At(next - 1, skip);
        }
        Stand::Gap { from: offset, to: self.chunks.get(next).map_or(self.end, |(start, _)| *start) }
    }

    /// At most `max` bytes of the chunk at the reader's offset, as far as the
    /// next news or the next size, if none stands before it.
    fn take(&mut self, reader: ReaderId, max: usize) -> Option<(u64, Bytes)> {
        if max == 0 || self.due(reader).is_some() || self.new_size(reader).is_some() {
            return None;
        }
        let Stand::At(index, skip) = self.stand(reader) else { return None };
        let offset = self.place(reader).offset;
        let news = self.news.iter().map(|(at, _)| *at).find(|at| *at > offset);
        let max = news.into_iter().chain(self.sizes.next(offset)).fold(max, |max, at| max.min((at - offset) as usize));
        let chunk = &self.chunks[index].1;
        let bytes = chunk.slice(skip..chunk.len().min(skip.saturating_add(max)));
        self.place(reader).offset += bytes.len() as u64;
        self.trim();
        Some((offset, bytes))
    }

    /// What is missing at the reader's offset. A gap is told once, and passed.
    fn missing(&mut self, reader: ReaderId) -> Option<Event> {
        match self.stand(reader) {
            Stand::Behind { from, to } => Some(Event::Behind { from, to, end: self.end }),
            Stand::Gap { from, to } => {
                self.place(reader).offset = to;
                self.trim();
                Some(Event::Gap { from, to })
            }
            Stand::At(..) | Stand::End => None,
        }
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
            && let Some(Readiness { session, provider, isolation, durability, .. }) = self.ready.clone()
        {
            cursor.ready = true;
            let (offset, live) = (self.place(cursor.id).offset, self.end.max(self.old));
            self.place(cursor.id).size = (offset, self.sizes.at(offset));
            let ready = Event::Ready { session, offset, live, provider, isolation, durability };
            return Poll::Ready(Some(ready));
        }
        if cursor.ready {
            if let Some(stage) = self.take_news(cursor.id) {
                return Poll::Ready(Some(Event::Stage(stage)));
            }
            if let Some((at, size)) = self.new_size(cursor.id) {
                self.place(cursor.id).size = (at, Some(size));
                return Poll::Ready(Some(Event::Size(size)));
            }
            if let Some((offset, bytes)) = self.take(cursor.id, usize::MAX) {
                return Poll::Ready(Some(Event::Output { offset, bytes }));
            }
            if let Some(missing) = self.missing(cursor.id) {
                return Poll::Ready(Some(missing));
            }
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
    /// A log that keeps its last `keep` bytes for readers that come later.
    pub(super) fn new(keep: u64) -> Self {
        let inner = Mutex::new(Inner { keep, ..Inner::default() });
        Appender(Arc::new(Log { inner, ..Log::default() }))
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
        {
            let mut inner = self.0.lock();
            let end = inner.end;
            inner.sizes.change(end, readiness.size);
            inner.ready = Some(readiness);
        }
        self.0.grown.notify_waiters();
    }

    /// Whether [`Appender::room`] returns at once.
    pub(super) fn has_room(&self) -> bool {
        self.0.lock().has_room()
    }

    /// Waits until the slowest reader that holds is less than a window behind.
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
        self.add(None, bytes);
    }

    /// Adds output that begins at `offset`. What the log has already is left
    /// out; what lies between its end and `offset` is missing for good.
    pub(super) fn append_at(&self, offset: u64, bytes: Bytes) {
        self.add(Some(offset), bytes);
    }

    /// The terminal has this size from `offset` on; without one, from all output
    /// until now on.
    pub(super) fn resized(&self, offset: Option<u64>, size: Size) {
        {
            let mut inner = self.0.lock();
            let offset = offset.unwrap_or(inner.end);
            inner.sizes.change(offset, size);
        }
        self.0.grown.notify_waiters();
    }

    fn add(&self, offset: Option<u64>, mut bytes: Bytes) {
        {
            let mut inner = self.0.lock();
            let offset = offset.unwrap_or(inner.end);
            let known = inner.end.saturating_sub(offset);
            // Offsets are checked where they come from; one that is none is no output.
            let Some(end) = offset.checked_add(bytes.len() as u64).filter(|end| *end > inner.end) else { return };
            bytes.advance(known as usize);
            inner.end = end;
            inner.chunks.push_back((offset + known, bytes));
            inner.trim();
            if inner.chunks.len() > MAX_CHUNKS {
                inner.compact();
            }
        }
        self.0.grown.notify_waiters();
    }

    /// Begins at `offset`, of which everything before is elsewhere; before any
    /// output. What comes before `old` was printed before now.
    pub(super) fn begin_at(&self, offset: u64, old: u64) {
        let mut inner = self.0.lock();
        (inner.end, inner.old) = (offset, old);
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
        self.0.room.notify_waiters();
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
    /// first reader of a session. The appender waits for it.
    pub(super) fn reader(&self) -> Reader {
        self.at(None, true)
    }

    /// A reader from `since`, which may be what the log no longer holds, or
    /// what is still to come.
    pub(super) fn reader_at(&self, since: u64, holds: bool) -> Reader {
        self.at(Some(since), holds)
    }

    /// Waits until the log has ended and no reader has missed what it no longer
    /// holds: then nobody asks for that any more. Cancel-safe.
    pub(super) async fn settled(self) {
        loop {
            let moved = self.0.room.notified();
            {
                let inner = self.0.lock();
                let start = inner.start();
                if inner.outcome.is_some() && inner.readers.iter().all(|place| place.offset >= start) {
                    return;
                }
            }
            moved.await;
        }
    }

    fn at(&self, since: Option<u64>, holds: bool) -> Reader {
        let mut inner = self.0.lock();
        let id = inner.next_reader;
        inner.next_reader += 1;
        let offset = since.unwrap_or_else(|| inner.start());
        let passed = inner.news.iter().take_while(|(at, _)| since.is_some_and(|since| *at < since)).count();
        let news = inner.old_news + passed as u64;
        // Who comes to a session that runs is not told how it began.
        let stages = if since.is_some() && inner.ready.is_some() { inner.stages.len() } else { 0 };
        inner.readers.push(Place { id, offset, news, size: (offset, None), holds });
        Reader { log: Arc::clone(&self.0), cursor: Cursor { id, stages, ready: false, ended: false } }
    }
}

/// Reads a session from its own offset, at its own pace. One that holds and
/// does not read stops the shell when it is [`WINDOW`] behind; dropping it
/// lets the others go on.
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

    /// Goes on at `offset`: what lies before it came from elsewhere, or was told
    /// to be missing. It may be what is still to come.
    pub fn go_to(&mut self, offset: u64) {
        self.log.read(|inner| {
            inner.place(self.cursor.id).offset = offset;
            inner.trim();
        });
    }

    /// The terminal's size at `offset`, as far as that is known: once `Ready` was
    /// told.
    pub fn size_at(&self, offset: u64) -> Option<Size> {
        self.log.lock().sizes.at(offset)
    }

    /// Who reads this knows from elsewhere that the terminal has this size from
    /// `offset` on.
    pub fn knows_size(&mut self, offset: u64, size: Size) {
        self.log.read(|inner| inner.place(self.cursor.id).size = (offset, Some(size)));
    }

    /// Makes the appender wait for this reader, or no longer.
    pub fn hold(&mut self, holds: bool) {
        self.log.read(|inner| {
            inner.place(self.cursor.id).holds = holds;
            inner.trim();
        });
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.log.read(|inner| {
            inner.readers.retain(|place| place.id != self.cursor.id);
            // A log that keeps something may have readers after the end.
            if inner.readers.is_empty() && inner.outcome.is_some() && inner.keep == 0 {
                inner.chunks = VecDeque::new();
            }
            inner.trim();
        });
    }
}
