//! From a level 0 client to its session: input and sizes.
//!
//! Owns the order in which input is handed on. Deliberately knows no output: a
//! browser that does not read can still type.

use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};
use tokio_tungstenite::tungstenite::Message;

use super::surrogates::Surrogates;
use crate::frames::level0::ClientFrame;
use crate::frames::{BadFrame, CloseCode};
use crate::socket::ending::Ending;
use crate::socket::limits::Limits;
use crate::socket::reader::{Allowance, MAX_WAITING, read};
use crate::socket::writer::Incoming;
use sandbox_broker_core::sandbox::CHUNK_BYTES;
use sandbox_broker_session::Client;

/// Reads until the client closes, dies or breaks the rules. What is wrong with a
/// single message goes to `complaints`.
///
/// While too much input waits, this does not read. The client's silence proves
/// nothing then, so the clock of a dead client stands still.
pub(super) async fn pump(
    stream: &mut Incoming,
    client: &Client,
    complaints: mpsc::Sender<BadFrame>,
    limits: &Limits,
) -> Ending {
    let mut allowance = Allowance::new(limits.bad_frames);
    let mut input = InputQueue::default();
    let mut surrogates = Surrogates::default();
    let mut told_of_types = false;
    let mut dead_at = Instant::now() + limits.dead_after;
    loop {
        let (next, reads) = (input.next(), input.has_room());
        // Both arms are cancel-safe: a chunk is taken whole or not at all.
        let message = tokio::select! {
            biased; // hand on what came first
            taken = client.input(next.clone()), if !next.is_empty() => {
                // A session that has ended takes nothing more. Its reader says why.
                input.taken();
                if taken.is_err() {
                    input = InputQueue::default();
                }
                if !reads {
                    dead_at = Instant::now() + limits.dead_after;
                }
                continue;
            }
            message = timeout_at(dead_at, stream.next()), if reads => message,
        };
        dead_at = Instant::now() + limits.dead_after;
        let message = match read(message) {
            Ok(message) => message,
            Err(ending) => return ending,
        };
        let frame = match message {
            Message::Text(text) => ClientFrame::decode(&text),
            Message::Binary(_) => Err(BadFrame::Binary),
            Message::Ping(_) | Message::Pong(_) | Message::Close(_) | Message::Frame(_) => continue,
        };
        match frame {
            Ok(ClientFrame::Input(data)) => input.push(surrogates.push(data)),
            Ok(ClientFrame::Resize(size)) => size.into_iter().for_each(|size| client.resize(size)),
            // Said once: a client that is newer than this broker would otherwise
            // show its user one error after another.
            Err(BadFrame::UnknownType { .. }) if told_of_types => {}
            Err(bad @ BadFrame::UnknownType { .. }) => {
                told_of_types = true;
                _ = complaints.try_send(bad);
            }
            Err(_) if !allowance.take() => {
                let why = "too many malformed messages; this is no client of this protocol";
                return Ending::closed(CloseCode::Policy, why);
            }
            // A client that does not read its errors misses some. Waiting for it
            // would mean missing its close.
            Err(bad) => _ = complaints.try_send(bad),
        }
    }
}

/// Input on its way to the session. Keys that wait are joined.
#[derive(Default)]
struct InputQueue {
    /// The chunk that the session gets next; at most [`CHUNK_BYTES`].
    next: Bytes,
    waiting: BytesMut,
}

impl InputQueue {
    fn push(&mut self, mut data: Bytes) {
        if self.next.is_empty() {
            self.next = data.split_to(data.len().min(CHUNK_BYTES));
        }
        self.waiting.extend_from_slice(&data);
    }

    /// The chunk that the session gets next, or an empty one. It stays the same
    /// until it is taken.
    fn next(&mut self) -> Bytes {
        if self.next.is_empty() && !self.waiting.is_empty() {
            self.next = self.waiting.split_to(self.waiting.len().min(CHUNK_BYTES)).freeze();
            if self.waiting.is_empty() {
                self.waiting = BytesMut::new(); // gives a large paste's memory back
            }
        }
        self.next.clone()
    }

    fn taken(&mut self) {
        self.next = Bytes::new();
    }

    fn has_room(&self) -> bool {
        self.waiting.len() < MAX_WAITING
    }
}
