//! The reading ends of a session's log.
//!
//! Owns how a reader waits. Deliberately knows not who reads.

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::Poll;

use bytes::Bytes;
use sandbox_broker_core::sandbox::Size;

use super::contents::{Cursor, Position};
use super::event::Event;
use super::log::Log;

/// Makes the readers of a log.
#[derive(Clone, Debug)]
pub(crate) struct ReaderSource(Arc<Log>);

impl ReaderSource {
    /// A source for this log.
    pub(super) fn of(log: Arc<Log>) -> Self {
        ReaderSource(log)
    }

    /// A reader from the oldest byte that is still held: offset 0 for the
    /// first reader of a session. The appender waits for it.
    pub(crate) fn reader(&self) -> Reader {
        self.at(None, true)
    }

    /// A reader from the offset `since`. The log may no longer hold that byte,
    /// or not have it yet.
    pub(crate) fn reader_at(&self, since: u64, holds: bool) -> Reader {
        self.at(Some(since), holds)
    }

    /// Waits until the log has ended and every reader has what the log no
    /// longer holds. From then on nobody asks the recorder for it. Cancel-safe.
    pub(crate) async fn settled(self) {
        loop {
            let moved = self.0.room.notified();
            {
                let contents = self.0.lock();
                let start = contents.start();
                if contents.outcome.is_some() && contents.readers.iter().all(|position| position.offset >= start) {
                    return;
                }
            }
            moved.await;
        }
    }

    fn at(&self, since: Option<u64>, holds: bool) -> Reader {
        let mut contents = self.0.lock();
        let id = contents.next_reader;
        contents.next_reader += 1;
        let offset = since.unwrap_or_else(|| contents.start());
        let passed = contents.news.iter().take_while(|(at, _)| since.is_some_and(|since| *at < since)).count();
        let news = contents.old_news + passed as u64;
        // A reader that comes to a running session is not told how it began.
        let stages = if since.is_some() && contents.ready.is_some() { contents.stages.len() } else { 0 };
        contents.readers.push(Position { id, offset, news, size: (offset, None), holds });
        Reader { log: Arc::clone(&self.0), cursor: Cursor { id, stages, ready: false, ended: false } }
    }
}

/// Reads a session from its own offset, at its own pace. A reader that holds
/// and does not read stops the shell when it is [`WINDOW`](crate::WINDOW) bytes
/// behind. Dropping it lets the others go on.
#[derive(Debug)]
pub struct Reader {
    log: Arc<Log>,
    cursor: Cursor,
}

impl Reader {
    /// The next event; waits for one. `None` after `Ended`.
    ///
    /// Output comes in the chunks in which it arrived. Cancel-safe: an event
    /// is either returned or still to come.
    pub async fn next(&mut self) -> Option<Event> {
        let Reader { log, cursor } = self;
        loop {
            // Made before the look, so that nothing is missed that is added
            // after it.
            let grown = log.grown.notified();
            if let Poll::Ready(event) = log.read(|contents| contents.next(cursor)) {
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
        self.log.read(|contents| contents.take(self.cursor.id, max)).map(|(_, bytes)| bytes)
    }

    /// Continues at `offset`. What lies before it came from elsewhere, or was
    /// told to be missing. `offset` may be after the end of the output.
    pub fn go_to(&mut self, offset: u64) {
        self.log.read(|contents| {
            contents.position(self.cursor.id).offset = offset;
            contents.trim();
        });
    }

    /// The terminal's size at `offset`, if it is known. It is known once
    /// `Ready` was told.
    pub fn size_at(&self, offset: u64) -> Option<Size> {
        self.log.lock().sizes.at(offset)
    }

    /// The owner of this reader knows from elsewhere that the terminal has this
    /// size from `offset` on.
    pub fn knows_size(&mut self, offset: u64, size: Size) {
        self.log.read(|contents| contents.position(self.cursor.id).size = (offset, Some(size)));
    }

    /// Makes the appender wait for this reader, or no longer.
    pub fn hold(&mut self, holds: bool) {
        self.log.read(|contents| {
            contents.position(self.cursor.id).holds = holds;
            contents.trim();
        });
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.log.read(|contents| {
            contents.readers.retain(|position| position.id != self.cursor.id);
            // A log that keeps something may have readers after the end.
            if contents.readers.is_empty() && contents.outcome.is_some() && contents.keep == 0 {
                contents.chunks = VecDeque::new();
            }
            contents.trim();
        });
    }
}
