//! What the plugin says about itself: the interface `manifest`.

use sandbox_broker_sdk::manifest::{Diagnostic, Guest};
use serde_json::json;

use crate::Plugin;
use crate::api::API_KEY;
use crate::config::{Config, SCHEMA};

impl Guest for Plugin {
    fn describe() -> String {
        json!({
            "id": "e2b",
            "version": env!("CARGO_PKG_VERSION"),
            "title": "E2B",
            "kind": "sandbox",
            "secrets": [API_KEY],
            "hosts": ["https://api.e2b.app", "https://*.e2b.app"],
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
        assert_eq!(said["id"], "e2b");
        assert_eq!(said["kind"], "sandbox");
        assert_eq!(said["secrets"][0], "api_key");
    }
}
