//! The sandbox path without the broker: a client that speaks to sandboxd as the
//! plugin does, one long request for input and one for output.

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::{Buf, BytesMut};
use futures_util::stream;
use reqwest::{Body, Client, RequestBuilder, Response};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::terminal::{Link, Terminal};

/// Bytes before a message: flags and its length.
const HEAD: usize = 5;

/// A sandbox of its own on a server.
pub struct Sandbox {
    http: Client,
    url: String,
    key: String,
    id: String,
    token: String,
}

impl Sandbox {
    pub async fn create(http: Client, url: &str, key: &str) -> Self {
        let request = http.post(format!("{url}/v2/sandboxes")).header("x-api-key", key);
        let made = request.json(&json!({ "templateID": "base", "timeout": 600 })).send().await.unwrap();
        let made: Value = made.json().await.unwrap();
        let text = |name: &str| made[name].as_str().unwrap().to_owned();
        let (id, token) = (text("sandboxID"), text("envdAccessToken"));
        Sandbox { http, url: url.to_owned(), key: key.to_owned(), id, token }
    }

    pub async fn kill(self) {
        let request = self.http.delete(format!("{}/sandboxes/{}", self.url, self.id));
        request.header("x-api-key", &self.key).send().await.unwrap().error_for_status().unwrap();
    }

    fn call(&self, method: &str) -> RequestBuilder {
        let request = self.http.post(format!("{}/process.Process/{method}", self.url));
        request
            .header("e2b-sandbox-id", &self.id)
            .header("e2b-sandbox-port", "49983")
            .header("x-access-token", &self.token)
            .header("content-type", "application/connect+json")
    }

    /// A shell on a terminal of its own, at its prompt.
    pub async fn terminal(&self) -> Terminal {
        let process = json!({ "cmd": "/bin/bash", "args": ["-l"], "envs": { "TERM": "xterm-256color" } });
        let start = json!({ "process": process, "pty": { "size": { "cols": 80, "rows": 24 } } });
        let mut answer = self.call("Start").body(frame(&start)).send().await.unwrap();
        let mut wire = BytesMut::new();
        let pid = loop {
            let chunk = answer.chunk().await.unwrap().expect("the process starts");
            wire.extend_from_slice(&chunk);
            if let Some(Event { start: Some(start), .. }) = next(&mut wire) {
                break start.pid;
            }
        };
        let (input, messages) = mpsc::channel::<Vec<u8>>(1);
        input.send(frame(&json!({ "start": { "process": { "pid": pid } } }))).await.unwrap();
        let body = stream::unfold(messages, async |mut messages| {
            let message = messages.recv().await?;
            Some((Ok::<_, std::io::Error>(message), messages))
        });
        let writing = tokio::spawn(self.call("StreamInput").body(Body::wrap_stream(body)).send());
        let mut terminal = Terminal::new(Envd { answer, wire, input, writing });
        terminal.prompt().await;
        terminal
    }
}

struct Envd {
    answer: Response,
    wire: BytesMut,
    input: mpsc::Sender<Vec<u8>>,
    writing: JoinHandle<reqwest::Result<Response>>,
}

impl Drop for Envd {
    fn drop(&mut self) {
        self.writing.abort();
    }
}

#[async_trait]
impl Link for Envd {
    async fn send(&mut self, text: &str) {
        let message = json!({ "data": { "input": { "pty": STANDARD.encode(text) } } });
        self.input.send(frame(&message)).await.expect("the sandbox takes input");
    }

    async fn receive(&mut self, output: &mut Vec<u8>) {
        let before = output.len();
        loop {
            while let Some(event) = next(&mut self.wire) {
                if let Some(Data { pty }) = event.data {
                    STANDARD.decode_vec(pty, output).unwrap();
                }
            }
            if output.len() > before {
                return;
            }
            let chunk = self.answer.chunk().await.unwrap().expect("the process runs");
            self.wire.extend_from_slice(&chunk);
        }
    }
}

#[derive(Deserialize)]
struct Message {
    event: Event,
}

#[derive(Deserialize)]
struct Event {
    start: Option<Start>,
    data: Option<Data>,
}

#[derive(Deserialize)]
struct Start {
    pid: u32,
}

#[derive(Deserialize)]
struct Data {
    pty: String,
}

fn frame(message: &Value) -> Vec<u8> {
    let message = message.to_string();
    let mut frame = vec![0];
    frame.extend(u32::try_from(message.len()).unwrap().to_be_bytes());
    frame.extend(message.as_bytes());
    frame
}

/// Takes the first whole message off the wire.
fn next(wire: &mut BytesMut) -> Option<Event> {
    let length = u32::from_be_bytes(wire.get(1..HEAD)?.try_into().unwrap()) as usize;
    if wire.len() < HEAD + length {
        return None;
    }
    wire.advance(HEAD);
    let message = wire.split_to(length);
    Some(serde_json::from_slice::<Message>(&message).unwrap().event)
}
