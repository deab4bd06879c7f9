//! Origins of web pages, and URLs that read as they are parsed. Owns that grammar; deliberately knows no key.

use std::fmt;

use url::{Host, Url};

/// The origin of web pages (RFC 6454), in the form in which browsers send it:
/// lower case, no default port, no slash at the end.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Origin(String);

impl Origin {
    /// Reads an origin; one slash at its end is accepted. `None` for anything with a path, a query, a user name, a wildcard
    /// or a scheme other than `http` and `https`.
    pub fn parse(text: &str) -> Option<Self> {
        let url = Url::parse(text).ok()?;
        let bare = url.path() == "/" && url.query().is_none() && url.fragment().is_none();
        let anonymous = url.username().is_empty() && url.password().is_none() && !text.contains('@');
        let web = matches!(url.scheme(), "http" | "https") && !url.host_str()?.contains('*');
        (bare && anonymous && web && is_plain(text)).then(|| Origin(url.origin().ascii_serialization()))
    }

    /// Whether it is reached over TLS.
    pub(super) fn is_secure(&self) -> bool {
        self.0.starts_with("https://")
    }

    /// Whether it can be reached from this machine only.
    pub(super) fn is_loopback(&self) -> bool {
        let url = Url::parse(&self.0).expect("it was read from one");
        match url.host() {
            Some(Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
            Some(Host::Ipv4(address)) => address.is_loopback(),
            Some(Host::Ipv6(address)) => address.is_loopback(),
            None => false,
        }
    }

    /// Such as `https://example.com:8443`.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Whether a person and the parser read the same URL. It has no white space, which the parser drops, no backslash, which it
/// turns into a slash, and a lower-case scheme with both slashes, which it would add.
pub(super) fn is_plain(url: &str) -> bool {
    let plain =
        |(scheme, rest): (&str, &str)| !scheme.contains(|c: char| c.is_ascii_uppercase()) && !rest.starts_with('/');
    url.split_once("://").is_some_and(plain)
        && !url.contains(|c: char| c.is_whitespace() || c.is_control() || c == '\\')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_take_the_form_of_browsers() {
        let read = |t| Origin::parse(t).map(|o| o.0);
        assert_eq!(read("http://localhost:5174").as_deref(), Some("http://localhost:5174"));
        assert_eq!(read("https://EXAMPLE.com:443/").as_deref(), Some("https://example.com"));
        assert_eq!(read("http://[::1]:80").as_deref(), Some("http://[::1]"));
        assert_eq!(read("https://bücher.example").as_deref(), Some("https://xn--bcher-kva.example"));
        for wrong in [
            "",
            "*",
            "null",
            "localhost:5174",
            "example.com",
            "https://*.example.com",
            "https://a@b.example",
            "https://@b.example",
            "https://a.example/x",
            "https://a.example?",
            "https://a.example#",
            "ftp://a.example",
            "file:///x",
            "https:a.example",
            "https:///a.example",
            "https://a.example\n",
            " https://a.example",
            "https:\\\\a.example",
            "https://",
        ] {
            assert_eq!(read(wrong), None, "{wrong:?}");
        }
    }
}
