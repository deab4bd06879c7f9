//! Where the container is: its URLs, and the names by which signatures speak
//! of it. Knows no request.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use sandbox_broker_sdk::{Code, Error};

use crate::config::Config;

/// What stands for itself in a URL (RFC 3986 section 2.3).
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// Text as part of a path or a query.
pub fn encode(text: &str) -> String {
    utf8_percent_encode(text, RESERVED).to_string()
}

/// Address of an account's blob service, without a slash at its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// `https://mystore.blob.core.windows.net`, or an emulator's, which ends
    /// in the account's name.
    pub url: String,
    /// `mystore.blob.core.windows.net`, perhaps with a port.
    pub authority: String,
    /// Whether tokens go over TLS only.
    pub https: bool,
    /// Whether the account is the path, as an emulator has it.
    pub emulator: bool,
}

impl Endpoint {
    /// Reads an endpoint; the account's usual one when empty. `Err` says what
    /// is expected.
    pub fn of(account: &str, written: &str) -> Result<Self, &'static str> {
        let written = written.trim_end_matches('/');
        if written.is_empty() {
            let authority = format!("{account}.blob.core.windows.net");
            return Ok(Self { url: format!("https://{authority}"), authority, https: true, emulator: false });
        }
        let (https, rest) = match (written.strip_prefix("https://"), written.strip_prefix("http://")) {
            (Some(rest), _) => (true, rest),
            (_, Some(rest)) => (false, rest),
            _ => return Err("an address that begins with https:// or http://"),
        };
        if rest.contains(['?', '#', '@', '%', '\\']) || rest.contains(|c: char| c.is_whitespace() || c.is_control()) {
            return Err("an address without user, query, fragment and escapes");
        }
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        if authority.is_empty() {
            return Err("an address with a host");
        }
        let emulator = path == account;
        if !path.is_empty() && !emulator {
            return Err("an address without a path, or with the account as its path for an emulator");
        }
        if !https && !emulator {
            return Err("https, except for an emulator, whose address ends in the account's name");
        }
        Ok(Self { url: written.to_owned(), authority: authority.to_owned(), https, emulator })
    }
}

/// The container of a section.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Container {
    /// Name of the account.
    pub account: String,
    /// Name of the container.
    pub name: String,
    /// The account's service.
    pub endpoint: Endpoint,
}

impl Container {
    /// That of a section. `invalid-argument` for a mistake in its endpoint.
    pub fn of(config: &Config) -> Result<Self, Error> {
        let endpoint = Endpoint::of(&config.account, &config.endpoint)
            .map_err(|expected| Error::new(Code::InvalidArgument, format!("`endpoint` must be {expected}")))?;
        Ok(Self { account: config.account.clone(), name: config.container.clone(), endpoint })
    }

    /// Its path in URLs, with the account before it at an emulator.
    fn path(&self) -> String {
        let name = encode(&self.name);
        if self.endpoint.emulator { format!("/{}/{name}", self.account) } else { format!("/{name}") }
    }

    /// Its URL with this query, whose values are encoded here.
    pub fn url(&self, query: &[(&str, &str)]) -> String {
        let pairs: Vec<String> = query.iter().map(|(name, value)| format!("{name}={}", encode(value))).collect();
        format!("{}/{}?{}", self.endpoint.url, encode(&self.name), pairs.join("&"))
    }

    /// What the signature of a request names: the account, then the path of
    /// the URL, which at an emulator has the account once more.
    pub fn in_requests(&self) -> String {
        format!("/{}{}", self.account, self.path())
    }

    /// What the signature of a token names, at an emulator as well.
    pub fn in_tokens(&self) -> String {
        format!("/blob/{}/{}", self.account, self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn container(account: &str, endpoint: &str) -> Container {
        let endpoint = Endpoint::of(account, endpoint).expect("an endpoint");
        Container { account: account.into(), name: "files".into(), endpoint }
    }

    #[test]
    fn the_usual_address_comes_of_the_account() {
        let usual = container("mystore", "");
        assert_eq!(
            usual.url(&[("restype", "container"), ("comp", "list")]),
            "https://mystore.blob.core.windows.net/files?restype=container&comp=list"
        );
        assert_eq!(usual.in_requests(), "/mystore/files");
        assert_eq!(usual.in_tokens(), "/blob/mystore/files");
        assert!(usual.endpoint.https && !usual.endpoint.emulator);
    }

    #[test]
    fn an_emulator_has_the_account_in_its_path_and_twice_in_requests() {
        let emulator = container("devstoreaccount1", "http://127.0.0.1:10000/devstoreaccount1/");
        assert_eq!(emulator.url(&[("comp", "acl")]), "http://127.0.0.1:10000/devstoreaccount1/files?comp=acl");
        assert_eq!(emulator.in_requests(), "/devstoreaccount1/devstoreaccount1/files");
        assert_eq!(emulator.in_tokens(), "/blob/devstoreaccount1/files");
        assert_eq!(emulator.endpoint.authority, "127.0.0.1:10000");
        assert!(!emulator.endpoint.https && emulator.endpoint.emulator);
    }

    #[test]
    fn other_clouds_are_taken_and_mistakes_are_named() {
        for good in ["https://mystore.blob.core.chinacloudapi.cn", "https://mystore.privatelink.blob.core.windows.net/"]
        {
            assert!(Endpoint::of("mystore", good).is_ok(), "{good}");
        }
        for (bad, expected) in [
            ("mystore.blob.core.windows.net", "begins with https://"),
            ("ftp://x", "begins with https://"),
            ("https:///mystore", "with a host"),
            ("https://a@b", "without user"),
            ("https://a/mystore%2f", "without user"),
            ("https://a/b", "without a path"),
            ("http://mystore.blob.core.windows.net", "https, except for an emulator"),
        ] {
            let e = Endpoint::of("mystore", bad).expect_err(bad);
            assert!(e.contains(expected), "{bad}: {e}");
        }
    }
}
