//! The import `net`: requests and connections whose bytes need no plugin.
//!
//! Owns how a connection of the host becomes what a guest holds: streams that the host can take back, and a future for the
//! end. Deliberately judges no request: the [`Sender`] does.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::{SEC_WEBSOCKET_PROTOCOL, UPGRADE};
use http::{HeaderMap, HeaderValue};
use tokio::sync::{mpsc, oneshot};
use wasmtime::component::{Access, FutureProducer, FutureReader, HasData, Linker, StreamReader};
use wasmtime::{AsContextMut, Result, StoreContextMut};
use wasmtime_wasi_http::{Error, WasiBody};

use super::request::{head, refuse};
use super::rpc;
use crate::bindings::host::net::{self, Connection, Failure, Refusal, Request, Response, RpcCall, RpcInput};
use crate::bindings::host::types as wit;
use crate::endings;
use crate::net::body::{of_bytes, of_channel};
use crate::net::carry::{self, Broken, Carried, Framing, Messages};
use crate::net::exchange::{failure, written};
use crate::net::opening::NotOpened;
use crate::net::places::StoreRequests;
use crate::net::rpc::{Asking, Open, call as open, feed};
use crate::net::sender::Sender;
use crate::store::State;
use crate::streams::{self, Inward};

/// Bytes of the body of a request that asks for another protocol. The contract names it.
const BODY_BYTES: usize = 64 << 10;

/// The sub-protocol of Kubernetes that has a message for the end of input.
const ENDS_INPUT: &str = "v5.channel.k8s.io";

struct HasNet;

impl HasData for HasNet {
    type Data<'a> = &'a mut State;
}

/// Adds `net` to what a guest may import.
pub(crate) fn link(linker: &mut Linker<State>) -> Result<()> {
    net::add_to_linker::<State, HasNet>(linker, |state| state)
}

/// What a guest's call needs of its Store.
struct Caller {
    sender: Option<Arc<Sender>>,
    requests: Arc<StoreRequests>,
}

impl Caller {
    fn of(store: &mut Access<'_, State, HasNet>) -> Self {
        let (sender, requests) = store.get().sending();
        Caller { sender, requests }
    }

    /// A way of requests that outlives the Store: what they carry does not come from it.
    fn asking(self) -> std::result::Result<Asking, Error> {
        let sender = self.sender.ok_or(Error::HttpRequestDenied)?;
        Ok(Asking { sender, requests: self.requests.outliving_the_store() })
    }

    fn sender(&self) -> std::result::Result<&Sender, Error> {
        self.sender.as_deref().ok_or(Error::HttpRequestDenied)
    }
}

/// A future for a guest: work of the host, and how its result enters the Store.
struct Promise<T, R> {
    work: Pin<Box<dyn Future<Output = T> + Send>>,
    enter: fn(StoreContextMut<'_, State>, T) -> Result<R>,
}

impl<T: 'static, R: Send + 'static> FutureProducer<State> for Promise<T, R> {
    type Item = R;

    fn poll_produce(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        store: StoreContextMut<'_, State>,
        finish: bool,
    ) -> Poll<Result<Option<R>>> {
        match self.work.as_mut().poll(cx) {
            Poll::Ready(done) => Poll::Ready((self.enter)(store, done).map(Some)),
            Poll::Pending if finish => Poll::Ready(Ok(None)),
            Poll::Pending => Poll::Pending,
        }
    }
}

type Opening = std::result::Result<(HeaderMap, Carried), Failure>;
type Fetching = std::result::Result<(http::response::Parts, Carried), wit::Error>;
type Promised<R> = FutureReader<std::result::Result<R, Failure>>;

impl net::Host for &mut State {}

impl net::HostWithStore<State> for HasNet {
    fn fetch(
        mut store: Access<'_, State, Self>,
        request: Request,
        body: Option<StreamReader<u8>>,
    ) -> Result<FutureReader<std::result::Result<Response, wit::Error>>> {
        let mut caller = Caller::of(&mut store);
        let body = match body.map(|body| streams::take_out(&mut store, body)) {
            None => None,
            Some(Ok(body)) => {
                caller.requests = caller.requests.outliving_the_store();
                Some(body)
            }
            Some(Err(body)) => {
                let through = store.get().lent().through.clone();
                Some(streams::read_through(&mut store, body, &through)?)
            }
        };
        let work = Box::pin(async move {
            rest().await;
            let (head, place) = head(request)?;
            let failed = |error: Error| failure(&error, &place);
            let mut outgoing = http::Request::new(whole(body));
            let at = outgoing.uri_mut();
            *at = head.uri;
            *outgoing.method_mut() = head.method;
            *outgoing.headers_mut() = head.headers;
            let sent = caller.sender().map_err(failed)?.send(outgoing, None, caller.requests.clone());
            let (head, body) = sent.await.map_err(failed)?.into_parts();
            Ok((head, carry::body(body)))
        });
        let enter = |mut store: StoreContextMut<'_, State>, fetched: Fetching| {
            let (head, carried) = match fetched {
                Ok(fetched) => fetched,
                Err(error) => return Ok(Err(error)),
            };
            let body = StreamReader::new(&mut store, Inward::new(carried.first))?;
            let ended = endings::lend(&mut store, carried.ended)?;
            Ok(Ok(Response { status: head.status.as_u16(), headers: written(&head.headers), body, ended }))
        };
        FutureReader::new(&mut store, Promise { work, enter })
    }

    fn upgrade(
        mut store: Access<'_, State, Self>,
        request: Request,
        body: Vec<u8>,
        framing: net::Framing,
        outgoing: StreamReader<u8>,
    ) -> Result<Promised<Connection>> {
        let outgoing = taken(&mut store, outgoing)?;
        let caller = Caller::of(&mut store);
        promise(store, async move {
            let framing = match framing {
                net::Framing::Raw => Framing::Raw,
                net::Framing::Docker => Framing::Docker,
                net::Framing::Kubernetes => return Err(refuse("the framing `kubernetes` is for `websocket`")),
            };
            if body.len() > BODY_BYTES {
                return Err(refuse("the body of an upgrade has at most 64 KiB"));
            }
            let asked = request.headers.iter().find(|(name, _)| name.eq_ignore_ascii_case("upgrade"));
            let protocol = asked.and_then(|(_, name)| HeaderValue::try_from(name).ok());
            let Some(protocol) = protocol else { return Err(refuse("an upgrade needs the header `upgrade`")) };
            let (mut head, place) = head(request).map_err(Failure::Failed)?;
            head.headers.insert(UPGRADE, protocol);
            let sender = caller.sender().map_err(|error| Failure::Failed(failure(&error, &place)))?;
            let opened = sender.upgrade(head, body.into(), &caller.requests).await;
            let opened = opened.map_err(|why| not_opened(why, &place))?;
            Ok((opened.headers.clone(), carry::bytes(opened, framing, outgoing)))
        })
    }

    fn websocket(
        mut store: Access<'_, State, Self>,
        request: Request,
        protocols: Vec<String>,
        framing: net::Framing,
        outgoing: StreamReader<u8>,
    ) -> Result<Promised<Connection>> {
        let outgoing = taken(&mut store, outgoing)?;
        let caller = Caller::of(&mut store);
        promise(store, async move {
            let (mut head, place) = head(request).map_err(Failure::Failed)?;
            if !protocols.is_empty() {
                let asked = HeaderValue::try_from(protocols.join(", "));
                let asked = asked.map_err(|_| refuse("a sub-protocol has a bad name"))?;
                head.headers.insert(SEC_WEBSOCKET_PROTOCOL, asked);
            }
            let sender = caller.sender().map_err(|error| Failure::Failed(failure(&error, &place)))?;
            let opened = sender.websocket(head, &caller.requests).await;
            let opened = opened.map_err(|why| not_opened(why, &place))?;
            let chosen = opened.headers.get(SEC_WEBSOCKET_PROTOCOL).and_then(|value| value.to_str().ok());
            if chosen.is_some_and(|chosen| !protocols.iter().any(|asked| asked == chosen)) {
                return Err(not_opened(NotOpened::Failed(Error::HttpUpgradeFailed), &place));
            }
            let messages = match framing {
                net::Framing::Raw => Messages::Raw,
                net::Framing::Kubernetes => Messages::Kubernetes { ends_input: chosen == Some(ENDS_INPUT) },
                net::Framing::Docker => return Err(refuse("the framing `docker` is for `upgrade`")),
            };
            Ok((opened.headers.clone(), carry::messages(opened, messages, outgoing).await))
        })
    }

    fn rpc(
        mut store: Access<'_, State, Self>,
        request: RpcCall,
    ) -> Result<FutureReader<std::result::Result<(String, Connection), Failure>>> {
        let caller = Caller::of(&mut store);
        let work = Box::pin(async move {
            rest().await;
            let (call, place) = rpc::call(request).map_err(Failure::Failed)?;
            let asking = caller.asking().map_err(|error| Failure::Failed(failure(&error, &place)))?;
            open(&asking, call).await.map_err(|why| not_opened(why, &place))
        });
        let enter = |store: StoreContextMut<'_, State>, called: std::result::Result<Open, Failure>| {
            let Open { headers, message, carried } = match called {
                Ok(open) => open,
                Err(why) => return Ok(Err(why)),
            };
            Ok(Ok((message, connection(store, (headers, carried))?)))
        };
        FutureReader::new(&mut store, Promise { work, enter })
    }

    fn feed(
        mut store: Access<'_, State, Self>,
        input: RpcInput,
        outgoing: StreamReader<u8>,
        ended: FutureReader<endings::Ended>,
    ) -> Result<FutureReader<endings::Ended>> {
        let outgoing = taken(&mut store, outgoing)?;
        let through = store.get().lent().through.clone();
        let (ended, cut) = endings::take(&mut store, ended, &through)?;
        let caller = Caller::of(&mut store);
        let planned = rpc::plan(input).and_then(|(plan, place)| {
            let asking = caller.asking().map_err(|error| failure(&error, &place))?;
            Ok((plan, asking))
        });
        let ending = match planned {
            Ok((plan, asking)) => feed(asking, plan, outgoing, ended, cut.clone()),
            Err(error) => {
                cut.cancel();
                let (to, ending) = oneshot::channel();
                let _ = to.send(Err(Broken::Told(error)));
                ending
            }
        };
        endings::lend(store, carry::Ended { ending, cut })
    }

    fn connect(
        mut store: Access<'_, State, Self>,
        url: String,
        outgoing: StreamReader<u8>,
    ) -> Result<FutureReader<std::result::Result<Connection, wit::Error>>> {
        let outgoing = taken(&mut store, outgoing)?;
        let caller = Caller::of(&mut store);
        let work = Box::pin(async move {
            rest().await;
            let place = url.split_once("://").map_or(url.as_str(), |(_, place)| place).to_owned();
            let failed = |error: Error| failure(&error, &place);
            let sender = caller.sender().map_err(failed)?;
            let opened = sender.connect(&url, &caller.requests).await.map_err(failed)?;
            Ok((HeaderMap::new(), carry::bytes(opened, Framing::Raw, outgoing)))
        });
        let enter = |store: StoreContextMut<'_, State>,
                     opened: std::result::Result<(HeaderMap, Carried), wit::Error>| {
            opened.map(|opened| connection(store, opened)).map_or_else(|error| Ok(Err(error)), |made| made.map(Ok))
        };
        FutureReader::new(&mut store, Promise { work, enter })
    }
}

/// The first poll of a promise runs on the guest's stack, which never shrinks while the instance lives. Sending needs a deep
/// stack, so it starts with the next poll, on the thread's own.
async fn rest() {
    tokio::task::yield_now().await;
}

/// The guest's outgoing bytes, out of the Store where the host made them.
fn taken(store: &mut Access<'_, State, HasNet>, outgoing: StreamReader<u8>) -> Result<mpsc::Receiver<Bytes>> {
    let through = store.get().lent().through.clone();
    streams::take(store, outgoing, &through)
}

/// Promises a connection.
fn promise(
    mut store: Access<'_, State, HasNet>,
    opening: impl Future<Output = Opening> + Send + 'static,
) -> Result<Promised<Connection>> {
    let work = Box::pin(async move {
        rest().await;
        opening.await
    });
    let enter = |store: StoreContextMut<'_, State>, opened: Opening| {
        opened.map(|opened| connection(store, opened)).map_or_else(|why| Ok(Err(why)), |made| made.map(Ok))
    };
    FutureReader::new(&mut store, Promise { work, enter })
}

/// A connection as the guest sees it.
fn connection(mut store: impl AsContextMut<Data = State>, opened: (HeaderMap, Carried)) -> Result<Connection> {
    let (headers, Carried { first, second, ended }) = opened;
    Ok(Connection {
        headers: written(&headers),
        first: StreamReader::new(&mut store, Inward::new(first))?,
        second: StreamReader::new(&mut store, Inward::new(second))?,
        ended: endings::lend(&mut store, ended)?,
    })
}

/// A body of what the host took from a guest.
fn whole(body: Option<mpsc::Receiver<Bytes>>) -> WasiBody {
    body.map_or_else(|| of_bytes(Bytes::new()), of_channel)
}

fn not_opened(why: NotOpened, place: &str) -> Failure {
    match why {
        NotOpened::Refused(refusal) => Failure::Refused(Refusal {
            status: refusal.status.as_u16(),
            headers: written(&refusal.headers),
            body: refusal.body,
        }),
        NotOpened::Failed(error) => Failure::Failed(failure(&error, place)),
    }
}
