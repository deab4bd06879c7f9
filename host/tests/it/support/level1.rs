//! A client that knows level 1 of the terminal protocol and nothing else. It
//! checks by itself that output is numbered without holes and doubles.

use std::time::Duration;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use http::HeaderValue;
use sandbox_broker_core::sandbox::Size;
use sandbox_broker_terminal::frames::level1::{self, ClientFrame, Encoded, SUBPROTOCOL, decode_output};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{self, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

use super::{Closed, DEADLINE};

/// As what, and from where on, a window comes to a session.
#[derive(Clone, Debug, Default)]
pub struct Visit {
    /// A new session without it.
    pub session: Option<String>,
    /// It is made where there is none.
    pub create: bool,
    pub since: Option<u64>,
    pub epoch: Option<u64>,
    pub client: Option<String>,
    pub role: Option<&'static str>,
    pub size: Option<(u16, u16)>,
    pub invitation: Option<String>,
    /// In the place of output that it missed it wants a screen.
    pub screens: bool,
    /// A token of `[auth]`.
    pub token: Option<String>,
    /// Acknowledges only what [`Window::ack`] says.
    pub by_hand: bool,
}

impl Visit {
    /// To this session, with nothing.
    pub fn to(session: &str) -> Self {
        Visit { session: Some(session.to_owned()), ..Visit::default() }
    }

    pub fn client(mut self, name: &str) -> Self {
        self.client = Some(name.to_owned());
        self
    }

    pub fn viewer(mut self) -> Self {
        self.role = Some("viewer");
        self
    }

    pub fn invited(mut self, invitation: &str) -> Self {
        self.invitation = Some(invitation.to_owned());
        self
    }

    pub fn size(mut self, cols: u16, rows: u16) -> Self {
        self.size = Some((cols, rows));
        self
    }

    pub fn screens(mut self) -> Self {
        self.screens = true;
        self
    }

    pub fn token(mut self, token: &str) -> Self {
        self.token = Some(token.to_owned());
        self
    }

    /// With what came before `since`.
    pub fn since(mut self, since: u64, epoch: u64) -> Self {
        (self.since, self.epoch) = (Some(since), Some(epoch));
        self
    }

    pub fn by_hand(mut self) -> Self {
        self.by_hand = true;
        self
    }

    fn query(&self) -> String {
        let mut query = url::form_urlencoded::Serializer::new(String::new());
        let number = |n: &u64| n.to_string();
        let (cols, rows) = self.size.map(|(cols, rows)| (cols.to_string(), rows.to_string())).unzip();
        for (member, value) in [
            ("session", self.session.clone()),
            ("create", self.create.then(|| "1".to_owned())),
            ("since", self.since.as_ref().map(number)),
            ("epoch", self.epoch.as_ref().map(number)),
            ("client", self.client.clone()),
            ("role", self.role.map(str::to_owned)),
            ("invitation", self.invitation.clone()),
            ("catch_up", self.screens.then(|| "screen".to_owned())),
            ("cols", cols),
            ("rows", rows),
        ] {
            if let Some(value) = value {
                query.append_pair(member, &value);
            }
        }
        query.finish()
    }
}

/// What `ready` says.
#[derive(Clone, Debug, PartialEq, serde::Deserialize)]
pub struct Ready {
    pub session: String,
    pub client: String,
    pub role: String,
    pub epoch: u64,
    pub offset: u64,
    pub live: u64,
    pub input: u64,
    pub provider: String,
    pub durability: String,
    pub answers: String,
    pub size: Value,
    pub invitation: Option<String>,
}

/// What a window is told next.
#[derive(Clone, Debug, PartialEq)]
pub enum Told {
    /// Control, as it came.
    Said(Value),
    Output(u64, Bytes),
}

/// One WebSocket to `/terminal` at level 1.
pub struct Window {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    by_hand: bool,
    /// Of the last input.
    pub seq: u64,
    /// Every byte of output.
    pub output: Vec<u8>,
    /// Where in `output` each unbroken stretch begins, and the offset there.
    pub stretches: Vec<(usize, u64)>,
    /// Offset after the last byte, once that is known.
    pub end: Option<u64>,
    /// All control, in order.
    pub said: Vec<Value>,
    /// Where in `output` [`Window::expect`] goes on.
    passed: usize,
    /// How the server closed after the end.
    closed: Option<Closed>,
}

impl Window {
    pub async fn open(url: &str, visit: Visit) -> Self {
        Self::try_open(url, visit).await.unwrap_or_else(|error| panic!("no upgrade: {error}"))
    }

    /// The same for a broker that may refuse the upgrade.
    pub async fn try_open(url: &str, visit: Visit) -> tungstenite::Result<Self> {
        let address = format!("{}/terminal?{}", url.replacen("http", "ws", 1), visit.query());
        let mut request = address.into_client_request()?;
        request.headers_mut().insert("sec-websocket-protocol", HeaderValue::from_static(SUBPROTOCOL));
        if let Some(token) = &visit.token {
            request.headers_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
        }
        let (socket, response) = connect_async(request).await?;
        let chosen = response.headers().get("sec-websocket-protocol");
        assert_eq!(chosen, Some(&HeaderValue::from_static(SUBPROTOCOL)));
        let Visit { by_hand, since, .. } = visit;
        Ok(Window {
            socket,
            by_hand,
            seq: 0,
            output: Vec::new(),
            stretches: Vec::new(),
            end: since,
            said: Vec::new(),
            passed: 0,
            closed: None,
        })
    }

    pub async fn send(&mut self, message: Value) {
        self.send_raw(Message::text(message.to_string())).await;
    }

    pub async fn send_frame(&mut self, frame: ClientFrame) {
        let message = match frame.encode() {
            Encoded::Text(text) => Message::text(text),
            Encoded::Binary(bytes) => Message::Binary(bytes),
        };
        self.send_raw(message).await;
    }

    /// If the connection broke, the next read says so.
    pub async fn send_raw(&mut self, message: Message) {
        let _ = self.socket.send(message).await;
    }

    /// Types, as the next of this client's inputs; returns its number.
    pub async fn input(&mut self, text: &str) -> u64 {
        self.seq += 1;
        self.input_as(self.seq, text.as_bytes()).await;
        self.seq
    }

    pub async fn input_as(&mut self, seq: u64, bytes: &[u8]) {
        self.send_raw(Message::Binary(level1::input(seq, bytes))).await;
    }

    pub async fn ack(&mut self, offset: u64) {
        self.send_frame(ClientFrame::Ack(offset)).await;
    }

    pub async fn resize(&mut self, cols: u16, rows: u16) {
        self.send_frame(ClientFrame::Resize(Some(Size { cols, rows }))).await;
    }

    /// All output as text, over every hole.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.output).into_owned()
    }

    /// The next frame, or how the server closed.
    pub async fn next(&mut self) -> Result<Told, Closed> {
        let next = tokio::time::timeout(DEADLINE, self.receive()).await;
        next.unwrap_or_else(|_| panic!("no frame for {DEADLINE:?}; {}", self.story()))
    }

    /// The next frame, if one comes within `wait`.
    pub async fn next_within(&mut self, wait: Duration) -> Option<Result<Told, Closed>> {
        tokio::time::timeout(wait, self.receive()).await.ok()
    }

    fn story(&self) -> String {
        let text = self.text();
        let from = text.floor_char_boundary(text.len().saturating_sub(2000));
        format!("said {:?}; output {:?}", self.said, &text[from..])
    }

    /// Cancel-safe, but for an acknowledgement that then may not be sent.
    async fn receive(&mut self) -> Result<Told, Closed> {
        loop {
            match self.socket.next().await {
                Some(Ok(Message::Binary(frame))) => {
                    let (offset, frame) = decode_output(frame).expect("a server's binary frame is output");
                    let whole = self.end.is_none_or(|end| end == offset);
                    assert!(whole, "output at {offset} after {:?}; {}", self.end, self.story());
                    if self.stretches.is_empty() {
                        self.stretches.push((0, offset));
                    }
                    self.output.extend_from_slice(&frame);
                    let end = offset + frame.len() as u64;
                    self.end = Some(end);
                    if !self.by_hand {
                        self.ack(end).await;
                    }
                    return Ok(Told::Output(offset, frame));
                }
                Some(Ok(Message::Text(text))) => {
                    let value: Value = serde_json::from_str(&text).unwrap();
                    match value["type"].as_str().unwrap() {
                        "ready" => {
                            let offset = value["offset"].as_u64().unwrap();
                            self.end = Some(self.end.unwrap_or(offset));
                        }
                        "screen" => {
                            let offset = value["offset"].as_u64().unwrap();
                            self.jump(None, offset);
                            if !self.by_hand {
                                self.ack(offset).await;
                            }
                        }
                        "gap" => self.jump(value["from"].as_u64(), value["to"].as_u64().unwrap()),
                        "exit" if self.end.is_some() => assert_eq!(value["offset"].as_u64(), self.end, "{value}"),
                        _ => {}
                    }
                    self.said.push(value.clone());
                    return Ok(Told::Said(value));
                }
                Some(Ok(Message::Close(frame))) => {
                    // The answer waits for the next write.
                    let _ = self.socket.flush().await;
                    let frame = frame.expect("the server always gives a code");
                    return Err(Closed { code: frame.code.into(), reason: frame.reason.to_string() });
                }
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                // As a browser says it.
                Some(Err(_)) | None => return Err(Closed { code: 1006, reason: "the connection broke".to_owned() }),
                other => panic!("unexpected {other:?}; {}", self.story()),
            }
        }
    }

    /// Output goes on at `to`.
    fn jump(&mut self, from: Option<u64>, to: u64) {
        if let Some(from) = from {
            assert_eq!(Some(from), self.end, "a gap takes the place of its bytes; {}", self.story());
        }
        self.end = Some(to);
        self.stretches.push((self.output.len(), to));
    }

    /// Waits until the terminal has this size, as it was told with `ready` or
    /// after it: a size stands where it was set in the output.
    pub async fn until_size(&mut self, ready: &Ready, cols: u16, rows: u16) {
        let mut size = ready.size.clone();
        while (size["cols"].as_u64(), size["rows"].as_u64()) != (Some(cols.into()), Some(rows.into())) {
            size = self.told("size").await;
        }
    }

    /// Reads until control of this type that `fits`, and returns it.
    pub async fn told_that(&mut self, kind: &str, fits: impl Fn(&Value) -> bool) -> Value {
        loop {
            match self.next().await {
                Ok(Told::Said(value)) if value["type"] == kind && fits(&value) => return value,
                Ok(_) => {}
                Err(closed) => panic!("closed before `{kind}`: {closed:?}; {}", self.story()),
            }
        }
    }

    /// Reads until control of this type. What follows the end is read too: a
    /// client that does not answer the close has not got it, as far as the
    /// server knows.
    pub async fn told(&mut self, kind: &str) -> Value {
        let said = self.told_that(kind, |_| true).await;
        if kind == "exit" {
            self.closed = Some(self.closed().await);
        }
        said
    }

    /// Reads until the shell is ready.
    pub async fn ready(&mut self) -> Ready {
        serde_json::from_value(self.told("ready").await).unwrap()
    }

    /// Reads until all input up to this number was handed to the sandbox.
    pub async fn handed(&mut self, seq: u64) {
        self.told_that("input-ack", |ack| ack["seq"].as_u64() >= Some(seq)).await;
    }

    /// Reads until the output holds `text` beyond what was expected before.
    pub async fn expect(&mut self, text: &str) {
        let began = tokio::time::Instant::now();
        let mut from = self.passed;
        loop {
            assert!(began.elapsed() < DEADLINE, "no {text:?} for {DEADLINE:?}; {}", self.story());
            let found = self.output[from..].windows(text.len()).position(|window| window == text.as_bytes());
            if let Some(at) = found {
                self.passed = from + at + text.len();
                return;
            }
            from = from.max((self.output.len() + 1).saturating_sub(text.len()));
            if let Err(closed) = self.next().await {
                panic!("closed while waiting for {text:?}: {closed:?}; {}", self.story());
            }
        }
    }

    /// Reads to the end.
    pub async fn closed(&mut self) -> Closed {
        if let Some(closed) = self.closed.take() {
            return closed;
        }
        loop {
            if let Err(closed) = self.next().await {
                return closed;
            }
        }
    }

    /// Reads until an error; returns its code and message.
    pub async fn error(&mut self) -> (String, String) {
        let error = self.told("error").await;
        (error["code"].as_str().unwrap().to_owned(), error["message"].as_str().unwrap().to_owned())
    }

    /// Goes away without a word, as a network does.
    pub fn cut(self) {
        drop(self.socket);
    }
}
