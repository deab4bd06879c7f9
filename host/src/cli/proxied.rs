//! Connections through a proxy of this machine's network.
//!
//! Owns what the usual variables mean (`HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY`, `NO_PROXY`, in either case). Deliberately
//! knows no broker. As in other programs, loopback needs no proxy, whatever `NO_PROXY` says.

use anyhow::{Context as _, bail};
use http::Uri;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::proxy::Tunnel;
use hyper_util::client::proxy::matcher::Matcher;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tower::ServiceExt as _;
use tower::util::BoxCloneSyncService;
use url::{Host, Url};

/// Makes connections to one place, directly or through a proxy.
pub(super) type Connector = BoxCloneSyncService<Uri, TokioIo<TcpStream>, Box<dyn std::error::Error + Send + Sync>>;

/// A connector for `url`, and the proxy that it uses, if any.
///
/// # Errors
/// When the proxy is of a kind that is not supported.
pub(super) fn connector(url: &Url) -> anyhow::Result<(Connector, Option<String>)> {
    connector_by(&Matcher::from_env(), url)
}

fn connector_by(matcher: &Matcher, url: &Url) -> anyhow::Result<(Connector, Option<String>)> {
    let mut direct = HttpConnector::new();
    direct.enforce_http(false);
    // Without this, a typed key would wait for more data before it is sent.
    direct.set_nodelay(true);
    let uri: Uri = url.as_str().parse().context("no address for a request")?;
    let Some(proxy) = matcher.intercept(&uri).filter(|_| !is_loopback(url)) else {
        return Ok((BoxCloneSyncService::new(direct.map_err(Into::into)), None));
    };
    let name = format!("{}://{}", proxy.uri().scheme_str().unwrap_or_default(), host(proxy.uri()));
    if proxy.uri().scheme_str() != Some("http") {
        bail!(
            "the proxy {name} is of a kind that is not supported: expected http://HOST:PORT, or this host in NO_PROXY"
        );
    }
    let tunnel = Tunnel::new(proxy.uri().clone(), direct);
    let tunnel = match proxy.basic_auth() {
        Some(auth) => tunnel.with_auth(auth.clone()),
        None => tunnel,
    };
    Ok((BoxCloneSyncService::new(tunnel.map_request(with_port).map_err(Into::into)), Some(name)))
}

/// Writes the port of `http` into an address: without one, the tunnel assumes the port of `https`.
fn with_port(uri: Uri) -> Uri {
    let (Some("http"), None, Some(host)) = (uri.scheme_str(), uri.port(), uri.host()) else { return uri };
    let mut parts = uri.clone().into_parts();
    parts.authority = format!("{host}:80").parse().ok();
    Uri::from_parts(parts).unwrap_or(uri)
}

/// Host and port, without the user name and password that may stand before them.
fn host(uri: &Uri) -> String {
    let port = uri.port_u16().map(|port| format!(":{port}")).unwrap_or_default();
    format!("{}{port}", uri.host().unwrap_or_default())
}

/// Whether the host is this machine.
pub(super) fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proxy_is_taken_where_the_variables_say_so() {
        let matcher = Matcher::builder().https("http://me:secret@proxy.lan:3128").no("inside.example").build();
        let through = |url: &str| connector_by(&matcher, &url.parse().unwrap()).unwrap().1;
        assert_eq!(through("https://term.example.com/").as_deref(), Some("http://proxy.lan:3128"));
        for direct in
            ["http://term.example.com/", "https://term.inside.example/", "https://127.0.0.1:1/", "https://[::1]/"]
        {
            assert_eq!(through(direct), None, "{direct}");
        }
        let socks = Matcher::builder().all("socks5://proxy.lan").build();
        let error = connector_by(&socks, &"https://a.example".parse().unwrap()).map(|(_, name)| name).unwrap_err();
        assert!(error.to_string().contains("NO_PROXY"), "{error}");
    }
}
