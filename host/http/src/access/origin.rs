//! Which hosts and origins are ours.
//!
//! Owns the comparison, which is exact and has no patterns. Deliberately knows no
//! request; `guard` applies it.

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;

use http::Uri;

/// An origin (RFC 6454): scheme, host and port, in the form in which a browser
/// sends it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    scheme: &'static str,
    /// In lower case, with the port unless it is the scheme's own.
    host: String,
    /// The host with the scheme's own port, where `host` leaves it out.
    with_port: Option<String>,
}

/// The text is no origin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an address of the form http://HOST:PORT or https://HOST:PORT")]
pub struct NotAnOrigin;

impl FromStr for Origin {
    type Err = NotAnOrigin;

    /// Reads a URL; its path does not matter. A host outside ASCII must be
    /// written in its `xn--` form, which is what browsers send.
    fn from_str(url: &str) -> Result<Self, NotAnOrigin> {
        let uri: Uri = url.trim().parse().map_err(|_| NotAnOrigin)?;
        let (scheme, own_port) = match uri.scheme_str() {
            Some("http") => ("http", 80),
            Some("https") => ("https", 443),
            _ => return Err(NotAnOrigin),
        };
        let authority = uri.authority().ok_or(NotAnOrigin)?;
        let (name, rest) = authority.as_str().split_at_checked(authority.host().len()).ok_or(NotAnOrigin)?;
        let port = match rest.strip_prefix(':') {
            Some(port) => port.parse::<u16>().map_err(|_| NotAnOrigin)?,
            None if rest.is_empty() && !name.is_empty() => own_port,
            None => return Err(NotAnOrigin), // a user name in front of the host
        };
        let name = name.to_ascii_lowercase();
        let with_port = format!("{name}:{port}");
        Ok(if port == own_port {
            Origin { scheme, host: name, with_port: Some(with_port) }
        } else {
            Origin { scheme, host: with_port, with_port: None }
        })
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme, self.host)
    }
}

impl Origin {
    /// Whether the address is reached over TLS.
    pub fn is_secure(&self) -> bool {
        self.scheme == "https"
    }

    /// Whether a `Host` field names this host and port.
    pub fn is_host(&self, host: &str) -> bool {
        host.eq_ignore_ascii_case(&self.host)
            || self.with_port.as_ref().is_some_and(|with_port| host.eq_ignore_ascii_case(with_port))
    }

    /// Whether an `Origin` field is this origin, byte for byte.
    pub fn is_origin(&self, origin: &str) -> bool {
        origin.strip_prefix(self.scheme).and_then(|rest| rest.strip_prefix("://")) == Some(&self.host)
    }

    /// The origins under which a connection to `local` reaches the broker without
    /// configuration: the address itself and, on loopback, the names that no foreign
    /// name server can point elsewhere.
    pub(crate) fn of_connection(local: SocketAddr) -> impl Iterator<Item = Origin> {
        let ip = local.ip().to_canonical();
        let names = if ip.is_loopback() { &["localhost", "127.0.0.1", "[::1]"][..] } else { &[] };
        let address = SocketAddr::new(ip, local.port());
        std::iter::once(format!("http://{address}"))
            .chain(names.iter().map(move |name| format!("http://{name}:{}", local.port())))
            .map(|url| url.parse().expect("built from an address and a name"))
    }
}

/// Whether a `Host` field names this machine by a name that no foreign name
/// server can point elsewhere, with any port.
pub(crate) fn is_loopback_name(host: &str) -> bool {
    let (name, port) = match host.rsplit_once(':') {
        Some((name, port)) if !port.contains(']') => (name, Some(port)),
        _ => (host, None),
    };
    let name = name.to_ascii_lowercase();
    let label =
        |label: &str| !label.is_empty() && label.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'));
    let below = name.strip_suffix(".localhost").is_some_and(|rest| rest.split('.').all(label));
    let named = below || matches!(&*name, "localhost" | "127.0.0.1" | "[::1]");
    named && port.is_none_or(|port| port.bytes().all(|b| b.is_ascii_digit()) && port.parse::<u16>().is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin(url: &str) -> Origin {
        url.parse().unwrap()
    }

    #[test]
    fn an_origin_is_read_from_a_url() {
        assert_eq!(origin("http://localhost:5174/").to_string(), "http://localhost:5174");
        assert_eq!(origin("https://Term.Example.COM:443/a?b").to_string(), "https://term.example.com");
        assert_eq!(origin("http://[::1]:80").to_string(), "http://[::1]");
        for wrong in [
            "",
            "localhost:3000",
            "ws://a",
            "ftp://a",
            "http://",
            "http://a@b",
            "http://a:70000",
            "http://a:x",
            "*",
            "null",
        ] {
            assert_eq!(wrong.parse::<Origin>(), Err(NotAnOrigin), "{wrong}");
        }
    }

    #[test]
    fn comparison_is_exact() {
        let ours = origin("https://term.example.com");
        assert!(ours.is_origin("https://term.example.com"));
        assert!(ours.is_host("term.example.com") && ours.is_host("TERM.example.com:443"));
        for other in [
            "http://term.example.com",
            "https://term.example.com:443",
            "https://term.example.com.",
            "https://term.example.com.evil.example",
            "https://evil.term.example.com",
            "https://term.example.com/",
            "null",
            "",
        ] {
            assert!(!ours.is_origin(other), "{other}");
        }
        for other in ["term.example.com:80", "term.example.com:", "term.example.com.", "example.com", ""] {
            assert!(!ours.is_host(other), "{other}");
        }
    }

    #[test]
    fn a_loopback_connection_has_its_three_names_and_no_other() {
        let names =
            |local: &str| Origin::of_connection(local.parse().unwrap()).map(|o| o.to_string()).collect::<Vec<_>>();
        let loopback = ["http://localhost:3000", "http://127.0.0.1:3000", "http://[::1]:3000"];
        for (local, first) in [
            ("127.0.0.1:3000", "http://127.0.0.1:3000"),
            ("[::ffff:127.0.0.1]:3000", "http://127.0.0.1:3000"),
            ("[::1]:3000", "http://[::1]:3000"),
        ] {
            assert_eq!(names(local), [&[first], &loopback[..]].concat(), "{local}");
        }
        assert_eq!(names("192.0.2.1:80"), ["http://192.0.2.1"]);
        assert_eq!(names("[2001:db8::1]:3000"), ["http://[2001:db8::1]:3000"]);
    }

    #[test]
    fn loopback_has_names_on_any_port() {
        for ours in [
            "localhost",
            "localhost:8080",
            "LOCALHOST:1",
            "127.0.0.1:8080",
            "[::1]:8080",
            "[::1]",
            "a.b-c.localhost:80",
        ] {
            assert!(is_loopback_name(ours), "{ours}");
        }
        for foreign in [
            "",
            ":80",
            "localhost:",
            "localhost:x",
            "localhost:+80",
            "localhost:65536",
            "localhost.",
            ".localhost",
            "a..localhost",
            "user@localhost",
            "user@x.localhost",
            "localhost.evil.example",
            "evil.example",
            "127.0.0.2:80",
            "127.0.0.1.evil.example",
            "::1",
            "[::1]x",
            "localhost, evil.example",
        ] {
            assert!(!is_loopback_name(foreign), "{foreign}");
        }
    }
}
