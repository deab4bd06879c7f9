//! A running broker, as a command finds and asks it.
//!
//! Owns its address, the token for it and the connection to it, with TLS when the address says so. Deliberately knows no
//! session.

use std::fmt;
use std::io;
use std::time::Duration;

use anyhow::{Context as _, bail};
use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderValue, Method, Request, StatusCode, Uri};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_rustls::{ConfigBuilderExt as _, HttpsConnector, HttpsConnectorBuilder, MaybeHttpsStream};
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tower::{Service as _, ServiceExt as _};
use url::Url;

use super::proxied::{self, Connector, is_loopback};
use sandbox_broker_core::certificate::distrust;
use sandbox_stdx::words::clean;

/// Time for a connection to be made, TLS included.
const CONNECT_WITHIN: Duration = Duration::from_secs(15);

/// Time for an answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);

/// Bytes of a broker's words that are shown.
const WORDS: usize = 2048;

/// Bytes of an answer, at most: thousands of sessions.
const MAX_ANSWER: usize = 8 << 20;

/// The variable with the token. It is not an option, because everybody on the machine can see a program's arguments.
const TOKEN: &str = "BROKER_TOKEN";

/// How a command is told where the broker is.
#[derive(Debug, clap::Args)]
pub(super) struct Remote {
    /// Address of the broker. A token for it comes from BROKER_TOKEN.
    #[arg(long, global = true, value_name = "URL", env = "BROKER_URL", default_value = "http://127.0.0.1:3000")]
    url: String,
}

impl Remote {
    pub(super) fn broker(&self) -> anyhow::Result<Broker> {
        Broker::at(&self.url)
    }
}

/// The token for the broker, if there is one.
///
/// # Errors
/// When it is not text.
pub(super) fn token() -> anyhow::Result<Option<String>> {
    match std::env::var(TOKEN) {
        Ok(token) if !token.trim().is_empty() => Ok(Some(token.trim().to_owned())),
        Ok(_) | Err(std::env::VarError::NotPresent) => Ok(None),
        Err(std::env::VarError::NotUnicode(_)) => bail!("{TOKEN} is not UTF-8"),
    }
}

/// A connection to a broker.
pub(super) type Connection = TokioIo<MaybeHttpsStream<TokioIo<TcpStream>>>;

/// Where a broker is and who asks it.
pub(super) struct Broker {
    /// `http` or `https`; its path ends with a slash.
    base: Url,
    token: Option<String>,
    connector: HttpsConnector<Connector>,
    /// The proxy on the way to it.
    proxy: Option<String>,
}

impl Broker {
    /// The broker whose page is at `url`.
    ///
    /// # Errors
    /// When it is no address, or the system's root certificates cannot be
    /// read.
    pub(super) fn at(url: &str) -> anyhow::Result<Self> {
        let base = base(url)?;
        let token = token()?;
        let tls = rustls::ClientConfig::builder();
        // The roots are read only when they are needed, because that takes longer than everything else here.
        let tls = if base.scheme() == "https" {
            tls.with_native_roots().context("cannot read the system's root certificates")?.with_no_client_auth()
        } else {
            tls.with_root_certificates(rustls::RootCertStore::empty()).with_no_client_auth()
        };
        let (connector, proxy) = proxied::connector(&base)?;
        let connector =
            HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http().enable_http1().wrap_connector(connector);
        Ok(Broker { base, token, connector, proxy })
    }

    /// Where it is, for a person.
    pub(super) fn name(&self) -> &str {
        self.base.as_str()
    }

    /// The token. Only the code that sends it may ask for it.
    pub(super) fn token(&self) -> Option<&str> {
        self.token.as_deref()
    }

    /// The error for a broker that does not let us in.
    pub(super) fn unknown(&self) -> String {
        match self.token {
            None => format!("the broker needs a token: set {TOKEN}"),
            Some(_) => format!("the broker does not know the token in {TOKEN}: ask its operator for one"),
        }
    }

    /// Whether the token would cross a network on which others may read it.
    pub(super) fn tells_token(&self) -> bool {
        self.token.is_some() && self.base.scheme() == "http" && !is_loopback(&self.base)
    }

    /// The address of `path` on the broker.
    fn address(&self, path: &str) -> anyhow::Result<Url> {
        self.base.join(path).with_context(|| format!("{path} is no path"))
    }

    /// The address of its terminal, without a query.
    pub(super) fn terminal(&self) -> anyhow::Result<Url> {
        let mut address = self.address("terminal")?;
        let scheme = if address.scheme() == "https" { "wss" } else { "ws" };
        address.set_scheme(scheme).map_err(|()| anyhow::anyhow!("{address} takes no scheme {scheme}"))?;
        Ok(address)
    }

    /// Makes a new connection to the broker.
    pub(super) async fn connect(&self) -> anyhow::Result<Connection> {
        let uri: Uri = self.base.as_str().parse()?;
        let connect = async {
            let mut connector = self.connector.clone();
            connector.ready().await?.call(uri).await
        };
        let connected = timeout(CONNECT_WITHIN, connect).await;
        let connected = connected.with_context(|| format!("no connection within {} s", CONNECT_WITHIN.as_secs()))?;
        let stream = connected.map_err(|error| self.unreached(error))?;
        Ok(TokioIo::new(stream))
    }

    /// The error for a connection that failed, with what stood in the way if that is known.
    fn unreached(&self, error: Box<dyn std::error::Error + Send + Sync>) -> anyhow::Error {
        if let Some(words) = distrust(&*error) {
            return anyhow::anyhow!(words);
        }
        let refused = refuses(&*error);
        let error = anyhow::anyhow!(error);
        match &self.proxy {
            None if refused => anyhow::anyhow!(
                "nothing listens there: start `broker`, or say with BROKER_URL or --url where it runs (connection refused)"
            ),
            Some(proxy) => error
                .context(format!("through the proxy {proxy} (of HTTPS_PROXY, HTTP_PROXY or ALL_PROXY; see NO_PROXY)")),
            None => error,
        }
    }

    /// Sends a request to the API, with `body` as JSON. Returns the answer's JSON, or null when the answer is empty.
    ///
    /// # Errors
    /// When there is no answer, and with the broker's words when it refuses.
    pub(super) async fn ask(&self, method: Method, path: &str, body: Option<&Value>) -> anyhow::Result<Value> {
        let mut request = Request::builder().method(method).uri(self.address(path)?.as_str());
        if let Some(token) = &self.token {
            let mut value = HeaderValue::try_from(format!("Bearer {token}"))
                .map_err(|_| anyhow::anyhow!("{TOKEN} holds what no HTTP header may"))?;
            value.set_sensitive(true);
            request = request.header(AUTHORIZATION, value);
        }
        if body.is_some() {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        let request = request.body(Full::<Bytes>::new(body.map(Value::to_string).unwrap_or_default().into()))?;
        let client = Client::builder(TokioExecutor::new()).build(self.connector.clone());
        let ask = async {
            let answer = client.request(request).await.map_err(|error| self.unreached(error.into()))?;
            let status = answer.status();
            let body = Limited::new(answer.into_body(), MAX_ANSWER).collect().await;
            let body = body.map_err(|error| anyhow::anyhow!(error))?.to_bytes();
            anyhow::Ok((status, body))
        };
        let answer = timeout(ANSWER_WITHIN, ask).await;
        let answer = answer.with_context(|| format!("no answer within {} s", ANSWER_WITHIN.as_secs())).flatten();
        let (status, body) = answer.with_context(|| format!("cannot ask the broker at {}", self.name()))?;
        let value = serde_json::from_slice(&body);
        if !status.is_success() {
            let words = value.ok().as_ref().and_then(|value: &Value| value["error"].as_str().map(str::to_owned));
            let words = words.unwrap_or_else(|| format!("HTTP {status}"));
            if status == StatusCode::UNAUTHORIZED {
                bail!(self.unknown());
            }
            bail!("the broker refused: {}", clean(&words, WORDS));
        }
        if body.is_empty() {
            return Ok(Value::Null);
        }
        value.with_context(|| format!("what answers at {} is no broker", self.name()))
    }
}

/// Whether nobody listens at the address.
fn refuses(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut causes = std::iter::successors(Some(error), |error| error.source());
    causes.any(|cause| {
        cause.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::ConnectionRefused)
    })
}

/// What follows the scheme in an example of an address.
struct Example<'a>(&'a str);

impl fmt::Display for Example<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let meant = Url::parse(&format!("http://{}", self.0)).is_ok_and(|url| url.username().is_empty());
        f.write_str(if meant { self.0 } else { "127.0.0.1:3000" })
    }
}

/// The address of a broker's page, from that or its terminal's address.
fn base(url: &str) -> anyhow::Result<Url> {
    // "127.0.0.1:3000" is not a URL, and "localhost:3000" is a URL with the scheme "localhost".
    let mut base = match Url::parse(url) {
        Ok(base) if url.contains("://") => base,
        _ => bail!("{url} is no address of a broker, expected one such as http://{}", Example(url)),
    };
    let scheme = match base.scheme() {
        "http" | "ws" => "http",
        "https" | "wss" => "https",
        other => bail!("{url}: the scheme must be http, https, ws or wss, found {other}"),
    };
    base.set_scheme(scheme).map_err(|()| anyhow::anyhow!("{url} takes no scheme {scheme}"))?;
    if !base.username().is_empty() || base.password().is_some() {
        bail!("an address must not hold credentials; set {TOKEN}");
    }
    base.set_query(None);
    base.set_fragment(None);
    let path = base.path().trim_end_matches('/');
    let path = format!("{}/", path.strip_suffix("/terminal").unwrap_or(path));
    base.set_path(&path);
    Ok(base)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broker_is_found_by_its_page_or_its_terminal() {
        for (url, page) in [
            ("http://127.0.0.1:3000", "http://127.0.0.1:3000/"),
            ("ws://127.0.0.1:3000/terminal?session=1#x", "http://127.0.0.1:3000/"),
            ("wss://term.example.com/terminal/", "https://term.example.com/"),
            ("https://example.com/broker", "https://example.com/broker/"),
            ("https://example.com/broker/terminal", "https://example.com/broker/"),
        ] {
            assert_eq!(base(url).unwrap().as_str(), page, "{url}");
        }
        for (url, words) in [
            ("127.0.0.1:4570", "expected one such as http://127.0.0.1:4570"),
            ("localhost:4570", "expected one such as http://localhost:4570"),
            ("", "expected one such as http://127.0.0.1:3000"),
            ("ftp://example.com", "the scheme must be"),
            ("https://me:secret@example.com", "must not hold credentials"),
        ] {
            let error = format!("{:#}", base(url).unwrap_err());
            assert!(error.contains(words) && !error.contains("secret"), "{error}");
        }
    }

    #[test]
    fn the_terminal_of_a_broker_below_a_path() {
        let broker = Broker::at("http://127.0.0.1/broker").unwrap();
        assert_eq!(broker.terminal().unwrap().as_str(), "ws://127.0.0.1/broker/terminal");
    }
}
