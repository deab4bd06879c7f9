//! A client that knows level 0 of the terminal protocol and nothing else.

use std::collections::VecDeque;

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

use super::DEADLINE;

/// What the server sent.
#[derive(Clone, Debug, PartialEq)]
pub enum Frame {
    Status(String),
    Ready(Value),
    Output(String),
    Error(String),
}

/// How the server closed.
#[derive(Clone, Debug, PartialEq)]
pub struct Closed {
    pub code: u16,
    pub reason: String,
}

/// One WebSocket to `/terminal`.
pub struct Client {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    /// All output so far that no `expect` has passed.
    pub screen: String,
    /// All frames but output, in order.
    pub said: VecDeque<Frame>,
}

impl Client {
    pub async fn connect(url: &str) -> Self {
        let request = format!("{}/terminal", url.replacen("http", "ws", 1)).into_client_request().unwrap();
        let (socket, _) = connect_async(request).await.unwrap();
        Client { socket, screen: String::new(), said: VecDeque::new() }
    }

    pub async fn send(&mut self, message: Value) {
        self.send_raw(Message::text(message.to_string())).await;
    }

    pub async fn send_raw(&mut self, message: Message) {
        self.socket.send(message).await.unwrap();
    }

    pub async fn input(&mut self, text: &str) {
        self.send(json!({"type": "input", "data": text})).await;
    }

    pub async fn resize(&mut self, cols: u64, rows: u64) {
        self.send(json!({"type": "resize", "cols": cols, "rows": rows})).await;
    }

    /// The next frame, or how the server closed.
    pub async fn next(&mut self) -> Result<Frame, Closed> {
        // Around pings too: a server that only pings says nothing.
        let next = tokio::time::timeout(DEADLINE, self.receive()).await;
        next.unwrap_or_else(|_| panic!("no frame for {DEADLINE:?}; said {:?}; screen {:?}", self.said, self.screen))
    }

    async fn receive(&mut self) -> Result<Frame, Closed> {
        loop {
            match self.socket.next().await {
                Some(Ok(Message::Text(text))) => {
                    let value: Value = serde_json::from_str(&text).unwrap();
                    let text = |name: &str| value[name].as_str().unwrap().to_owned();
                    let frame = match value["type"].as_str().unwrap() {
                        "status" => Frame::Status(text("message")),
                        "ready" => Frame::Ready(value),
                        "output" => Frame::Output(text("data")),
                        "error" => Frame::Error(text("message")),
                        other => panic!("level 0 has no `{other}`"),
                    };
                    match &frame {
                        Frame::Output(data) => self.screen.push_str(data),
                        other => self.said.push_back(other.clone()),
                    }
                    return Ok(frame);
                }
                Some(Ok(Message::Close(frame))) => {
                    let frame = frame.expect("the server always gives a code");
                    return Err(Closed { code: frame.code.into(), reason: frame.reason.to_string() });
                }
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                other => panic!("unexpected {other:?}; said {:?}", self.said),
            }
        }
    }

    /// Reads until the shell is ready.
    pub async fn ready(&mut self) -> Value {
        loop {
            match self.next().await {
                Ok(Frame::Ready(value)) => return value,
                Ok(_) => {}
                Err(closed) => panic!("closed before ready: {closed:?}; said {:?}", self.said),
            }
        }
    }

    /// Reads until the output holds `text`; forgets the output up to its end.
    pub async fn expect(&mut self, text: &str) {
        let began = tokio::time::Instant::now();
        loop {
            assert!(began.elapsed() < DEADLINE, "no {text:?} for {DEADLINE:?}; screen {:?}", self.screen);
            if let Some(at) = self.screen.find(text) {
                self.screen.drain(..at + text.len());
                return;
            }
            if let Err(closed) = self.next().await {
                panic!("closed while waiting for {text:?}: {closed:?}; said {:?}; screen {:?}", self.said, self.screen);
            }
        }
    }

    /// Reads to the end.
    pub async fn closed(&mut self) -> Closed {
        loop {
            if let Err(closed) = self.next().await {
                return closed;
            }
        }
    }

    /// Reads until an error frame; returns its message.
    pub async fn error(&mut self) -> String {
        loop {
            match self.next().await {
                Ok(Frame::Error(message)) => return message,
                Ok(_) => {}
                Err(closed) => panic!("closed without an error: {closed:?}; said {:?}", self.said),
            }
        }
    }

    /// Goes away without a word, as a dead browser does.
    pub fn vanish(self) {
        drop(self.socket);
    }
}
