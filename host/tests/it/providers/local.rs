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

/// What E2B calls a template is the contract's image, and a template decides the rest.
#[tokio::test]
async fn a_template_can_be_chosen_and_what_it_decides_cannot() {
    let server = Sandboxd::start().await;
    let chosen = |choice: &str| {
        let sandbox = "[server]\nlisten = \"127.0.0.1:0\"\n[sandbox]\nprovider = \"box\"\n[sandbox.choices]";
        format!("{sandbox}\n{choice}\n{}", server.section("box"))
    };
    for (choice, words) in [("memory = \"1GiB\"", "its own `memory-mib`"), ("image = \"nope\"", "nope")] {
        let broker = Broker::start(&chosen(choice)).await;
        let refused = broker.connect().await.error().await;
        assert!(refused.contains(words), "{refused}");
        server.has(0).await;
    }
    let broker = Broker::start(&chosen("image = \"fuse\"")).await;
    let mut client = broker.connect().await;
    client.ready().await;
    client.input("test -c /dev/fuse && echo cho\"\"sen\n").await;
    client.expect("chosen").await;
}
