//! The protocols of several web terminals, spoken as their own pages do.

use std::borrow::Cow;

use async_trait::async_trait;
use futures_util::{SinkExt, StreamExt};
use sandbox_broker_terminal::frames::level1;
use serde::Deserialize;
use serde_json::json;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async_with_config};

use super::terminal::{Link, Terminal};

/// Which protocol a server speaks.
#[derive(Clone, Copy, PartialEq)]
pub enum Dialect {
    /// Ours: JSON text frames.
    Level0,
    /// Ours with numbers: binary frames, and windows that are acknowledged.
    Level1,
    /// ttyd: binary frames with a type byte.
    Ttyd,
    /// tty-web: binary frames with another type byte.
    TtyWeb,
    /// terminado: JSON arrays.
    Terminado,
    /// wetty: socket.io 4 over a WebSocket.
    Wetty,
}

/// Output after which our page acknowledges.
const ACK_EVERY: u64 = 64 * 1024;

/// wetty stops a terminal whose page does not confirm so many characters.
const WETTY_COMMIT: usize = 262_144;

#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
enum Level0<'a> {
    Output {
        #[serde(borrow)]
        data: Cow<'a, str>,
    },
    Error {
        #[serde(borrow)]
        message: Cow<'a, str>,
    },
    #[serde(other)]
    Other,
}

/// A connection that speaks a dialect.
struct Socket {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    dialect: Dialect,
    /// Number of our last input.
    seq: u64,
    /// What was acknowledged to our broker.
    acked: u64,
    /// Characters that wetty was not told of.
    uncommitted: usize,
}

/// Opens a terminal and waits for its prompt.
pub async fn connect(url: &str, dialect: Dialect) -> Terminal {
    let path = match dialect {
        Dialect::Level0 | Dialect::Level1 => "/terminal",
        Dialect::Ttyd | Dialect::TtyWeb => "/ws",
        Dialect::Terminado => "/websocket",
        Dialect::Wetty => "/socket.io/?EIO=4&transport=websocket",
    };
    let mut request = format!("{}{path}", url.replacen("http", "ws", 1)).into_client_request().unwrap();
    let subprotocol = match dialect {
        Dialect::Ttyd => Some("tty"),
        Dialect::Level1 => Some(level1::SUBPROTOCOL),
        _ => None,
    };
    if let Some(subprotocol) = subprotocol {
        request.headers_mut().insert("sec-websocket-protocol", subprotocol.parse().unwrap());
    }
    let config = WebSocketConfig::default().read_buffer_size(64 << 10);
    let (socket, _) = connect_async_with_config(request, Some(config), true).await.unwrap();
    let mut socket = Socket { socket, dialect, seq: 0, acked: 0, uncommitted: 0 };
    match dialect {
        Dialect::Ttyd => {
            let hello = json!({"AuthToken": "", "columns": 80, "rows": 24}).to_string();
            socket.write(Message::binary(hello.into_bytes())).await;
        }
        Dialect::Wetty => {
            socket.write(Message::text("40")).await;
            // Whoever talks before the answer is thrown out.
            while !matches!(socket.socket.next().await, Some(Ok(Message::Text(text))) if text.starts_with("40")) {}
        }
        Dialect::Level0 | Dialect::Level1 | Dialect::TtyWeb | Dialect::Terminado => {}
    }
    let mut terminal = Terminal::new(socket);
    terminal.prompt().await;
    terminal
}

impl Socket {
    async fn write(&mut self, message: Message) {
        self.socket.send(message).await.unwrap();
    }

    /// Appends what a message shows.
    async fn take(&mut self, message: Message, output: &mut Vec<u8>) {
        match (self.dialect, message) {
            (Dialect::Level0, Message::Text(text)) => match serde_json::from_str(&text).unwrap() {
                Level0::Output { data } => output.extend_from_slice(data.as_bytes()),
                Level0::Error { message } => panic!("{message}"),
                Level0::Other => {}
            },
            (Dialect::Level1, Message::Binary(message)) => {
                let (offset, data) = level1::decode_output(message).expect("a binary message is output");
                let end = offset + data.len() as u64;
                output.extend_from_slice(&data);
                if end - self.acked >= ACK_EVERY {
                    self.acked = end;
                    self.write(Message::text(json!({"type": "ack", "offset": end}).to_string())).await;
                }
            }
            (Dialect::Level1, Message::Text(text)) if text.starts_with(r#"{"type":"error""#) => panic!("{text}"),
            (Dialect::Ttyd, Message::Binary(data)) if data.first() == Some(&b'0') => {
                output.extend_from_slice(&data[1..]);
            }
            (Dialect::TtyWeb, Message::Binary(data)) if data.first() == Some(&0) => {
                output.extend_from_slice(&data[1..]);
            }
            (Dialect::Terminado, Message::Text(text)) => {
                // Other messages than `stdout` have other members.
                if let Ok(("stdout", data)) = serde_json::from_str::<(&str, Cow<'_, str>)>(&text) {
                    output.extend_from_slice(data.as_bytes());
                }
            }
            (Dialect::Wetty, Message::Text(text)) if &*text == "2" => self.write(Message::text("3")).await,
            (Dialect::Wetty, Message::Text(text)) if text.starts_with("42") => {
                if let Ok(("data", data)) = serde_json::from_str::<(&str, Cow<'_, str>)>(&text[2..]) {
                    output.extend_from_slice(data.as_bytes());
                    self.uncommitted += data.len();
                }
                if self.uncommitted >= WETTY_COMMIT {
                    self.uncommitted -= WETTY_COMMIT;
                    self.write(Message::text(format!("42{}", json!(["commit", WETTY_COMMIT])))).await;
                }
            }
            (_, Message::Close(frame)) => panic!("closed: {frame:?}"),
            _ => {}
        }
    }
}

#[async_trait]
impl Link for Socket {
    async fn send(&mut self, text: &str) {
        let message = match self.dialect {
            Dialect::Level0 => Message::text(json!({"type": "input", "data": text}).to_string()),
            Dialect::Level1 => {
                self.seq += 1;
                Message::Binary(level1::input(self.seq, text.as_bytes()))
            }
            Dialect::Ttyd => Message::binary(format!("0{text}").into_bytes()),
            Dialect::TtyWeb => Message::binary(format!("\0{text}").into_bytes()),
            Dialect::Terminado => Message::text(json!(["stdin", text]).to_string()),
            Dialect::Wetty => Message::text(format!("42{}", json!(["input", text]))),
        };
        self.write(message).await;
    }

    async fn receive(&mut self, output: &mut Vec<u8>) {
        let before = output.len();
        while output.len() == before {
            let message = self.socket.next().await.expect("the server is there").unwrap();
            self.take(message, output).await;
        }
    }
}
