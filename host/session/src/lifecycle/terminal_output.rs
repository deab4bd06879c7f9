//! What a shell prints, on its way into the log: from the provider's own
//! terminal, which numbers nothing, or from the recorder's.
//!
//! Owns the difference between the two. Deliberately holds no output back.

use bytes::Bytes;
use tokio::sync::mpsc;

use crate::handle::shared::Shared;
use crate::output::appender::Appender;
use crate::recorder::piece::Piece;

/// Where output comes from.
pub(crate) enum TerminalOutput {
    /// The provider's own terminal, which numbers nothing.
    Plain(mpsc::Receiver<Bytes>),
    Recorded(mpsc::Receiver<Piece>),
}

impl TerminalOutput {
    /// The next chunk. Cancel-safe.
    pub(crate) async fn recv(&mut self) -> Option<OutputChunk> {
        match self {
            TerminalOutput::Plain(output) => output.recv().await.map(OutputChunk::Plain),
            TerminalOutput::Recorded(output) => output.recv().await.map(OutputChunk::Recorded),
        }
    }

    /// The next chunk, if it is there.
    pub(crate) fn try_recv(&mut self) -> Option<OutputChunk> {
        match self {
            TerminalOutput::Plain(output) => output.try_recv().ok().map(OutputChunk::Plain),
            TerminalOutput::Recorded(output) => output.try_recv().ok().map(OutputChunk::Recorded),
        }
    }

    /// Refuses more. What is there can still be taken.
    pub(crate) fn close(&mut self) {
        match self {
            TerminalOutput::Plain(output) => output.close(),
            TerminalOutput::Recorded(output) => output.close(),
        }
    }
}

/// One piece of output.
pub(crate) enum OutputChunk {
    Plain(Bytes),
    Recorded(Piece),
}

/// Adds a chunk to the log, at its offset if that is known.
pub(crate) fn append(log: &Appender, shared: &Shared, chunk: OutputChunk) {
    match chunk {
        OutputChunk::Plain(bytes) => log.append(bytes),
        OutputChunk::Recorded(Piece::Output(offset, bytes)) => log.append_at(offset, bytes),
        OutputChunk::Recorded(Piece::Size(offset, size)) => {
            log.resized(Some(offset), size);
            shared.set_size(size);
        }
        // The log finds by itself what is missing.
        OutputChunk::Recorded(Piece::Gap(..)) => {}
    }
}
