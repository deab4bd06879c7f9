//! Egress grants: where a plugin's requests may go. Owns their grammar and the comparison with a request's target; deliberately
//! knows no plugin, and no address of a name: the sender of a request resolves the name and judges the address.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;

use url::{Host, Url};

use super::origin::is_plain;

/// What is spoken at a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// HTTP in the clear.
    Http,
    /// HTTP over TLS.
    Https,
    /// WebSocket in the clear.
    Ws,
    /// WebSocket over TLS.
    Wss,
    /// Anything over TCP.
    Tcp,
    /// Anything over TLS.
    Tls,
    /// Anything over a Unix socket.
    Unix,
}

impl Scheme {
    const ALL: [Scheme; 7] =
        [Scheme::Http, Scheme::Https, Scheme::Ws, Scheme::Wss, Scheme::Tcp, Scheme::Tls, Scheme::Unix];

    /// Its name in URLs.
    pub fn as_str(self) -> &'static str {
        match self {
            Scheme::Http => "http",
            Scheme::Https => "https",
            Scheme::Ws => "ws",
            Scheme::Wss => "wss",
            Scheme::Tcp => "tcp",
            Scheme::Tls => "tls",
            Scheme::Unix => "unix",
        }
    }

    /// The scheme of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|scheme| scheme.as_str() == name)
    }

    /// The port where a URL names none.
    pub fn usual_port(self) -> Option<u16> {
        match self {
            Scheme::Http | Scheme::Ws => Some(80),
            Scheme::Https | Scheme::Wss => Some(443),
            Scheme::Tcp | Scheme::Tls | Scheme::Unix => None,
        }
    }

    /// Whether the connection is encrypted.
    pub fn is_encrypted(self) -> bool {
        matches!(self, Scheme::Https | Scheme::Wss | Scheme::Tls)
    }

    /// Whether a grant of this scheme covers requests of the other. A WebSocket begins as a request.
    fn serves(self, asked: Scheme) -> bool {
        self == asked || matches!((self, asked), (Scheme::Http, Scheme::Ws) | (Scheme::Https, Scheme::Wss))
    }
}

/// Which hosts a grant covers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HostPattern {
    /// This name: lower case, in ASCII (punycode).
    Name(String),
    /// Every name that ends in a dot and this, at any depth, and not this name
    /// itself.
    Under(String),
    /// This address. Writing out a private or loopback address grants it, whatever `allow_private` says.
    Address(IpAddr),
    /// This Unix socket, at an absolute path. Requests reach it as the host `localhost`.
    Socket(PathBuf),
}

/// One place where requests may go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EgressGrant {
    /// What is spoken there.
    pub scheme: Scheme,
    /// The hosts.
    pub host: HostPattern,
    /// The port; the scheme's default unless written. 80 for a Unix socket, which is `http://localhost` to requests.
    pub port: u16,
    /// The path that is granted with everything below it; `None` for every path. Never ends in a slash.
    pub path: Option<String>,
}

impl EgressGrant {
    /// Reads `scheme://host[:port][/path]`. A host may begin with `*.`; two more labels must then follow. `tcp` and `tls`
    /// need a port and have no path. `unix:///path` names a socket. `None` for anything else: a user name, a query, a
    /// wildcard anywhere else.
    pub fn parse(text: &str) -> Option<Self> {
        let scheme = Scheme::named(text.split_once("://")?.0)?;
        match scheme {
            Scheme::Unix => return Self::socket(text),
            // The parser knows the form of hosts in URLs of the web alone.
            Scheme::Tcp | Scheme::Tls => {
                let port = text.rsplit_once(':')?.1.parse().ok()?;
                let web = format!("https://{}", text.split_once("://")?.1);
                let grant = Self::parse(&web).filter(|grant| grant.path.is_none() && !web.ends_with('/'))?;
                return Some(EgressGrant { scheme, port, ..grant });
            }
            Scheme::Http | Scheme::Https | Scheme::Ws | Scheme::Wss => {}
        }
        let url = Url::parse(text).ok().filter(|_| is_plain(text))?;
        let named = text.contains('@') || url.query().is_some() || url.fragment().is_some();
        // The parser resolves dots in a path. A grant must mean what it looks like, so such a path is refused.
        let written = text.split_once("://")?.1;
        let written = written.find('/').map_or("/", |slash| &written[slash..]);
        if named || written != url.path() || !unambiguous(written) {
            return None;
        }
        let host = match url.host()? {
            Host::Ipv4(address) => HostPattern::Address(address.into()),
            Host::Ipv6(address) => HostPattern::Address(address.into()),
            Host::Domain(name) => match name.strip_prefix("*.") {
                Some(suffix) if suffix.contains('.') && is_host_name(suffix) => HostPattern::Under(suffix.to_owned()),
                None if is_host_name(name) => HostPattern::Name(name.to_owned()),
                _ => return None,
            },
        };
        let path = url.path().trim_end_matches('/');
        let path = (!path.is_empty()).then(|| path.to_owned());
        Some(EgressGrant { scheme, host, port: url.port_or_known_default()?, path })
    }

    /// Reads `unix:///path`.
    fn socket(text: &str) -> Option<Self> {
        let path = text.strip_prefix("unix://").filter(|path| path.starts_with('/') && path.len() > 1)?;
        let odd = |c: char| c.is_whitespace() || c.is_control() || matches!(c, '%' | '?' | '#' | '\\' | '*');
        if path.contains(odd) || path.ends_with('/') || !unambiguous(path) {
            return None;
        }
        let host = HostPattern::Socket(PathBuf::from(path));
        Some(EgressGrant { scheme: Scheme::Unix, host, port: 80, path: None })
    }

    /// Whether one request can be covered by both. To be asked of grants without wildcards.
    pub(super) fn overlaps(&self, other: &EgressGrant) -> bool {
        let path = |grant: &EgressGrant| grant.path.clone().unwrap_or_default() + "/";
        let (mine, theirs) = (path(self), path(other));
        let same = (self.scheme, self.port, &self.host) == (other.scheme, other.port, &other.host);
        same && (mine.starts_with(&theirs) || theirs.starts_with(&mine))
    }

    /// Whether it covers a request. `host` is a name in lower case or an address, IPv6 without brackets; `path` has no query.
    /// Servers disagree on what a path means with `.`, `..` or a backslash in it, whether written out, percent-encoded once
    /// or more often, or followed by a semicolon. Only a grant without a path covers such a path.
    pub fn covers(&self, scheme: &str, host: &str, port: u16, path: &str) -> bool {
        let host_fits = match &self.host {
            HostPattern::Name(name) => host == name,
            HostPattern::Under(suffix) => host
                .strip_suffix(suffix.as_str())
                .and_then(|sub| sub.strip_suffix('.'))
                .is_some_and(|sub| !sub.is_empty()),
            HostPattern::Address(address) => host.parse::<IpAddr>().is_ok_and(|host| host == *address),
            HostPattern::Socket(_) => {
                return matches!(scheme, "http" | "ws") && host == "localhost" && port == self.port;
            }
        };
        let path_fits = self.path.as_deref().is_none_or(|granted| {
            let below = path.strip_prefix(granted).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
            below && unambiguous(path)
        });
        let scheme_fits = Scheme::named(scheme).is_some_and(|asked| self.scheme.serves(asked));
        scheme_fits && port == self.port && host_fits && path_fits
    }
}

impl fmt::Display for EgressGrant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://", self.scheme.as_str())?;
        match &self.host {
            HostPattern::Name(name) => f.write_str(name)?,
            HostPattern::Under(suffix) => write!(f, "*.{suffix}")?,
            HostPattern::Address(IpAddr::V4(address)) => write!(f, "{address}")?,
            HostPattern::Address(IpAddr::V6(address)) => write!(f, "[{address}]")?,
            HostPattern::Socket(path) => return write!(f, "{}", path.display()),
        }
        if self.scheme.usual_port() != Some(self.port) {
            write!(f, ":{}", self.port)?;
        }
        f.write_str(self.path.as_deref().unwrap_or_default())
    }
}

fn is_host_name(name: &str) -> bool {
    let label = |l: &str| !l.is_empty() && l.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
    name.split('.').all(label)
}

fn unambiguous(path: &str) -> bool {
    let mut plain = path.to_ascii_lowercase();
    // Some servers decode twice, and a proxy may decode once more.
    while plain.contains("%25") {
        plain = plain.replace("%25", "%");
    }
    let plain = plain.replace("%2e", ".").replace("%3b", ";");
    let odd = ["%2f", "%5c", "\\", "%00"].iter().any(|odd| plain.contains(odd));
    // Some servers ignore what follows a semicolon.
    let name = |part: &str| part.split(';').next().is_some_and(|name| name != "." && name != "..");
    !odd && plain.split('/').all(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grant(text: &str) -> EgressGrant {
        EgressGrant::parse(text).unwrap_or_else(|| panic!("{text} is a grant"))
    }

    #[test]
    fn a_name_covers_itself_only() {
        let g = grant("https://api.e2b.app");
        assert!(g.covers("https", "api.e2b.app", 443, "/sandboxes"));
        assert!(!g.covers("http", "api.e2b.app", 443, "/"));
        assert!(!g.covers("https", "api.e2b.app", 8443, "/"));
        for host in ["xapi.e2b.app", "api.e2b.app.evil.example", "x.api.e2b.app", "e2b.app", "api.e2b.app.", ""] {
            assert!(!g.covers("https", host, 443, "/"), "{host}");
        }
    }

    #[test]
    fn a_wildcard_covers_what_is_under_it() {
        let g = grant("https://*.e2b.app");
        assert!(g.covers("https", "a.e2b.app", 443, "/"));
        assert!(g.covers("https", "a.b.e2b.app", 443, "/"));
        for host in ["e2b.app", ".e2b.app", "evile2b.app", "a.e2b.app.evil.example"] {
            assert!(!g.covers("https", host, 443, "/"), "{host}");
        }
    }

    #[test]
    fn an_address_covers_itself_however_it_is_written() {
        assert!(grant("http://127.0.0.1:3001").covers("http", "127.0.0.1", 3001, "/"));
        assert_eq!(grant("http://0x7f.1:3001"), grant("http://127.0.0.1:3001"));
        assert!(grant("http://[::1]:3001").covers("http", "0:0:0:0:0:0:0:1", 3001, "/"));
        assert!(!grant("http://127.0.0.1:3001").covers("http", "localhost", 3001, "/"));
    }

    #[test]
    fn a_path_covers_whole_segments_and_no_way_out() {
        let g = grant("https://a.example/v1/");
        for path in ["/v1", "/v1/", "/v1/x", "/v1/x..y/.z", "/v1/a;b=..", "/v1/100%25", "/v1/%2525"] {
            assert!(g.covers("https", "a.example", 443, path), "{path}");
        }
        for path in [
            "/",
            "/v10",
            "/v2",
            "/V1",
            "/v1/../v2",
            "/v1/%2e%2E/v2",
            "/v1/.%2e/v2",
            "/v1/..",
            "/v1/./x",
            "/v1/..%2fv2",
            "/v1/..%5Cv2",
            "/v1\\..\\v2",
            "/v1/..;/admin",
            "/v1/..;x=y/admin",
            "/v1/..%3b/admin",
            "/v1/.;/x",
            "/v1/%252e%252e/x",
            "/v1/%25252e%25252e/x",
            "/v1/..%252fx",
            "/v1/..%00/x",
        ] {
            assert!(!g.covers("https", "a.example", 443, path), "{path}");
        }
        assert!(grant("https://a.example").covers("https", "a.example", 443, "/x/../y"));
    }

    #[test]
    fn a_grant_of_requests_covers_websockets_and_not_the_other_way_round() {
        assert!(grant("https://a.example").covers("wss", "a.example", 443, "/"));
        assert!(grant("http://127.0.0.1:3001").covers("ws", "127.0.0.1", 3001, "/"));
        for (granted, asked) in [
            ("wss://a.example", "https"),
            ("https://a.example", "ws"),
            ("https://a.example", "tls"),
            ("tls://a.example:443", "https"),
            ("tcp://a.example:443", "tls"),
        ] {
            assert!(!grant(granted).covers(asked, "a.example", 443, "/"), "{granted} {asked}");
        }
    }

    #[test]
    fn a_socket_is_localhost_to_requests_and_nothing_else() {
        let g = grant("unix:///run/docker.sock");
        assert!(g.covers("http", "localhost", 80, "/v1.41/info") && g.covers("ws", "localhost", 80, "/"));
        for (scheme, host, port) in [
            ("https", "localhost", 80),
            ("http", "localhost", 8080),
            ("http", "127.0.0.1", 80),
            ("tcp", "localhost", 80),
        ] {
            assert!(!g.covers(scheme, host, port, "/"), "{scheme}://{host}:{port}");
        }
    }

    #[test]
    fn what_could_surprise_is_no_grant() {
        for wrong in [
            "",
            "*",
            "https://*",
            "https://*.com",
            "https://a.*.example",
            "https://a*.example",
            "https://*.*.example",
            "https://**.a.example",
            "api.e2b.app",
            "https://user@a.example",
            "https://user:pw@a.example",
            "https://@a.example",
            "https://a.example?q",
            "https://a.example#f",
            "ftp://a.example",
            "https:a.example",
            "https:/a.example",
            "https://a.example/x/../y",
            "https://a.example/%2e%2e/y",
            "https://a.example./",
            "https:// a.example",
            "https://a.example:0x50",
            "https://a.example:70000",
            "tcp://a.example",
            "tcp://a.example:1/",
            "tcp://a.example:1/x",
            "tls://user@a.example:1",
            "unix://run/docker.sock",
            "unix:///",
            "unix:///run/",
            "unix:///run/../x",
            "unix:///run/a b",
            "unix:///run/%2e",
        ] {
            assert!(EgressGrant::parse(wrong).is_none(), "{wrong}");
        }
    }

    #[test]
    fn a_grant_reads_back_as_it_was_written() {
        for text in [
            "https://api.e2b.app",
            "https://*.e2b.app",
            "http://127.0.0.1:3001",
            "http://[::1]:3001",
            "https://a.example/v1",
            "wss://a.example/v1",
            "ws://127.0.0.1:9000",
            "tcp://db.example:5432",
            "tls://[::1]:443",
            "unix:///run/docker.sock",
        ] {
            assert_eq!(grant(text).to_string(), text);
        }
    }
}
