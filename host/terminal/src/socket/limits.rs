//! The bounds of one terminal's socket.

use std::time::Duration;

use crate::frames::MAX_MESSAGE;

/// Bytes read from a socket at a time. Each idle terminal keeps such a buffer.
/// A larger message gets a larger buffer while it lasts.
pub(super) const READ_BUFFER: usize = 4 * 1024;

/// Bytes of output in one frame, at most. Under a flood, chunks are joined up to
/// it. Beyond it a frame's fixed costs no longer matter, and a browser draws as
/// much in a fraction of one picture.
pub(crate) const MAX_JOINED: usize = 32 * 1024;

/// Bytes that may wait to be written, at most. One frame of ours waits at a
/// time, beside a ping or pong. The largest has [`MAX_JOINED`] bytes, of which
/// each became a six byte JSON escape. A longer message goes out in several
/// frames; see [`Writer::part`](super::writer::Writer::part).
const WRITE_BUFFER: usize = 256 * 1024;
const _: () = assert!(WRITE_BUFFER > 6 * MAX_JOINED + 1024);

/// Malformed messages within a minute that are answered. A faulty program is
/// told often enough. As many answers may wait to be sent, so a client that
/// reads gets all of them.
pub(crate) const BAD_FRAMES: u32 = 32;

/// Bounds of one terminal's socket.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes of one message from the client; a longer one ends the connection
    /// with 1009.
    pub message: usize,
    /// Bytes that may wait to be written.
    pub write_buffer: usize,
    /// How often the client is pinged.
    pub ping_every: Duration,
    /// A client that sends nothing for this long, not even the answer to a
    /// ping, is dead. It is longer than two pings, so that one may be lost, and
    /// short enough to notice within 30 s.
    pub dead_after: Duration,
    /// How long the closing handshake may take.
    pub close_within: Duration,
    /// Malformed messages within a minute that are answered; one more ends the
    /// connection with 1008.
    pub bad_frames: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            message: MAX_MESSAGE,
            write_buffer: WRITE_BUFFER,
            ping_every: Duration::from_secs(10),
            dead_after: Duration::from_secs(25),
            close_within: Duration::from_secs(3),
            bad_frames: BAD_FRAMES,
        }
    }
}
