//! From an HTTP request to a WebSocket.
//!
//! Owns the handshake and sets the size of every buffer. Deliberately knows no
//! message; a conformance test mounts an echo on the same code.

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
use super::limits::{Limits, READ_BUFFER};
use super::writer::Socket;
use crate::frames::level1::SUBPROTOCOL;

/// A request that asks for a WebSocket.
#[derive(Debug)]
pub struct Upgrade {
    /// Becomes the connection once the answer is written.
    upgrading: OnUpgrade,
    answer: Response,
    level: Level,
    query: String,
}

/// Why a request does not become a WebSocket.
#[derive(Debug, thiserror::Error)]
pub enum NotAnUpgrade {
    /// The client asked, and something on the way changed the request.
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
    /// The cause as a word for programs.
    pub fn code(&self) -> &'static str {
        match self {
            NotAnUpgrade::TakenAway => "upgrade_taken_away",
            NotAnUpgrade::NotAsked(_) => "not_a_websocket",
        }
    }
}

/// Whether a client asked for a WebSocket and its request lost the fields that
/// a proxy drops by default, because they are for one hop (RFC 9110 section
/// 7.6.1).
fn is_taken_away(request: &Request) -> bool {
    let has = |field: HeaderName, word: &str| {
        let values = request.headers().get_all(field).into_iter().filter_map(|value| value.to_str().ok());
        values.flat_map(|value| value.split(',')).any(|found| found.trim().eq_ignore_ascii_case(word))
    };
    let whole = request.version() >= Version::HTTP_11 && has(UPGRADE, "websocket") && has(CONNECTION, "upgrade");
    request.headers().contains_key(SEC_WEBSOCKET_KEY) && !whole
}

impl Upgrade {
    /// Reads the handshake of RFC 6455 section 4.2.1. A client gets level 1 if it
    /// offers the subprotocol, or if it asks for it in the query: some proxies
    /// drop the field of the offer.
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

    /// The level that the client speaks.
    pub(crate) fn level(&self) -> Level {
        self.level
    }

    /// The query of the request's URL.
    pub(crate) fn query(&self) -> &str {
        &self.query
    }

    /// Answers 101 and runs `serve` on the socket in a task of its own. No
    /// extension is negotiated: compression reveals secrets that it compresses
    /// together with chosen text (CRIME), and terminals gain little by it.
    pub(crate) fn accept<F>(self, limits: &Limits, serve: impl FnOnce(Socket) -> F + Send + 'static) -> Response
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let config = WebSocketConfig::default()
            .max_message_size(Some(limits.message))
            .max_frame_size(Some(limits.message))
            .read_buffer_size(READ_BUFFER)
            // Write each frame at once: somebody waits for it.
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
