//! What can be reached from here: the address to listen on, the addresses that people open, and the addresses that
//! providers are granted. Owns how each is tried; deliberately sends no token.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use futures_util::future::join_all;
use http::header::DATE;
use http::{Request, Uri};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper_rustls::{ConfigBuilderExt as _, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use tokio::net::{TcpListener, TcpStream, UnixStream, lookup_host};
use tokio::time::timeout;

use super::finding::Finding;
use crate::broker::Checked;
use sandbox_broker_config::{EgressGrant, HostPattern, Scheme};
use sandbox_broker_core::certificate::distrust;

/// Time for one address to answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// Bytes of an answer, at most.
const MAX_ANSWER: usize = 64 * 1024;

/// Seconds by which clocks may differ. Signatures and certificates tolerate some minutes.
const CLOCKS: u64 = 60;

pub(super) async fn look(checked: &Checked) -> Vec<Finding> {
    let config = &checked.config;
    let mut findings = vec![listen(config.server.listen).await];
    let public = config.server.public_urls.iter().map(|origin| public(origin.as_str()));
    findings.extend(join_all(public).await);
    let used = config.uses().map(|of| &config.providers[of.provider]);
    let grants = used.filter(|section| section.embedded.is_none()).flat_map(|section| {
        let private = section.allow_private;
        section.allow.iter().map(move |grant| (section.name.as_str(), grant, private))
    });
    let grants = join_all(grants.map(|(name, grant, private)| granted(name, grant, private))).await;
    let clocks: Vec<_> = grants.iter().filter_map(|(_, clock)| *clock).collect();
    findings.extend(grants.into_iter().map(|(finding, _)| finding));
    findings.extend(clock(&clocks));
    findings
}

/// Whether the address is free, or a broker has it.
async fn listen(address: SocketAddr) -> Finding {
    match TcpListener::bind(address).await {
        Ok(_) => Finding::good("listen", format!("{address} is free: no broker runs there")),
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
            match ask(&format!("http://{address}/health")).await {
                Ok(answer) if answer.is_broker => Finding::good("listen", format!("a broker runs at {address}")),
                _ => Finding::wrong(
                    "listen",
                    format!("another program has {address}"),
                    format!("end it (`ss -ltnp 'sport = :{}'` shows it), or change server.listen", address.port()),
                ),
            }
        }
        Err(error) => {
            let remedy = "change server.listen to an address of this machine, with a port that its user may have";
            Finding::wrong("listen", format!("{address}: {error}"), remedy)
        }
    }
}

async fn public(origin: &str) -> Finding {
    let there = format!("{origin}/health");
    match ask(&there).await {
        Ok(answer) if answer.is_broker => Finding::good("public_url", format!("{origin} leads to a broker")),
        Ok(answer) => Finding::unwise(
            "public_url",
            format!("{there} answers {} and is no broker's", answer.status),
            "below a path that is as it should be; otherwise see the proxy (docs/operating.md), and whether a broker runs",
        ),
        Err(why) => Finding::unwise(
            "public_url",
            format!("{origin} is not reached from here: {why}"),
            "the address may be for others only; otherwise see its name, the proxy and the firewall",
        ),
    }
}

/// Whether somebody listens at a provider's socket.
async fn socket(section: &str, path: &Path) -> Finding {
    let place = format!("[providers.{section}] {}", path.display());
    match UnixStream::connect(path).await {
        Ok(_) => Finding::good("provider", format!("{place} answers")),
        Err(error) => Finding::wrong(
            "provider",
            format!("{place}: {error}"),
            "start the server of that socket, and let the broker's user open it",
        ),
    }
}

/// Whether a provider's address can be reached, and the time on its clock.
async fn granted(section: &str, grant: &EgressGrant, private: bool) -> (Finding, Option<SystemTime>) {
    let scheme = if grant.scheme.is_encrypted() { "https" } else { "http" };
    let host = match &grant.host {
        HostPattern::Socket(path) => return (socket(section, path).await, None),
        HostPattern::Name(name) => name.clone(),
        HostPattern::Address(address) => SocketAddr::new(*address, 0).to_string().trim_end_matches(":0").to_owned(),
        HostPattern::Under(_) => {
            let found = format!("[providers.{section}] {grant}: names are known once they are used");
            return (Finding::good("provider", found), None);
        }
    };
    let place = format!("[providers.{section}] {grant}");
    if let HostPattern::Name(name) = &grant.host {
        let found: Vec<SocketAddr> = match timeout(ANSWER_WITHIN, lookup_host((name.as_str(), grant.port))).await {
            Ok(Ok(found)) => found.collect(),
            Ok(Err(error)) => {
                let remedy = "see the name in `allow`, and this machine's name servers";
                return (Finding::wrong("provider", format!("{place}: {error}"), remedy), None);
            }
            Err(_) => {
                let found = format!("{place}: no name server answers");
                return (Finding::wrong("provider", found, "see this machine's name servers"), None);
            }
        };
        let inside = |address: &SocketAddr| match address.ip().to_canonical() {
            std::net::IpAddr::V4(v4) => v4.is_private() || v4.is_loopback() || v4.is_link_local(),
            std::net::IpAddr::V6(v6) => v6.is_loopback() || v6.is_unique_local() || v6.is_unicast_link_local(),
        };
        if let Some(address) = found.iter().find(|address| inside(address)).filter(|_| !private) {
            let found = format!("{place} leads to {}, a private address", address.ip());
            let remedy = "if that is meant, set allow_private = true in that section";
            return (Finding::wrong("provider", found, remedy), None);
        }
    }
    if matches!(grant.scheme, Scheme::Tcp | Scheme::Tls) {
        let finding = match timeout(ANSWER_WITHIN, TcpStream::connect(format!("{host}:{}", grant.port))).await {
            Ok(Ok(_)) => Finding::good("provider", format!("{place} answers")),
            Ok(Err(error)) => {
                Finding::wrong("provider", format!("{place}: {error}"), "see the server and the firewall")
            }
            Err(_) => Finding::wrong("provider", format!("{place} does not answer"), "see the server and the firewall"),
        };
        return (finding, None);
    }
    match ask(&format!("{scheme}://{host}:{}/", grant.port)).await {
        Ok(answer) => (Finding::good("provider", format!("{place} answers")), answer.clock),
        Err(why) => {
            let remedy =
                "see the firewall and `allow`; the broker goes there directly, without a proxy (docs/operating.md)";
            (Finding::wrong("provider", format!("{place} is not reached: {why}"), remedy), None)
        }
    }
}

fn clock(told: &[SystemTime]) -> Option<Finding> {
    let now = SystemTime::now();
    let off = |told: &SystemTime| now.duration_since(*told).unwrap_or_else(|error| error.duration()).as_secs();
    // One server's clock may be wrong, so the smallest difference counts.
    let least = told.iter().map(off).min()?;
    Some(if least > CLOCKS {
        let found = format!("this machine's clock is {least} s off that of the providers");
        Finding::wrong("clock", found, "let it follow a time server: keys and certificates are refused otherwise")
    } else {
        Finding::good("clock", "agrees with that of the providers")
    })
}

struct Answer {
    status: http::StatusCode,
    is_broker: bool,
    clock: Option<SystemTime>,
}

/// Sends a request without a token, and follows no redirect.
async fn ask(url: &str) -> Result<Answer, String> {
    let uri: Uri = url.parse().map_err(|_| "it is no address".to_owned())?;
    let mut http = HttpConnector::new();
    http.enforce_http(false);
    let tls = rustls::ClientConfig::builder().with_native_roots().map_err(|error| error.to_string())?;
    let connector =
        HttpsConnectorBuilder::new().with_tls_config(tls.with_no_client_auth()).https_or_http().enable_http1();
    let client = Client::builder(TokioExecutor::new()).build::<_, Empty<Bytes>>(connector.wrap_connector(http));
    let request = Request::get(uri).body(Empty::new()).map_err(|error| error.to_string())?;
    let answer = timeout(ANSWER_WITHIN, async {
        let answer = client.request(request).await.map_err(|error| unreached(&error))?;
        let status = answer.status();
        let clock = answer.headers().get(DATE).and_then(|date| httpdate(date.to_str().ok()?));
        let body = Limited::new(answer.into_body(), MAX_ANSWER).collect().await.map(|body| body.to_bytes());
        let told: serde_json::Value = serde_json::from_slice(&body.unwrap_or_default()).unwrap_or_default();
        Ok(Answer { status, is_broker: told["status"] == "healthy" && told["uptime"].is_number(), clock })
    });
    answer.await.unwrap_or_else(|_| Err(format!("no answer within {} s", ANSWER_WITHIN.as_secs())))
}

fn unreached(error: &hyper_util::client::legacy::Error) -> String {
    if let Some(words) = distrust(error) {
        return words;
    }
    // The last cause is the system's own error.
    let mut cause: &dyn std::error::Error = error;
    while let Some(below) = cause.source() {
        cause = below;
    }
    cause.to_string()
}

/// A date of RFC 9110 section 5.6.7.
fn httpdate(date: &str) -> Option<SystemTime> {
    let parsed = jiff::fmt::rfc2822::parse(date).ok()?;
    Some(parsed.timestamp().into())
}
