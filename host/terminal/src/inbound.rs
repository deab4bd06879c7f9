//! From the client to the session: messages in, input and sizes on.
//!
//! Owns the reading half of a socket, the count of malformed messages and the
//! clock of a silent client. Deliberately knows no output: a browser that does
//! not read can still type.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use tokio::sync::mpsc;
use tokio::time::error::Elapsed;
use tokio::time::{Instant, timeout_at};
use tokio_tungstenite::tungstenite::{self, Message};

use super::ending::Ending;
use super::frames::{BadFrame, ClientFrame, CloseCode};
use super::surrogates::Surrogates;
use super::upgrade::Limits;
use super::writer::Incoming;
use sandbox_broker_core::sandbox::CHUNK_BYTES;
use sandbox_broker_session::Client;

/// How long a malformed message counts.
const BAD_FRAMES_WINDOW: Duration = Duration::from_secs(60);

/// Bytes of input that wait here while the session takes none, at most, and
/// beside them one message. So a client that closes is noticed at once although
/// its last keys were not taken; only a large paste waits in the network.
pub(super) const MAX_WAITING: usize = 64 * 1024;

/// Reads until the client closes, dies or breaks the rules. What is wrong with
/// single messages goes to `complaints`.
///
/// While this does not read, because too much input waits, the client's silence
/// proves nothing and the clock of a dead client stands.
pub(super) async fn pump(
    stream: &mut Incoming,
    client: &Client,
    complaints: mpsc::Sender<BadFrame>,
    limits: &Limits,
) -> Ending {
    let mut allowance = Allowance::new(limits.bad_frames);
    let mut input = Input::default();
    let mut surrogates = Surrogates::default();
    let mut told_of_types = false;
    let mut dead_at = Instant::now() + limits.dead_after;
    loop {
        let (next, reads) = (input.next(), input.has_room());
        // Both arms are cancel-safe: a chunk is taken whole or not at all.
        let message = tokio::select! {
            biased; // what came first is handed on first
            taken = client.input(next.clone()), if !next.is_empty() => {
                // An ended session takes nothing more; its reader says why.
                input.taken();
                if taken.is_err() {
                    input = Input::default();
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
            // Said once: a client that has more to say than this broker knows
            // would only show its user errors.
            Err(BadFrame::UnknownType { .. }) if told_of_types => {}
            Err(bad @ BadFrame::UnknownType { .. }) => {
                told_of_types = true;
                _ = complaints.try_send(bad);
            }
            Err(_) if !allowance.take() => {
                let why = "too many malformed messages; this is no client of this protocol";
                return Ending::closed(CloseCode::Policy, why);
            }
            // A client that does not read its errors misses some. To wait for
            // it would be to miss its close.
            Err(bad) => _ = complaints.try_send(bad),
        }
    }
}

/// The next message of a client that is still there; never a close.
pub(super) fn read(next: Result<Option<Result<Message, tungstenite::Error>>, Elapsed>) -> Result<Message, Ending> {
    match next {
        Ok(Some(Ok(Message::Close(_)))) => Err(Ending::Gone("the client closed the connection")),
        Ok(Some(Ok(message))) => Ok(message),
        Ok(Some(Err(error))) => Err(broken(error)),
        Ok(None) => Err(Ending::Gone("the connection ended")),
        Err(_) => Err(Ending::Gone("the client is dead: it answers no ping")),
    }
}

/// What a socket's error means for the client.
pub(super) fn broken(error: tungstenite::Error) -> Ending {
    use tungstenite::Error;
    use tungstenite::error::{CapacityError, ProtocolError};
    match error {
        Error::Capacity(CapacityError::MessageTooLong { size, max_size }) => {
            let why = format!("a message of {size} bytes is too large; send at most {max_size} at a time");
            Ending::closed(CloseCode::TooLarge, why)
        }
        Error::Utf8(_) => Ending::closed(CloseCode::NotUtf8, "a text message was not UTF-8"),
        Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) => {
            Ending::Gone("the connection ended without a close")
        }
        Error::Protocol(error) => Ending::closed(CloseCode::Protocol, error.to_string()),
        _ => Ending::Gone("the connection broke"),
    }
}

/// Input on its way to the session. Typed keys that wait are joined.
#[derive(Default)]
struct Input {
    /// What the session gets next; at most [`CHUNK_BYTES`].
    next: Bytes,
    waiting: BytesMut,
}

impl Input {
    fn push(&mut self, mut data: Bytes) {
        if self.next.is_empty() {
            self.next = data.split_to(data.len().min(CHUNK_BYTES));
        }
        self.waiting.extend_from_slice(&data);
    }

    /// What the session gets next; empty when there is nothing. The same until
    /// it is taken.
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

/// How many more malformed messages are answered.
pub(super) struct Allowance {
    max: u32,
    used: u32,
    since: Instant,
}

impl Allowance {
    pub(super) fn new(max: u32) -> Self {
        Allowance { max, used: 0, since: Instant::now() }
    }

    pub(super) fn take(&mut self) -> bool {
        if self.since.elapsed() >= BAD_FRAMES_WINDOW {
            (self.used, self.since) = (0, Instant::now());
        }
        self.used = self.used.saturating_add(1);
        self.used <= self.max
    }
}
