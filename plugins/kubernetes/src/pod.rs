//! The Pod of a sandbox, or the object that stands for it, as it is asked for. Pure.

use std::collections::BTreeMap;

use sandbox_broker_sdk::sandbox::{Choices, Spec};
use sandbox_broker_sdk::{Code, Error};
use serde_json::{Value, json};

use crate::config::{Config, Workload, is_label, is_label_key};

/// Name of the one container.
pub const CONTAINER: &str = "sandbox";

/// What names begin with; the API server adds five characters that are free.
const NAME_PREFIX: &str = "sandbox-";

/// Group and version of the agent-sandbox project's objects.
pub const AGENT_SANDBOX: (&str, &str) = ("agents.x-k8s.io", "v1beta1");

/// The label by which a listing tells sandboxes of this plugin from other Pods.
pub const OURS: (&str, &str) = ("app.kubernetes.io/managed-by", "sandbox-broker");

/// Waits until it is told to end, and reaps what is orphaned to it.
const WAITS: [&str; 3] = ["/bin/sh", "-c", "trap 'exit 0' TERM INT; while :; do sleep 2147483647 & wait $!; done"];

/// Seconds between the request to end and the kill when a node is drained. What the broker ends has none.
const GRACE_SECONDS: u32 = 5;

/// The body of the request that makes a sandbox.
pub fn body(config: &Config, spec: &Spec) -> Result<Value, Error> {
    refuse(&spec.choices)?;
    let image = spec.choices.image.as_deref().unwrap_or(&config.image);
    let mut container = json!({
        "name": CONTAINER,
        "image": image,
        "command": if config.command.is_empty() { json!(WAITS) } else { json!(config.command) },
        "env": environment(config, &spec.env),
        "resources": resources(config, &spec.choices),
        "securityContext": {
            "allowPrivilegeEscalation": config.security.allow_privilege_escalation,
            "capabilities": capabilities(config),
            "readOnlyRootFilesystem": config.security.read_only_root,
        },
    });
    if let Some(policy) = &config.image_pull_policy {
        container["imagePullPolicy"] = json!(policy);
    }
    let disk = spec.choices.disk_mib.map(|mib| format!("{mib}Mi"));
    let empty = |name: &str| match &disk {
        Some(size) => json!({ "name": name, "emptyDir": { "sizeLimit": size } }),
        None => json!({ "name": name, "emptyDir": {} }),
    };
    let (mut volumes, mut mounts) = (Vec::new(), Vec::new());
    if !config.home.is_empty() {
        container["workingDir"] = json!(config.home);
        volumes.push(empty("home"));
        mounts.push(json!({ "name": "home", "mountPath": config.home }));
    }
    if config.security.read_only_root {
        volumes.push(empty("tmp"));
        mounts.push(json!({ "name": "tmp", "mountPath": "/tmp" }));
    }
    container["volumeMounts"] = json!(mounts);
    let mut pod = json!({
        "containers": [container],
        "volumes": volumes,
        "restartPolicy": "Never",
        "activeDeadlineSeconds": config.active_deadline,
        "terminationGracePeriodSeconds": GRACE_SECONDS,
        "automountServiceAccountToken": false,
        "enableServiceLinks": false,
        "nodeSelector": config.node_selector,
        "tolerations": config.tolerations,
        "imagePullSecrets": config.image_pull_secrets.iter().map(|name| json!({ "name": name })).collect::<Vec<_>>(),
        "securityContext": {
            "runAsUser": config.security.run_as_user,
            "runAsGroup": config.security.run_as_group,
            "fsGroup": config.security.run_as_group,
            "runAsNonRoot": !config.security.allow_root,
            "seccompProfile": { "type": config.security.seccomp },
        },
    });
    for (member, name) in [("runtimeClassName", &config.runtime_class), ("serviceAccountName", &config.service_account)]
    {
        if !name.is_empty() {
            pod[member] = json!(name);
        }
    }
    let (labels, annotations) = (labels(config, &spec.labels)?, &config.annotations);
    let metadata = json!({ "generateName": NAME_PREFIX, "labels": labels, "annotations": annotations });
    Ok(match config.workload {
        Workload::Pod => json!({ "apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": pod }),
        Workload::AgentSandbox => json!({
            "apiVersion": format!("{}/{}", AGENT_SANDBOX.0, AGENT_SANDBOX.1),
            "kind": "Sandbox",
            "metadata": metadata,
            "spec": { "podTemplate": { "metadata": { "labels": labels, "annotations": annotations }, "spec": pod } },
        }),
    })
}

fn refuse(choices: &Choices) -> Result<(), Error> {
    let missing = match choices {
        Choices { region: Some(_), .. } => "region",
        Choices { volumes, .. } if !volumes.is_empty() => "volumes",
        _ => return Ok(()),
    };
    Err(Error::new(Code::InvalidArgument, format!("a Pod of this plugin has no `{missing}` that can be chosen")))
}

fn labels(config: &Config, own: &[(String, String)]) -> Result<BTreeMap<String, String>, Error> {
    let mut labels = config.labels.clone();
    for (key, value) in own {
        if !is_label_key(key) || !is_label(value) {
            let message = format!("{key:?} = {value:?} cannot be a label of Kubernetes");
            return Err(Error::new(Code::InvalidArgument, message));
        }
        labels.insert(key.clone(), value.clone());
    }
    labels.insert(OURS.0.into(), OURS.1.into());
    Ok(labels)
}

/// Kubernetes replaces `$(NAME)` in a value, and `$$` by a dollar.
fn environment(config: &Config, own: &[(String, String)]) -> Vec<Value> {
    let home = (!config.home.is_empty()).then_some(("HOME", config.home.as_str()));
    let own = own.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    let pairs: BTreeMap<&str, &str> = home.into_iter().chain(own).collect();
    pairs.into_iter().map(|(name, value)| json!({ "name": name, "value": value.replace('$', "$$") })).collect()
}

fn capabilities(config: &Config) -> Value {
    let kept = &config.security.capabilities;
    if kept.is_empty() { json!({ "drop": ["ALL"] }) } else { json!({ "drop": ["ALL"], "add": kept }) }
}

/// What is chosen is set aside and is the most.
fn resources(config: &Config, choices: &Choices) -> Value {
    let (mut requests, mut limits) = (config.requests.clone(), config.limits.clone());
    let chosen = [
        ("cpu", choices.cpu_millis.map(|millis| format!("{millis}m"))),
        ("memory", choices.memory_mib.map(|mib| format!("{mib}Mi"))),
        ("ephemeral-storage", choices.disk_mib.map(|mib| format!("{mib}Mi"))),
    ];
    for (name, amount) in chosen {
        if let Some(amount) = amount {
            requests.insert(name.into(), amount.clone());
            limits.insert(name.into(), amount);
        }
    }
    json!({ "requests": requests, "limits": limits })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec() -> Spec {
        let choices =
            Choices { image: None, cpu_millis: None, memory_mib: None, disk_mib: None, region: None, volumes: vec![] };
        let labels = vec![("a.b".to_owned(), "c".to_owned())];
        Spec { labels, env: vec![("K".into(), "$(PATH) $x".into())], ttl_ms: 1, choices, attrs: vec![] }
    }

    fn config() -> Config {
        Config { image: "i".into(), ..Config::default() }
    }

    #[test]
    fn by_default_a_pod_has_no_rights_at_all() {
        let pod = body(&config(), &spec()).expect("a Pod");
        let (pod, container) = (&pod["spec"], &pod["spec"]["containers"][0]);
        assert_eq!(pod["automountServiceAccountToken"], false);
        assert_eq!(pod["securityContext"]["runAsNonRoot"], true);
        assert_eq!(pod["securityContext"]["seccompProfile"]["type"], "RuntimeDefault");
        assert_eq!(container["securityContext"]["allowPrivilegeEscalation"], false);
        assert_eq!(container["securityContext"]["capabilities"], json!({ "drop": ["ALL"] }));
        assert!(pod["hostNetwork"].is_null() && pod["hostPID"].is_null());
    }

    #[test]
    fn a_sandbox_of_agent_sandbox_has_the_same_pod() {
        let plain = body(&config(), &spec()).expect("a Pod");
        let config = Config { workload: Workload::AgentSandbox, ..config() };
        let sandbox = body(&config, &spec()).expect("a Sandbox");
        assert_eq!(sandbox["kind"], "Sandbox");
        assert_eq!(sandbox["metadata"], plain["metadata"]);
        let template = &sandbox["spec"]["podTemplate"];
        assert_eq!(
            (&template["spec"], &template["metadata"]["labels"]),
            (&plain["spec"], &plain["metadata"]["labels"])
        );
    }

    #[test]
    fn a_value_of_the_environment_is_not_expanded() {
        let pod = body(&config(), &spec()).expect("a Pod");
        let env = &pod["spec"]["containers"][0]["env"];
        assert_eq!(env[0], json!({ "name": "HOME", "value": "/workspace" }));
        assert_eq!(env[1], json!({ "name": "K", "value": "$$(PATH) $$x" }));
    }

    #[test]
    fn what_is_chosen_is_set_aside_and_is_the_most() {
        let mut spec = spec();
        spec.choices.image = Some("mine".into());
        spec.choices.cpu_millis = Some(500);
        let config = Config { limits: [("cpu".to_owned(), "2".to_owned())].into(), ..config() };
        let pod = body(&config, &spec).expect("a Pod");
        let container = &pod["spec"]["containers"][0];
        assert_eq!(container["image"], "mine");
        assert_eq!(container["resources"], json!({ "requests": { "cpu": "500m" }, "limits": { "cpu": "500m" } }));
        spec.choices.region = Some("x".into());
        assert!(body(&config, &spec).expect_err("it has none").message.contains("`region`"));
    }

    #[test]
    fn the_brokers_labels_win_and_one_that_cannot_be_is_refused() {
        let config = Config { labels: [("a.b".to_owned(), "x".to_owned())].into(), ..config() };
        let pod = body(&config, &spec()).expect("a Pod");
        assert_eq!(pod["metadata"]["labels"], json!({ "a.b": "c", OURS.0: OURS.1 }));
        let odd = Spec { labels: vec![("a".into(), "b c".into())], ..spec() };
        assert_eq!(body(&config, &odd).expect_err("a space").code, Code::InvalidArgument);
    }
}
