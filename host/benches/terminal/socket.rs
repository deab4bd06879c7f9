//! One client for the protocols of several web terminals.

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async_with_config};

/// Which protocol a server speaks.
#[derive(Clone, Copy, PartialEq)]
pub enum Dialect {
    /// Ours: JSON text frames.
    Level0,
    /// ttyd: binary frames with a type byte.
    Ttyd,
    /// terminado: JSON arrays.
    Terminado,
    /// wetty: socket.io 4 over a WebSocket.
    Wetty,
}

/// A terminal on some server.
pub struct Terminal {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    dialect: Dialect,
    held: Vec<u8>,
}

impl Terminal {
    pub async fn connect(url: &str, dialect: Dialect) -> Self {
        let path = match dialect {
            Dialect::Level0 => "/terminal",
            Dialect::Ttyd => "/ws",
            Dialect::Terminado => "/websocket",
            Dialect::Wetty => "/wetty/socket.io/?EIO=4&transport=websocket",
        };
        let mut request = format!("{}{path}", url.replacen("http", "ws", 1)).into_client_request().unwrap();
        if dialect == Dialect::Ttyd {
            request.headers_mut().insert("sec-websocket-protocol", "tty".parse().unwrap());
        }
        let config = WebSocketConfig::default().read_buffer_size(64 << 10);
        let (socket, _) = connect_async_with_config(request, Some(config), true).await.unwrap();
        let mut terminal = Terminal { socket, dialect, held: Vec::new() };
        match dialect {
            Dialect::Ttyd => {
                let hello = json!({"AuthToken": "", "columns": 80, "rows": 24}).to_string();
                terminal.socket.send(Message::binary(hello.into_bytes())).await.unwrap();
            }
            Dialect::Wetty => terminal.socket.send(Message::text("40")).await.unwrap(),
            Dialect::Level0 | Dialect::Terminado => {}
        }
        terminal
    }

    pub async fn send(&mut self, text: &str) {
        let message = match self.dialect {
            Dialect::Level0 => Message::text(json!({"type": "input", "data": text}).to_string()),
            Dialect::Ttyd => Message::binary(format!("0{text}").into_bytes()),
            Dialect::Terminado => Message::text(json!(["stdin", text]).to_string()),
            Dialect::Wetty => Message::text(format!("42{}", json!(["input", text]))),
        };
        self.socket.send(message).await.unwrap();
    }

    /// The next output.
    async fn next(&mut self) -> Vec<u8> {
        loop {
            let message = self.socket.next().await.expect("the server is there").unwrap();
            let value = |text: &str| serde_json::from_str::<Value>(text).unwrap();
            let bytes = |value: &Value| value.as_str().unwrap_or_default().as_bytes().to_vec();
            match (self.dialect, message) {
                (Dialect::Level0, Message::Text(text)) => {
                    let value = value(&text);
                    match value["type"].as_str() {
                        Some("output") => return bytes(&value["data"]),
                        Some("error") => panic!("{value}"),
                        _ => {}
                    }
                }
                (Dialect::Ttyd, Message::Binary(data)) if data.first() == Some(&b'0') => return data[1..].to_vec(),
                (Dialect::Terminado, Message::Text(text)) => {
                    let value = value(&text);
                    if value[0] == "stdout" {
                        return bytes(&value[1]);
                    }
                }
                (Dialect::Wetty, Message::Text(text)) if &*text == "2" => {
                    self.socket.send(Message::text("3")).await.unwrap();
                }
                (Dialect::Wetty, Message::Text(text)) if text.starts_with("42") => {
                    let value = value(&text[2..]);
                    if value[0] == "data" {
                        return bytes(&value[1]);
                    }
                }
                (_, Message::Close(frame)) => panic!("closed: {frame:?}"),
                _ => {}
            }
        }
    }

    /// Waits for the first output of the shell.
    pub async fn prompt(&mut self) {
        let first = self.next().await;
        self.held.extend(first);
    }

    /// Reads until `text` has come.
    pub async fn until(&mut self, text: &str) {
        self.count_until(text).await;
    }

    /// Reads until `text` has come; how many bytes came before it.
    pub async fn count_until(&mut self, text: &str) -> usize {
        let mut passed = 0;
        loop {
            if let Some(at) = self.held.windows(text.len()).position(|w| w == text.as_bytes()) {
                self.held.drain(..at + text.len());
                return passed + at;
            }
            let keep = self.held.len().min(text.len() - 1);
            passed += self.held.len() - keep;
            self.held.drain(..self.held.len() - keep);
            let more = self.next().await;
            self.held.extend(more);
        }
    }

    /// Reads exactly `n` bytes.
    pub async fn bytes(&mut self, n: usize) {
        while self.held.len() < n {
            let more = self.next().await;
            self.held.extend(more);
        }
        self.held.drain(..n);
    }
}
