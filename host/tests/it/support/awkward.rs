//! A server that says exactly what a test tells it to say, for what a good
//! server never does.

use std::future::Future;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use futures_util::StreamExt as _;
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;

/// A running server; ends with the test.
pub struct Awkward {
    pub url: String,
    seen: Arc<Mutex<Vec<Seen>>>,
    _task: AbortOnDropHandle<()>,
}

/// The head of a request that came.
#[derive(Clone, Debug)]
pub struct Seen {
    /// `METHOD /path?query`.
    pub line: String,
    pub headers: HeaderMap,
}

impl Seen {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|v| v.to_str().unwrap())
    }
}

impl Awkward {
    /// Answers each request by `answer`, which gets its line and its body.
    pub async fn start<F, A>(answer: F) -> Self
    where
        F: Fn(String, Body) -> A + Clone + Send + Sync + 'static,
        A: Future<Output = Response> + Send + 'static,
    {
        Self::start_seeing(move |seen, body| answer(seen.line, body)).await
    }

    /// The same with all of the request's head.
    pub async fn start_seeing<F, A>(answer: F) -> Self
    where
        F: Fn(Seen, Body) -> A + Clone + Send + Sync + 'static,
        A: Future<Output = Response> + Send + 'static,
    {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let log = seen.clone();
        let app = Router::new().fallback(move |request: Request| {
            let (head, body) = request.into_parts();
            let line = format!("{} {}", head.method, head.uri.path_and_query().unwrap());
            let seen = Seen { line, headers: head.headers };
            log.lock().unwrap().push(seen.clone());
            answer(seen, body)
        });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let task = tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        Awkward { url, seen, _task: AbortOnDropHandle::new(task) }
    }

    /// The requests whose line begins so, in the order in which they came.
    pub fn seen(&self, line: &str) -> Vec<Seen> {
        self.seen.lock().unwrap().iter().filter(|s| s.line.starts_with(line)).cloned().collect()
    }
}

/// A JSON answer.
pub fn json(status: u16, body: &str) -> Response {
    let status = StatusCode::from_u16(status).unwrap();
    (status, [("content-type", "application/json")], body.to_owned()).into_response()
}

/// One frame of a streaming call.
pub fn frame(flags: u8, json: &str) -> Bytes {
    let mut out = vec![flags];
    out.extend_from_slice(&(json.len() as u32).to_be_bytes());
    out.extend_from_slice(json.as_bytes());
    out.into()
}

/// An event of a process as a frame.
pub fn event(json: &str) -> Bytes {
    frame(0, &format!(r#"{{"event":{json}}}"#))
}

/// A streaming answer that goes on while the sender lives. An `Err` breaks the
/// connection off.
pub fn streaming() -> (mpsc::Sender<Result<Bytes, &'static str>>, Response) {
    let (tx, rx) = mpsc::channel(64);
    let pieces = futures_util::stream::unfold(rx, |mut rx| async move {
        let piece: Result<Bytes, &'static str> = rx.recv().await?;
        if piece.is_err() {
            // The server sends what it holds when the body has to be waited for.
            tokio::task::yield_now().await;
        }
        Some((piece, rx))
    });
    let body = Body::from_stream(pieces);
    (tx, ([("content-type", "application/connect+json")], body).into_response())
}

/// A whole streaming answer.
pub fn streamed(frames: &[Bytes]) -> Response {
    ([("content-type", "application/connect+json")], frames.concat()).into_response()
}

/// Takes the messages out of a streaming request, one by one; none at its
/// end, an error when it breaks off.
pub struct Messages {
    body: axum::body::BodyDataStream,
    buf: Vec<u8>,
}

impl Messages {
    pub fn new(body: Body) -> Self {
        Messages { body: body.into_data_stream(), buf: Vec::new() }
    }

    pub async fn next(&mut self) -> Result<Option<serde_json::Value>, axum::Error> {
        loop {
            if let Some((head, rest)) = self.buf.split_first_chunk::<5>() {
                let len = u32::from_be_bytes(head[1..].try_into().unwrap()) as usize;
                if rest.len() >= len {
                    let message = serde_json::from_slice(&rest[..len]).unwrap();
                    self.buf.drain(..5 + len);
                    return Ok(Some(message));
                }
            }
            match self.body.next().await {
                Some(piece) => self.buf.extend_from_slice(&piece?),
                None => return Ok(None),
            }
        }
    }
}
