//! What a shell prints, on its way into the log: from the provider's own
//! terminal, which numbers nothing, or from the recorder's.

use bytes::Bytes;
use tokio::sync::mpsc;

use super::log::Appender;

/// Where output comes from.
pub(super) enum Output {
    /// The provider's own terminal, which numbers nothing.
    Plain(mpsc::Receiver<Bytes>),
    Recorded(mpsc::Receiver<(u64, Bytes)>),
}

impl Output {
    /// The next chunk, and its offset where that is known. Cancel-safe.
    pub(super) async fn recv(&mut self) -> Option<Chunk> {
        match self {
            Output::Plain(output) => output.recv().await.map(|bytes| Chunk(None, bytes)),
            Output::Recorded(output) => output.recv().await.map(|(offset, bytes)| Chunk(Some(offset), bytes)),
        }
    }

    /// The next chunk, if it is there.
    pub(super) fn try_recv(&mut self) -> Option<Chunk> {
        match self {
            Output::Plain(output) => output.try_recv().ok().map(|bytes| Chunk(None, bytes)),
            Output::Recorded(output) => output.try_recv().ok().map(|(offset, bytes)| Chunk(Some(offset), bytes)),
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

/// Output with its offset, where that is known.
pub(super) struct Chunk(pub(super) Option<u64>, pub(super) Bytes);

/// Adds it to the log, in its place where that is known.
pub(super) fn append(log: &Appender, Chunk(offset, bytes): Chunk) {
    match offset {
        Some(offset) => log.append_at(offset, bytes),
        None => log.append(bytes),
    }
}
