//! The other end of `/terminal`: a socket that speaks level 1 as a client.
//!
//! Owns the handshake and the frames as a client reads and writes them.
//! Deliberately knows no terminal on this side, keeps nothing, and neither
//! connects nor connects again.

use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use futures_util::{SinkExt, StreamExt};
use http::header::{AUTHORIZATION, SEC_WEBSOCKET_PROTOCOL};
use http::{HeaderValue, StatusCode};
use serde::{Deserialize, Deserializer};
use serde_json::json;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{self, Message};
use tokio_tungstenite::{WebSocketStream, client_async_with_config};

use super::level1::{Cells, MAX_OFFSET, SUBPROTOCOL};
use sandbox_broker_core::words::clean;
use sandbox_broker_session::MAX_SCREEN;

/// Bytes of one message from a broker, at most. The largest is a screen of
/// which each byte became a six byte JSON escape.
const MAX_TOLD: usize = 6 * MAX_SCREEN + 1024;

/// First byte of a binary frame with output, and with input.
const OUTPUT: u8 = 0x01;
const INPUT: u8 = 0x02;

/// Bytes before the terminal's own in a binary frame.
const HEADER: usize = 9;

/// Time for the closing handshake.
const CLOSE_WITHIN: Duration = Duration::from_secs(1);

/// Bytes of a text for a person that are shown.
const WORDS: usize = 2048;

/// A number of a broker that may be any: above [`MAX_OFFSET`] it is refused, so
/// that sums are exact.
fn number<'de, D: Deserializer<'de>>(value: D) -> Result<u64, D::Error> {
    let number = u64::deserialize(value)?;
    if number > MAX_OFFSET {
        return Err(serde::de::Error::custom(format!("{number} is above {MAX_OFFSET}")));
    }
    Ok(number)
}

/// A broker's words, which a person's terminal shows: they steer nothing.
fn words<'de, D: Deserializer<'de>>(value: D) -> Result<String, D::Error> {
    String::deserialize(value).map(|words| clean(&words, WORDS))
}

/// What a broker says beside output, checked. Members that it does not know are
/// ignored.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub enum Control {
    /// A step on the way to the shell, or news of the storage.
    Stage {
        /// `begin`, `done` or `failed`.
        state: String,
        /// For a person to read.
        #[serde(deserialize_with = "words")]
        message: String,
    },
    /// The shell runs.
    Ready {
        /// The session's id.
        #[serde(deserialize_with = "words")]
        session: String,
        /// `driver` or `viewer`.
        role: String,
        /// The numbering that offsets belong to.
        epoch: u64,
        /// Of the first byte of output that follows.
        #[serde(deserialize_with = "number")]
        offset: u64,
        /// End of the output now: what comes before it is replay.
        #[serde(deserialize_with = "number")]
        live: u64,
        /// Highest number of this client's input that was handed on.
        #[serde(deserialize_with = "number")]
        input: u64,
        /// Who answers what programs ask of the terminal: `recorder` or
        /// `client`, which an older broker leaves unsaid.
        #[serde(default)]
        answers: String,
        /// The terminal's size at `offset`.
        size: Option<Cells>,
    },
    /// What draws the screen as it was at an offset, on a terminal that was
    /// reset.
    Screen {
        /// Output before it is not sent.
        #[serde(deserialize_with = "number")]
        offset: u64,
        /// Text for the terminal.
        data: String,
        /// The terminal's size there.
        size: Option<Cells>,
    },
    /// The terminal has this size from the next byte of output on.
    Size(Cells),
    /// Bytes that this client does not get.
    Gap {
        /// Of the first one.
        #[serde(deserialize_with = "number")]
        from: u64,
        /// Of the first one that it gets again.
        #[serde(deserialize_with = "number")]
        to: u64,
        /// For a person to read.
        #[serde(deserialize_with = "words")]
        reason: String,
    },
    /// Input up to this number was handed to the sandbox.
    InputAck {
        /// The number.
        seq: u64,
    },
    /// Who is there.
    Clients {
        /// All of them, this client included.
        clients: Vec<Person>,
    },
    /// The session is over.
    Exit {
        /// The shell's exit status.
        code: Option<i32>,
        /// The signal that ended it.
        signal: Option<String>,
        /// For a person to read.
        #[serde(default, deserialize_with = "words")]
        reason: String,
    },
    /// What failed and who can mend it.
    Error {
        /// For a person to read.
        #[serde(deserialize_with = "words")]
        message: String,
        /// When to connect again, in milliseconds.
        retry_ms: Option<u64>,
    },
    /// What this client does not know, or needs not.
    #[serde(other)]
    Other,
}

/// One of those who are at the session.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Person {
    /// Its name.
    pub client: String,
    /// `driver` or `viewer`.
    pub role: String,
}

/// What comes from a broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    /// Output that begins at this offset; never empty, and it ends at
    /// [`MAX_OFFSET`] at the latest.
    Output(u64, Bytes),
    /// Anything else.
    Control(Control),
    /// The broker closed, with this code and these words.
    Closed(u16, String),
}

/// The connection is gone without a close.
#[derive(Debug, thiserror::Error)]
pub enum Lost {
    /// It broke: another one may do better.
    #[error("{0}")]
    Broke(String),
    /// The other side says what no broker says: it will say so again.
    #[error("what answers there is no broker: {0}")]
    Strange(String),
}

/// Why there is no socket.
#[derive(Debug, thiserror::Error)]
pub enum NotOpened {
    /// An answer that is no upgrade.
    #[error("the broker refused: {words} (HTTP {})", status.as_u16())]
    Refused {
        /// Its status.
        status: StatusCode,
        /// Its words.
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
    /// Shakes hands on a fresh connection. `address` is the whole URL of
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
            .max_message_size(Some(MAX_TOLD))
            .max_frame_size(Some(MAX_TOLD))
            // Each frame is written at once: somebody waits for it.
            .write_buffer_size(0);
        let (socket, _) = client_async_with_config(request, connection, Some(config)).await.map_err(not_opened)?;
        Ok(Link(socket))
    }

    /// What the broker says next. None for its pings, which show that it lives
    /// and are answered here. Cancel-safe.
    pub async fn next(&mut self) -> Result<Option<Told>, Lost> {
        let message = match self.0.next().await {
            Some(message) => message.map_err(lost)?,
            None => return Err(Lost::Broke("the connection ended".to_owned())),
        };
        match message {
            Message::Binary(mut frame) => {
                if frame.first() != Some(&OUTPUT) || frame.len() <= HEADER {
                    return Err(Lost::Strange("it sent a binary message that is no output".to_owned()));
                }
                frame.advance(1);
                let offset = frame.get_u64();
                if offset.checked_add(frame.len() as u64).is_none_or(|end| end > MAX_OFFSET) {
                    return Err(Lost::Strange(format!("it sent output at the offset {offset}")));
                }
                Ok(Some(Told::Output(offset, frame)))
            }
            Message::Text(text) => match serde_json::from_str(&text) {
                Ok(control) => Ok(Some(Told::Control(control))),
                Err(error) => Err(Lost::Strange(clean(&format!("it sent a message that is none: {error}"), WORDS))),
            },
            Message::Close(Some(frame)) => Ok(Some(Told::Closed(frame.code.into(), clean(&frame.reason, WORDS)))),
            Message::Close(None) => Err(Lost::Broke("the connection was closed without a reason".to_owned())),
            Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => Ok(None),
        }
    }

    /// Sends input as this client's number `seq`.
    pub async fn input(&mut self, seq: u64, bytes: &[u8]) -> Result<(), Lost> {
        let mut frame = BytesMut::with_capacity(HEADER + bytes.len());
        frame.put_u8(INPUT);
        frame.put_u64(seq);
        frame.put_slice(bytes);
        self.send(Message::Binary(frame.freeze())).await
    }

    /// Tells that all output below `offset` is consumed.
    pub async fn ack(&mut self, offset: u64) -> Result<(), Lost> {
        self.say(&json!({ "type": "ack", "offset": offset })).await
    }

    /// Tells this side's size.
    pub async fn resize(&mut self, size: Cells) -> Result<(), Lost> {
        self.say(&json!({ "type": "resize", "cols": size.cols, "rows": size.rows })).await
    }

    /// Wants to drive.
    pub async fn take_control(&mut self) -> Result<(), Lost> {
        self.say(&json!({ "type": "take-control" })).await
    }

    /// Leaves the session, which goes on, and closes.
    pub async fn detach(mut self) {
        let left = async {
            self.say(&json!({ "type": "detach" })).await?;
            // Until the broker has closed, it may not have read it.
            while let Ok(told) = self.next().await {
                if matches!(told, Some(Told::Closed(..))) {
                    break;
                }
            }
            self.0.flush().await.map_err(lost)
        };
        // A broker that does not answer notices by its pings.
        let _ = timeout(CLOSE_WITHIN, left).await;
    }

    /// Answers a close.
    pub async fn close(mut self) {
        let _ = timeout(CLOSE_WITHIN, async { while let Some(Ok(_)) = self.0.next().await {} }).await;
    }

    async fn say(&mut self, message: &serde_json::Value) -> Result<(), Lost> {
        self.send(Message::text(message.to_string())).await
    }

    async fn send(&mut self, message: Message) -> Result<(), Lost> {
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
    match error {
        tungstenite::Error::Http(answer) => {
            let status = answer.status();
            let body: Option<serde_json::Value> =
                answer.body().as_deref().and_then(|body| serde_json::from_slice(body).ok());
            let words = body.as_ref().and_then(|body| body["error"].as_str());
            let words = words.unwrap_or_else(|| status.canonical_reason().unwrap_or("no reason given"));
            NotOpened::Refused { status, words: clean(words, WORDS) }
        }
        tungstenite::Error::Io(error) => NotOpened::Lost(Lost::Broke(error.to_string())),
        other => NotOpened::Stranger(other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::level1::{ClientFrame, Person as Present, ServerFrame, output};
    use sandbox_broker_core::sandbox::Size;

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
    async fn the_broker_reads_what_a_client_writes() {
        let (mut server, mut client) = pair().await;
        client.input(7, b"ls\n").await.unwrap();
        client.ack(1 << 40).await.unwrap();
        client.resize(Cells { cols: 80, rows: 24 }).await.unwrap();
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

    #[tokio::test]
    async fn a_client_reads_what_the_broker_writes() {
        let (mut server, mut client) = pair().await;
        let size = Cells { cols: 80, rows: 24 };
        let people = vec![Present { client: "w1", role: "viewer", size: None, sets_size: false, guest: None }];
        let (signal, data) = (Some("SIGKILL"), "\u{1b}[H");
        for (frame, expected) in [
            (
                ServerFrame::Ready {
                    session: "s",
                    client: "c",
                    role: "driver",
                    epoch: 1,
                    offset: 2,
                    live: 3,
                    input: 4,
                    provider: "local",
                    isolation: None,
                    durability: "durable",
                    answers: "recorder",
                    keep_ms: 60_000,
                    size,
                    invitation: Some("code"),
                },
                Control::Ready {
                    session: "s".into(),
                    role: "driver".into(),
                    epoch: 1,
                    offset: 2,
                    live: 3,
                    input: 4,
                    answers: "recorder".into(),
                    size: Some(size),
                },
            ),
            (
                ServerFrame::Screen { offset: 5, data, size },
                Control::Screen { offset: 5, data: data.into(), size: Some(size) },
            ),
            (ServerFrame::InputAck { seq: 6 }, Control::InputAck { seq: 6 }),
            (ServerFrame::Size { offset: 5, size }, Control::Size(size)),
            (ServerFrame::Pong {}, Control::Other),
            (
                ServerFrame::Clients { clients: people },
                Control::Clients { clients: vec![Person { client: "w1".into(), role: "viewer".into() }] },
            ),
            (ServerFrame::Gap { from: 1, to: 2, reason: "old" }, Control::Gap { from: 1, to: 2, reason: "old".into() }),
            (
                ServerFrame::Stage { name: "create", state: "done", message: "made", ms: Some(1) },
                Control::Stage { state: "done".into(), message: "made".into() },
            ),
            (
                ServerFrame::Exit { code: None, signal, reason: "ended", offset: 9 },
                Control::Exit { code: None, signal: signal.map(str::to_owned), reason: "ended".into() },
            ),
            (
                ServerFrame::Error { code: "draining", message: "m", retry_ms: Some(5) },
                Control::Error { message: "m".into(), retry_ms: Some(5) },
            ),
        ] {
            server.send(Message::text(frame.encode())).await.unwrap();
            assert_eq!(client.next().await.unwrap(), Some(Told::Control(expected)));
        }
        server.send(Message::Ping(Bytes::new())).await.unwrap();
        assert_eq!(client.next().await.unwrap(), None);
        let bytes = Bytes::from_static(b"abc");
        server.send(Message::Binary(output(258, std::iter::once(&bytes)))).await.unwrap();
        assert_eq!(client.next().await.unwrap(), Some(Told::Output(258, bytes)));
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
