//! `read`: the output between two offsets, as frames.
//!
//! Owns the order of output, gaps and sizes. Does not need the daemon.

use std::io::{self, Write};
use std::path::Path;

use sandbox_recorder::wire::{MAX_DATA, ToBroker};

use crate::history;
use crate::ring::{Piece, Ring};

/// Writes the output from `from` to `to`, with the size at its beginning and each change.
pub(crate) fn write(dir: &Path, ring: &Ring, (from, to): (u64, u64), mut out: impl Write) -> io::Result<()> {
    let mut put = |frame: ToBroker<'_>| {
        let mut bytes = Vec::new();
        frame.encode(&mut bytes);
        out.write_all(&bytes)
    };
    let sizes = history::sizes(dir, ring, from).into_iter().map(|(offset, size)| (offset, Some(size)));
    let mut buffer = vec![0; MAX_DATA];
    let mut at = from;
    for (offset, size) in sizes.take_while(|(offset, _)| *offset < to.max(from + 1)).chain([(to, None)]) {
        ring.walk(at, offset.max(at), &mut buffer, |piece| match piece {
            Piece::Bytes(offset, bytes) => put(ToBroker::Output { offset, bytes }),
            Piece::Gap(from, to) => put(ToBroker::Gap { from, to }),
        })?;
        at = at.max(offset);
        if let Some(size) = size {
            put(ToBroker::Size { offset: at, size })?;
        }
    }
    out.flush()
}
