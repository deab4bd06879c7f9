//! Addresses of the control plane and of sandboxes, and the encodings of
//! paths and queries. Pure.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::config::Config;

/// Port of the agent (envd) in every sandbox.
pub const ENVD_PORT: u16 = 49983;

/// Domains whose sandboxes share one host, told apart by headers.
const HOSTED: [&str; 7] =
    ["e2b.app", "e2b.dev", "e2b.pro", "e2b-staging.dev", "e2b-tango.dev", "e2b-juliett.dev", "foxtrot-2.e2b.dev"];

/// All but the unreserved characters of RFC 3986.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Percent-encodes a path segment or a part of a query.
pub fn encode(text: &str) -> String {
    utf8_percent_encode(text, RESERVED).to_string()
}

/// Base URL of the control plane, without a slash at its end.
pub fn api(config: &Config) -> String {
    match &config.api_url {
        Some(url) => url.clone(),
        None => format!("https://api.{}", config.domain),
    }
}

/// Base URL of a sandbox's agent. `domain` is the one that the control plane
/// answered with; it overrides the configured one.
pub fn sandbox(config: &Config, domain: Option<&str>, id: &str) -> String {
    if let Some(url) = &config.sandbox_url {
        return url.clone();
    }
    let domain = domain.unwrap_or(&config.domain);
    if HOSTED.contains(&domain) { format!("https://sandbox.{domain}") } else { port_of(domain, id, ENVD_PORT) }
}

/// URL of a port of a sandbox, by a host name of its own.
pub fn port(config: &Config, domain: Option<&str>, id: &str, port: u16) -> String {
    port_of(domain.unwrap_or(&config.domain), id, port)
}

fn port_of(domain: &str, id: &str, port: u16) -> String {
    format!("https://{port}-{id}.{domain}")
}

/// A query from pairs, with its question mark; empty without pairs.
pub fn query(pairs: &[(&str, &str)]) -> String {
    let mut out = String::new();
    for (name, value) in pairs {
        out.push(if out.is_empty() { '?' } else { '&' });
        out.push_str(name);
        out.push('=');
        out.push_str(&encode(value));
    }
    out
}

/// The value of the `metadata` filter of a listing, before the query's own
/// encoding: servers decode the whole, split it, and decode each part again.
pub fn metadata_filter(labels: &[(String, String)]) -> String {
    let twice = |text: &str| encode(&encode(text));
    let pairs: Vec<_> = labels.iter().map(|(k, v)| format!("{}={}", twice(k), twice(v))).collect();
    pairs.join("&")
}

/// Whom a URL names.
pub fn authority(url: &str) -> &str {
    url.split_once("://").map_or(url, |(_, rest)| rest.split('/').next().unwrap_or_default())
}

/// Whether an id may become part of a URL and of a host name. E2B's own are
/// `[a-z0-9]+`, perhaps with an old `-client` behind; others are looser.
pub fn is_id(id: &str) -> bool {
    (1..=128).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(json: &str) -> Config {
        Config::parse(json).expect("fits")
    }

    #[test]
    fn the_control_plane_is_under_the_domain_unless_overridden() {
        assert_eq!(api(&config("{}")), "https://api.e2b.app");
        assert_eq!(api(&config(r#"{"domain":"x.test:8443"}"#)), "https://api.x.test:8443");
        assert_eq!(api(&config(r#"{"api_url":"http://localhost:3000/"}"#)), "http://localhost:3000");
    }

    #[test]
    fn sandboxes_share_a_host_on_hosted_domains_and_have_their_own_elsewhere() {
        assert_eq!(sandbox(&config("{}"), None, "iabc"), "https://sandbox.e2b.app");
        assert_eq!(sandbox(&config("{}"), Some("e2b.dev"), "iabc"), "https://sandbox.e2b.dev");
        assert_eq!(sandbox(&config("{}"), Some("corp.test"), "iabc"), "https://49983-iabc.corp.test");
        let fixed = config(r#"{"sandbox_url":"http://127.0.0.1:3001"}"#);
        assert_eq!(sandbox(&fixed, Some("corp.test"), "iabc"), "http://127.0.0.1:3001");
    }

    #[test]
    fn a_metadata_filter_is_encoded_as_the_official_clients_do() {
        let filter = metadata_filter(&[("k k".into(), "v&1".into())]);
        // Recorded from the JavaScript SDK 2.51.
        assert_eq!(query(&[("metadata", &filter)]), "?metadata=k%252520k%3Dv%2525261");
        let two = metadata_filter(&[("a".into(), "1".into()), ("b".into(), "2".into())]);
        assert_eq!(query(&[("metadata", &two), ("limit", "9")]), "?metadata=a%3D1%26b%3D2&limit=9");
    }

    #[test]
    fn only_ids_that_cannot_leave_their_place_are_taken() {
        assert!(is_id("i0123456789abcdefghij") && is_id("iabc-client1"));
        for bad in ["", "a/b", "a.b", "..", "a?b", &"a".repeat(129)] {
            assert!(!is_id(bad), "{bad}");
        }
    }
}
