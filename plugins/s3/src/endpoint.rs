//! The address of a service. Knows no bucket.

/// Address of a service, without a slash at its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// `https://s3.eu-west-1.amazonaws.com`.
    pub url: String,
    /// `s3.eu-west-1.amazonaws.com`, perhaps with a port.
    pub authority: String,
}

impl Endpoint {
    /// Reads an address. `Err` says what is expected.
    pub fn read(written: &str) -> Result<Self, &'static str> {
        let Some(rest) = written.strip_prefix("https://").or_else(|| written.strip_prefix("http://")) else {
            return Err("an address that begins with https:// or http://");
        };
        let authority = rest.trim_end_matches('/');
        let url = &written[..written.len() - rest.len() + authority.len()];
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | ':' | '[' | ']');
        if authority.is_empty() || !authority.chars().all(plain) {
            return Err("an address of a host and perhaps a port, without a path");
        }
        Ok(Self { url: url.to_owned(), authority: authority.to_owned() })
    }

    /// The host as a client names it: without the usual port of the scheme.
    pub fn host(&self) -> &str {
        let usual = if self.url.starts_with("https") { ":443" } else { ":80" };
        self.authority.strip_suffix(usual).unwrap_or(&self.authority)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_taken_and_mistakes_are_named() {
        let read = Endpoint::read("http://127.0.0.1:9000/").expect("good");
        assert_eq!(
            (&*read.url, &*read.authority, read.host()),
            ("http://127.0.0.1:9000", "127.0.0.1:9000", "127.0.0.1:9000")
        );
        assert_eq!(Endpoint::read("https://s3.example.com:443").expect("good").host(), "s3.example.com");
        for (bad, expected) in [
            ("s3.example.com", "begins with https://"),
            ("ftp://x", "begins with https://"),
            ("https://", "a host"),
            ("https://a@b", "a host"),
            ("https://a/bucket", "without a path"),
            ("https://a?x", "a host"),
        ] {
            let e = Endpoint::read(bad).expect_err(bad);
            assert!(e.contains(expected), "{bad}: {e}");
        }
    }
}
