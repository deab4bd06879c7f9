//! The other end of `/terminal`: a socket that speaks level 1 as a client.
//!
//! Owns the client's handshake and close, and turns messages into frames and
//! back. Deliberately knows no local terminal, keeps no state of the session,
//! and does not connect.

use std::time::Duration;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use http::header::{AUTHORIZATION, SEC_WEBSOCKET_PROTOCOL};
use http::{HeaderValue, StatusCode};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{self, Message};
use tokio_tungstenite::{WebSocketStream, client_async_with_config};

use crate::frames::level1::{ClientFrame, Encoded, MAX_WORDS, SUBPROTOCOL, ServerFrame, decode_output};
use sandbox_broker_core::sandbox::Size;
use sandbox_broker_session::MAX_SCREEN;
use sandbox_stdx::words::clean;

/// Bytes of one message from a broker, at most. The largest is a screen in which
/// each byte became a six byte JSON escape.
const MAX_RECEIVED: usize = 6 * MAX_SCREEN + 1024;

/// Time for the closing handshake.
const CLOSE_WITHIN: Duration = Duration::from_secs(1);

/// What comes from a broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Received {
    /// Output that begins at this offset, as [`decode_output`] bounds it.
    Output(u64, Bytes),
    /// Anything else that it says.
    Control(ServerFrame<String>),
    /// The broker closed, with this code and these words.
    Closed(u16, String),
}

/// Why a connection ended without a close.
#[derive(Debug, thiserror::Error)]
pub enum Lost {
    /// It broke. Another connection may work.
    #[error("{0}")]
    Broke(String),
    /// The other side says what no broker says. It will say so again.
    #[error("what answers there is no broker: {0}")]
    Strange(String),
}

/// Why there is no socket.
#[derive(Debug, thiserror::Error)]
pub enum NotOpened {
    /// The answer is no upgrade.
    #[error("the broker refused: {words} (HTTP {})", status.as_u16())]
    Refused {
        /// The answer's status.
        status: StatusCode,
        /// The broker's words.
        words: String,
    },
    /// The other side is no broker, or an older one.
    #[error("what answers there does not speak {SUBPROTOCOL}: {0}")]
    Stranger(String),
    /// The connection broke.
    #[error(transparent)]
    Lost(#[from] Lost),
}

/// A level 1 socket, seen by the client.
pub struct Link<S>(WebSocketStream<S>);

impl<S: AsyncRead + AsyncWrite + Unpin> Link<S> {
    /// Does the handshake on a fresh connection. `address` is the whole URL of
    /// `/terminal`, and `token` one of the broker's `[auth]`.
    pub async fn open(connection: S, address: &str, token: Option<&str>) -> Result<Self, NotOpened> {
        let mut request = address.into_client_request().map_err(not_opened)?;
        let headers = request.headers_mut();
        headers.insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(SUBPROTOCOL));
        if let Some(token) = token {
            let mut value = HeaderValue::try_from(format!("Bearer {token}"))
                .map_err(|_| NotOpened::Stranger("the token holds what no HTTP header may".to_owned()))?;
            value.set_sensitive(true);
            headers.insert(AUTHORIZATION, value);
        }
        let config = WebSocketConfig::default()
            .max_message_size(Some(MAX_RECEIVED))
            .max_frame_size(Some(MAX_RECEIVED))
            // Write each frame at once: somebody waits for it.
            .write_buffer_size(0);
        let (socket, _) = client_async_with_config(request, connection, Some(config)).await.map_err(not_opened)?;
        Ok(Link(socket))
    }

    /// Waits for what the broker says next. None for a ping, which shows that the
    /// broker lives and is answered here. Cancel-safe.
    pub async fn next(&mut self) -> Result<Option<Received>, Lost> {
        let message = match self.0.next().await {
            Some(message) => message.map_err(lost)?,
            None => return Err(Lost::Broke("the connection ended".to_owned())),
        };
        match message {
            Message::Binary(frame) => match decode_output(frame) {
                Ok((offset, bytes)) => Ok(Some(Received::Output(offset, bytes))),
                Err(error) => Err(Lost::Strange(format!("it sent {error}"))),
            },
            Message::Text(text) => match ServerFrame::decode(&text) {
                Ok(frame) => Ok(Some(Received::Control(frame))),
                Err(error) => Err(Lost::Strange(clean(&format!("it sent a message that is none: {error}"), MAX_WORDS))),
            },
            Message::Close(Some(frame)) => {
                Ok(Some(Received::Closed(frame.code.into(), clean(&frame.reason, MAX_WORDS))))
            }
            Message::Close(None) => Err(Lost::Broke("the connection was closed without a reason".to_owned())),
            Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => Ok(None),
        }
    }

    /// Sends `bytes` as input number `seq` of this client.
    pub async fn input(&mut self, seq: u64, bytes: &[u8]) -> Result<(), Lost> {
        self.send(&ClientFrame::Input { seq, bytes: Bytes::copy_from_slice(bytes) }).await
    }

    /// Acknowledges all output below `offset`.
    pub async fn ack(&mut self, offset: u64) -> Result<(), Lost> {
        self.send(&ClientFrame::Ack(offset)).await
    }

    /// Tells this side's size.
    pub async fn resize(&mut self, size: Size) -> Result<(), Lost> {
        self.send(&ClientFrame::Resize(Some(size))).await
    }

    /// Asks to drive.
    pub async fn take_control(&mut self) -> Result<(), Lost> {
        self.send(&ClientFrame::TakeControl).await
    }

    /// Leaves the session, which goes on, and closes.
    pub async fn detach(mut self) {
        let left = async {
            self.send(&ClientFrame::Detach).await?;
            // Until the broker has closed, it may not have read the message.
            while let Ok(received) = self.next().await {
                if matches!(received, Some(Received::Closed(..))) {
                    break;
                }
            }
            self.0.flush().await.map_err(lost)
        };
        // A broker that does not answer notices the end by its pings.
        let _ = timeout(CLOSE_WITHIN, left).await;
    }

    /// Answers a close.
    pub async fn close(mut self) {
        let _ = timeout(CLOSE_WITHIN, async { while let Some(Ok(_)) = self.0.next().await {} }).await;
    }

    async fn send(&mut self, frame: &ClientFrame) -> Result<(), Lost> {
        let message = match frame.encode() {
            Encoded::Text(text) => Message::text(text),
            Encoded::Binary(bytes) => Message::Binary(bytes),
        };
        self.0.send(message).await.map_err(lost)
    }
}

fn lost(error: tungstenite::Error) -> Lost {
    use tungstenite::error::ProtocolError;
    match error {
        tungstenite::Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) => Lost::Broke(error.to_string()),
        tungstenite::Error::Protocol(_) | tungstenite::Error::Utf8(_) | tungstenite::Error::Capacity(_) => {
            Lost::Strange(error.to_string())
        }
        error => Lost::Broke(error.to_string()),
    }
}

fn not_opened(error: tungstenite::Error) -> NotOpened {
    use tungstenite::error::ProtocolError;
    match error {
        tungstenite::Error::Http(answer) => {
            let status = answer.status();
            let body: Option<serde_json::Value> =
                answer.body().as_deref().and_then(|body| serde_json::from_slice(body).ok());
            let words = body.as_ref().and_then(|body| body["error"].as_str());
            let words = words.unwrap_or_else(|| status.canonical_reason().unwrap_or("no reason given"));
            NotOpened::Refused { status, words: clean(words, MAX_WORDS) }
        }
        tungstenite::Error::Io(error) => NotOpened::Lost(Lost::Broke(error.to_string())),
        // A broker that died, or a tunnel or proxy that does not reach it: they may close without an error.
        tungstenite::Error::Protocol(ProtocolError::HandshakeIncomplete) => {
            NotOpened::Lost(Lost::Broke("the connection ended before the broker answered".to_owned()))
        }
        other => NotOpened::Stranger(other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt as _;

    use super::*;
    use crate::frames::level1::{Cells, Person, output};

    /// A server's socket and a client's, over a pipe.
    async fn pair() -> (WebSocketStream<tokio::io::DuplexStream>, Link<tokio::io::DuplexStream>) {
        let (here, there) = tokio::io::duplex(1 << 20);
        let serve = async {
            #[expect(clippy::result_large_err, reason = "tungstenite's own type")]
            let choose = |request: &tungstenite::handshake::server::Request,
                          mut answer: tungstenite::handshake::server::Response| {
                assert_eq!(request.headers()["authorization"], "Bearer secret");
                answer.headers_mut().insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(SUBPROTOCOL));
                Ok(answer)
            };
            tokio_tungstenite::accept_hdr_async(there, choose).await.unwrap()
        };
        let (server, client) = tokio::join!(serve, Link::open(here, "ws://broker/terminal", Some("secret")));
        (server, client.unwrap())
    }

    #[tokio::test]
    async fn a_connection_that_ends_before_the_answer_is_lost_and_a_wrong_answer_is_a_strangers() {
        let open = async |answer: &[u8]| {
            let (here, mut there) = tokio::io::duplex(1 << 20);
            there.write_all(answer).await.unwrap();
            there.shutdown().await.unwrap();
            Link::open(here, "ws://broker/terminal", None).await.err().unwrap()
        };
        for answer in [&b""[..], b"HTTP/1.1 101 Switching"] {
            let error = open(answer).await;
            assert!(matches!(error, NotOpened::Lost(Lost::Broke(_))), "{error:?}");
        }
        let error = open(b"220 mail.example.com ESMTP\r\n\r\n").await;
        assert!(matches!(error, NotOpened::Stranger(_)), "{error:?}");
    }

    #[tokio::test]
    async fn the_broker_reads_what_a_client_writes() {
        let (mut server, mut client) = pair().await;
        client.input(7, b"ls\n").await.unwrap();
        client.ack(1 << 40).await.unwrap();
        client.resize(Size { cols: 80, rows: 24 }).await.unwrap();
        let mut read = async || match server.next().await.unwrap().unwrap() {
            Message::Binary(bytes) => ClientFrame::decode_binary(bytes),
            Message::Text(text) => ClientFrame::decode_text(&text),
            other => panic!("{other:?}"),
        };
        assert_eq!(read().await, Ok(ClientFrame::Input { seq: 7, bytes: Bytes::from_static(b"ls\n") }));
        assert_eq!(read().await, Ok(ClientFrame::Ack(1 << 40)));
        assert_eq!(read().await, Ok(ClientFrame::Resize(Some(Size { cols: 80, rows: 24 }))));
        let (left, ()) = tokio::join!(read(), client.detach());
        assert_eq!(left, Ok(ClientFrame::Detach));
    }

    fn text(text: &str) -> String {
        text.to_owned()
    }

    #[tokio::test]
    async fn a_client_reads_what_the_broker_writes() {
        let (mut server, mut client) = pair().await;
        let size = Cells { cols: 80, rows: 24 };
        let people =
            vec![Person { client: text("w1"), role: text("viewer"), size: None, sets_size: false, guest: None }];
        for frame in [
            ServerFrame::Ready {
                session: text("s"),
                client: text("c"),
                role: text("driver"),
                epoch: 1,
                offset: 2,
                live: 3,
                input: 4,
                provider: text("local"),
                isolation: None,
                durability: text("durable"),
                answers: text("recorder"),
                keep_ms: 60_000,
                size: Some(size),
                invitation: Some(text("code")),
            },
            ServerFrame::Screen { offset: 5, data: text("\u{1b}[H"), size: Some(size) },
            ServerFrame::InputAck { seq: 6 },
            ServerFrame::Size { offset: 5, size },
            ServerFrame::Pong {},
            ServerFrame::Clients { clients: people },
            ServerFrame::Gap { from: 1, to: 2, reason: text("old") },
            ServerFrame::Stage { name: text("create"), state: text("done"), message: text("made"), ms: Some(1) },
            ServerFrame::Exit { code: None, signal: Some(text("SIGKILL")), reason: text("ended"), offset: 9 },
            ServerFrame::Error { code: text("draining"), message: text("m"), retry_ms: Some(5) },
        ] {
            server.send(Message::text(frame.encode())).await.unwrap();
            assert_eq!(client.next().await.unwrap(), Some(Received::Control(frame)));
        }
        for (message, read) in [
            (r#"{"type":"news","of":"later"}"#, ServerFrame::Unknown),
            (
                r#"{"type":"stage","state":"failed","message":"a\u001b[2Jb","new":1}"#,
                ServerFrame::Stage { name: String::new(), state: text("failed"), message: text("a [2Jb"), ms: None },
            ),
        ] {
            server.send(Message::text(message)).await.unwrap();
            assert_eq!(client.next().await.unwrap(), Some(Received::Control(read)), "{message}");
        }
        server.send(Message::Ping(Bytes::new())).await.unwrap();
        assert_eq!(client.next().await.unwrap(), None);
        let bytes = Bytes::from_static(b"abc");
        server.send(Message::Binary(output(258, std::iter::once(&bytes)))).await.unwrap();
        assert_eq!(client.next().await.unwrap(), Some(Received::Output(258, bytes)));
        drop(server);
        assert!(client.next().await.is_err());
    }

    #[tokio::test]
    async fn a_message_that_is_none_ends_the_connection() {
        for message in [
            Message::Binary(Bytes::from_static(b"\x01\0\0\0\0\0\0\0\x01")),
            Message::Binary(Bytes::from_static(b"\x02\0\0\0\0\0\0\0\x01x")),
            Message::text("[]"),
            Message::text(r#"{"type":"ready"}"#),
            Message::text(r#"{"type":"gap","from":0,"to":18446744073709551615,"reason":""}"#),
            Message::text(r#"{"type":"screen","offset":9007199254740993,"data":""}"#),
            Message::Binary(Bytes::from_static(b"\x01\xff\xff\xff\xff\xff\xff\xff\xffx")),
        ] {
            let (mut server, mut client) = pair().await;
            server.send(message.clone()).await.unwrap();
            assert!(matches!(client.next().await, Err(Lost::Strange(_))), "{message:?}");
        }
    }
}
