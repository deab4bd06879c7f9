//! The host's own sender of a plugin's requests.
//!
//! Owns what may leave. Everything is denied by default: scheme, host, port and path must match a grant. Redirects are not
//! followed. Secrets are filled in last. There is one [`Sender`] for each provider section and generation, so connections
//! are never shared across a change of grants. Deliberately knows no provider's protocol.

use std::future::pending;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use http::uri::{Authority, Uri};
use http_body::Body as _;
use http_body_util::BodyExt as _;
use hyper_rustls::{ConfigBuilderExt as _, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::capture_connection;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use wasmtime_wasi_http::{Error, RequestOptions, WasiBody};

use super::address::plain_host;
use super::body::{RequestBody, ResponseBody, within};
use super::connector::{BoundedConnector, Connector};
use super::errors::error_code;
use crate::permissions::Permissions;
use sandbox_broker_config::{EgressGrant, Scheme};
use sandbox_broker_core::certificate::distrust;
use sandbox_broker_core::words::clean;

/// Idle connections kept per origin: a burst of calls reuses them.
const IDLE_CONNECTIONS: usize = 32;
/// How long an idle connection is kept; servers commonly close after 60 s.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);
/// Largest head of an answer, bytes.
const HEAD_BYTES: usize = 64 << 10;

/// How a placeholder for a secret begins in a header; it ends with `}}`.
pub(crate) const OPEN: &str = "{{secret:";

/// Sends requests of one provider section.
pub(crate) struct Sender {
    client: Client<BoundedConnector, WasiBody>,
    allow: Arc<[EgressGrant]>,
    permissions: Arc<Permissions>,
}

impl std::fmt::Debug for Sender {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sender").field("allow", &self.allow).finish_non_exhaustive()
    }
}

impl Sender {
    /// A sender for these grants that trusts the certificates that the system trusts.
    ///
    /// # Errors
    /// When a grant needs TLS and the system's root certificates cannot be
    /// read.
    pub(crate) fn new(
        allow: Vec<EgressGrant>,
        allow_private: bool,
        socket: Option<PathBuf>,
        permissions: Arc<Permissions>,
    ) -> std::io::Result<Self> {
        let tls = rustls::ClientConfig::builder();
        // The roots are read only when they are needed, because that takes longer than everything else at start.
        let tls = if allow.iter().any(|g| g.scheme == Scheme::Https) {
            tls.with_native_roots()?.with_no_client_auth()
        } else {
            tls.with_root_certificates(rustls::RootCertStore::empty()).with_no_client_auth()
        };
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
        let connector = Connector { allow: allow.clone(), allow_private, socket };
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_or_http()
            .enable_all_versions()
            .wrap_connector(connector);
        let connector = BoundedConnector(connector);
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_TIMEOUT)
            .pool_max_idle_per_host(IDLE_CONNECTIONS)
            .http1_max_buf_size(HEAD_BYTES)
            .build(connector);
        Sender { client, allow, permissions }
    }

    /// Sends a request that a grant allows, with its secrets filled in. Once `dead` is set, the request's body fails
    /// instead of ending.
    ///
    /// # Errors
    /// As a guest of `wasi:http` would see them.
    pub(crate) async fn send(
        &self,
        request: http::Request<WasiBody>,
        options: Option<RequestOptions>,
        dead: Arc<AtomicBool>,
    ) -> Result<http::Response<WasiBody>, Error> {
        let started = Instant::now();
        let (mut head, body) = request.into_parts();
        let target = self.check(&head.uri)?;
        for (name, value) in &mut head.headers {
            if let Some(filled) = self.fill(&target, name, value)? {
                *value = filled;
            }
        }
        let (method, path) = (head.method.clone(), head.uri.path().to_owned());
        let size = body.size_hint();
        let mut request = http::Request::from_parts(head, RequestBody { body, size, dead }.boxed_unsync());
        let (connect, first_byte, between_bytes) =
            options.map_or((None, None, None), |o| (o.connect_timeout, o.first_byte_timeout, o.between_bytes_timeout));
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
                Ok(answer.map(|body| ResponseBody::new(body, between_bytes).boxed_unsync()))
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
    fn check(&self, uri: &Uri) -> Result<Target, Error> {
        let authority = uri.authority().ok_or(Error::HttpRequestUriInvalid)?;
        if authority.as_str().contains('@') {
            return Err(Error::HttpRequestUriInvalid);
        }
        let scheme = uri.scheme_str().ok_or(Error::HttpRequestUriInvalid)?;
        let port = match (authority.port_u16(), scheme) {
            (Some(port), _) => port,
            (None, "https") => 443,
            (None, _) => 80,
        };
        let (scheme, path) = (scheme.to_owned(), uri.path().to_owned());
        let target = Target { scheme, host: plain_host(authority.host()), port, path, authority: authority.clone() };
        if self.allow.iter().any(|grant| target.is_granted(grant)) {
            return Ok(target);
        }
        let Target { scheme, .. } = target;
        if self.permissions.log_budget.take(&self.permissions.provider) {
            tracing::warn!(provider = %self.permissions.provider, url = %format_args!("{scheme}://{}:{port}", authority.host()),
                "plugin asked for a host that is not in `allow`");
        }
        Err(Error::HttpRequestDenied)
    }

    /// The header's value with its secrets filled in; `None` when it names no secret.
    fn fill(
        &self,
        target: &Target,
        name: &http::HeaderName,
        value: &http::HeaderValue,
    ) -> Result<Option<http::HeaderValue>, Error> {
        let Ok(mut rest) = value.to_str() else { return Ok(None) };
        if !rest.contains(OPEN) {
            return Ok(None);
        }
        let mut filled = String::new();
        while let Some((before, after)) = rest.split_once(OPEN) {
            let Some((secret, after)) = after.split_once("}}") else { break };
            let value = self.permissions.secrets.to_send(secret, |grant| target.is_granted(grant));
            let value = value.filter(|value| !value.is_empty());
            let value = value.ok_or_else(|| {
                let (provider, secret) = (&self.permissions.provider, clean(secret, 64));
                if self.permissions.log_budget.take(provider) {
                    tracing::warn!(%provider, %secret, "plugin asked for a secret that its provider does not have");
                }
                Error::ConfigurationError
            })?;
            filled.push_str(before);
            filled.push_str(value.expose());
            rest = after;
        }
        filled.push_str(rest);
        let mut value = http::HeaderValue::try_from(filled).map_err(|_| {
            let provider = &self.permissions.provider;
            if self.permissions.log_budget.take(provider) {
                tracing::warn!(%provider, header = %name, "a secret holds characters that no header may hold");
            }
            Error::ConfigurationError
        })?;
        value.set_sensitive(true);
        Ok(Some(value))
    }
}

/// Where a request goes.
struct Target {
    authority: Authority,
    scheme: String,
    host: String,
    port: u16,
    path: String,
}

impl Target {
    fn is_granted(&self, grant: &EgressGrant) -> bool {
        grant.covers(&self.scheme, &self.host, self.port, &self.path)
    }
}

#[cfg(test)]
mod tests;
