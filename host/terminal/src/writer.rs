//! The writing half of a terminal's socket.
//!
//! Owns how a message becomes frames: one each, or several where a message is
//! larger than what may wait to be written. Deliberately knows not what a
//! message says.

use bytes::Bytes;
use futures_util::SinkExt as _;
use futures_util::stream::{SplitSink, SplitStream};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};
use tokio_tungstenite::tungstenite::{self, Message};

/// A terminal's connection after the handshake.
pub(super) type Socket = WebSocketStream<TokioIo<Upgraded>>;

/// The reading half of a socket.
pub(super) type Incoming = SplitStream<Socket>;

pub(super) type Sent = Result<(), tungstenite::Error>;

/// The writing half of a socket.
pub(super) struct Writer {
    sink: SplitSink<Socket, Message>,
    /// A message in several frames was begun and is not finished.
    amid: bool,
}

impl Writer {
    pub(super) fn new(sink: SplitSink<Socket, Message>) -> Self {
        Writer { sink, amid: false }
    }

    /// Sends a message of one frame. Not while another one is amid, unless it
    /// is a ping or a close (RFC 6455 section 5.4).
    pub(super) async fn send(&mut self, message: Message) -> Sent {
        debug_assert!(!self.amid || matches!(message, Message::Ping(_) | Message::Close(_)), "{message:?}");
        self.sink.send(message).await
    }

    /// Sends the next part of a text message, as a frame of its own; `last`
    /// finishes it. Parts may be cut anywhere.
    pub(super) async fn part(&mut self, part: impl Into<Bytes>, last: bool) -> Sent {
        let kind = if self.amid { Data::Continue } else { Data::Text };
        self.amid = !last;
        self.sink.send(Message::Frame(Frame::message(part, OpCode::Data(kind), last))).await
    }

    /// Whether a message was begun and is not finished: no other one can be
    /// sent.
    pub(super) fn is_amid(&self) -> bool {
        self.amid
    }
}
