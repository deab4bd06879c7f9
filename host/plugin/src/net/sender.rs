//! The host's own sender of a plugin's requests.
//!
//! Owns what may leave. Everything is denied by default: scheme, host, port and path must match a grant. Redirects are not
//! followed. Secrets are added last, each where its binding says. There is one [`Sender`] for each provider section and generation, so connections
//! are never shared across a change of grants. Deliberately knows no provider's protocol.

use std::future::pending;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::header::CONTENT_ENCODING;
use http::uri::{Authority, Uri};
use http_body::Body as _;
use http_body_util::{BodyExt as _, Full};
use hyper_rustls::HttpsConnectorBuilder;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::capture_connection;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use wasmtime_wasi_http::{Error, RequestOptions, WasiBody};

use super::address::plain_host;
use super::body::{RequestBody, ResponseBody, within};
use super::connector::{BoundedConnector, Connector};
use super::errors::error_code;
use super::places::{Place, SectionPlaces, StoreRequests};
use super::trust;
use crate::permissions::Permissions;
use sandbox_broker_config::{Carry, EgressGrant, Scheme, Tls};
use sandbox_broker_core::certificate::distrust;
use sandbox_broker_core::secret::Secret;
use sandbox_broker_secrets::{Carried, Payload, Search};
use sandbox_stdx::words::clean;

/// Idle connections kept per origin: a burst of calls reuses them.
const IDLE_CONNECTIONS: usize = 32;
/// How long an idle connection is kept; servers commonly close after 60 s.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);
/// Largest head of an answer, bytes.
const HEAD_BYTES: usize = 64 << 10;

/// Bytes of a body that is read before it is sent, because its hash is signed. What makes a credential has about 2 KiB.
const HASHED_BYTES: u64 = 64 << 10;

/// Bytes of a URL that a line of the log shows.
const URL_BYTES: usize = 256;

/// Methods that no plugin may use: the answer to the first two is the request, and the third asks for a tunnel.
pub(super) const REFUSED_METHODS: [&str; 3] = ["TRACE", "TRACK", "CONNECT"];

/// Sends requests of one provider section.
pub(crate) struct Sender {
    client: Client<BoundedConnector, WasiBody>,
    /// Dials for connections of their own, which speak HTTP/1.1 at most.
    pub(super) dialer: BoundedConnector,
    /// Dials without TLS.
    pub(super) connector: Connector,
    pub(super) allow: Arc<[EgressGrant]>,
    pub(super) places: SectionPlaces,
    pub(super) permissions: Arc<Permissions>,
}

impl std::fmt::Debug for Sender {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sender").field("allow", &self.allow).finish_non_exhaustive()
    }
}

impl Sender {
    /// A sender for these grants that trusts whom `tls` names, or else whom the system trusts.
    ///
    /// # Errors
    /// When a grant needs TLS and the system's root certificates cannot be
    /// read.
    pub(crate) fn new(
        allow: Vec<EgressGrant>,
        allow_private: bool,
        socket: Option<PathBuf>,
        tls: &Tls,
        permissions: Arc<Permissions>,
    ) -> std::io::Result<Self> {
        let tls = trust::client(tls, allow.iter().any(|grant| grant.scheme.is_encrypted()))?;
        Ok(Self::with_tls(allow, allow_private, socket, permissions, tls))
    }

    /// A sender that trusts the certificates that `tls` trusts.
    pub(crate) fn with_tls(
        allow: Vec<EgressGrant>,
        allow_private: bool,
        socket: Option<PathBuf>,
        permissions: Arc<Permissions>,
        tls: rustls::ClientConfig,
    ) -> Self {
        let allow: Arc<[EgressGrant]> = allow.into();
        let places = SectionPlaces::new();
        let connector = Connector::new(allow.clone(), allow_private, socket, places.clone());
        let builder = |tls| HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http();
        let dialer = BoundedConnector(builder(tls.clone()).enable_http1().wrap_connector(connector.clone()));
        let pooled = BoundedConnector(builder(tls).enable_all_versions().wrap_connector(connector.clone()));
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_TIMEOUT)
            .pool_max_idle_per_host(IDLE_CONNECTIONS)
            .http1_max_buf_size(HEAD_BYTES)
            .build(pooled);
        Sender { client, dialer, connector, allow, places, permissions }
    }

    /// As [`Sender::ask`], with an answer for a guest.
    pub(crate) async fn send(
        &self,
        request: http::Request<WasiBody>,
        options: Option<RequestOptions>,
        store: Arc<StoreRequests>,
    ) -> Result<http::Response<WasiBody>, Error> {
        let silence = options.as_ref().and_then(|options| options.between_bytes_timeout);
        let Answered { head, body, search, place } = self.ask(request, options, store).await?;
        let permissions = self.permissions.clone();
        let body = ResponseBody::new(body, silence, search, place, move || reflected(&permissions));
        Ok(http::Response::from_parts(head, body.boxed_unsync()))
    }

    /// Sends a request that a grant allows, with the secrets that are bound to its destination. Once the Store is gone, the
    /// request's body fails instead of ending.
    ///
    /// # Errors
    /// As a guest of `wasi:http` would see them.
    pub(super) async fn ask(
        &self,
        request: http::Request<WasiBody>,
        options: Option<RequestOptions>,
        store: Arc<StoreRequests>,
    ) -> Result<Answered, Error> {
        let started = Instant::now();
        let (mut head, body) = request.into_parts();
        let target = self.check(&head.uri)?;
        if REFUSED_METHODS.iter().any(|refused| head.method.as_str().eq_ignore_ascii_case(refused)) {
            return Err(Error::HttpRequestMethodInvalid);
        }
        let place = store.open(&self.places).await.map_err(|_| Error::ConnectionLimitReached)?;
        store.trace(&mut head.headers);
        let carried = self.permissions.secrets.carried(|to| target.is_granted(to));
        let (body, hash) = if carried.iter().any(|one| matches!(one.carry, Carry::Sigv4(_))) {
            hashed(body, &store).await?
        } else {
            (body, None)
        };
        let written =
            head.headers.get(http::header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
        let payload = Payload { length: body.size_hint().exact().or(written), hash };
        let search = self.add_secrets(&carried, &mut head, &payload)?;
        let (method, path) = (head.method.clone(), head.uri.path().to_owned());
        let body = RequestBody { size: body.size_hint(), body, store, _place: place.clone() };
        let mut request = http::Request::from_parts(head, body.boxed_unsync());
        let (connect, first_byte) = options.map_or((None, None), |o| (o.connect_timeout, o.first_byte_timeout));
        let mut connection = capture_connection(&mut request);
        let late = async {
            let Some(limit) = connect else { return pending().await };
            if tokio::time::timeout(limit, connection.wait_for_connection_metadata()).await.is_ok() {
                pending().await
            }
        };
        let answer = within(first_byte, Error::HttpResponseTimeout, self.client.request(request));
        let answer = tokio::select! {
            answer = answer => answer?,
            () = late => return Err(Error::ConnectionTimeout),
        };
        let provider = &self.permissions.provider;
        match answer {
            Ok(answer) => {
                tracing::debug!(%provider, %method, host = %target.authority, %path, status = answer.status().as_u16(),
                    ms = started.elapsed().as_millis() as u64, "request");
                let encoded = answer.headers().get(CONTENT_ENCODING).is_some_and(|value| value != "identity");
                if search.is_needed() && encoded {
                    // The search would not see a secret in it.
                    let why = "the answer is compressed, which the request did not allow";
                    return Err(Error::InternalError(Some(why.to_owned())));
                }
                if search.headers(answer.headers()).is_err() {
                    return Err(reflected(&self.permissions));
                }
                let (head, body) = answer.into_parts();
                Ok(Answered { head, body, search, place })
            }
            Err(e) => {
                let mapped = error_code(&e);
                if let Some(why) = distrust(&e).filter(|_| self.permissions.log_budget.take(provider)) {
                    tracing::warn!(%provider, host = %target.authority, "{why}");
                }
                tracing::debug!(%provider, %method, host = %target.authority, %path, error = ?mapped, "request failed");
                Err(mapped)
            }
        }
    }

    /// The target of a URL, if a grant covers it.
    pub(super) fn check(&self, uri: &Uri) -> Result<Target, Error> {
        let authority = uri.authority().ok_or(Error::HttpRequestUriInvalid)?;
        if authority.as_str().contains('@') {
            return Err(Error::HttpRequestUriInvalid);
        }
        let scheme = uri.scheme_str().ok_or(Error::HttpRequestUriInvalid)?;
        let usual = || Scheme::named(scheme).and_then(Scheme::usual_port);
        let port = authority.port_u16().or_else(usual).ok_or(Error::HttpRequestUriInvalid)?;
        let (scheme, path) = (scheme.to_owned(), uri.path().to_owned());
        let target = Target { scheme, host: plain_host(authority.host()), port, path, authority: authority.clone() };
        if self.allow.iter().any(|grant| target.is_granted(grant)) {
            return Ok(target);
        }
        let Target { scheme, .. } = target;
        Err(self.denied(&format!("{scheme}://{}:{port}", authority.host())))
    }

    /// The error for a place that no grant covers.
    pub(super) fn denied(&self, url: &str) -> Error {
        let provider = &self.permissions.provider;
        if self.permissions.log_budget.take(provider) {
            tracing::warn!(%provider, url = %clean(url, URL_BYTES), "plugin asked for a host that is not in `allow`");
        }
        Error::HttpRequestDenied
    }

    /// Adds secrets to a request, and returns what looks for them in the answer.
    pub(super) fn add_secrets(
        &self,
        carried: &[Carried],
        head: &mut http::request::Parts,
        payload: &Payload,
    ) -> Result<Search, Error> {
        let mut sent = Vec::new();
        for one in carried {
            sent.extend(sandbox_broker_secrets::add(head, payload, one).map_err(|why| {
                let (provider, secret) = (&self.permissions.provider, &one.name);
                if self.permissions.log_budget.take(provider) {
                    tracing::warn!(%provider, %secret, %why, "a request cannot carry its secret, and was not sent");
                }
                Error::ConfigurationError
            })?);
        }
        Ok(Search::new(sent.iter().map(Secret::expose)))
    }
}

/// An answer, as it comes.
pub(super) struct Answered {
    pub(super) head: http::response::Parts,
    /// Not searched yet.
    pub(super) body: hyper::body::Incoming,
    /// Looks for the secrets that the request carried.
    pub(super) search: Search,
    /// Kept as long as the body.
    pub(super) place: Arc<[Place; 2]>,
}

/// A body and its hash. A body that is large, or whose length is not known, is not read, and has no hash.
async fn hashed(body: WasiBody, store: &StoreRequests) -> Result<(WasiBody, Option<String>), Error> {
    let Some(length) = body.size_hint().exact().filter(|length| *length <= HASHED_BYTES) else {
        return Ok((body, None));
    };
    let body = body.collect().await?.to_bytes();
    // The body of a Store that is gone ends early.
    if body.len() as u64 != length || store.are_dead() {
        return Err(Error::ConnectionTerminated);
    }
    let hash = sandbox_broker_secrets::hash(&body);
    Ok((Full::new(body).map_err(|never| match never {}).boxed_unsync(), Some(hash)))
}

/// The error for an answer that has a secret of its request.
pub(super) fn reflected(permissions: &Permissions) -> Error {
    let provider = &permissions.provider;
    if permissions.log_budget.take(provider) {
        tracing::error!(%provider, "an answer had the secret that its request carried, and was kept from the plugin");
    }
    Error::InternalError(Some("the answer has the secret that the request carried".to_owned()))
}

/// Where a request goes.
pub(super) struct Target {
    pub(super) authority: Authority,
    scheme: String,
    host: String,
    port: u16,
    path: String,
}

impl Target {
    pub(super) fn is_granted(&self, grant: &EgressGrant) -> bool {
        grant.covers(&self.scheme, &self.host, self.port, &self.path)
    }
}

#[cfg(test)]
mod tests;
