//! Where the container is: its URLs. Knows no request.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use sandbox_broker_sdk::{Code, Error};

use crate::config::Config;
use crate::endpoint::Endpoint;

/// What stands for itself in a URL (RFC 3986 section 2.3).
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// Text as part of a path or a query.
pub fn encode(text: &str) -> String {
    utf8_percent_encode(text, RESERVED).to_string()
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

    /// Its URL with this query, whose values are encoded here.
    pub fn url(&self, query: &[(&str, &str)]) -> String {
        let pairs: Vec<String> = query.iter().map(|(name, value)| format!("{name}={}", encode(value))).collect();
        format!("{}/{}?{}", self.endpoint.url, encode(&self.name), pairs.join("&"))
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
        assert!(usual.endpoint.https && !usual.endpoint.emulator);
    }

    #[test]
    fn an_emulator_has_the_account_in_its_path() {
        let emulator = container("devstoreaccount1", "http://127.0.0.1:10000/devstoreaccount1/");
        assert_eq!(emulator.url(&[("comp", "acl")]), "http://127.0.0.1:10000/devstoreaccount1/files?comp=acl");
        assert_eq!(emulator.endpoint.authority, "127.0.0.1:10000");
        assert!(!emulator.endpoint.https && emulator.endpoint.emulator);
    }
}
