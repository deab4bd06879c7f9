//! The imports `wasi:http` and `wasi:clocks`: requests of a plugin, and the timers that they need.
//!
//! Owns what one Store keeps for its requests: the bounds on headers and uploads, and the mark that its Store is gone.
//! Deliberately judges no request: the [`Sender`] does, and a Store without one sends nothing.

use std::future::Future;
use std::sync::Arc;

use wasmtime::component::{Linker, ResourceTable};
use wasmtime_wasi::clocks::{WasiClocks, WasiClocksCtx, WasiClocksCtxView};
use wasmtime_wasi::p3::bindings::clocks;
use wasmtime_wasi_http::p3::bindings::http;
use wasmtime_wasi_http::{Error, RequestOptions, WasiBody, WasiHttp, WasiHttpCtx, WasiHttpCtxView, WasiHttpHooks};

use crate::net::places::StoreRequests;
use crate::net::sender::Sender;

/// Bytes of one set of headers, as kept in memory.
const HEADER_BYTES: usize = 64 << 10;

/// Chunk in which a guest's request body is taken, bytes.
const UPLOAD_CHUNK: usize = 64 << 10;

/// What one Store keeps for its requests.
pub(crate) struct Http {
    ctx: WasiHttpCtx,
    clocks: WasiClocksCtx,
    hooks: RequestHooks,
}

impl Http {
    /// These requests go through `sender`; without one, every request is denied.
    pub(crate) fn new(sender: Option<Arc<Sender>>, requests: StoreRequests) -> Self {
        let mut ctx = WasiHttpCtx::new();
        ctx.set_field_size_limit(HEADER_BYTES);
        let hooks = RequestHooks { sender, requests: Arc::new(requests) };
        Http { ctx, clocks: WasiClocksCtx::default(), hooks }
    }

    /// The Store's requests, which are to [end](StoreRequests::end) before it is dropped.
    pub(crate) fn requests(&self) -> Arc<StoreRequests> {
        Arc::clone(&self.hooks.requests)
    }

    /// What the Store's requests go through.
    pub(crate) fn sender(&self) -> Option<Arc<Sender>> {
        self.hooks.sender.clone()
    }
}

/// What this capability sees of a Store.
pub(crate) struct HttpView<'a> {
    /// The Store's requests.
    pub(crate) http: &'a mut Http,
    /// Where the Store keeps its resources.
    pub(crate) table: &'a mut ResourceTable,
}

/// A Store whose guest may send requests.
pub(crate) trait LendsHttp: Send + 'static {
    fn http(&mut self) -> HttpView<'_>;
}

/// Adds `wasi:http` and `wasi:clocks` to what a guest may import.
pub(crate) fn link<T: LendsHttp>(linker: &mut Linker<T>) -> wasmtime::Result<()> {
    http::client::add_to_linker::<T, WasiHttp>(linker, http_of)?;
    http::types::add_to_linker::<T, WasiHttp>(linker, http_of)?;
    clocks::types::add_to_linker::<T, WasiClocks>(linker, clocks_of)?;
    clocks::monotonic_clock::add_to_linker::<T, WasiClocks>(linker, clocks_of)?;
    clocks::system_clock::add_to_linker::<T, WasiClocks>(linker, clocks_of)
}

fn http_of<T: LendsHttp>(store: &mut T) -> WasiHttpCtxView<'_> {
    let HttpView { http, table } = store.http();
    WasiHttpCtxView { ctx: &mut http.ctx, table, hooks: &mut http.hooks }
}

fn clocks_of<T: LendsHttp>(store: &mut T) -> WasiClocksCtxView<'_> {
    let HttpView { http, table } = store.http();
    WasiClocksCtxView { ctx: &mut http.clocks, table }
}

/// What drives a connection, in the words of `wasi:http`.
type Io = Box<dyn Future<Output = Result<(), Error>> + Send>;

/// What one Store's requests go through.
struct RequestHooks {
    sender: Option<Arc<Sender>>,
    requests: Arc<StoreRequests>,
}

impl WasiHttpHooks for RequestHooks {
    fn set_host_header(&mut self) -> bool {
        false // the client sets Host or :authority from the URL
    }

    fn p3_outgoing_body_chunk_size(&mut self) -> usize {
        UPLOAD_CHUNK
    }

    fn send_request(
        &mut self,
        request: ::http::Request<WasiBody>,
        options: Option<RequestOptions>,
        _: Io,
    ) -> Box<dyn Future<Output = Result<(::http::Response<WasiBody>, Io), Error>> + Send> {
        let (sender, requests) = (self.sender.clone(), self.requests.clone());
        Box::new(async move {
            // The first poll runs on the guest's stack, which never shrinks while the instance lives. Sending needs a
            // deep stack, so it starts with the next poll, on the thread's own.
            tokio::task::yield_now().await;
            let sender = sender.ok_or(Error::HttpRequestDenied)?;
            let answer = sender.send(request, options, requests).await?;
            // The client's pool drives the connection itself.
            Ok((answer, Box::new(async { Ok(()) }) as Io))
        })
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;

    use super::*;

    /// A Store that lends nothing else.
    struct Alone {
        http: Http,
        table: ResourceTable,
    }

    impl LendsHttp for Alone {
        fn http(&mut self) -> HttpView<'_> {
            HttpView { http: &mut self.http, table: &mut self.table }
        }
    }

    #[tokio::test]
    async fn it_links_without_the_other_capabilities_and_sends_nothing_without_a_sender() {
        link(&mut Linker::<Alone>::new(&wasmtime::Engine::default())).unwrap();
        let mut store = Alone { http: Http::new(None, StoreRequests::default()), table: ResourceTable::new() };
        let body = http_body_util::Empty::new().map_err(|never| match never {}).boxed_unsync();
        let request = ::http::Request::get("http://127.0.0.1").body(body).unwrap();
        let sent = http_of(&mut store).hooks.send_request(request, None, Box::new(async { Ok(()) }));
        assert!(matches!(Box::into_pin(sent).await, Err(Error::HttpRequestDenied)));
    }
}
