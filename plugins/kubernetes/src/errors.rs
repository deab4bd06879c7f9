//! What a refusal of the API server means: who has to act, and how. Pure.

use sandbox_broker_sdk::{Code, Error, quote};
use serde::Deserialize;

use crate::config::{Config, Workload};
use crate::pod::AGENT_SANDBOX;

/// The form in which the API server refuses.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Status {
    /// Always `Status`; anything else was not said by an API server.
    pub kind: String,
    /// `Success` or `Failure`.
    pub status: String,
    /// In words.
    pub message: String,
    /// In one word.
    pub reason: String,
    /// What it is about.
    pub details: Details,
}

/// What a refusal is about.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Details {
    /// Its name.
    pub name: String,
    /// Its kind, such as `pods`.
    pub kind: String,
    /// Causes, such as a process's exit status.
    pub causes: Vec<Cause>,
    /// How long to wait before another try.
    pub retry_after_seconds: u64,
}

/// One cause.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Cause {
    /// In one word.
    pub reason: String,
    /// Its value.
    pub message: String,
}

impl Status {
    /// Reads a body; `None` for one that no API server sent.
    pub fn read(body: &[u8]) -> Option<Self> {
        serde_json::from_slice(body).ok().filter(|status: &Self| status.kind == "Status")
    }

    /// Whether there is no such Pod or `Sandbox`, as far as this one says.
    pub fn is_missing_sandbox(&self) -> bool {
        self.reason == "NotFound" && matches!(self.details.kind.as_str(), "pods" | "sandboxes")
    }
}

/// The error of a refusal.
pub fn refused(config: &Config, status: u16, body: &[u8]) -> Error {
    let said = Status::read(body);
    let (code, message) = match &said {
        Some(said) => of_server(config, status, said),
        None => of_other(config, status, body),
    };
    let wait = said.as_ref().map(|said| said.details.retry_after_seconds).filter(|seconds| *seconds > 0);
    let error = Error::new(code, message).with("status", status).retry_after_ms(wait.map(|seconds| seconds * 1000));
    match said.filter(|said| !said.reason.is_empty()) {
        Some(said) => error.with("reason", quote(&said.reason)),
        None => error,
    }
}

fn of_server(config: &Config, status: u16, said: &Status) -> (Code, String) {
    let (words, namespace) = (quote(&said.message), &config.namespace);
    match status {
        401 => (
            Code::Unauthenticated,
            "the API server does not accept the broker's token: its operator can renew it in `secrets.token`; one that \
             rotates is named by its file, as ${file:/path}"
                .to_owned(),
        ),
        403 if said.message.contains("exceeded quota") => (
            Code::ResourceExhausted,
            format!("a quota of the namespace {namespace} is used up: end sandboxes, or ask who administers it: {words}"),
        ),
        403 if said.message.contains("violates PodSecurity") => (
            Code::FailedPrecondition,
            format!("the namespace {namespace} does not admit such Pods: tighten `security`: {words}"),
        ),
        403 if said.message.contains("is being terminated") => {
            (Code::FailedPrecondition, format!("the namespace {namespace} is being deleted: name another one"))
        }
        403 if said.message.contains("cannot ") => (
            Code::PermissionDenied,
            format!("the broker's account lacks a right: give it the role in contrib/kubernetes/rbac.yaml: {words}"),
        ),
        // The check of `create` for a connection that began as a GET names no right.
        403 if words.ends_with("is forbidden:") => (
            Code::PermissionDenied,
            format!(
                "the broker's account lacks a right, `get` or `create` on pods/exec: give it the role in \
                 contrib/kubernetes/rbac.yaml: {words}"
            ),
        ),
        403 => (Code::FailedPrecondition, format!("the cluster does not admit the Pod: {words}")),
        404 if said.details.kind == "namespaces" => {
            (Code::FailedPrecondition, format!("there is no namespace {namespace}: make it, or name another one"))
        }
        404 if said.is_missing_sandbox() => {
            let kind = if said.details.kind == "pods" { "Pod" } else { "Sandbox" };
            (Code::NotFound, format!("there is no {kind} {} any more", quote(&said.details.name)))
        }
        404 if config.workload == Workload::AgentSandbox => no_agent_sandbox(),
        409 => (Code::Aborted, format!("the API server met another change: {words}")),
        410 => (Code::Aborted, "the listing has become too old: begin it again".to_owned()),
        422 => (Code::InvalidArgument, format!("the API server does not take such a Pod: {words}")),
        429 => (Code::ResourceExhausted, format!("the API server asks for a pause: {words}")),
        500.. => (Code::Unavailable, format!("the API server fails: {words}")),
        _ => (Error::code_of_status(status), format!("the API server refuses: {words}")),
    }
}

fn no_agent_sandbox() -> (Code, String) {
    let (group, version) = AGENT_SANDBOX;
    let message = format!(
        "the cluster has no Sandboxes of {group}/{version}: its administrator can install agent-sandbox, or the operator \
         sets `workload` to \"pod\""
    );
    (Code::FailedPrecondition, message)
}

fn of_other(config: &Config, status: u16, body: &[u8]) -> (Code, String) {
    let words = quote(&String::from_utf8_lossy(body));
    match status {
        401 => of_server(config, 401, &Status::default()),
        404 if config.workload == Workload::AgentSandbox && words == "404 page not found" => no_agent_sandbox(),
        404 => (
            Code::FailedPrecondition,
            format!("{} is not the address of a Kubernetes API server: correct `api_url`", config.api_url),
        ),
        // Of the kubelet, through the API server.
        500 if words.contains("container not found") => {
            (Code::NotFound, "the sandbox's container has ended".to_owned())
        }
        _ => (Error::code_of_status(status), format!("{} answered {status}: {words}", config.api_url)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(status: u16, reason: &str, message: &str, kind: &str) -> (Code, String) {
        let body = serde_json::json!({
            "kind": "Status", "status": "Failure", "reason": reason, "message": message,
            "details": { "name": "x", "kind": kind },
        });
        let config = Config { namespace: "boxes".into(), ..Config::default() };
        let error = refused(&config, status, body.to_string().as_bytes());
        (error.code, error.message)
    }

    #[test]
    fn each_refusal_says_who_has_to_act() {
        let right = r#"pods is forbidden: User "system:serviceaccount:a:b" cannot create resource "pods" in API group "" in the namespace "boxes""#;
        let quota = r#"pods "x" is forbidden: exceeded quota: q, requested: pods=1, used: pods=1, limited: pods=1"#;
        let security = r#"pods "x" is forbidden: violates PodSecurity "restricted:latest": runAsNonRoot != true"#;
        for (status, reason, message, kind, code, says) in [
            (401, "Unauthorized", "Unauthorized", "", Code::Unauthenticated, "`secrets.token`"),
            (403, "Forbidden", right, "pods", Code::PermissionDenied, "cannot create resource"),
            (403, "Forbidden", "pods \"x\" is forbidden: ", "pods", Code::PermissionDenied, "pods/exec"),
            (403, "Forbidden", quota, "pods", Code::ResourceExhausted, "used: pods=1"),
            (403, "Forbidden", security, "pods", Code::FailedPrecondition, "tighten `security`"),
            (
                404,
                "NotFound",
                "namespaces \"boxes\" not found",
                "namespaces",
                Code::FailedPrecondition,
                "no namespace boxes",
            ),
            (404, "NotFound", "pods \"x\" not found", "pods", Code::NotFound, "no Pod x"),
            (410, "Expired", "too old", "", Code::Aborted, "begin it again"),
            (422, "Invalid", "quantities must match", "Pod", Code::InvalidArgument, "quantities must match"),
            (503, "ServiceUnavailable", "etcd", "", Code::Unavailable, "fails"),
        ] {
            let (found, said) = told(status, reason, message, kind);
            assert!(found == code && said.contains(says), "{status}: {found:?} {said}");
        }
    }

    #[test]
    fn what_is_no_api_server_is_told_from_one() {
        let config = Config { api_url: "https://h".into(), ..Config::default() };
        let error = refused(&config, 404, b"<html>nothing here");
        assert!(error.message.contains("correct `api_url`"), "{}", error.message);
        let config = Config { workload: Workload::AgentSandbox, ..config };
        let lacks = refused(&config, 404, b"404 page not found\n");
        assert!(lacks.message.contains("can install agent-sandbox"), "{}", lacks.message);
        let ended = refused(&config, 500, b"container not found (\"sandbox\")");
        assert_eq!(ended.code, Code::NotFound);
    }
}
