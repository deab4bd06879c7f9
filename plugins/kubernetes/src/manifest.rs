//! What the plugin says about itself: the interface `manifest`.

use sandbox_broker_sdk::manifest::{Diagnostic, Guest};
use serde_json::json;

use crate::Plugin;
use crate::config::{Config, SCHEMA};

impl Guest for Plugin {
    fn describe() -> String {
        json!({
            "id": "kubernetes",
            "version": env!("CARGO_PKG_VERSION"),
            "title": "Kubernetes",
            "kind": "sandbox",
            "secrets": ["token"],
            "hosts": [],
            // A Pod's deadline can be lowered and never raised. So it bounds a sandbox's life, and is no lease.
            // A Pod's processes all have its one user, who is not root unless the operator says so.
            "abilities": { "lease": "none", "reattach": false, "root": false },
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
        assert_eq!((said["id"].as_str(), said["kind"].as_str()), (Some("kubernetes"), Some("sandbox")));
        assert_eq!(said["abilities"]["lease"], "none");
    }
}
