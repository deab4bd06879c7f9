//! Egress grants: where a plugin's requests may go. Owns their grammar and the comparison with a request's target; deliberately
//! knows no plugin, and no address of a name: the sender of a request resolves the name and judges the address.

use std::fmt;
use std::net::IpAddr;

use url::{Host, Url};

use super::origin::is_plain;

/// `http` or `https`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// In the clear.
    Http,
    /// Over TLS.
    Https,
}

impl Scheme {
    /// Its name in URLs.
    pub fn as_str(self) -> &'static str {
        match self {
            Scheme::Http => "http",
            Scheme::Https => "https",
        }
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
}

/// One place where requests may go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EgressGrant {
    /// Whether requests use TLS.
    pub scheme: Scheme,
    /// The hosts.
    pub host: HostPattern,
    /// The port; the scheme's default unless written.
    pub port: u16,
    /// The path that is granted with everything below it; `None` for every path. Never ends in a slash.
    pub path: Option<String>,
}

impl EgressGrant {
    /// Reads `scheme://host[:port][/path]`. A host may begin with `*.`; two more labels must then follow. `None` for anything
    /// else: a user name, a query, a wildcard anywhere else.
    pub fn parse(text: &str) -> Option<Self> {
        let url = Url::parse(text).ok().filter(|_| is_plain(text))?;
        let scheme = match url.scheme() {
            "http" => Scheme::Http,
            "https" => Scheme::Https,
            _ => return None,
        };
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
        };
        let path_fits = self.path.as_deref().is_none_or(|granted| {
            let below = path.strip_prefix(granted).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
            below && unambiguous(path)
        });
        scheme == self.scheme.as_str() && port == self.port && host_fits && path_fits
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
        }
        let usual = match self.scheme {
            Scheme::Http => 80,
            Scheme::Https => 443,
        };
        if self.port != usual {
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
        ] {
            assert_eq!(grant(text).to_string(), text);
        }
    }
}
