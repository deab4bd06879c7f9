//! Accepts connections, asks the gatekeeper about each, and serves HTTP on it until it ends.
//!
//! Does not know what a request means: see `dispatch`.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use http::Request;
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use rustix::thread::CapabilitySet;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::dispatch::Dispatcher;
use crate::listen::{Listener, Stream};
use crate::visitors::{Visitor, Visitors};
use sandboxd_gatekeeper::{Gatekeeper, Peer, Question};

/// HTTP/2 streams of one connection. A terminal holds one stream for its whole life.
const MAX_STREAMS: u32 = 1024;

/// How long a connection that has shown a key may be idle or take to send its headers. Longer than any client keeps an
/// idle connection, as with E2B's proxies.
const IDLE: Duration = Duration::from_secs(640);

/// How often an idle HTTP/2 connection is asked whether its client is still there.
const KEEP_ALIVE: Duration = Duration::from_secs(30);

/// The pause after a failed accept. The usual cause is a lack of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

pub(super) async fn accept(
    listener: Listener,
    gatekeeper: Gatekeeper,
    dispatcher: Arc<Dispatcher>,
    connections: TaskTracker,
    stop: CancellationToken,
) {
    let visitors = Visitors::new();
    let own = matches!(listener, Listener::Unix(_));
    loop {
        let accepted = tokio::select! {
            biased;
            () = stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok(Some(mut stream)) => {
                let question = match &stream {
                    Stream::Left(tcp) => {
                        // The connection is already gone.
                        let (Ok(peer), Ok(here)) = (tcp.peer_addr(), tcp.local_addr()) else { continue };
                        Some(gatekeeper.ask(peer, here).await)
                    }
                    // The socket's permissions decide who may connect.
                    Stream::Right(_) => None,
                };
                let (gatekeeper, visitors, dispatcher, stop) =
                    (gatekeeper.clone(), visitors.clone(), dispatcher.clone(), stop.clone());
                connections.spawn(async move {
                    if let Some(question) = question
                        && !admits(&gatekeeper, question, &mut stream).await
                    {
                        return;
                    }
                    let visitor = visitors.enter(own);
                    serve(stream, visitor.clone(), dispatcher, stop).await;
                    visitor.leave();
                });
            }
            Ok(None) => {}
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Whether to serve a connection. If not, the client has been told why.
async fn admits(gatekeeper: &Gatekeeper, question: Question, stream: &mut Stream) -> bool {
    // Only TCP connections raise the question.
    let Stream::Left(tcp) = &*stream else { return true };
    match question.answer(tcp).await {
        Peer::Outside => true,
        // The request must still show a key or a token, which no sandbox has. If this server may look at every process,
        // it sees every legitimate client, so a hidden one is refused.
        Peer::Hidden if !may_look_at_all() => true,
        Peer::Hidden | Peer::Sandbox => {
            gatekeeper.refuse(stream).await;
            false
        }
    }
}

fn may_look_at_all() -> bool {
    rustix::thread::capabilities(None).is_ok_and(|sets| sets.effective.contains(CapabilitySet::SYS_PTRACE))
}

async fn serve(stream: Stream, visitor: Visitor, dispatcher: Arc<Dispatcher>, stop: CancellationToken) {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(IDLE);
    builder.http2().timer(TokioTimer::new()).max_concurrent_streams(MAX_STREAMS).keep_alive_interval(Some(KEEP_ALIVE));
    let service = hyper::service::service_fn({
        let visitor = visitor.clone();
        move |mut request: Request<Incoming>| {
            request.extensions_mut().insert(visitor.clone());
            let dispatcher = dispatcher.clone();
            async move { Ok::<_, Infallible>(dispatcher.answer(request).await) }
        }
    });
    let mut connection = std::pin::pin!(builder.serve_connection(TokioIo::new(stream), service));
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = visitor.overstayed() => return,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection broke off");
    }
}
