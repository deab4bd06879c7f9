//! What the log of a session holds, and where each of its readers is.
//!
//! Owns which bytes, news and sizes are held and for how long, and what comes
//! next for a reader. Pure: no lock and no waiting.

use std::collections::VecDeque;
use std::task::Poll;

use bytes::{Bytes, BytesMut};
use sandbox_broker_core::sandbox::Size;

use super::event::{Event, Readiness};
use super::sizes::Sizes;
use sandbox_broker_policy::outcome::Outcome;
use sandbox_broker_policy::stage::Stage;

/// Bytes that the slowest reader may be behind before the shell waits. It is
/// twice what one turn of a pipe brings, and a quarter of the 2 MiB that a
/// frozen client may cost.
pub const WINDOW: u64 = 512 * 1024;

/// Bytes of output that a kept session holds in memory. Together with a window
/// it stays within the 2 MiB that a client that reads nothing may cost. Older
/// output is read from the recorder.
pub const KEPT: u64 = 1 << 20;

/// Chunks that the log holds before it joins small ones, so that output in
/// single bytes costs no more than about 256 KiB of bookkeeping.
pub(super) const MAX_CHUNKS: usize = 4096;

/// Largest size in bytes of a chunk that is joined from small ones.
const JOINED: usize = 16 * 1024;

/// Number of news that the log holds for a reader that does not read. There is
/// little news of a live session, and the latest matters most, so beyond this
/// number the oldest goes.
pub(super) const NEWS: usize = 64;

#[derive(Debug, Default)]
pub(super) struct Contents {
    pub(super) stages: Vec<Stage>,
    pub(super) ready: Option<Readiness>,
    pub(super) outcome: Option<Outcome>,
    /// Each with the offset of its first byte, rising. If one does not begin at
    /// the end of the last one, bytes are missing.
    pub(super) chunks: VecDeque<(u64, Bytes)>,
    pub(super) end: u64,
    /// Output before this offset is old for every reader.
    pub(super) old: u64,
    /// Bytes that stay for later readers.
    pub(super) keep: u64,
    /// Stages told after `ready`, each with the offset of the byte that it
    /// comes before. At most [`NEWS`].
    pub(super) news: VecDeque<(u64, Stage)>,
    /// How many news were dropped.
    pub(super) old_news: u64,
    /// Empty until the shell runs.
    pub(super) sizes: Sizes,
    pub(super) readers: Vec<Position>,
    pub(super) next_reader: ReaderId,
}

pub(super) type ReaderId = u64;

/// Where the output goes on for a reader.
enum Stand {
    /// In this chunk, after so many bytes of it.
    At(usize, usize),
    /// Bytes are missing here.
    Gap { from: u64, to: u64 },
    /// Before what is held.
    Behind { from: u64, to: u64 },
    /// There is no more output yet.
    End,
}

/// Where a reader is.
#[derive(Debug)]
pub(super) struct Position {
    pub(super) id: ReaderId,
    /// Offset of the next byte.
    pub(super) offset: u64,
    /// News that it was told, counted from the first of the session.
    pub(super) news: u64,
    /// The last size that it was told, and from which offset on.
    pub(super) size: (u64, Option<Size>),
    /// Whether the appender waits for it.
    pub(super) holds: bool,
}

impl Contents {
    pub(super) fn start(&self) -> u64 {
        self.chunks.front().map_or(self.end, |(offset, _)| *offset)
    }

    /// Where the slowest reader that holds is.
    fn slowest(&self) -> Option<u64> {
        self.readers.iter().filter(|position| position.holds).map(|position| position.offset).min()
    }

    /// A log that keeps nothing for later readers waits for its first one.
    pub(super) fn has_room(&self) -> bool {
        let waits_for = match self.slowest() {
            None if self.keep == 0 && self.readers.is_empty() => Some(self.start()),
            slowest => slowest,
        };
        waits_for.is_none_or(|offset| self.end.saturating_sub(offset) < WINDOW)
    }

    /// Drops what nobody waits for and what is not kept. Without any reader, a
    /// log that keeps nothing holds everything for the next reader.
    pub(super) fn trim(&mut self) {
        let kept = self.end.saturating_sub(self.keep);
        let floor = match self.slowest() {
            Some(slowest) => slowest.min(kept),
            None if self.keep == 0 => return,
            None => kept,
        };
        while self.chunks.front().is_some_and(|(offset, chunk)| offset + chunk.len() as u64 <= floor) {
            self.chunks.pop_front();
        }
        let told = self.readers.iter().map(|position| position.news).min();
        while told.is_some_and(|told| self.old_news < told) && self.news.pop_front().is_some() {
            self.old_news += 1;
        }
        self.sizes.forget(self.start());
    }

    /// Joins small neighbours. Each byte is copied a few times at most before
    /// it is dropped: chunks of half the joined size are left alone.
    pub(super) fn compact(&mut self) {
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

    pub(super) fn position(&mut self, reader: ReaderId) -> &mut Position {
        let position = self.readers.iter_mut().find(|position| position.id == reader);
        position.expect("a reader is listed until it is dropped")
    }

    /// Index of the news that comes before the reader's next byte, if there is
    /// one.
    fn due(&mut self, reader: ReaderId) -> Option<usize> {
        if self.news.is_empty() {
            return None;
        }
        let old = self.old_news;
        let position = self.position(reader);
        position.news = position.news.max(old);
        let (offset, next) = (position.offset, (position.news - old) as usize);
        self.news.get(next).filter(|(at, _)| *at <= offset).map(|_| next)
    }

    /// Takes the news that comes before the reader's next byte.
    fn take_news(&mut self, reader: ReaderId) -> Option<Stage> {
        let next = self.due(reader)?;
        let stage = self.news[next].1.clone();
        self.position(reader).news += 1;
        self.trim();
        Some(stage)
    }

    /// The terminal's size at the reader's offset, if the reader was told
    /// another one. Sizes of output that is no longer held are not known.
    fn new_size(&self, reader: ReaderId) -> Option<(u64, Size)> {
        let Position { offset, size: (since, known), .. } =
            self.readers.iter().find(|position| position.id == reader)?;
        if *offset < self.start() {
            return None;
        }
        self.sizes.between(*since, *offset).filter(|(_, size)| Some(*size) != *known)
    }

    /// Where the output goes on at the reader's offset.
    fn stand(&mut self, reader: ReaderId) -> Stand {
        let offset = self.position(reader).offset;
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

    /// Takes at most `max` bytes of the chunk at the reader's offset, up to the
    /// next news or size. None if news or a size comes first.
    pub(super) fn take(&mut self, reader: ReaderId, max: usize) -> Option<(u64, Bytes)> {
        if max == 0 || self.due(reader).is_some() || self.new_size(reader).is_some() {
            return None;
        }
        let Stand::At(index, skip) = self.stand(reader) else { return None };
        let offset = self.position(reader).offset;
        let news = self.news.iter().map(|(at, _)| *at).find(|at| *at > offset);
        let max = news.into_iter().chain(self.sizes.next(offset)).fold(max, |max, at| max.min((at - offset) as usize));
        let chunk = &self.chunks[index].1;
        let bytes = chunk.slice(skip..chunk.len().min(skip.saturating_add(max)));
        self.position(reader).offset += bytes.len() as u64;
        self.trim();
        Some((offset, bytes))
    }

    /// What is missing at the reader's offset. A gap is told once, and the
    /// reader moves past it.
    fn missing(&mut self, reader: ReaderId) -> Option<Event> {
        match self.stand(reader) {
            Stand::Behind { from, to } => Some(Event::Behind { from, to, end: self.end }),
            Stand::Gap { from, to } => {
                self.position(reader).offset = to;
                self.trim();
                Some(Event::Gap { from, to })
            }
            Stand::At(..) | Stand::End => None,
        }
    }

    pub(super) fn next(&mut self, cursor: &mut Cursor) -> Poll<Option<Event>> {
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
            let (offset, live) = (self.position(cursor.id).offset, self.end.max(self.old));
            self.position(cursor.id).size = (offset, self.sizes.at(offset));
            let ready = Event::Ready { session, offset, live, provider, isolation, durability };
            return Poll::Ready(Some(ready));
        }
        if cursor.ready {
            if let Some(stage) = self.take_news(cursor.id) {
                return Poll::Ready(Some(Event::Stage(stage)));
            }
            if let Some((at, size)) = self.new_size(cursor.id) {
                self.position(cursor.id).size = (at, Some(size));
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

/// What a reader was told, besides its offset.
#[derive(Debug)]
pub(super) struct Cursor {
    pub(super) id: ReaderId,
    pub(super) stages: usize,
    pub(super) ready: bool,
    pub(super) ended: bool,
}
