//! From an HTTP request to a WebSocket, with every buffer's size set on
//! purpose.
//!
//! Owns the handshake's bounds. Deliberately knows nothing of what is said on
//! the socket; a conformance test mounts an echo on the same code.

use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use http::header::{CONNECTION, HeaderName, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL, UPGRADE};
use http::{HeaderValue, Version};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio_tungstenite::tungstenite;
use tokio_tungstenite::tungstenite::handshake::server::create_response_with_body;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};
use url::form_urlencoded;

use super::ending::Level;
use super::frames::MAX_MESSAGE;
use super::level1::SUBPROTOCOL;
use super::outbound::MAX_JOINED;
use super::writer::Socket;

/// Bytes read from a socket at a time. Each idle terminal keeps such a buffer;
/// a larger message gets a larger one while it lasts.
const READ_BUFFER: usize = 4 * 1024;

/// Bytes that may wait to be written, at most. One frame of ours waits at a
/// time, beside a ping or pong, and the largest is [`MAX_JOINED`] bytes of
/// which each became a six byte JSON escape. A longer message goes out in
/// several frames; see [`Writer::part`](super::writer::Writer::part).
const WRITE_BUFFER: usize = 256 * 1024;
const _: () = assert!(WRITE_BUFFER > 6 * MAX_JOINED + 1024);

/// Malformed messages within a minute that are answered. A program with a fault
/// is told often enough; and as many answers may wait to be sent, so a client
/// that reads gets them all.
pub(super) const BAD_FRAMES: u32 = 32;

/// Bounds of one terminal's socket.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes of one message from the client; more ends it with 1009.
    pub message: usize,
    /// Bytes that may wait to be written.
    pub write_buffer: usize,
    /// How often the client is pinged.
    pub ping_every: Duration,
    /// A client that sends nothing for this long, not even the answer to a
    /// ping, is dead. Longer than two pings, so that one may be lost; short
    /// enough that it is noticed within 30 s.
    pub dead_after: Duration,
    /// How long the closing handshake may take.
    pub close_within: Duration,
    /// Malformed messages within a minute that are answered; one more ends the
    /// connection with 1008.
    pub bad_frames: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            message: MAX_MESSAGE,
            write_buffer: WRITE_BUFFER,
            ping_every: Duration::from_secs(10),
            dead_after: Duration::from_secs(25),
            close_within: Duration::from_secs(3),
            bad_frames: BAD_FRAMES,
        }
    }
}

/// A request that asks for a WebSocket.
#[derive(Debug)]
pub struct Upgrade {
    /// The connection, once the answer is written.
    upgrading: OnUpgrade,
    answer: Response,
    level: Level,
    query: String,
}

/// A request that does not ask for a WebSocket properly.
#[derive(Debug, thiserror::Error)]
pub enum NotAnUpgrade {
    /// The client did ask, and something on the way changed the request.
    #[error(
        "a proxy on the way took away what makes a request a WebSocket; it has to hand on `Upgrade` and `Connection`, \
         and to speak HTTP/1.1 to the broker"
    )]
    TakenAway,
    /// The client did not ask.
    #[error("this address speaks WebSocket only: {0}")]
    NotAsked(#[from] tungstenite::Error),
}

impl NotAnUpgrade {
    /// The word by which programs know the cause.
    pub fn code(&self) -> &'static str {
        match self {
            NotAnUpgrade::TakenAway => "upgrade_taken_away",
            NotAnUpgrade::NotAsked(_) => "not_a_websocket",
        }
    }
}

/// Whether a client asked for a WebSocket with what a proxy does not hand on by
/// itself missing: those fields are for one hop (RFC 9110 section 7.6.1).
fn is_taken_away(request: &Request) -> bool {
    let has = |field: HeaderName, word: &str| {
        let values = request.headers().get_all(field).into_iter().filter_map(|value| value.to_str().ok());
        values.flat_map(|value| value.split(',')).any(|found| found.trim().eq_ignore_ascii_case(word))
    };
    let whole = request.version() >= Version::HTTP_11 && has(UPGRADE, "websocket") && has(CONNECTION, "upgrade");
    request.headers().contains_key(SEC_WEBSOCKET_KEY) && !whole
}

impl Upgrade {
    /// Reads the handshake of RFC 6455 section 4.2.1. A client that offers
    /// level 1 gets it; so does one that asks for it in the query, because some
    /// proxies drop the field in which it is offered.
    pub fn from_request(mut request: Request) -> Result<Self, NotAnUpgrade> {
        let query = request.uri().query().unwrap_or_default().to_owned();
        if is_taken_away(&request) {
            return Err(NotAnUpgrade::TakenAway);
        }
        let mut answer = create_response_with_body(&request, Body::empty)?;
        let offers = request.headers().get_all(SEC_WEBSOCKET_PROTOCOL);
        let mut offers = offers.iter().filter_map(|offers| offers.to_str().ok()).flat_map(|offers| offers.split(','));
        let offered = offers.any(|offer| offer.trim() == SUBPROTOCOL);
        let asked = form_urlencoded::parse(query.as_bytes())
            .any(|(member, value)| member == "protocol" && value == SUBPROTOCOL);
        let level = if offered || asked { Level::One } else { Level::Zero };
        if offered {
            answer.headers_mut().insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(SUBPROTOCOL));
        }
        Ok(Upgrade { upgrading: hyper::upgrade::on(&mut request), answer, level, query })
    }

    /// What the client speaks: level 0, unless it offers level 1.
    pub(super) fn level(&self) -> Level {
        self.level
    }

    /// The query of its URL.
    pub(super) fn query(&self) -> &str {
        &self.query
    }

    /// Answers 101 and runs `serve` on the socket, as a task of its own. No
    /// extension is negotiated: compression beside secrets tells them
    /// (CRIME), and terminals gain little.
    pub(super) fn accept<F>(self, limits: &Limits, serve: impl FnOnce(Socket) -> F + Send + 'static) -> Response
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let config = WebSocketConfig::default()
            .max_message_size(Some(limits.message))
            .max_frame_size(Some(limits.message))
            .read_buffer_size(READ_BUFFER)
            // Each frame is written at once: somebody waits for it.
            .write_buffer_size(0)
            .max_write_buffer_size(limits.write_buffer);
        let upgrading = self.upgrading;
        tokio::spawn(async move {
            match upgrading.await {
                Ok(connection) => {
                    let connection = TokioIo::new(connection);
                    serve(Socket::from_raw_socket(connection, Role::Server, Some(config)).await).await;
                }
                Err(error) => tracing::debug!(%error, "a handshake was not completed"),
            }
        });
        self.answer
    }
}
