//! How far a Pod has come, by its status. Pure.

use std::collections::BTreeMap;

use sandbox_broker_sdk::{Code, Error, quote};
use serde::Deserialize;

/// A Pod as the API server tells it, with what matters here.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Pod {
    /// Names and labels.
    pub metadata: Metadata,
    /// What was asked for.
    pub spec: Spec,
    /// What has come of it.
    pub status: Status,
}

/// Names and labels.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Metadata {
    /// Its name.
    pub name: String,
    /// What tells it from an earlier one of the same name.
    pub uid: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// When it was made.
    pub creation_timestamp: Option<String>,
    /// Since when it is being deleted.
    pub deletion_timestamp: Option<String>,
}

/// What was asked for.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Spec {
    /// Seconds from its start to its end.
    pub active_deadline_seconds: Option<u64>,
    /// Its node, once it has one.
    pub node_name: Option<String>,
}

/// What has come of it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Status {
    /// `Pending`, `Running`, `Succeeded`, `Failed`.
    pub phase: String,
    /// Why it failed, such as `Evicted` or `DeadlineExceeded`.
    pub reason: Option<String>,
    /// The same in words.
    pub message: Option<String>,
    /// When its node took it.
    pub start_time: Option<String>,
    /// Its address.
    #[serde(rename = "podIP")]
    pub pod_ip: Option<String>,
    /// What holds of it.
    pub conditions: Vec<Condition>,
    /// Its one container.
    pub container_statuses: Vec<Container>,
}

/// Something that holds of a Pod, or does not.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Condition {
    /// What.
    pub r#type: String,
    /// `True`, `False`, `Unknown`.
    pub status: String,
    /// Why.
    pub reason: Option<String>,
    /// The same in words.
    pub message: Option<String>,
}

/// A container.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Container {
    /// Its state: one of these.
    pub state: ContainerState,
}

/// The state of a container.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct ContainerState {
    /// It does not run yet.
    pub waiting: Option<Cause>,
    /// It has ended.
    pub terminated: Option<Cause>,
}

/// Why a container is in its state.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Cause {
    /// In one word.
    pub reason: Option<String>,
    /// In many.
    pub message: Option<String>,
    /// How it ended.
    pub exit_code: Option<i64>,
}

/// How far a Pod has come.
#[derive(Debug)]
pub enum Stage {
    /// Processes can run in it.
    Ready,
    /// Not yet: what a person reads meanwhile.
    Waiting(String),
    /// Never: who has to act, and how.
    Hopeless(Error),
    /// It has ended, and why.
    Ended(String),
}

/// Reasons of a waiting container that no time mends.
const HOPELESS: [(&str, Code, &str); 7] = [
    (
        "ImagePullBackOff",
        Code::FailedPrecondition,
        "the node cannot pull the image: correct `image`, or give `image_pull_secrets`",
    ),
    (
        "ErrImageNeverPull",
        Code::FailedPrecondition,
        "the node has no such image, and `image_pull_policy` forbids to pull it",
    ),
    ("InvalidImageName", Code::InvalidArgument, "`image` is not the name of an image"),
    ("CreateContainerConfigError", Code::FailedPrecondition, "the Pod cannot be carried out as it is configured"),
    ("CreateContainerError", Code::FailedPrecondition, "the node cannot make the container"),
    (
        "RunContainerError",
        Code::FailedPrecondition,
        "the node cannot start the container: look at `command` and `image`",
    ),
    (
        "CrashLoopBackOff",
        Code::FailedPrecondition,
        "the container ends as soon as it starts: look at `command` and `image`",
    ),
];

impl Pod {
    /// What of a condition is known, where it does not hold.
    fn lacks(&self, kind: &str) -> Option<&Condition> {
        self.status.conditions.iter().find(|condition| condition.r#type == kind && condition.status != "True")
    }

    fn holds(&self, kind: &str) -> bool {
        self.status.conditions.iter().any(|condition| condition.r#type == kind && condition.status == "True")
    }

    /// How far it has come.
    pub fn stage(&self) -> Stage {
        let status = &self.status;
        if matches!(status.phase.as_str(), "Failed" | "Succeeded") || self.metadata.deletion_timestamp.is_some() {
            return Stage::Ended(self.end());
        }
        let container = status.container_statuses.first().map(|container| &container.state);
        if let Some(ended) = container.and_then(|state| state.terminated.as_ref()) {
            return Stage::Ended(words("its first process ended", ended.reason.as_deref(), ended.message.as_deref()));
        }
        if let Some(waiting) = container.and_then(|state| state.waiting.as_ref()) {
            let reason = waiting.reason.as_deref().unwrap_or_default();
            let message = waiting.message.as_deref();
            if let Some((_, code, what)) = HOPELESS.iter().find(|(known, ..)| *known == reason) {
                return Stage::Hopeless(Error::new(*code, words(what, None, message)).with("reason", reason));
            }
            return Stage::Waiting(match reason {
                "ContainerCreating" | "" => "pulling the image and starting the container".to_owned(),
                "ErrImagePull" => words("the image cannot be pulled, the node tries again", None, message),
                other => words("starting the container", Some(other), message),
            });
        }
        if let Some(unscheduled) = self.lacks("PodScheduled") {
            return Stage::Waiting(words("waiting for a node", None, unscheduled.message.as_deref()));
        }
        if self.holds("Ready") {
            return Stage::Ready;
        }
        match (&self.spec.node_name, status.phase.as_str(), self.lacks("Ready")) {
            (Some(node), "Running", Some(unready)) => Stage::Waiting(words(
                &format!("its node {node} does not answer: the cluster's administrator can look at its kubelet"),
                unready.reason.as_deref(),
                unready.message.as_deref(),
            )),
            (Some(node), ..) => Stage::Waiting(format!("node {node} makes the Pod")),
            (None, ..) => Stage::Waiting("waiting for a node".to_owned()),
        }
    }

    /// Why it has ended.
    fn end(&self) -> String {
        let status = &self.status;
        match status.reason.as_deref() {
            Some("DeadlineExceeded") => match self.spec.active_deadline_seconds {
                Some(seconds) => format!("the Pod reached its `active_deadline` of {seconds} s"),
                None => "the Pod reached its `active_deadline`".to_owned(),
            },
            Some("Evicted") => words("the node evicted the Pod", None, status.message.as_deref()),
            Some(reason) => words("the Pod has ended", Some(reason), status.message.as_deref()),
            None if self.metadata.deletion_timestamp.is_some() => "the Pod is being deleted".to_owned(),
            None => "the Pod has ended".to_owned(),
        }
    }

    /// When Kubernetes will end it, in Unix milliseconds.
    pub fn ends_unix_ms(&self) -> Option<u64> {
        let start = unix_ms(self.status.start_time.as_deref()?)?;
        Some(start + self.spec.active_deadline_seconds? * 1000)
    }
}

fn words(what: &str, reason: Option<&str>, message: Option<&str>) -> String {
    let mut said = what.to_owned();
    for more in [reason, message].into_iter().flatten().filter(|more| !more.is_empty()) {
        said.push_str(": ");
        said.push_str(&quote(more));
    }
    said
}

/// Milliseconds since 1970 of an RFC 3339 time.
pub fn unix_ms(time: &str) -> Option<u64> {
    let time: jiff::Timestamp = time.parse().ok()?;
    time.as_millisecond().try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stage(status: &str) -> Stage {
        let json = format!(
            r#"{{"metadata":{{"name":"p"}},"spec":{{"nodeName":"n1","activeDeadlineSeconds":60}},"status":{status}}}"#
        );
        serde_json::from_str::<Pod>(&json).expect("a Pod").stage()
    }

    #[test]
    fn a_pod_is_ready_when_its_condition_says_so() {
        let ready = r#"{"phase":"Running","conditions":[{"type":"Ready","status":"True"}],
            "containerStatuses":[{"state":{"running":{}}}]}"#;
        assert!(matches!(stage(ready), Stage::Ready));
        let lost = r#"{"phase":"Running","conditions":[{"type":"Ready","status":"False","reason":"NodeNotReady"}],
            "containerStatuses":[{"state":{"running":{}}}]}"#;
        assert!(matches!(stage(lost), Stage::Waiting(said) if said.contains("node n1 does not answer")));
    }

    #[test]
    fn a_person_reads_what_a_pod_waits_for() {
        for (status, says) in [
            (r#"{"phase":"Pending"}"#, "node n1 makes the Pod"),
            (
                r#"{"phase":"Pending","conditions":[{"type":"PodScheduled","status":"False","message":"0/1 nodes are available"}]}"#,
                "waiting for a node: 0/1 nodes are available",
            ),
            (
                r#"{"phase":"Pending","containerStatuses":[{"state":{"waiting":{"reason":"ContainerCreating"}}}]}"#,
                "pulling the image",
            ),
        ] {
            assert!(matches!(stage(status), Stage::Waiting(said) if said.contains(says)), "{status}");
        }
    }

    #[test]
    fn what_no_time_mends_is_said_with_who_has_to_act() {
        let failed = |reason: &str| {
            let status = format!(
                r#"{{"phase":"Pending","containerStatuses":[{{"state":{{"waiting":{{"reason":"{reason}","message":"because"}}}}}}]}}"#
            );
            match stage(&status) {
                Stage::Hopeless(e) => e.message,
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(
            failed("ImagePullBackOff"),
            "the node cannot pull the image: correct `image`, or give `image_pull_secrets`: because"
        );
        assert!(failed("CreateContainerConfigError").contains("as it is configured: because"));
    }

    #[test]
    fn an_end_has_its_reason() {
        for (status, says) in [
            (r#"{"phase":"Failed","reason":"DeadlineExceeded"}"#, "`active_deadline` of 60 s"),
            (r#"{"phase":"Failed","reason":"Evicted","message":"low on memory"}"#, "evicted the Pod: low on memory"),
            (r#"{"phase":"Succeeded"}"#, "has ended"),
            (
                r#"{"phase":"Running","containerStatuses":[{"state":{"terminated":{"reason":"OOMKilled"}}}]}"#,
                "OOMKilled",
            ),
        ] {
            assert!(matches!(stage(status), Stage::Ended(said) if said.contains(says)), "{status}");
        }
    }
}
