//! The plugin's section of `broker.toml`: its shape, its schema, and what a schema cannot say. Knows no request.

use std::net::IpAddr;
use std::time::Duration;

use sandbox_broker_sdk::manifest::Diagnostic;
use sandbox_broker_sdk::{Code, Error};
use serde::Deserialize;

/// The JSON Schema of [`Config`].
pub const SCHEMA: &str = include_str!("config.schema.json");

/// The address that stands for the Unix socket of `allow`.
pub const SOCKET: &str = "http://localhost";

/// The section, with the schema's defaults.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Address of the engine, without a path.
    pub endpoint: String,
    /// Image of new sandboxes.
    pub image: String,
    /// When an image is fetched.
    pub pull: Pull,
    /// Memory of a sandbox, MiB.
    pub memory_mib: u32,
    /// Processor time of a sandbox, thousandths of a core.
    pub cpu_millis: Option<u32>,
    /// Processes and threads of a sandbox.
    pub pids: u32,
    /// Whose processes.
    pub user: Option<String>,
    /// Network of a sandbox.
    pub network: String,
    /// Runtime of a sandbox.
    pub runtime: Option<String>,
    /// What root in a sandbox may do beyond a user.
    pub capabilities: Vec<String>,
    /// Ports that the engine publishes.
    pub publish: Vec<u16>,
    /// Where it publishes them.
    pub publish_address: String,
    /// Whether the engine removes what has ended.
    pub auto_remove: bool,
    /// Seconds that one request may take.
    pub request_timeout: u32,
}

/// When an image is fetched.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Pull {
    /// When the engine has none of that name.
    Missing,
    /// Before each sandbox.
    Always,
    /// Not at all.
    Never,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            endpoint: SOCKET.into(),
            image: "debian:stable-slim".into(),
            pull: Pull::Missing,
            memory_mib: 2048,
            cpu_millis: None,
            pids: 1024,
            user: None,
            network: "bridge".into(),
            runtime: None,
            capabilities: Vec::new(),
            publish: Vec::new(),
            publish_address: "127.0.0.1".into(),
            auto_remove: true,
            request_timeout: 30,
        }
    }
}

impl Config {
    /// Reads what the host has checked against [`SCHEMA`]. Empty texts count as absent, so that `"${NAME:-}"` may stand
    /// in `broker.toml`.
    pub fn parse(json: &str) -> Result<Self, Error> {
        let mut config: Self = serde_json::from_str(json)
            .map_err(|e| Error::new(Code::InvalidArgument, format!("the config of the docker plugin is unfit: {e}")))?;
        for text in [&mut config.user, &mut config.runtime] {
            *text = text.take().filter(|text| !text.is_empty());
        }
        Ok(config)
    }

    /// Deadline of one request.
    pub fn timeout(&self) -> Duration {
        Duration::from_secs(self.request_timeout.into())
    }

    /// Whether the engine is on the broker's machine.
    pub fn is_local(&self) -> bool {
        self.endpoint == SOCKET
    }

    /// Says what the schema cannot.
    pub fn validate(&self) -> Vec<Diagnostic> {
        let mut found = Vec::new();
        let mut say = |pointer: &str, message: String| {
            found.push(Diagnostic { pointer: pointer.to_owned(), message });
        };
        if self.endpoint.starts_with("http://") && !self.is_local() {
            say(
                "/endpoint",
                format!(
                    "found {:?}, expected {SOCKET} or an https address: whoever reaches an engine without TLS is root there",
                    self.endpoint
                ),
            );
        }
        if !is_reference(&self.image) {
            say("/image", format!("found {:?}, expected the name of an image, such as debian:stable-slim", self.image));
        }
        if self.network == "host" || self.network.starts_with("container:") {
            say(
                "/network",
                format!("found {:?}: a sandbox does not share the network of the host or of a container", self.network),
            );
        }
        if self.publish_address.parse::<IpAddr>().is_err() {
            say("/publish_address", format!("found {:?}, expected an IP address", self.publish_address));
        }
        found
    }
}

/// Whether a text may be the name of an image: what the engine is asked for must not become another request.
pub fn is_reference(text: &str) -> bool {
    (1..=512).contains(&text.len())
        && text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-/:@[]".contains(&b))
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
        let full = r#"{"endpoint":"https://10.0.0.1:2376","image":"registry.test:5000/a/b@sha256:00","pull":"always",
            "memory_mib":512,"cpu_millis":500,"pids":100,"user":"","network":"none","runtime":"runsc",
            "capabilities":["CHOWN"],"publish":[8080],"publish_address":"10.0.0.1","auto_remove":false,
            "request_timeout":5}"#;
        for good in ["{}", full] {
            let value = serde_json::from_str(good).expect("json");
            assert!(schema.is_valid(&value), "{good}");
            assert!(diagnostics(good).is_empty(), "{good}");
        }
        for bad in [
            r#"{"privileged":true}"#,
            r#"{"capabilities":["SYS_ADMIN"]}"#,
            r#"{"endpoint":"unix:///var/run/docker.sock"}"#,
            r#"{"memory_mib":1}"#,
            r#"{"publish":[0]}"#,
            r#"{"pull":"sometimes"}"#,
        ] {
            let value = serde_json::from_str(bad).expect("json");
            assert!(!schema.is_valid(&value), "{bad}");
        }
    }

    #[test]
    fn the_schema_and_the_code_have_the_same_defaults() {
        let schema: serde_json::Value = serde_json::from_str(SCHEMA).expect("the schema is json");
        let defaults: serde_json::Map<_, _> = schema["properties"]
            .as_object()
            .expect("an object")
            .iter()
            .filter_map(|(name, property)| Some((name.clone(), property.get("default")?.clone())))
            .collect();
        let read = Config::parse(&serde_json::Value::Object(defaults).to_string()).expect("defaults fit");
        assert_eq!(format!("{read:?}"), format!("{:?}", Config::default()));
    }

    #[test]
    fn mistakes_are_pointed_at_all_at_once() {
        let bad = r#"{"endpoint":"http://10.0.0.1:2375","image":"a b","network":"host","publish_address":"here"}"#;
        assert_eq!(diagnostics(bad), ["/endpoint", "/image", "/network", "/publish_address"]);
        assert_eq!(diagnostics(r#"{"network":"container:other"}"#), ["/network"]);
    }

    #[test]
    fn an_image_is_a_name_and_no_request() {
        for good in ["debian", "debian:12", "h.test:5000/a/b:1.2_3", "a@sha256:0123", "127.0.0.1:5000/x"] {
            assert!(is_reference(good), "{good}");
        }
        for bad in ["", "-x", "a b", "a&fromSrc=-", "a?x", "a%2f", "ä", "a\n"] {
            assert!(!is_reference(bad), "{bad}");
        }
    }
}
