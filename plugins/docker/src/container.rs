//! A container as a sandbox: what the engine is asked to make, and what it says of one. Pure, but for the one question
//! that several interfaces ask.

use std::collections::BTreeMap;

use sandbox_broker_sdk::sandbox::{Choices, Listed, Spec};
use sandbox_broker_sdk::{Code, Error};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::config::{Config, is_reference};
use crate::engine::{Engine, is_id};
use crate::errors::Asked;

/// The first process: it keeps the lease.
const INIT: &str = include_str!("init.sh");

/// Containers per page of a listing.
pub const PAGE: usize = 500;

/// What to make, in the names of the API.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Create<'a> {
    image: &'a str,
    entrypoint: [&'a str; 4],
    cmd: [String; 1],
    env: Vec<String>,
    labels: BTreeMap<&'a str, &'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<&'a str>,
    // That of an image is for its own program, which does not run.
    healthcheck: Value,
    exposed_ports: BTreeMap<String, Value>,
    host_config: Host<'a>,
}

/// What a container may use of the engine's machine.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Host<'a> {
    memory: u64,
    memory_swap: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    nano_cpus: Option<u64>,
    pids_limit: u32,
    cap_drop: [&'a str; 1],
    cap_add: &'a [String],
    security_opt: [&'a str; 1],
    network_mode: &'a str,
    init: bool,
    auto_remove: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    runtime: Option<&'a str>,
    port_bindings: BTreeMap<String, Value>,
}

impl<'a> Create<'a> {
    /// The container for `spec`, with a lease of so many seconds.
    pub fn new(config: &'a Config, spec: &'a Spec, lease: u64) -> Result<Self, Error> {
        let Limits { image, memory_mib, cpu_millis } = Limits::of(config, &spec.choices)?;
        let memory = u64::from(memory_mib) << 20;
        let ports = || config.publish.iter().map(|port| format!("{port}/tcp"));
        Ok(Self {
            image,
            entrypoint: ["/bin/sh", "-c", INIT, "sandbox"],
            cmd: [lease.to_string()],
            env: pairs(&spec.env),
            labels: spec.labels.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect(),
            user: config.user.as_deref(),
            healthcheck: json!({ "Test": ["NONE"] }),
            exposed_ports: ports().map(|port| (port, json!({}))).collect(),
            host_config: Host {
                memory,
                // The same with swap: none.
                memory_swap: memory,
                nano_cpus: cpu_millis.map(|millis| u64::from(millis) * 1_000_000),
                pids_limit: config.pids,
                cap_drop: ["ALL"],
                cap_add: &config.capabilities,
                security_opt: ["no-new-privileges"],
                network_mode: &config.network,
                // Orphans of a shell must be waited for.
                init: true,
                auto_remove: config.auto_remove,
                runtime: config.runtime.as_deref(),
                port_bindings: ports()
                    .map(|port| (port, json!([{ "HostIp": config.publish_address, "HostPort": "" }])))
                    .collect(),
            },
        })
    }

    /// Its image.
    pub fn image(&self) -> &'a str {
        self.image
    }
}

/// Variables as the API has them.
pub fn pairs(env: &[(String, String)]) -> Vec<String> {
    env.iter().map(|(name, value)| format!("{name}={value}")).collect()
}

/// What a person chose, within what the operator gives.
struct Limits<'a> {
    image: &'a str,
    memory_mib: u32,
    cpu_millis: Option<u32>,
}

impl<'a> Limits<'a> {
    fn of(config: &'a Config, choices: &'a Choices) -> Result<Self, Error> {
        let unfit = |why: String| Err(Error::new(Code::InvalidArgument, why));
        for (chosen, what) in [
            (choices.disk_mib.is_some(), "a size of the disk"),
            (choices.region.is_some(), "a region"),
            (!choices.volumes.is_empty(), "volumes"),
        ] {
            if chosen {
                return unfit(format!("{what} cannot be chosen: sandboxes of Docker have none of their own"));
            }
        }
        let image = choices.image.as_deref().unwrap_or(&config.image);
        if !is_reference(image) {
            return unfit("the chosen image is no name of an image".to_owned());
        }
        let within = |chosen: Option<u32>, most: Option<u32>, what: &str, unit: &str| match (chosen, most) {
            (Some(chosen), Some(most)) if chosen > most => {
                let most = format!("this provider gives {most} at most");
                Err(Error::new(Code::InvalidArgument, format!("{chosen} {unit} of {what} were chosen, and {most}")))
            }
            (Some(chosen), _) => Ok(Some(chosen)),
            (None, most) => Ok(most),
        };
        let memory = within(choices.memory_mib, Some(config.memory_mib), "memory", "MiB")?;
        let cpu_millis = within(choices.cpu_millis, config.cpu_millis, "processor time", "thousandths of a core")?;
        Ok(Self { image, memory_mib: memory.unwrap_or(config.memory_mib), cpu_millis })
    }
}

/// The filter of a listing: all of these labels, and made before the container `before`.
pub fn filter(labels: &[(String, String)], before: Option<&str>) -> String {
    let labels: Vec<String> = labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
    match before {
        Some(id) => json!({ "label": labels, "before": [id] }),
        None => json!({ "label": labels }),
    }
    .to_string()
}

/// An entry of a listing.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Entry {
    id: String,
    #[serde(default)]
    labels: Option<BTreeMap<String, String>>,
    #[serde(default)]
    created: Option<u64>,
}

/// The sandboxes of a page, and the cursor of the next.
///
/// One that was made and never started counts, and one that has ended and was not removed: somebody has to remove it.
pub fn page(entries: Vec<Entry>) -> (Vec<Listed>, Option<String>) {
    let next = (entries.len() >= PAGE).then(|| entries.last().map(|entry| entry.id.clone())).flatten();
    let listed = entries.into_iter().filter(|entry| is_id(&entry.id)).map(|entry| Listed {
        labels: entry.labels.unwrap_or_default().into_iter().collect(),
        created_unix_ms: entry.created.map(|seconds| seconds.saturating_mul(1000)),
        ends_unix_ms: None,
        id: entry.id,
    });
    (listed.collect(), next)
}

/// What the engine says of one container.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Inspected {
    state: Status,
    config: Command,
    #[serde(default)]
    network_settings: Network,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Status {
    status: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Command {
    #[serde(default)]
    cmd: Option<Vec<String>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Network {
    #[serde(default)]
    ports: Option<BTreeMap<String, Option<Vec<Binding>>>>,
    #[serde(default)]
    networks: Option<BTreeMap<String, Endpoint>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Binding {
    host_port: String,
}

#[derive(Debug, Deserialize)]
struct Endpoint {
    #[serde(default, rename = "IPAddress")]
    address: String,
}

/// Whether a container lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Life {
    /// Its processes run.
    Runs,
    /// Its processes are frozen.
    Sleeps,
    /// It has ended, or has never begun.
    Ended,
}

/// Asks the engine about a container.
pub async fn inspect(engine: &Engine<'_>, id: &str) -> Result<Inspected, Error> {
    engine.get(&format!("/containers/{id}/json"), &[]).await?.json(Asked::Sandbox(id))
}

impl Inspected {
    /// Whether it lives.
    pub fn life(&self) -> Life {
        match self.state.status.as_str() {
            "running" => Life::Runs,
            "paused" => Life::Sleeps,
            _ => Life::Ended,
        }
    }

    /// The lease that it was made with, in seconds.
    pub fn lease(&self) -> Option<u64> {
        self.config.cmd.as_ref()?.first()?.parse().ok()
    }

    /// The port of the engine's machine that leads to `port`.
    pub fn published(&self, port: u16) -> Option<u16> {
        let bindings = self.network_settings.ports.as_ref()?.get(&format!("{port}/tcp"))?.as_ref()?;
        bindings.iter().find_map(|binding| binding.host_port.parse().ok())
    }

    /// Its address in a network of the engine.
    pub fn address(&self) -> Option<std::net::IpAddr> {
        self.network_settings.networks.as_ref()?.values().find_map(|network| network.address.parse().ok())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(choices: Choices) -> Spec {
        let pair = |a: &str, b: &str| (a.to_owned(), b.to_owned());
        Spec {
            labels: vec![pair("broker", "b1"), pair("session", "s1")],
            env: vec![pair("A", "b=c")],
            ttl_ms: 0,
            choices,
            attrs: Vec::new(),
        }
    }

    fn none() -> Choices {
        Choices { image: None, cpu_millis: None, memory_mib: None, disk_mib: None, region: None, volumes: Vec::new() }
    }

    fn body(config: &str, choices: Choices) -> Result<Value, Error> {
        let config = Config::parse(config).expect("fits");
        let spec = spec(choices);
        Create::new(&config, &spec, 120).map(|create| serde_json::to_value(create).expect("json"))
    }

    #[test]
    fn a_sandbox_has_labels_limits_and_no_rights() {
        let made = body(r#"{"image":"i:1","cpu_millis":1500,"publish":[80]}"#, none()).expect("fits");
        assert_eq!(made["Image"], "i:1");
        assert_eq!(made["Labels"], json!({ "broker": "b1", "session": "s1" }));
        assert_eq!((&made["Env"], &made["Cmd"]), (&json!(["A=b=c"]), &json!(["120"])));
        assert_eq!(made["Entrypoint"][0], "/bin/sh");
        assert_eq!(
            made["HostConfig"],
            json!({
                "Memory": 2_147_483_648_u64, "MemorySwap": 2_147_483_648_u64, "NanoCpus": 1_500_000_000, "PidsLimit": 1024,
                "CapDrop": ["ALL"], "CapAdd": [], "SecurityOpt": ["no-new-privileges"], "NetworkMode": "bridge",
                "Init": true, "AutoRemove": true,
                "PortBindings": { "80/tcp": [{ "HostIp": "127.0.0.1", "HostPort": "" }] },
            })
        );
    }

    #[test]
    fn a_person_chooses_within_what_the_operator_gives() {
        let config = r#"{"memory_mib":512,"cpu_millis":1000}"#;
        let chosen = Choices { image: Some("busybox".into()), memory_mib: Some(256), cpu_millis: Some(500), ..none() };
        let made = body(config, chosen).expect("fits");
        assert_eq!((&made["Image"], &made["HostConfig"]["Memory"]), (&json!("busybox"), &json!(256 << 20)));
        assert_eq!(made["HostConfig"]["NanoCpus"], 500_000_000);
        for (choices, named) in [
            (Choices { memory_mib: Some(513), ..none() }, "memory"),
            (Choices { cpu_millis: Some(1001), ..none() }, "processor"),
            (Choices { disk_mib: Some(1), ..none() }, "disk"),
            (Choices { region: Some("eu".into()), ..none() }, "region"),
            (Choices { image: Some("a&b".into()), ..none() }, "image"),
        ] {
            let error = body(config, choices).expect_err("unfit");
            assert_eq!(error.code, Code::InvalidArgument);
            assert!(error.message.contains(named), "{}", error.message);
        }
    }

    #[test]
    fn a_listing_has_ids_that_fit_and_all_labels() {
        let entries: Vec<Entry> = serde_json::from_str(
            r#"[{"Id":"abc","Created":1796075011,"State":"running","Labels":{"session":"s"}},
                {"Id":"../odd"},{"Id":"def","Labels":null}]"#,
        )
        .expect("a listing");
        let (listed, next) = page(entries);
        assert_eq!(next, None);
        let found: Vec<_> = listed.iter().map(|listed| (listed.id.as_str(), listed.labels.clone())).collect();
        assert_eq!(found, [("abc", vec![("session".to_owned(), "s".to_owned())]), ("def", Vec::new())]);
        assert_eq!(listed[0].created_unix_ms, Some(1_796_075_011_000));
    }

    #[test]
    fn a_full_page_has_a_next() {
        let entry = |i: usize| Entry { id: format!("id{i}"), labels: None, created: None };
        assert_eq!(page((0..PAGE).map(entry).collect()).1, Some(format!("id{}", PAGE - 1)));
        let labels = [("a".to_owned(), "b".to_owned())];
        assert_eq!(filter(&labels, Some("id1")), r#"{"before":["id1"],"label":["a=b"]}"#);
    }

    #[test]
    fn an_inspection_tells_life_lease_and_ports() {
        let inspected: Inspected = serde_json::from_value(json!({
            "State": { "Status": "running" }, "Config": { "Cmd": ["120"] },
            "NetworkSettings": {
                "Ports": { "80/tcp": [{ "HostIp": "127.0.0.1", "HostPort": "49153" }], "81/tcp": null },
                "Networks": { "bridge": { "IPAddress": "172.17.0.2" } },
            },
        }))
        .expect("an inspection");
        assert_eq!((inspected.life(), inspected.lease()), (Life::Runs, Some(120)));
        assert_eq!(
            (inspected.published(80), inspected.published(81), inspected.published(82)),
            (Some(49153), None, None)
        );
        assert_eq!(inspected.address(), Some([172, 17, 0, 2].into()));
        let ended: Inspected =
            serde_json::from_value(json!({ "State": { "Status": "exited" }, "Config": {} })).expect("an inspection");
        assert_eq!((ended.life(), ended.lease(), ended.address()), (Life::Ended, None, None));
    }
}
