//! What a shell prints, on its way into the log: from the provider's own
//! terminal, which numbers nothing, or from the recorder's.

use bytes::Bytes;
use tokio::sync::mpsc;

use super::handle::Shared;
use super::log::Appender;
use super::tape::Piece;

/// Where output comes from.
pub(super) enum Output {
    /// The provider's own terminal, which numbers nothing.
    Plain(mpsc::Receiver<Bytes>),
    Recorded(mpsc::Receiver<Piece>),
}

impl Output {
    /// The next chunk. Cancel-safe.
    pub(super) async fn recv(&mut self) -> Option<Chunk> {
        match self {
            Output::Plain(output) => output.recv().await.map(Chunk::Plain),
            Output::Recorded(output) => output.recv().await.map(Chunk::Recorded),
        }
    }

    /// The next chunk, if it is there.
    pub(super) fn try_recv(&mut self) -> Option<Chunk> {
        match self {
            Output::Plain(output) => output.try_recv().ok().map(Chunk::Plain),
            Output::Recorded(output) => output.try_recv().ok().map(Chunk::Recorded),
        }
    }

    /// Refuses more; what is there can still be taken.
    pub(super) fn close(&mut self) {
        match self {
            Output::Plain(output) => output.close(),
            Output::Recorded(output) => output.close(),
        }
    }
}

/// One piece of it.
pub(super) enum Chunk {
    Plain(Bytes),
    Recorded(Piece),
}

/// Adds it to the log, in its place where that is known.
pub(super) fn append(log: &Appender, shared: &Shared, chunk: Chunk) {
    match chunk {
        Chunk::Plain(bytes) => log.append(bytes),
        Chunk::Recorded(Piece::Output(offset, bytes)) => log.append_at(offset, bytes),
        Chunk::Recorded(Piece::Size(offset, size)) => {
            log.resized(Some(offset), size);
            shared.set_size(size);
        }
        // The log finds by itself what is missing.
        Chunk::Recorded(Piece::Gap(..)) => {}
    }
}
