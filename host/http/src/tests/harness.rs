//! A broker on a port of its own, and the clients that try it.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use futures_util::{SinkExt, StreamExt};
use sandboxd_gatekeeper::Gatekeeper;
use serde::Deserialize;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::JoinHandle;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::{self, Message};
use tokio_tungstenite::{WebSocketStream, client_async};
use tokio_util::sync::CancellationToken;

use super::fake::{Fake, Shell};
use crate::{
    App, ConfigStatus, Connection, Digested, Door, Limits, Settings, SignIn, SignInStore, Token, router,
    serve_connection,
};
use sandbox_broker_core::sandbox::Command;
use sandbox_broker_journal::Owner;
use sandbox_broker_journal::memory::Memory;
use sandbox_broker_session::{self as session, Blueprint, Event, Invitations, Join, Sessions, SizeRule, SlowClient};
use sandbox_broker_terminal as terminal;

/// Waits, but not for ever: a condition that does not come fails its test.
pub(super) async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(120), future).await.expect("it did not happen in time")
}

#[derive(Clone)]
pub(super) struct Options {
    pub(super) limits: Limits,
    pub(super) terminal: terminal::Limits,
    pub(super) public_urls: Vec<&'static str>,
    pub(super) frontend_url: Option<&'static str>,
    pub(super) tokens: Option<Vec<&'static str>>,
    pub(super) max_sessions: usize,
    pub(super) trusted_proxies: Vec<&'static str>,
    /// What an earlier process kept of its sign-ins.
    pub(super) kept: Arc<Kept>,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            limits: Limits::default(),
            terminal: terminal::Limits::default(),
            public_urls: Vec::new(),
            frontend_url: None,
            tokens: None,
            max_sessions: 100,
            trusted_proxies: Vec::new(),
            kept: Arc::default(),
        }
    }
}

/// Sign-ins as they outlive a broker.
#[derive(Default)]
pub(super) struct Kept(Mutex<HashMap<Digested, SignIn>>);

impl Kept {
    pub(super) fn all(&self) -> Vec<SignIn> {
        self.0.lock().unwrap().values().copied().collect()
    }
}

#[async_trait]
impl SignInStore for Kept {
    async fn add(&self, sign_in: SignIn) -> Result<(), String> {
        self.0.lock().unwrap().insert(sign_in.cookie, sign_in);
        Ok(())
    }

    async fn touch(&self, cookie: Digested, used: SystemTime) -> Result<(), String> {
        self.0.lock().unwrap().entry(cookie).and_modify(|sign_in| sign_in.used = used);
        Ok(())
    }

    async fn remove(&self, cookie: Digested) -> Result<(), String> {
        self.0.lock().unwrap().remove(&cookie);
        Ok(())
    }
}

impl Options {
    pub(super) fn token(mut self, token: &'static str) -> Self {
        self.tokens.get_or_insert_default().push(token);
        self
    }

    fn settings(&self) -> Settings {
        Settings {
            public_urls: self.public_urls.iter().map(|url| url.parse().unwrap()).collect(),
            frontend_url: self.frontend_url.map(|url| url.parse().unwrap()),
            tokens: self.tokens.as_ref().map(|tokens| tokens.iter().map(|token| hashed(token)).collect()),
            provider: "fake".to_owned(),
            trusted_proxies: self.trusted_proxies.iter().map(|network| network.parse().unwrap()).collect(),
        }
    }
}

fn hashed(token: &str) -> Token {
    Token::from_sha256(token, Sha256::digest(token).into())
}

pub(super) struct Broker {
    pub(super) address: SocketAddr,
    pub(super) door: Door,
    pub(super) provider: Arc<Fake>,
    pub(super) sessions: Sessions,
    pub(super) config: watch::Sender<ConfigStatus>,
    pub(super) shells: mpsc::Receiver<Shell>,
    options: Options,
    settings: watch::Sender<Arc<Settings>>,
    router: axum::Router,
    stop: CancellationToken,
    served: JoinHandle<usize>,
    _blueprint: watch::Sender<Arc<Blueprint>>,
}

impl Broker {
    pub(super) async fn start(options: Options) -> Self {
        let (fake, shells) = Fake::new();
        let provider = Arc::new(fake);
        let blueprint = watch::Sender::new(Arc::new(Blueprint {
            provider: provider.clone(),
            broker_id: "broker".to_owned(),
            command: Command {
                argv: vec!["sh".to_owned()],
                cwd: Some(provider.disk.root().to_str().unwrap().to_owned()),
                ..Command::default()
            },
            sandbox_env: BTreeMap::new(),
            choices: Default::default(),
            idle_timeout: Duration::from_secs(3600),
            max_age: None,
            lease: Duration::from_secs(120),
            generation: 1,
            max_sessions: options.max_sessions,
            max_sessions_per_user: options.max_sessions,
            mounts: Vec::new(),
            keep: Duration::from_secs(60),
            slow: SlowClient::Gap,
            size: SizeRule::Driver,
            recorder: None,
            journal: Arc::new(Memory::default()),
            owner: Owner { broker: "broker".to_owned(), instance: "1".to_owned() },
            invitations: Invitations::new(&[1; 32]),
        }));
        let sessions = Sessions::new(blueprint.subscribe());
        let settings = watch::Sender::new(Arc::new(options.settings()));
        let config = watch::Sender::new(ConfigStatus::default());
        let app = App {
            sessions: sessions.clone(),
            settings: settings.subscribe(),
            config: config.subscribe(),
            terminal: options.terminal,
            broker: "broker".to_owned(),
            sign_ins: options.kept.clone(),
            kept: options.kept.all(),
        };
        let router = router(app);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        let door = Door::new(options.limits, settings.subscribe(), Gatekeeper::default());
        let served = tokio::spawn(door.clone().serve(listener, router.clone(), stop.clone()));
        let _blueprint = blueprint;
        Broker {
            address,
            door,
            provider,
            sessions,
            config,
            shells,
            options,
            settings,
            router,
            stop,
            served,
            _blueprint,
        }
    }

    /// Serves a pipe as if it were a connection, so that a stopped clock
    /// counts and no network does.
    pub(super) fn serve_on(&self, io: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) -> JoinHandle<()> {
        let place = Arc::new(Semaphore::new(1)).try_acquire_owned().unwrap();
        let peer = "127.0.0.1:1".parse().unwrap();
        let connection = Connection::new(self.address, peer, Arc::new(place));
        tokio::spawn(serve_connection(io, connection, self.router.clone(), self.options.limits, self.stop.clone()))
    }

    /// Sends these very bytes as if from another machine to our side's
    /// `local` address, and reads the answer. For a stopped clock.
    pub(super) async fn send_to(&self, local: &str, request: &str) -> Answer {
        let (ours, mut theirs) = tokio::io::duplex(64 * 1024);
        let place = Arc::new(Semaphore::new(1)).try_acquire_owned().unwrap();
        let connection = Connection::new(local.parse().unwrap(), "192.0.2.99:4711".parse().unwrap(), Arc::new(place));
        let (router, limits, stop) = (self.router.clone(), self.options.limits, self.stop.clone());
        let served = tokio::spawn(serve_connection(ours, connection, router, limits, stop));
        theirs.write_all(request.as_bytes()).await.unwrap();
        let mut bytes = Vec::new();
        theirs.read_to_end(&mut bytes).await.unwrap();
        served.await.unwrap();
        Answer::parse(&bytes)
    }

    pub(super) fn set_tokens(&self, tokens: &[&'static str]) {
        let options = Options { tokens: Some(tokens.to_vec()), ..self.options.clone() };
        self.settings.send_replace(Arc::new(options.settings()));
    }

    /// Stops and tells how many connections stayed.
    pub(super) async fn stop(self) -> usize {
        self.stop.cancel();
        self.served.await.unwrap()
    }

    /// The next shell that the provider opened.
    pub(super) async fn shell(&mut self) -> Shell {
        soon(self.shells.recv()).await.expect("the provider lives")
    }

    /// A session whose shell runs, without a terminal's socket.
    pub(super) async fn session(&self) -> session::Client {
        let client = self.sessions.open(Join::default(), false).unwrap();
        let mut reader = client.reader();
        while !matches!(soon(reader.next()).await, Some(Event::Ready { .. })) {}
        client
    }

    /// Waits until so many sandboxes live.
    pub(super) async fn alive(&self, sandboxes: usize) {
        soon(self.provider.alive.subscribe().wait_for(|alive| *alive == sandboxes)).await.unwrap();
    }

    pub(super) async fn get(&self, path: &str, headers: &str) -> Answer {
        self.ask("GET", path, headers).await
    }

    pub(super) async fn ask(&self, method: &str, path: &str, headers: &str) -> Answer {
        let close = if headers.contains("Connection:") { "" } else { "Connection: close\r\n" };
        self.send(&format!("{method} {path} HTTP/1.1\r\nHost: {}\r\n{close}{headers}\r\n", self.address)).await
    }

    pub(super) async fn post(&self, path: &str, form: &str) -> Answer {
        self.send(&format!(
            "POST {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nContent-Length: {}\r\n\
             Content-Type: application/x-www-form-urlencoded\r\n\r\n{form}",
            self.address,
            form.len()
        ))
        .await
    }

    /// Sends these very bytes and reads the head of the answer, and its body
    /// unless it is an upgrade.
    pub(super) async fn send(&self, request: &str) -> Answer {
        let exchange = async {
            let mut stream = TcpStream::connect(self.address).await.unwrap();
            let (mut read, mut write) = stream.split();
            let mut bytes = Vec::new();
            let reading = async {
                let mut buffer = [0; 4096];
                loop {
                    let n = read.read(&mut buffer).await.expect("the answer arrives before the end");
                    bytes.extend_from_slice(&buffer[..n]);
                    if n == 0 || Answer::parse(&bytes).is_whole() {
                        return;
                    }
                }
            };
            // A server may answer before it has read everything.
            let writing = async { _ = write.write_all(request.as_bytes()).await };
            tokio::join!(reading, writing);
            Answer::parse(&bytes)
        };
        soon(exchange).await
    }

    /// The `Origin` of our own page.
    pub(super) fn origin(&self) -> String {
        format!("http://{}", self.address)
    }

    /// What our own page sends with a cookie.
    pub(super) fn own_page(&self, cookie: &str) -> String {
        format!("Origin: {}\r\nCookie: {cookie}\r\n", self.origin())
    }

    /// Signs in; the cookie, and what else the server says of it.
    pub(super) async fn sign_in(&self, token: &str) -> (String, String) {
        let answer = self.post("/sign-in", &format!("token={token}")).await;
        assert_eq!(answer.status, 204, "{answer:?}");
        let (cookie, attributes) = answer.header("set-cookie").unwrap().split_once("; ").unwrap();
        (cookie.to_owned(), attributes.to_owned())
    }

    pub(super) async fn terminal(&self) -> Client<TcpStream> {
        self.terminal_with(&[]).await
    }

    pub(super) async fn terminal_with(&self, headers: &[(&'static str, &str)]) -> Client<TcpStream> {
        self.terminal_at("", headers).await
    }

    pub(super) async fn terminal_at(&self, query: &str, headers: &[(&'static str, &str)]) -> Client<TcpStream> {
        let stream = TcpStream::connect(self.address).await.unwrap();
        Client::open_at(stream, self.address, query, headers).await
    }

    /// A ticket, asked for with these credentials.
    pub(super) async fn ticket(&self, credentials: &str) -> String {
        let answer = self.ask("POST", "/api/tickets", credentials).await;
        assert_eq!((answer.status, &answer.json()["lasts_ms"]), (201, &30_000.into()), "{answer:?}");
        answer.json()["ticket"].as_str().unwrap().to_owned()
    }
}

#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    head: String,
    body: String,
}

impl Answer {
    pub(super) fn parse(bytes: &[u8]) -> Self {
        let text = String::from_utf8_lossy(bytes);
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or(("", ""));
        let status = head.get(9..12).and_then(|status| status.parse().ok()).unwrap_or(0);
        Answer { status, head: head.to_owned(), body: body.to_owned() }
    }

    pub(super) fn is_whole(&self) -> bool {
        let length = self.header("content-length").and_then(|length| length.parse().ok());
        self.status == 101 || length.is_some_and(|length: usize| self.body.len() >= length)
    }

    pub(super) fn header(&self, name: &str) -> Option<&str> {
        let fields = self.head.lines().filter_map(|line| line.split_once(": "));
        fields.filter(|(field, _)| field.eq_ignore_ascii_case(name)).map(|(_, value)| value).next()
    }

    pub(super) fn body(&self) -> &str {
        &self.body
    }

    pub(super) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    pub(super) fn error(&self) -> String {
        self.json()["error"].as_str().unwrap_or_else(|| panic!("{self:?}")).to_owned()
    }
}

/// A message of level 0, as a client reads it.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub(super) enum Frame {
    Status { message: String, stage: Option<String>, state: Option<String> },
    Ready { session: String, offset: u64, provider: String, isolation: Option<String> },
    Output { data: String, offset: u64 },
    Error { message: String },
}

/// What a client is told.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Told {
    Frame(Frame),
    /// The end, with its code and reason.
    Close(u16, String),
    /// The end without a word.
    Broken,
}

/// A client that knows only the messages of level 0.
pub(super) struct Client<Io>(pub(super) WebSocketStream<Io>);

impl<Io: AsyncRead + AsyncWrite + Unpin> Client<Io> {
    pub(super) async fn open(io: Io, address: SocketAddr, headers: &[(&'static str, &str)]) -> Self {
        Self::open_at(io, address, "", headers).await
    }

    async fn open_at(io: Io, address: SocketAddr, query: &str, headers: &[(&'static str, &str)]) -> Self {
        let url = format!("ws://{address}/terminal{query}").parse().unwrap();
        let mut request = tungstenite::client::ClientRequestBuilder::new(url);
        for (name, value) in headers {
            request = request.with_header(*name, *value);
        }
        let (socket, response) = soon(client_async(request, io)).await.unwrap();
        assert_eq!(response.headers().get("sec-websocket-extensions"), None);
        assert_eq!(response.headers().get("sec-websocket-protocol"), None);
        Client(socket)
    }

    pub(super) async fn send(&mut self, message: Value) {
        self.send_text(message.to_string()).await;
    }

    pub(super) async fn send_text(&mut self, text: impl Into<String>) {
        soon(self.0.send(Message::text(text.into()))).await.unwrap();
    }

    pub(super) async fn input(&mut self, data: &str) {
        self.send(json!({ "type": "input", "data": data })).await;
    }

    pub(super) async fn resize(&mut self, cols: u64, rows: u64) {
        self.send(json!({ "type": "resize", "cols": cols, "rows": rows })).await;
    }

    /// What it is told next.
    pub(super) async fn told(&mut self) -> Told {
        loop {
            match soon(self.0.next()).await {
                Some(Ok(Message::Text(text))) => {
                    return Told::Frame(serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}")));
                }
                Some(Ok(Message::Close(Some(CloseFrame { code, reason })))) => {
                    return Told::Close(code.into(), reason.to_string());
                }
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                Some(Ok(other)) => panic!("level 0 has no such message: {other:?}"),
                Some(Err(_)) | None => return Told::Broken,
            }
        }
    }

    /// The frame that it is told next.
    pub(super) async fn frame(&mut self) -> Frame {
        match self.told().await {
            Told::Frame(frame) => frame,
            end => panic!("{end:?} instead of a frame"),
        }
    }

    /// Reads on until `ready`, and returns what came before.
    pub(super) async fn ready(&mut self) -> Vec<Frame> {
        let mut before = Vec::new();
        loop {
            match self.frame().await {
                Frame::Ready { .. } => return before,
                status @ Frame::Status { .. } => before.push(status),
                other => panic!("{other:?} before ready"),
            }
        }
    }

    /// Reads output of at least `length` bytes, whatever the frames.
    pub(super) async fn output(&mut self, length: usize) -> String {
        let mut all = String::new();
        while all.len() < length {
            match self.frame().await {
                Frame::Output { data, .. } => all.push_str(&data),
                other => panic!("{other:?} after {} bytes of output", all.len()),
            }
        }
        all
    }

    /// Reads on until an error, through progress.
    pub(super) async fn error(&mut self) -> String {
        loop {
            match self.frame().await {
                Frame::Error { message } => return message,
                Frame::Status { .. } | Frame::Ready { .. } => {}
                other => panic!("{other:?}"),
            }
        }
    }
}
