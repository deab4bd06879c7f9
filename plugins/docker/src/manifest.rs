//! What the plugin says about itself: the interface `manifest`.

use sandbox_broker_sdk::manifest::{Diagnostic, Guest};
use serde_json::json;

use crate::Plugin;
use crate::config::{Config, SCHEMA};

impl Guest for Plugin {
    fn describe() -> String {
        json!({
            "id": "docker",
            "version": env!("CARGO_PKG_VERSION"),
            "title": "Docker",
            "kind": "sandbox",
            "secrets": [],
            "hosts": ["unix:///var/run/docker.sock"],
            // The lease is that of the first process in the container. One cannot come back to a terminal of the
            // engine: its connection is the only one.
            "abilities": { "lease": "grows", "reattach": false },
        })
        .to_string()
    }

    fn config_schema() -> String {
        SCHEMA.to_owned()
    }

    fn validate(config: String) -> Vec<Diagnostic> {
        match Config::parse(&config) {
            Ok(config) => config.validate(),
            Err(e) => vec![Diagnostic { pointer: String::new(), message: e.message }],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_description_has_what_the_contract_asks_for() {
        let said: serde_json::Value = serde_json::from_str(&Plugin::describe()).expect("json");
        assert_eq!((&said["id"], &said["kind"]), (&json!("docker"), &json!("sandbox")));
        assert_eq!(said["abilities"], json!({ "lease": "grows", "reattach": false }));
    }
}
