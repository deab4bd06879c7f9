//! One connection: its requests, one after the other, until it ends.
//!
//! Owns what ends a connection. Deliberately knows no route and no listener.

use std::convert::Infallible;
use std::sync::atomic::Ordering;

use axum::Router;
use http::header::CONNECTION;
use http::{HeaderValue, StatusCode};
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;
use tracing::{debug, info, warn};

use super::bodies::{AsFarAsRead, During};
use super::exchange::Connection;
use super::limits::{Limits, MAX_FIELDS, MAX_HEAD, head_too_large};
use super::turns::{ForeignProtocol, Late, Turns};
use super::watched::Watched;

/// Serves one connection until it ends, is taken over by an upgrade, is late or
/// `stop` is cancelled.
pub async fn serve_connection<Io>(
    io: Io,
    connection: Connection,
    router: Router,
    limits: Limits,
    stop: CancellationToken,
) where
    Io: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let peer = connection.peer;
    let transfers = connection.transfers.clone();
    let turns = Turns::new();
    let mut gave_way = Box::pin(Connection::gave_way(connection.stay.clone()));
    let asked = turns.clone();
    let service = service_fn(move |mut request: Request<Incoming>| {
        let (connection, answering) = (connection.clone(), asked.answer());
        connection.waits(false);
        request.extensions_mut().insert(connection.clone());
        let (request, whole) = AsFarAsRead::of(request);
        let answer = router.clone().oneshot(request);
        async move {
            let mut answer = answer.await?;
            // The rest of a body stands where the next request would. hyper closes such
            // a connection, and a peer that is not told so would send on it.
            if !whole.load(Ordering::Relaxed) {
                answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            }
            // A terminal no longer waits for requests.
            let waits = (answer.status() != StatusCode::SWITCHING_PROTOCOLS).then(|| Waits(connection));
            Ok::<_, Infallible>(answer.map(|body| During { body, _lasts: (answering, waits) }))
        }
    });
    let http = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.idle)
        .max_headers(MAX_FIELDS)
        .max_header_size(MAX_HEAD)
        .max_buf_size(MAX_HEAD)
        .serve_connection(TokioIo::new(Watched::new(io, turns.clone())), service)
        .with_upgrades();
    // On the heap, because the task of a terminal outlives it and must be small.
    let mut http = Box::pin(http);
    let stalled = || info!(%peer, "cut a connection whose peer did not take its answer");
    let ended = tokio::select! {
        ended = &mut http => Some(ended),
        () = transfers.cut.cancelled() => return stalled(),
        () = &mut gave_way => return debug!(%peer, "a connection gave way to others"),
        late = turns.late(&limits, transfers.running.subscribe()) => return match late {
            Late::Answer => stalled(),
            Late::Head => debug!(%peer, "cut a connection whose request did not come"),
        },
        () = stop.cancelled() => None,
    };
    let ended = match ended {
        Some(ended) => ended,
        None => {
            http.as_mut().graceful_shutdown();
            tokio::select! {
                ended = http => ended,
                () = transfers.cut.cancelled() => return stalled(),
                () = gave_way => return debug!(%peer, "a connection gave way to others"),
                () = sleep(limits.stop) => return stalled(),
            }
        }
    };
    match (ended, turns.foreign()) {
        (Ok(()), _) => {}
        (Err(_), Some(ForeignProtocol::Tls)) => info!(
            %peer,
            "a peer speaks TLS, and this port speaks HTTP: people open http://, and a proxy that takes TLS from them \
             speaks HTTP to the broker"
        ),
        (Err(_), Some(ForeignProtocol::Http2)) => {
            info!(%peer, "a peer speaks HTTP/2, and this port speaks HTTP/1.1: let the proxy speak that to the broker")
        }
        (Err(error), None) if error.is_parse_too_large() => {
            warn!(%peer, "refused a request with 431: {}", head_too_large())
        }
        (Err(error), None) => debug!(%peer, %error, "a connection ended early"),
    }
}

/// Marks a connection as waiting for its next request when dropped.
struct Waits(Connection);

impl Drop for Waits {
    fn drop(&mut self) {
        self.0.waits(true);
    }
}
