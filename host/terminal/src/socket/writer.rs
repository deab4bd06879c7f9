//! The writing half of a terminal's socket.
//!
//! Owns how a message becomes frames: usually one, and several if the message
//! is larger than what may wait to be written. Deliberately knows no message.

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
pub(crate) type Socket = WebSocketStream<TokioIo<Upgraded>>;

/// The reading half of a socket.
pub(crate) type Incoming = SplitStream<Socket>;

/// The result of writing.
pub(crate) type Sent = Result<(), tungstenite::Error>;

/// The writing half of a socket.
pub(crate) struct Writer {
    sink: SplitSink<Socket, Message>,
    /// A message in several frames has begun and is not finished.
    amid: bool,
}

impl Writer {
    pub(crate) fn new(sink: SplitSink<Socket, Message>) -> Self {
        Writer { sink, amid: false }
    }

    /// Sends a message of one frame. In the middle of another message only a ping
    /// or a close may be sent (RFC 6455 section 5.4).
    pub(crate) async fn send(&mut self, message: Message) -> Sent {
        debug_assert!(!self.amid || matches!(message, Message::Ping(_) | Message::Close(_)), "{message:?}");
        self.sink.send(message).await
    }

    /// Sends the next part of a text message as a frame of its own; `last`
    /// finishes the message. A part may end anywhere.
    pub(crate) async fn part(&mut self, part: impl Into<Bytes>, last: bool) -> Sent {
        let kind = if self.amid { Data::Continue } else { Data::Text };
        self.amid = !last;
        self.sink.send(Message::Frame(Frame::message(part, OpCode::Data(kind), last))).await
    }

    /// Whether a message has begun and is not finished. Until then no other
    /// message can be sent.
    pub(crate) fn is_amid(&self) -> bool {
        self.amid
    }
}
