//! What the plugin says about itself: the interface `manifest`.

use sandbox_broker_sdk::manifest::{Diagnostic, Guest};
use serde_json::json;

use crate::Plugin;
use crate::config::{Config, SCHEMA};
use crate::host::SECRET_KEY;
use crate::plan::TITLE;

impl Guest for Plugin {
    fn describe() -> String {
        json!({
            "id": "s3",
            "version": env!("CARGO_PKG_VERSION"),
            "title": TITLE,
            "kind": "storage",
            "secrets": [SECRET_KEY],
            "hosts": ["https://*.amazonaws.com"],
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
        assert_eq!(said["id"], "s3");
        assert_eq!(said["kind"], "storage");
        assert_eq!(said["secrets"], json!(["secret_key"]));
    }
}
