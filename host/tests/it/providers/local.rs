//! The suite on the embedded default's server: `sandboxd`, through the e2b plugin.

use std::collections::BTreeMap;

use serde_json::Value;

use super::on_every_provider;
use super::suite::Bed;
use crate::support::{Broker, Sandboxd};

struct Local(Sandboxd);

async fn local() -> Option<Local> {
    Some(Local(Sandboxd::start().await))
}

impl Bed for Local {
    fn section(&self) -> String {
        self.0.section("box")
    }

    async fn sandboxes(&self, _: &Broker) -> BTreeMap<String, BTreeMap<String, String>> {
        let request = reqwest::Client::new().get(format!("{}/v2/sandboxes", self.0.url));
        let list: Vec<Value> = request.header("x-api-key", &self.0.key).send().await.unwrap().json().await.unwrap();
        list.into_iter()
            .map(|sandbox| {
                let id = sandbox["sandboxID"].as_str().unwrap().to_owned();
                (id, serde_json::from_value(sandbox["metadata"].clone()).unwrap_or_default())
            })
            .collect()
    }

    async fn foreign(&self) -> Option<String> {
        Some(self.0.create(serde_json::json!({ "app": "theirs" })).await)
    }
}

on_every_provider!(local);
