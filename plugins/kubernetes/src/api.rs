//! Requests to the API server. Owns their addresses and deadlines; knows nothing of what runs inside a sandbox.

use std::time::Duration;

use sandbox_broker_sdk::http::{Method, Request};
use sandbox_broker_sdk::sandbox::{Listed, Page};
use sandbox_broker_sdk::time::{self, Instant};
use sandbox_broker_sdk::{Code, Error, log, progress, quote};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::config::{Config, Workload};
use crate::errors::{self, Status};
use crate::pod::{AGENT_SANDBOX, OURS};
use crate::process::{encode, is_name};
use crate::state::{Pod, Stage, unix_ms};

/// How this client calls itself.
pub const USER_AGENT: &str = concat!("sandbox-broker-kubernetes/", env!("CARGO_PKG_VERSION"));

/// Longest answer, in bytes: a page of 500 Pods has about 4 MiB.
const MAX_ANSWER: usize = 16 << 20;

/// Pods per page of a listing.
const PAGE: &str = "500";

/// Longest cursor that is handed on, in bytes.
const MAX_CURSOR: usize = 4 << 10;

/// How often a Pod is looked at that is not ready. It takes 0.2 s where the image is present.
const LOOK_FIRST: Duration = Duration::from_millis(50);
const LOOK_LAST: Duration = Duration::from_secs(1);

/// Time that is kept back from a call's deadline: to delete the Pod, and to say why.
const KEPT_BACK: Duration = Duration::from_secs(3);

/// The API server of one configuration.
pub struct Api<'a> {
    config: &'a Config,
}

/// An answer, read to its end.
struct Answer {
    status: u16,
    body: Vec<u8>,
}

#[derive(Deserialize)]
struct Pods {
    #[serde(default)]
    metadata: PageMetadata,
    #[serde(default)]
    items: Vec<Pod>,
}

#[derive(Default, Deserialize)]
struct PageMetadata {
    #[serde(default, rename = "continue")]
    next: Option<String>,
}

impl<'a> Api<'a> {
    /// The API server that `config` names.
    pub fn new(config: &'a Config) -> Self {
        Self { config }
    }

    fn pods(&self) -> String {
        format!("{}/api/v1/namespaces/{}/pods", self.config.api_url, self.config.namespace)
    }

    /// Where the objects are that are made, listed and deleted.
    fn objects(&self) -> String {
        let (group, version) = AGENT_SANDBOX;
        match self.config.workload {
            Workload::Pod => self.pods(),
            Workload::AgentSandbox => {
                format!("{}/apis/{group}/{version}/namespaces/{}/sandboxes", self.config.api_url, self.config.namespace)
            }
        }
    }

    async fn send(&self, method: Method, url: String, body: Option<&Value>) -> Result<Answer, Error> {
        let request = Request::new(method, url).header("user-agent", USER_AGENT).header("accept", "application/json");
        let request = request.timeout(self.config.timeout());
        let request = match body {
            Some(body) => request.json(body),
            None => request,
        };
        let answer = request.send().await?;
        let status = answer.status;
        Ok(Answer { status, body: answer.bytes(MAX_ANSWER).await? })
    }

    fn read<T: DeserializeOwned>(&self, answer: &Answer) -> Result<T, Error> {
        if !(200..300).contains(&answer.status) {
            return Err(errors::refused(self.config, answer.status, &answer.body));
        }
        serde_json::from_slice(&answer.body).map_err(|e| {
            let message =
                format!("{} does not answer as a Kubernetes API server: correct `api_url`", self.config.api_url);
            Error::new(Code::FailedPrecondition, message).with("json", quote(&e.to_string()))
        })
    }

    /// Asks for a Pod or what makes one, and returns the name of both.
    pub async fn create(&self, body: &Value) -> Result<String, Error> {
        let answer = self.send(Method::Post, self.objects(), Some(body)).await?;
        let made: Pod = self.read(&answer)?;
        if is_name(&made.metadata.name) {
            Ok(made.metadata.name)
        } else {
            Err(Error::new(Code::Internal, "the API server made an object without a usable name"))
        }
    }

    /// The Pod as it is now. `not-found` when there is none.
    pub async fn get(&self, id: &str) -> Result<Pod, Error> {
        let answer = self.send(Method::Get, one(&self.pods(), id)?, None).await?;
        self.read(&answer)
    }

    /// Whether the object is there whose controller makes the Pod of this name.
    async fn has_maker(&self, id: &str) -> Result<bool, Error> {
        if self.config.workload == Workload::Pod {
            return Ok(false);
        }
        let answer = self.send(Method::Get, one(&self.objects(), id)?, None).await?;
        match self.read::<Pod>(&answer) {
            Ok(maker) => Ok(maker.metadata.deletion_timestamp.is_none()),
            Err(e) if e.code == Code::NotFound => Ok(false),
            Err(e) => Err(e),
        }
    }

    /// Waits until processes can run in a Pod, and says meanwhile what it waits for.
    pub async fn ready(&self, id: &str, within: Duration) -> Result<Pod, Error> {
        let (begun, mut look) = (Instant::now(), LOOK_FIRST);
        let mut told = String::new();
        loop {
            let pod = match self.get(id).await {
                Ok(pod) => Some(pod),
                Err(e) if e.code == Code::NotFound && self.has_maker(id).await? => None,
                // One answer that is lost tells nothing of the Pod.
                Err(e) if e.code == Code::Unavailable && begun.elapsed() + look < within => {
                    time::sleep(look).await;
                    look = (look * 2).min(LOOK_LAST);
                    continue;
                }
                Err(e) => return Err(e),
            };
            let waits = match pod.map(|pod| (pod.stage(), pod)) {
                Some((Stage::Ready, pod)) => return Ok(pod),
                Some((Stage::Hopeless(e), _)) => return Err(e),
                Some((Stage::Ended(why), _)) => return Err(Error::new(Code::NotFound, why)),
                Some((Stage::Waiting(waits), _)) => waits,
                None => "waiting for the controller of agent-sandbox to make the Pod".to_owned(),
            };
            if told != waits {
                progress::say(&waits);
                told = waits;
            }
            let left = within.saturating_sub(begun.elapsed());
            if left.is_zero() {
                return Err(Error::new(
                    Code::DeadlineExceeded,
                    format!(
                        "the Pod is not ready after {} s ({told}); `limits.call_timeout` says how long to wait",
                        within.as_secs()
                    ),
                ));
            }
            time::sleep(look.min(left)).await;
            // A Pod whose image is present is ready within half a second.
            if begun.elapsed() > Duration::from_millis(500) {
                look = (look * 2).min(LOOK_LAST);
            }
        }
    }

    /// Ends a sandbox at once; one that is gone is a success.
    pub async fn kill(&self, id: &str) -> Result<(), Error> {
        if self.config.workload == Workload::AgentSandbox {
            // First: its controller would make another Pod.
            self.delete(&one(&self.objects(), id)?).await?;
        }
        self.delete(&one(&self.pods(), id)?).await
    }

    /// Deletes an object. A 404 of something that is no API server proves nothing and is an error.
    async fn delete(&self, url: &str) -> Result<(), Error> {
        let at_once = json!({ "gracePeriodSeconds": 0, "propagationPolicy": "Background" });
        let answer = self.send(Method::Delete, url.to_owned(), Some(&at_once)).await?;
        match answer.status {
            200..300 => Ok(()),
            404 if Status::read(&answer.body).is_some_and(|said| said.is_missing_sandbox()) => Ok(()),
            status => Err(errors::refused(self.config, status, &answer.body)),
        }
    }

    /// One page of the sandboxes that carry all of `labels`, also those that have ended: somebody has to remove them.
    pub async fn list(&self, labels: &[(String, String)], cursor: Option<&str>) -> Result<Page, Error> {
        let ours = std::iter::once(OURS).chain(labels.iter().map(|(key, value)| (key.as_str(), value.as_str())));
        let selector: Vec<String> = ours.map(|(key, value)| format!("{key}={value}")).collect();
        let mut url = format!("{}?limit={PAGE}&labelSelector={}", self.objects(), encode(&selector.join(",")));
        if let Some(cursor) = cursor {
            url.push_str("&continue=");
            url.push_str(&encode(cursor));
        }
        let answer = self.send(Method::Get, url, None).await?;
        let Pods { metadata, items } = self.read(&answer)?;
        // The same page again would go on forever.
        let next =
            metadata.next.filter(|next| !next.is_empty() && next.len() <= MAX_CURSOR && Some(next.as_str()) != cursor);
        Ok(Page { sandboxes: matching(items, labels), next })
    }
}

/// The URL of one object.
fn one(objects: &str, id: &str) -> Result<String, Error> {
    if is_name(id) {
        Ok(format!("{objects}/{id}"))
    } else {
        Err(Error::new(Code::InvalidArgument, "the sandbox's id is not the name of a Pod"))
    }
}

/// Keeps those that carry all of `labels`: the caller may end what is listed, so a server that ignores the selector must
/// not widen it.
fn matching(pods: Vec<Pod>, labels: &[(String, String)]) -> Vec<Listed> {
    let carries = |pod: &Pod| {
        let has = |key: &str, value: &str| pod.metadata.labels.get(key).is_some_and(|own| own == value);
        has(OURS.0, OURS.1) && labels.iter().all(|(key, value)| has(key, value))
    };
    let kept = pods.into_iter().filter(|pod| carries(pod) && pod.metadata.deletion_timestamp.is_none());
    kept.map(|pod| Listed {
        created_unix_ms: pod.metadata.creation_timestamp.as_deref().and_then(unix_ms),
        ends_unix_ms: pod.ends_unix_ms(),
        id: pod.metadata.name,
        labels: pod.metadata.labels.into_iter().collect(),
    })
    .collect()
}

/// How long a call may wait for a Pod.
pub fn patience(deadline_ms: u64) -> Duration {
    Duration::from_millis(deadline_ms).saturating_sub(KEPT_BACK)
}

/// Tells the log of a Pod that could not be deleted; the reaper finds it by its labels.
pub fn left_over(id: &str, error: &Error) {
    log::warn("a Pod that is not needed could not be deleted", &[("pod", id), ("error", &error.message)]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_ignores_the_selector_does_not_widen_a_listing() {
        let pods: Pods = serde_json::from_value(json!({
            "metadata": { "continue": "" },
            "items": [
                { "metadata": { "name": "a", "labels": { OURS.0: OURS.1, "k": "v" }, "creationTimestamp": "1970-01-01T00:00:05Z" },
                  "spec": { "activeDeadlineSeconds": 10 }, "status": { "startTime": "1970-01-01T00:00:06Z" } },
                { "metadata": { "name": "b", "labels": { OURS.0: OURS.1, "k": "w" } } },
                { "metadata": { "name": "c", "labels": { "k": "v" } } },
                { "metadata": { "name": "d", "labels": { OURS.0: OURS.1, "k": "v" }, "deletionTimestamp": "1970-01-01T00:00:05Z" } },
            ],
        }))
        .expect("a listing");
        let found = matching(pods.items, &[("k".into(), "v".into())]);
        let [only] = &found[..] else { panic!("{}", found.len()) };
        assert_eq!((only.id.as_str(), only.created_unix_ms, only.ends_unix_ms), ("a", Some(5000), Some(16000)));
    }
}
