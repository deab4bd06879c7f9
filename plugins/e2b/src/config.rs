//! The plugin's section of `broker.toml`: its shape, its schema, and what a
//! schema cannot say. Knows no request.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use sandbox_broker_sdk::manifest::Diagnostic;
use sandbox_broker_sdk::{Code, Error};
use serde::{Deserialize, Serialize};

/// The JSON Schema of [`Config`].
pub const SCHEMA: &str = include_str!("config.schema.json");

/// The section, with the schema's defaults.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Template of new sandboxes.
    pub template: String,
    /// Base domain of the service, perhaps with a port.
    pub domain: String,
    /// Address of the control plane, without a slash at its end.
    pub api_url: Option<String>,
    /// One address for all sandboxes, without a slash at its end.
    pub sandbox_url: Option<String>,
    /// Seconds that one request may take.
    pub request_timeout: u32,
    /// Whose processes and files.
    pub user: Option<String>,
    /// Stored with new sandboxes.
    pub metadata: BTreeMap<String, String>,
    /// Whether sandboxes may reach the internet at all.
    pub allow_internet_access: Option<bool>,
    /// Finer rules.
    pub network: Option<Network>,
}

/// Rules for the network of sandboxes. Written in the names of the protocol,
/// read in those of `broker.toml`.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Network {
    /// What sandboxes may reach.
    #[serde(rename(serialize = "allowOut"), skip_serializing_if = "Vec::is_empty")]
    pub allow_out: Vec<String>,
    /// What they may not reach.
    #[serde(rename(serialize = "denyOut"), skip_serializing_if = "Vec::is_empty")]
    pub deny_out: Vec<String>,
    /// Whether their ports are open to everybody.
    #[serde(rename(serialize = "allowPublicTraffic"), skip_serializing_if = "Option::is_none")]
    pub allow_public_traffic: Option<bool>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            template: "base".into(),
            domain: "e2b.app".into(),
            api_url: None,
            sandbox_url: None,
            request_timeout: 60,
            user: None,
            metadata: BTreeMap::new(),
            allow_internet_access: None,
            network: None,
        }
    }
}

impl Config {
    /// Reads what the host has checked against [`SCHEMA`]. Empty texts count
    /// as absent, so that `"${NAME:-}"` may stand in `broker.toml`.
    pub fn parse(json: &str) -> Result<Self, Error> {
        let mut config: Self = serde_json::from_str(json)
            .map_err(|e| Error::new(Code::InvalidArgument, format!("the config of the e2b plugin is unfit: {e}")))?;
        for text in [&mut config.api_url, &mut config.sandbox_url] {
            *text = text.take().map(|url| url.trim_end_matches('/').to_owned());
        }
        for text in [&mut config.api_url, &mut config.sandbox_url, &mut config.user] {
            *text = text.take().filter(|text| !text.is_empty());
        }
        Ok(config)
    }

    /// Deadline of one request.
    pub fn timeout(&self) -> Duration {
        Duration::from_secs(self.request_timeout.into())
    }

    /// Says what the schema cannot.
    pub fn validate(&self) -> Vec<Diagnostic> {
        let mut found = Vec::new();
        let mut say = |pointer: &str, message: String| {
            found.push(Diagnostic { pointer: pointer.to_owned(), message });
        };
        if !is_domain(&self.domain) {
            say("/domain", format!("found {:?}, expected a domain such as e2b.app", self.domain));
        }
        for (pointer, url) in [("/api_url", &self.api_url), ("/sandbox_url", &self.sandbox_url)] {
            if let Some(url) = url
                && let Err(expected) = check_url(url)
            {
                say(pointer, format!("found {url:?}, expected {expected}"));
            }
        }
        if let Some(user) = &self.user
            && user.contains([':', '\n', '\r', '\0'])
        {
            say("/user", format!("found {user:?}, expected a user name"));
        }
        let network = self.network.clone().unwrap_or_default();
        for (i, rule) in network.deny_out.iter().enumerate() {
            if !is_address(rule) {
                say(&format!("/network/deny_out/{i}"), format!("found {rule:?}, expected an address or a CIDR block"));
            }
        }
        let denies_all = network.deny_out.iter().any(|rule| rule == "0.0.0.0/0");
        if !denies_all && let Some(i) = network.allow_out.iter().position(|rule| !is_address(rule)) {
            say(
                &format!("/network/allow_out/{i}"),
                "a domain is allowed only beside deny_out = [\"0.0.0.0/0\"]".into(),
            );
        }
        found
    }
}

/// Whether `domain` is a host name, perhaps with a port: what may become part
/// of a URL. Also for domains that a server answers with.
pub fn is_domain(domain: &str) -> bool {
    let (name, port) = match domain.split_once(':') {
        Some((name, port)) => (name, port.parse::<u16>().is_ok()),
        None => (domain, true),
    };
    port && (1..=253).contains(&name.len())
        && name.split('.').all(|label| {
            !label.is_empty()
                && !label.starts_with('-')
                && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
        })
}

fn is_address(rule: &str) -> bool {
    let (address, bits) = match rule.split_once('/') {
        Some((address, bits)) => (address, bits.parse::<u8>().ok()),
        None => (rule, Some(0)),
    };
    match (address.parse::<IpAddr>(), bits) {
        (Ok(IpAddr::V4(_)), Some(bits)) => bits <= 32,
        (Ok(IpAddr::V6(_)), Some(bits)) => bits <= 128,
        _ => false,
    }
}

fn check_url(url: &str) -> Result<(), &'static str> {
    let rest = url
        .strip_prefix("https://")
        .or_else(|| url.strip_prefix("http://"))
        .ok_or("an address that begins with http:// or https://")?;
    if rest.contains(['?', '#', '@']) || rest.contains(char::is_whitespace) {
        return Err("an address without user, query and fragment");
    }
    if rest.split('/').next().is_none_or(str::is_empty) {
        return Err("an address with a host");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn diagnostics(json: &str) -> Vec<String> {
        let config = Config::parse(json).expect("it fits the schema");
        config.validate().into_iter().map(|d| d.pointer).collect()
    }

    #[test]
    fn the_schema_takes_every_member_and_nothing_else() {
        let schema: serde_json::Value = serde_json::from_str(SCHEMA).expect("the schema is json");
        let schema = jsonschema::validator_for(&schema).expect("the schema is a schema");
        let full = r#"{"template":"t:1","domain":"e2b.dev","api_url":"http://localhost:3000/","sandbox_url":"",
            "request_timeout":5,"user":"","metadata":{"a":"b"},"allow_internet_access":false,
            "network":{"allow_out":["example.com"],"deny_out":["0.0.0.0/0"],"allow_public_traffic":false}}"#;
        for good in ["{}", full] {
            let value = serde_json::from_str(good).expect("json");
            assert!(schema.is_valid(&value), "{good}");
            assert!(diagnostics(good).is_empty(), "{good}");
        }
        for bad in [r#"{"api-url":"x"}"#, r#"{"request_timeout":0}"#, r#"{"metadata":{"a":1}}"#] {
            let value = serde_json::from_str(bad).expect("json");
            assert!(!schema.is_valid(&value), "{bad}");
        }
    }

    #[test]
    fn the_schema_and_the_code_have_the_same_defaults() {
        let schema: serde_json::Value = serde_json::from_str(SCHEMA).expect("the schema is json");
        let config = Config::default();
        let default = |name: &str| schema["properties"][name]["default"].clone();
        assert_eq!(default("template"), config.template);
        assert_eq!(default("domain"), config.domain);
        assert_eq!(default("request_timeout"), config.request_timeout);
    }

    #[test]
    fn an_empty_text_is_absent_and_slashes_go() {
        let config = Config::parse(r#"{"api_url":"","sandbox_url":"http://h:1/p/"}"#).expect("fits");
        assert_eq!(config.api_url, None);
        assert_eq!(config.sandbox_url.as_deref(), Some("http://h:1/p"));
    }

    #[test]
    fn mistakes_are_pointed_at_all_at_once() {
        assert_eq!(
            diagnostics(
                r#"{"domain":"https://e2b.app","api_url":"localhost:3000","user":"a:b",
                "network":{"allow_out":["1.1.1.1","example.com"],"deny_out":["example.com"]}}"#
            ),
            ["/domain", "/api_url", "/user", "/network/deny_out/0", "/network/allow_out/1"]
        );
    }

    #[test]
    fn network_rules_go_out_in_the_protocols_names() {
        let config =
            Config::parse(r#"{"network":{"deny_out":["0.0.0.0/0"],"allow_public_traffic":false}}"#).expect("fits");
        assert_eq!(
            serde_json::to_string(&config.network).expect("json"),
            r#"{"denyOut":["0.0.0.0/0"],"allowPublicTraffic":false}"#
        );
    }
}
