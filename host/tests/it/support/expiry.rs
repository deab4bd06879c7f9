//! Makes temporary credentials of a real S3 service end early: the service of the
//! tests makes none for less than a quarter of an hour.
//!
//! Stands before the service. In an answer of the token service it only changes
//! when the credentials end; by then it refuses their requests in the words of
//! Amazon's service. Everything else passes as it came. Knows no broker.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::response::Response;
use tokio::net::TcpListener;
use tokio_util::task::AbortOnDropHandle;

use super::service::between;

/// What the tests send is far smaller.
const MAX_BODY: usize = 16 << 20;

/// Ends with the test.
pub struct Expiry {
    port: u16,
    _serving: AbortOnDropHandle<()>,
}

struct Gate {
    service: String,
    life: Duration,
    /// When the credentials end, by the id of the key.
    ends: Mutex<BTreeMap<String, Instant>>,
}

impl Expiry {
    pub async fn start(service: String, life: Duration) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let gate = Arc::new(Gate { service, life, ends: Mutex::default() });
        let app = Router::new().fallback(pass).with_state(gate);
        let serving = tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        Expiry { port, _serving: AbortOnDropHandle::new(serving) }
    }

    pub fn port(&self) -> u16 {
        self.port
    }
}

async fn pass(State(gate): State<Arc<Gate>>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let path = head.uri.path_and_query().unwrap().as_str();
    if gate.ended(&head.headers, path) {
        let said = "<?xml version=\"1.0\"?><Error><Code>ExpiredToken</Code>\
                    <Message>The provided token has expired.</Message></Error>";
        return Response::builder().status(400).body(Body::from(said)).unwrap();
    }
    let asks_for_credentials = head.method == "POST" && path == "/";
    let body = to_bytes(body, MAX_BODY).await.unwrap();
    let answer = reqwest::Client::new()
        .request(head.method, format!("{}{path}", gate.service))
        .headers(head.headers)
        .body(body)
        .send()
        .await
        .unwrap();
    let mut passed = Response::builder().status(answer.status());
    for (name, value) in answer.headers().iter().filter(|(name, _)| *name != "transfer-encoding") {
        passed = passed.header(name, value);
    }
    if !asks_for_credentials {
        return passed.body(Body::from_stream(answer.bytes_stream())).unwrap();
    }
    // The new time is as long as the old one, so the length stays.
    passed.body(Body::from(gate.shortened(answer.text().await.unwrap()))).unwrap()
}

impl Gate {
    /// Whether the one who signed a request is at an end.
    fn ended(&self, headers: &http::HeaderMap, path: &str) -> bool {
        let header = headers.get("authorization").and_then(|value| value.to_str().ok()).unwrap_or_default();
        let signed = header.split_once("Credential=").or_else(|| path.split_once("X-Amz-Credential="));
        let id = signed.map_or("", |(_, rest)| rest.split(['/', '%']).next().unwrap());
        self.ends.lock().unwrap().get(id).is_some_and(|end| *end <= Instant::now())
    }

    /// The answer with an earlier end, which is noted.
    fn shortened(&self, said: String) -> String {
        let (Some(id), Some(late)) = (between(&said, "AccessKeyId").next(), between(&said, "Expiration").next()) else {
            return said;
        };
        self.ends.lock().unwrap().insert(id.to_owned(), Instant::now() + self.life);
        let early = (jiff::Timestamp::now() + self.life).strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
        said.replace(late, &early)
    }
}
