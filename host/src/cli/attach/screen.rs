//! Output on its way to standard output.
//!
//! Owns which byte comes next, what is not written yet, and how far the writing
//! is. Nobody here waits for a slow terminal: the broker sends no more than its
//! window allows, and it must be answered meanwhile. Deliberately knows no
//! socket.

use std::io;

use bytes::Bytes;
use tokio::io::AsyncWriteExt as _;
use tokio::sync::{mpsc, watch};
use tokio_util::task::AbortOnDropHandle;

use super::quiet::Filter;
use super::tty;

/// Bytes that wait to be written, at most: a window of output and a screen. A
/// broker that sends more ignores the window.
const MAX_PENDING: usize = 64 << 20;

/// Clears a terminal before it is drawn anew: a soft reset, the whole scrolling
/// region, the screen. The scrollback stays.
const CLEAR: &[u8] = b"\x1b[!p\x1b[r\x1b[m\x1b[H\x1b[2J";

/// Standard output is closed, or failed.
#[derive(Debug, thiserror::Error)]
#[error("cannot write to standard output")]
pub(super) struct Unwritable;

pub(super) struct Screen {
    filter: Filter,
    pending: Vec<u8>,
    /// Offset of the byte of output that comes next.
    next: u64,
    to: mpsc::Sender<(Vec<u8>, u64)>,
    written: watch::Receiver<u64>,
    writer: AbortOnDropHandle<io::Result<()>>,
}

impl Screen {
    pub(super) fn start() -> Self {
        let (to, pieces) = mpsc::channel(1);
        let (told, written) = watch::channel(0);
        let writer = AbortOnDropHandle::new(tokio::spawn(write(pieces, told)));
        let filter = if tty::shows() { Filter::for_terminal() } else { Filter::new() };
        Screen { filter, pending: Vec::new(), next: 0, to, written, writer }
    }

    /// Returns the offset after the last byte that was taken.
    pub(super) fn next(&self) -> u64 {
        self.next
    }

    /// Takes output that begins at `offset` and leaves out what was taken before.
    /// Queries below the offset `live` are left out. Returns how many bytes are
    /// missing before the output.
    pub(super) fn output(&mut self, offset: u64, bytes: &Bytes, live: u64) -> Result<u64, Unwritable> {
        let missing = offset.saturating_sub(self.next);
        if missing > 0 {
            self.goes_on_at(offset);
        }
        let known = (self.next - offset).min(bytes.len() as u64) as usize;
        let bytes = &bytes[known..];
        let replayed = live.saturating_sub(self.next).min(bytes.len() as u64) as usize;
        let (old, new) = bytes.split_at(replayed);
        self.filter.push(old, true, &mut self.pending);
        self.filter.push(new, false, &mut self.pending);
        self.next += bytes.len() as u64;
        if self.pending.len() > MAX_PENDING {
            return Err(Unwritable);
        }
        Ok(missing)
    }

    /// Goes on at `offset`: the bytes before it will not come.
    pub(super) fn goes_on_at(&mut self, offset: u64) {
        self.filter.cut();
        self.next = offset;
    }

    /// Begins anew with `data`, which draws the screen at `offset`.
    pub(super) fn draw(&mut self, offset: u64, data: &str) {
        self.clear();
        self.filter.push(data.as_bytes(), true, &mut self.pending);
        self.goes_on_at(offset);
    }

    /// Resets the terminal.
    pub(super) fn clear(&mut self) {
        if tty::shows() {
            self.pending.extend(self.filter.leave());
            self.pending.extend_from_slice(CLEAR);
        }
        self.filter.cut();
    }

    /// Writes what waits. Returns the offset up to which everything is written,
    /// once it has changed. Cancel-safe.
    pub(super) async fn write_on(&mut self) -> Result<u64, Unwritable> {
        loop {
            tokio::select! {
                place = self.to.reserve(), if !self.pending.is_empty() => {
                    place.map_err(|_| Unwritable)?.send((std::mem::take(&mut self.pending), self.next));
                }
                changed = self.written.changed() => {
                    changed.map_err(|_| Unwritable)?;
                    return Ok(*self.written.borrow_and_update());
                }
            }
        }
    }

    /// Writes the rest and restores the terminal for its own shell.
    pub(super) async fn finish(mut self) {
        if tty::shows() {
            self.pending.extend(self.filter.leave());
        }
        // Whoever reads standard output may be gone. Then there is nobody to tell.
        let _ = self.to.send((self.pending, self.next)).await;
        drop(self.to);
        let _ = self.writer.await;
    }
}

async fn write(mut pieces: mpsc::Receiver<(Vec<u8>, u64)>, told: watch::Sender<u64>) -> io::Result<()> {
    let mut out = tokio::io::stdout();
    while let Some((bytes, end)) = pieces.recv().await {
        out.write_all(&bytes).await?;
        out.flush().await?;
        told.send_replace(end);
    }
    Ok(())
}
