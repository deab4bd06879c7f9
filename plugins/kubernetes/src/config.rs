//! The plugin's section of `broker.toml`: its shape, its schema, and what a schema cannot say. Knows no request.

use std::collections::BTreeMap;
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
    /// Address of the API server, without a slash at its end.
    pub api_url: String,
    /// Namespace of the Pods.
    pub namespace: String,
    /// What a sandbox is in the cluster.
    pub workload: Workload,
    /// Image of the sandboxes.
    pub image: String,
    /// When it is pulled.
    pub image_pull_policy: Option<String>,
    /// Secrets for registries.
    pub image_pull_secrets: Vec<String>,
    /// The container's first process.
    pub command: Vec<String>,
    /// The user's home, made empty; none when it is empty.
    pub home: String,
    /// What is set aside.
    pub requests: BTreeMap<String, String>,
    /// What may be used at most.
    pub limits: BTreeMap<String, String>,
    /// Seconds after which Kubernetes ends a Pod.
    pub active_deadline: u32,
    /// Labels that a node must have.
    pub node_selector: BTreeMap<String, String>,
    /// Taints that do not matter.
    pub tolerations: Vec<Toleration>,
    /// RuntimeClass.
    pub runtime_class: String,
    /// Service account.
    pub service_account: String,
    /// What processes may do.
    pub security: Security,
    /// More labels.
    pub labels: BTreeMap<String, String>,
    /// Annotations.
    pub annotations: BTreeMap<String, String>,
    /// Whether Pods are reached by their addresses.
    pub pod_network: bool,
    /// Seconds that one request may take.
    pub request_timeout: u32,
}

/// What a sandbox is in the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Workload {
    /// A Pod, which the plugin makes.
    Pod,
    /// A `Sandbox` of the agent-sandbox project, whose controller makes the Pod.
    AgentSandbox,
}

/// A taint that does not matter. Read in the names of `broker.toml`, written in those of Kubernetes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Toleration {
    /// The taint.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// Whether the value counts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub operator: Option<String>,
    /// The taint's value.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// The effect that is tolerated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub effect: Option<String>,
    /// How long.
    #[serde(rename(serialize = "tolerationSeconds"), skip_serializing_if = "Option::is_none")]
    pub seconds: Option<u64>,
}

/// What the sandbox's processes may do.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Security {
    /// Number of the user.
    pub run_as_user: u32,
    /// Number of the group.
    pub run_as_group: u32,
    /// Whether the user may be root.
    pub allow_root: bool,
    /// Whether programs gain rights.
    pub allow_privilege_escalation: bool,
    /// Capabilities that are kept.
    pub capabilities: Vec<String>,
    /// Whether only the home and `/tmp` can be written.
    pub read_only_root: bool,
    /// Filter of system calls.
    pub seccomp: String,
}

impl Default for Security {
    fn default() -> Self {
        Self {
            run_as_user: 1000,
            run_as_group: 1000,
            allow_root: false,
            allow_privilege_escalation: false,
            capabilities: Vec::new(),
            read_only_root: false,
            seccomp: "RuntimeDefault".into(),
        }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            api_url: String::new(),
            namespace: "default".into(),
            workload: Workload::Pod,
            image: String::new(),
            image_pull_policy: None,
            image_pull_secrets: Vec::new(),
            command: Vec::new(),
            home: "/workspace".into(),
            requests: BTreeMap::new(),
            limits: BTreeMap::new(),
            active_deadline: 86400,
            node_selector: BTreeMap::new(),
            tolerations: Vec::new(),
            runtime_class: String::new(),
            service_account: String::new(),
            security: Security::default(),
            labels: BTreeMap::new(),
            annotations: BTreeMap::new(),
            pod_network: false,
            request_timeout: 30,
        }
    }
}

impl Config {
    /// Reads what the host has checked against [`SCHEMA`].
    pub fn parse(json: &str) -> Result<Self, Error> {
        let mut config: Self = serde_json::from_str(json).map_err(|e| {
            Error::new(Code::InvalidArgument, format!("the config of the kubernetes plugin is unfit: {e}"))
        })?;
        config.api_url.truncate(config.api_url.trim_end_matches('/').len());
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
        // An unused section may have an empty address, from a reference with an empty default.
        if !self.api_url.is_empty() && !is_server(&self.api_url) {
            say("/api_url", format!("found {:?}, expected an address such as https://10.0.0.1:6443", self.api_url));
        }
        if self.security.run_as_user == 0 && !self.security.allow_root {
            say("/security/run_as_user", "found 0, which is root, expected another user or allow_root = true".into());
        }
        for (name, own) in [("labels", &self.labels), ("node_selector", &self.node_selector)] {
            for (key, value) in own {
                if !is_label_key(key) || !is_label(value) {
                    say(&format!("/{name}"), format!("found {key:?} = {value:?}, expected a label of Kubernetes"));
                }
            }
        }
        for (i, toleration) in self.tolerations.iter().enumerate() {
            if toleration.key.is_none() && toleration.operator.as_deref() != Some("Exists") {
                say(
                    &format!("/tolerations/{i}"),
                    "found no key, expected one, or operator = \"Exists\" for all".into(),
                );
            }
        }
        found
    }
}

/// An origin, perhaps with a path, as an API server behind a proxy has it.
fn is_server(url: &str) -> bool {
    let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
    rest.is_some_and(|rest| {
        let host = rest.split('/').next().unwrap_or_default();
        !host.is_empty() && !rest.contains(['?', '#', '@', '%', '\\']) && !rest.contains(char::is_whitespace)
    })
}

/// Whether it may be the value of a label.
pub fn is_label(text: &str) -> bool {
    let inner = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
    let ends = |b: Option<&u8>| b.is_none_or(u8::is_ascii_alphanumeric);
    let bytes = text.as_bytes();
    bytes.len() <= 63 && bytes.iter().copied().all(inner) && ends(bytes.first()) && ends(bytes.last())
}

/// Whether it may be the key of a label: a name, perhaps after a domain and a slash.
pub fn is_label_key(text: &str) -> bool {
    let (domain, name) = text.rsplit_once('/').unwrap_or(("a", text));
    let is_domain = domain.len() <= 253 && domain.split('.').all(|part| is_label(part) && !part.is_empty());
    !name.is_empty() && is_label(name) && is_domain
}

#[cfg(test)]
mod tests {
    use super::*;

    const FULL: &str = r#"{"api_url":"https://10.0.0.1:6443/","namespace":"boxes","workload":"agent-sandbox","image":"debian:12",
        "image_pull_policy":"Never","image_pull_secrets":["registry"],"command":["sleep","inf"],"home":"",
        "requests":{"cpu":"100m"},"limits":{"memory":"1Gi"},"active_deadline":3600,"node_selector":{"a/b":"c"},
        "tolerations":[{"key":"k","operator":"Equal","value":"v","effect":"NoExecute","seconds":5}],
        "runtime_class":"gvisor","service_account":"none","security":{"run_as_user":0,"run_as_group":0,
        "allow_root":true,"allow_privilege_escalation":true,"capabilities":["CHOWN"],"read_only_root":true,
        "seccomp":"Unconfined"},"labels":{"team":"x"},"annotations":{"a":"b c"},"pod_network":true,"request_timeout":5}"#;

    fn diagnostics(json: &str) -> Vec<String> {
        Config::parse(json).expect("it fits").validate().into_iter().map(|d| d.pointer).collect()
    }

    #[test]
    fn the_schema_takes_every_member_and_nothing_else() {
        let schema: serde_json::Value = serde_json::from_str(SCHEMA).expect("the schema is json");
        let known = schema["properties"].as_object().expect("it has members").len();
        let schema = jsonschema::validator_for(&schema).expect("the schema is a schema");
        let full: serde_json::Value = serde_json::from_str(FULL).expect("json");
        assert_eq!(full.as_object().expect("a table").len(), known, "FULL has every member");
        for good in [r#"{"api_url":"","image":"i"}"#, FULL] {
            assert!(schema.is_valid(&serde_json::from_str(good).expect("json")), "{good}");
            assert!(diagnostics(good).is_empty(), "{good}");
        }
        for bad in ["{}", r#"{"api_url":"x","image":""}"#, r#"{"api_url":"x","image":"i","namespace":"A"}"#] {
            assert!(!schema.is_valid(&serde_json::from_str(bad).expect("json")), "{bad}");
        }
    }

    #[test]
    fn the_schema_and_the_code_have_the_same_defaults() {
        let schema: serde_json::Value = serde_json::from_str(SCHEMA).expect("the schema is json");
        let (config, default) = (Config::default(), |name: &str| schema["properties"][name]["default"].clone());
        assert_eq!(default("namespace"), config.namespace);
        let workload: Workload = serde_json::from_value(default("workload")).expect("a workload");
        assert_eq!(workload, config.workload);
        assert_eq!(default("home"), config.home);
        assert_eq!(default("active_deadline"), config.active_deadline);
        assert_eq!(default("pod_network"), config.pod_network);
        assert_eq!(default("request_timeout"), config.request_timeout);
        let own = |name: &str| schema["properties"]["security"]["properties"][name]["default"].clone();
        let security = config.security;
        assert_eq!(own("run_as_user"), security.run_as_user);
        assert_eq!(own("run_as_group"), security.run_as_group);
        assert_eq!(own("allow_root"), security.allow_root);
        assert_eq!(own("allow_privilege_escalation"), security.allow_privilege_escalation);
        assert_eq!(own("read_only_root"), security.read_only_root);
        assert_eq!(own("seccomp"), security.seccomp);
    }

    #[test]
    fn mistakes_are_pointed_at_all_at_once() {
        let found = diagnostics(
            r#"{"api_url":"10.0.0.1:6443","image":"i","security":{"run_as_user":0},"labels":{"a":"b c"},
                "node_selector":{"a/b/c":""},"tolerations":[{"key":"a"},{"effect":"NoSchedule"}]}"#,
        );
        assert_eq!(found, ["/api_url", "/security/run_as_user", "/labels", "/node_selector", "/tolerations/1"]);
    }
}
