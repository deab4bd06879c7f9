//! From a level 1 client to its session: input, acknowledgements, commands.
//!
//! Owns the order in which input is handed on. Deliberately knows no output.

use std::collections::VecDeque;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, timeout_at};
use tokio_tungstenite::tungstenite::{self, Message};

use super::reply::Reply;
use crate::frames::level1::ClientFrame;
use crate::frames::{BadFrame, CloseCode};
use crate::socket::ending::Ending;
use crate::socket::limits::Limits;
use crate::socket::reader::{Allowance, MAX_WAITING, read};
use crate::socket::writer::Incoming;
use sandbox_broker_session::{Client, Denied, Leaving, Role};

/// Messages of input that wait while the session takes none, at most.
const MAX_MESSAGES: usize = 1024;

/// Reads until the client leaves, dies or breaks the rules. What answers a single
/// message goes to `reply`, and the offset that the client acknowledged to
/// `ack`.
pub(super) async fn pump(
    stream: &mut Incoming,
    client: &Client,
    reply: mpsc::Sender<Reply>,
    ack: watch::Sender<u64>,
    limits: &Limits,
) -> Ending {
    let mut allowance = Allowance::new(limits.bad_frames);
    let mut waiting: VecDeque<(u64, Bytes)> = VecDeque::new();
    let mut waiting_bytes = 0;
    // Kept across turns: if it were dropped halfway, its number would be spent.
    let mut sending: Option<BoxFuture<'_, Result<(), Denied>>> = None;
    let mut dead_at = Instant::now() + limits.dead_after;
    loop {
        if sending.is_none()
            && let Some((seq, bytes)) = waiting.pop_front()
        {
            waiting_bytes -= bytes.len();
            sending = Some(Box::pin(client.typed(seq, bytes)));
        }
        let reads = waiting_bytes < MAX_WAITING && waiting.len() < MAX_MESSAGES;
        let message = tokio::select! {
            biased; // hand on what came first
            sent = async { sending.as_mut().expect("guarded").await }, if sending.is_some() => {
                sending = None;
                if sent == Err(Denied::Viewer) {
                    let message = Denied::Viewer.to_string();
                    _ = reply.try_send(Reply::Complaint { code: "not-driver", message });
                }
                if !reads {
                    dead_at = Instant::now() + limits.dead_after;
                }
                continue;
            }
            message = timeout_at(dead_at, stream.next()), if reads => message,
        };
        dead_at = Instant::now() + limits.dead_after;
        if let Ok(Some(Ok(Message::Close(Some(close))))) = &message
            && close.code == tungstenite::protocol::frame::coding::CloseCode::Away
        {
            client.leaves(Leaving::Closed);
        }
        let message = match read(message) {
            Ok(message) => message,
            Err(ending) => return ending,
        };
        let frame = match message {
            Message::Text(text) => ClientFrame::decode_text(&text),
            Message::Binary(bytes) => ClientFrame::decode_binary(bytes),
            Message::Ping(_) | Message::Pong(_) | Message::Close(_) | Message::Frame(_) => continue,
        };
        match frame {
            Ok(ClientFrame::Input { seq, bytes }) => {
                waiting_bytes += bytes.len();
                waiting.push_back((seq, bytes));
            }
            Ok(ClientFrame::Ack(offset)) => _ = ack.send_replace(offset),
            Ok(ClientFrame::Resize(size)) => size.into_iter().for_each(|size| client.resize(size)),
            Ok(ClientFrame::Colors(colors)) => client.set_colors(colors),
            Ok(ClientFrame::Ping) => _ = reply.try_send(Reply::Pong),
            Ok(ClientFrame::Detach) => {
                client.leaves(Leaving::Detached);
                return Ending::Left("detached; the session goes on");
            }
            Ok(ClientFrame::Kill) if client.role() == Some(Role::Driver) => client.kill(),
            Ok(ClientFrame::Kill) => {
                let message = "a viewer cannot end the session; take control first".to_owned();
                _ = reply.try_send(Reply::Complaint { code: "not-driver", message });
            }
            Ok(ClientFrame::TakeControl) => {
                if !client.take_control() {
                    let message = "this client joined as a viewer; join as a driver to take control".to_owned();
                    _ = reply.try_send(Reply::Complaint { code: "not-allowed", message });
                }
            }
            Err(bad) if !matches!(bad, BadFrame::UnknownType { .. }) && !allowance.take() => {
                let why = "too many malformed messages; this is no client of this protocol";
                return Ending::closed(CloseCode::Policy, why);
            }
            Err(bad) => _ = reply.try_send(Reply::Complaint { code: "malformed", message: bad.to_string() }),
        }
    }
}
