//! A network between a broker and a sandbox server that answers wrongly at the
//! level of HTTP, when and where a test says so.
//!
//! Owns what becomes of a request. Deliberately knows nothing of what is said
//! over HTTP: bodies pass as they come, in both directions.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::unfold;
use http::uri::{Authority, Scheme};
use http::{Method, Request, Response, Uri};
use http_body::Frame;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::task::AbortOnDropHandle;

/// Between two bytes of an answer that drips.
const DRIP: Duration = Duration::from_millis(20);

/// What becomes of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// It is answered with this status and not carried out. 429 says to come
    /// back after a second.
    Refused(u16),
    /// It is answered with 507, in the agent's words, once so many bytes of it
    /// have come, and not carried out.
    Full(usize),
    /// It is answered as E2B's proxy does for an agent that is dead.
    Dead,
    /// It is not carried out, and nothing is said while the fault lasts; then
    /// the connection breaks.
    Hangs,
    /// It is not carried out, and the connection breaks after so long.
    Breaks(Duration),
    /// It is carried out, and its answer comes a byte at a time while the fault
    /// lasts.
    Drips,
    /// It is carried out, and the connection breaks in the place of an answer.
    Lost,
    /// It is carried out, and the connection breaks after so many bytes of the
    /// answer's body, if it has more.
    Torn(usize),
    /// The connection breaks at once, and it is carried out when the fault is
    /// over.
    Late,
}

type Body = UnsyncBoxBody<Bytes, io::Error>;
type Choice = Arc<dyn Fn(&Method, &str) -> Option<Fault> + Send + Sync>;

/// What goes wrong, and until when.
#[derive(Clone)]
struct Spell {
    choice: Choice,
    until: Instant,
}

impl Spell {
    /// Waits until it is over.
    async fn over(&self, spells: &mut watch::Receiver<Option<Spell>>) {
        let _ = timeout_at(self.until, spells.changed()).await;
    }
}

/// The header of the control plane that carries the key.
const API_KEY: &str = "x-api-key";

/// Which keys are good.
#[derive(Clone, Debug)]
struct Lock {
    keys: Vec<String>,
    /// What the server itself takes.
    inner: String,
}

/// Passes requests on to a server; ends with the test.
pub struct Faults {
    pub url: String,
    spells: watch::Sender<Option<Spell>>,
    locks: watch::Sender<Option<Lock>>,
    /// Each key that came, with the path for which it was good or bad.
    keys: Arc<Mutex<Vec<(String, String, bool)>>>,
    met: Arc<Mutex<BTreeMap<Fault, u64>>>,
    _accept: AbortOnDropHandle<()>,
}

impl Faults {
    /// Before the server at this URL. Nothing goes wrong yet.
    pub async fn start(server: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (spells, met) = (watch::Sender::new(None), Arc::default());
        let (locks, keys) = (watch::Sender::new(None), Arc::default());
        let way = Way {
            server: server.strip_prefix("http://").unwrap().parse().unwrap(),
            // A request has its own connection: that one broke says nothing of another.
            client: Client::builder(TokioExecutor::new()).pool_max_idle_per_host(0).build_http(),
            spells: spells.subscribe(),
            met: Arc::clone(&met),
            locks: locks.subscribe(),
            keys: Arc::clone(&keys),
        };
        let accept = async move {
            loop {
                let (socket, _) = listener.accept().await.unwrap();
                let way = way.clone();
                let service = service_fn(move |request| way.clone().carry(request));
                tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(socket), service));
            }
        };
        Faults { url, spells, locks, keys, met, _accept: AbortOnDropHandle::new(tokio::spawn(accept)) }
    }

    /// From now on these keys are good in the place of the server's own, which
    /// is `inner`, and every other one is revoked.
    pub fn admit(&self, keys: &[&str], inner: &str) {
        let keys = keys.iter().map(|key| (*key).to_owned()).collect();
        self.locks.send_replace(Some(Lock { keys, inner: inner.to_owned() }));
    }

    /// The keys that came and their paths, the good or the bad ones.
    pub fn keys(&self, good: bool) -> Vec<(String, String)> {
        let keys = self.keys.lock().unwrap();
        keys.iter().filter(|seen| seen.2 == good).map(|(key, path, _)| (key.clone(), path.clone())).collect()
    }

    /// For this long, `choice` says of each request's method and path what
    /// becomes of it. Ends what went wrong before.
    pub fn begin(&self, lasting: Duration, choice: impl Fn(&Method, &str) -> Option<Fault> + Send + Sync + 'static) {
        self.spells.send_replace(Some(Spell { choice: Arc::new(choice), until: Instant::now() + lasting }));
    }

    /// Nothing goes wrong any more.
    pub fn lift(&self) {
        self.spells.send_replace(None);
    }

    /// How many requests met each fault.
    pub fn met(&self) -> BTreeMap<Fault, u64> {
        self.met.lock().unwrap().clone()
    }
}

/// The way of one request to the server and back.
#[derive(Clone)]
struct Way {
    server: Authority,
    client: Client<HttpConnector, Body>,
    spells: watch::Receiver<Option<Spell>>,
    met: Arc<Mutex<BTreeMap<Fault, u64>>>,
    locks: watch::Receiver<Option<Lock>>,
    keys: Arc<Mutex<Vec<(String, String, bool)>>>,
}

impl Way {
    /// An error breaks the connection.
    async fn carry(mut self, mut request: Request<Incoming>) -> io::Result<Response<Body>> {
        let mut parts = request.uri().clone().into_parts();
        (parts.scheme, parts.authority) = (Some(Scheme::HTTP), Some(self.server.clone()));
        *request.uri_mut() = Uri::from_parts(parts).unwrap();
        if let Some(key) = request.headers().get(API_KEY).map(|key| key.to_str().unwrap().to_owned())
            && let Some(lock) = self.locks.borrow().clone()
        {
            let good = lock.keys.contains(&key);
            self.keys.lock().unwrap().push((key, request.uri().path().to_owned(), good));
            if !good {
                return Ok(said(401, r#"{"code":401,"message":"the key is not valid"}"#));
            }
            request.headers_mut().insert(API_KEY, lock.inner.parse().unwrap());
        }
        let spell = self.spells.borrow_and_update().clone().filter(|spell| Instant::now() < spell.until);
        let fault = spell.as_ref().and_then(|spell| (spell.choice)(request.method(), request.uri().path()));
        let (Some(spell), Some(fault)) = (spell, fault) else { return self.pass(request).await };
        *self.met.lock().unwrap().entry(fault).or_default() += 1;
        match fault {
            Fault::Refused(status) => Ok(refusal(status)),
            Fault::Full(after) => {
                let (mut body, mut read) = (request.into_body(), 0);
                while read < after
                    && let Some(frame) = body.frame().await
                {
                    read += frame.map_err(io::Error::other)?.data_ref().map_or(0, Bytes::len);
                }
                // The rest stays unread, and the connection closes.
                Ok(said(507, r#"{"code":507,"message":"not enough disk space available"}"#))
            }
            Fault::Dead => Ok(said(502, CLOSED_PORT)),
            Fault::Hangs => {
                spell.over(&mut self.spells).await;
                Err(broken("it was not answered"))
            }
            Fault::Breaks(after) => {
                let _ = timeout(after, std::future::pending::<()>()).await;
                Err(broken("it was not answered"))
            }
            Fault::Drips => self.pass(request).await.map(|answer| dripping(answer, spell, self.spells)),
            Fault::Lost => {
                self.pass(request).await?;
                Err(broken("the answer was lost"))
            }
            Fault::Torn(after) => self.pass(request).await.map(|answer| torn(answer, after)),
            Fault::Late => {
                let (head, body) = request.into_parts();
                let body = body.collect().await.map_err(io::Error::other)?.to_bytes();
                let body = Full::new(body).map_err(|never: Infallible| match never {}).boxed_unsync();
                tokio::spawn(async move {
                    spell.over(&mut self.spells).await;
                    self.client.request(Request::from_parts(head, body)).await
                });
                Err(broken("it was not waited for"))
            }
        }
    }

    async fn pass(&self, request: Request<Incoming>) -> io::Result<Response<Body>> {
        let boxed = |body: Incoming| body.map_err(io::Error::other).boxed_unsync();
        let answer = self.client.request(request.map(boxed)).await;
        answer.map(|answer| answer.map(boxed)).map_err(io::Error::other)
    }
}

fn broken(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionReset, why)
}

/// What E2B's proxy says where nobody listens on the agent's port.
const CLOSED_PORT: &str =
    r#"{"sandboxId":"iabc","message":"The sandbox is running but port is not open","port":49983,"code":502}"#;

fn said(status: u16, json: &'static str) -> Response<Body> {
    let answer = Response::builder().status(status).header("content-type", "application/json");
    let words = Full::new(Bytes::from_static(json.as_bytes())).map_err(|never: Infallible| match never {});
    answer.body(words.boxed_unsync()).unwrap()
}

fn refusal(status: u16) -> Response<Body> {
    let answer = Response::builder().status(status).header("content-type", "text/plain");
    let answer = if status == 429 { answer.header("retry-after", "1") } else { answer };
    let words = Full::new(Bytes::from_static(b"out of order\n")).map_err(|never: Infallible| match never {});
    answer.body(words.boxed_unsync()).unwrap()
}

/// The rest of an answer that drips, and for how long it does.
struct Drops {
    body: Body,
    rest: Bytes,
    spell: Spell,
    spells: watch::Receiver<Option<Spell>>,
    over: bool,
}

impl Drops {
    async fn next(&mut self) -> Option<io::Result<Frame<Bytes>>> {
        while self.rest.is_empty() {
            match self.body.frame().await?.map(Frame::into_data) {
                Ok(Ok(data)) => self.rest = data,
                Ok(Err(other)) => return Some(Ok(other)),
                Err(error) => return Some(Err(error)),
            }
        }
        if !self.over {
            self.over = timeout(DRIP, self.spell.over(&mut self.spells)).await.is_ok();
        }
        let whole = self.rest.len();
        Some(Ok(Frame::data(self.rest.split_to(if self.over { whole } else { 1 }))))
    }
}

fn dripping(answer: Response<Body>, spell: Spell, spells: watch::Receiver<Option<Spell>>) -> Response<Body> {
    answer.map(|body| {
        let drops = Drops { body, rest: Bytes::new(), spell, spells, over: false };
        let frames = unfold(drops, async |mut drops| Some((drops.next().await?, drops)));
        StreamBody::new(frames).boxed_unsync()
    })
}

fn torn(answer: Response<Body>, after: usize) -> Response<Body> {
    answer.map(|body| {
        let frames = unfold((body, after, false), async |(mut body, left, over)| {
            if over {
                return Some((Err(broken("the answer was torn")), (body, left, over)));
            }
            let mut frame = body.frame().await?;
            let length = frame.as_ref().ok().and_then(Frame::data_ref).map_or(0, Bytes::len);
            if length > left {
                frame = frame.map(|frame| frame.map_data(|data| data.slice(..left)));
            }
            Some((frame, (body, left.saturating_sub(length), length > left)))
        });
        StreamBody::new(frames).boxed_unsync()
    })
}
