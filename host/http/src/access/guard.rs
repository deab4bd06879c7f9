//! Which pages may talk to the broker: exact `Host` and `Origin` on every route.
//!
//! Owns the answer to cross-site requests, cross-site WebSocket hijacking and DNS
//! rebinding, all before anything is allocated for the request. Finds out which
//! page a request comes from. Deliberately knows no credentials; `auth` checks
//! them afterwards.

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_METHOD, HOST, HeaderName, ORIGIN,
    VARY,
};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use tracing::warn;

use super::origin::{Origin, is_loopback_name};
use super::proxy;
use super::source::RequestSource;
use crate::answer::refuse_as;
use crate::app::Settings;
use crate::connection::exchange::Connection;
use crate::paths::{ASSETS, HEALTH, matched};
use crate::state::Shared;

/// Characters of a foreign `Host` or `Origin` that an answer repeats, at most.
const MAX_QUOTED: usize = 100;

/// Fields that the frontend's pages may send beyond those that every page may.
const READER_SENDS: &str = "authorization, content-type, if-none-match, range";

/// Fields that the frontend's pages may read beyond those that every page may.
const READER_READS: &str = "accept-ranges, content-disposition, content-range, etag, retry-after";

const SEC_FETCH_DEST: HeaderName = HeaderName::from_static("sec-fetch-dest");
const SEC_FETCH_MODE: HeaderName = HeaderName::from_static("sec-fetch-mode");
const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Why a request is refused as foreign.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
enum ForeignRequest {
    #[error(
        "a request needs exactly one `Host`; a proxy has to hand on the one that it was asked for, \
         in nginx with `proxy_set_header Host $http_host`"
    )]
    NoHost,
    #[error(
        "host {0} is not this broker's; to serve it under that name, set `server.public_url`, or add it to `server.public_urls`, in broker.toml; if people open another name, their proxy has to hand on its `Host`"
    )]
    Host(String),
    #[error(
        "origin {0} may not use this broker; to allow it, set `server.frontend_url` in broker.toml to it, or `server.public_url` or `server.public_urls` if it is the broker's own address"
    )]
    Origin(String),
    #[error(
        "a page of another site may not use this broker; to allow it, set `server.frontend_url` in broker.toml to its origin"
    )]
    Site,
}

impl ForeignRequest {
    fn code(&self) -> &'static str {
        match self {
            ForeignRequest::NoHost => "missing_host",
            ForeignRequest::Host(_) => "foreign_host",
            ForeignRequest::Origin(_) => "foreign_origin",
            ForeignRequest::Site => "foreign_site",
        }
    }
}

/// Refuses foreign requests with 403. For the frontend's pages it lets the browser
/// read the answer (CORS).
pub(crate) async fn guard(State(shared): State<Shared>, mut request: Request, next: Next) -> Response {
    let settings = shared.settings();
    let connection = request.extensions().get::<Connection>().expect("the accept loop adds it").clone();
    let ours = Ours { settings: &settings, connection: &connection };
    let source = match ours.check(&request) {
        Ok(source) => source,
        Err(foreign) => {
            warn!(peer = %connection.peer, path = request.uri().path(), reason = %foreign, "refused a request");
            let status =
                if foreign == ForeignRequest::NoHost { StatusCode::BAD_REQUEST } else { StatusCode::FORBIDDEN };
            return refuse_as(status, foreign.code(), foreign);
        }
    };
    let client = proxy::client(&settings, connection.peer.ip(), request.headers());
    request.extensions_mut().insert(source);
    request.extensions_mut().insert(client);
    let reader = frontend(&settings, request.headers());
    let mut response = if reader.is_some() && is_preflight(&request) {
        let allowed = [
            (ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("GET, HEAD, POST, PUT, DELETE")),
            (ACCESS_CONTROL_ALLOW_HEADERS, HeaderValue::from_static(READER_SENDS)),
            (ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("600")),
        ];
        (StatusCode::NO_CONTENT, allowed).into_response()
    } else {
        next.run(request).await
    };
    response.headers_mut().append(VARY, HeaderValue::from_static("origin"));
    if let Some(origin) = reader {
        response.headers_mut().insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        response.headers_mut().insert(ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static(READER_READS));
    }
    response
}

/// Returns the value of `Origin` if it is the frontend's.
fn frontend(settings: &Settings, headers: &HeaderMap) -> Option<HeaderValue> {
    let origin = headers.get(ORIGIN)?;
    settings.frontend_url.as_ref()?.is_origin(origin.to_str().ok()?).then(|| origin.clone())
}

/// Whether a browser asks what the frontend's page may do.
fn is_preflight(request: &Request) -> bool {
    request.method() == Method::OPTIONS && request.headers().contains_key(ACCESS_CONTROL_REQUEST_METHOD)
}

/// What is the broker's own on one connection.
struct Ours<'a> {
    settings: &'a Settings,
    connection: &'a Connection,
}

impl Ours<'_> {
    fn check(&self, request: &Request) -> Result<RequestSource, ForeignRequest> {
        let headers = request.headers();
        // A load balancer asks under any name, and learns nothing that matters.
        let host = match only(headers, &HOST) {
            _ if matched(request) == Some(HEALTH) => None,
            None => return Err(ForeignRequest::NoHost),
            host => host,
        };
        // The absolute form of a request's target outranks its `Host` (RFC 9112 section
        // 3.2.2), so both must be ours.
        let target = request.uri().authority().map(|authority| authority.as_str()).filter(|_| host.is_some());
        for host in host.into_iter().chain(target) {
            if !self.is_host(host) {
                return Err(ForeignRequest::Host(shortened(host)));
            }
        }
        if is_asset(request) {
            return Ok(RequestSource::Quiet);
        }
        if headers.contains_key(ORIGIN) {
            let origin = only(headers, &ORIGIN).unwrap_or("(several)");
            return if self.is_own(origin, host) {
                Ok(RequestSource::Own)
            } else if self.settings.frontend_url.as_ref().is_some_and(|frontend| frontend.is_origin(origin)) {
                Ok(RequestSource::Frontend)
            } else {
                Err(ForeignRequest::Origin(shortened(origin)))
            };
        }
        // Without `Origin` it is no browser, a browser's own GET, or a browser that a
        // foreign page led here. In the last case only a followed link is harmless.
        match headers.get(SEC_FETCH_SITE).map(HeaderValue::as_bytes) {
            None | Some(b"same-origin" | b"none") => Ok(RequestSource::Quiet),
            Some(_) if is_link(request) => Ok(RequestSource::Link),
            Some(_) => Err(ForeignRequest::Site),
        }
    }

    /// Whether a `Host` is ours. If the peer is on this machine, the names of
    /// loopback are ours on any port: it may be the port of a tunnel or of a
    /// container.
    fn is_host(&self, host: &str) -> bool {
        (self.connection.peer.ip().to_canonical().is_loopback() && is_loopback_name(host))
            || self.own().any(|ours| ours.is_host(host))
    }

    /// Whether this is the origin of our own pages. Behind a tunnel that is exactly
    /// the `Host` of the request, so the pages of another port are foreign.
    fn is_own(&self, origin: &str, host: Option<&str>) -> bool {
        let by_host = host.filter(|host| is_loopback_name(host) && self.is_host(host));
        let named = |host: &str| {
            origin
                .split_once("://")
                .is_some_and(|(scheme, rest)| matches!(scheme, "http" | "https") && rest.eq_ignore_ascii_case(host))
        };
        by_host.is_some_and(named) || self.own().any(|ours| ours.is_origin(origin) && self.is_at(&ours, host))
    }

    /// Whether pages of this origin belong to the host that was asked. Pages under
    /// another public name are foreign, because that name may serve more than the
    /// broker. A proxy may leave out the name of a public host.
    fn is_at(&self, ours: &Origin, host: Option<&str>) -> bool {
        let public = |host: &&str| self.settings.public_urls.iter().any(|url| url.is_host(host));
        host.filter(public).is_none_or(|host| ours.is_host(host))
    }

    /// The broker's own addresses on this connection.
    fn own(&self) -> impl Iterator<Item = Origin> {
        Origin::of_connection(self.connection.local).chain(self.settings.public_urls.iter().cloned())
    }
}

/// Whether a request is for one of the page's files, which are the same for
/// everybody, and its browser does not say that a page of another site wants it.
/// A browser sends the page's origin with some of them. They must be served even
/// if a proxy hides the page's address: without them the page cannot say what is
/// wrong.
fn is_asset(request: &Request) -> bool {
    let site = request.headers().get(SEC_FETCH_SITE).map(HeaderValue::as_bytes);
    matched(request) == Some(ASSETS)
        && matches!(*request.method(), Method::GET | Method::HEAD)
        && matches!(site, None | Some(b"same-origin"))
}

/// Whether a person followed a link, to be shown in a tab.
fn is_link(request: &Request) -> bool {
    let is = |name: HeaderName, value: &str| request.headers().get(name).is_some_and(|found| found == value);
    matches!(*request.method(), Method::GET | Method::HEAD)
        && is(SEC_FETCH_MODE, "navigate")
        && is(SEC_FETCH_DEST, "document")
}

/// Returns the value of a field that is there exactly once and is text.
fn only<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?.to_str().ok()?;
    values.next().is_none().then_some(value)
}

/// A foreign value, short enough to be repeated.
fn shortened(value: &str) -> String {
    value.chars().take(MAX_QUOTED).collect()
}
