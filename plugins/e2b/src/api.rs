//! The control plane: makes, finds and ends sandboxes.
//!
//! Owns its requests and what their answers mean; knows nothing of what runs
//! inside a sandbox.

use std::collections::BTreeMap;
use std::time::Duration;

use sandbox_broker_sdk::http::{Method, Request};
use sandbox_broker_sdk::sandbox::{Choices, Listed, Page, Spec};
use sandbox_broker_sdk::time::{self, Instant};
use sandbox_broker_sdk::{Code, Error, SandboxRef, log};
use serde::{Deserialize, Serialize};

use crate::config::{Config, Network};
use crate::errors::{self, Answer};
use crate::retry::{self, Effect, Outcome};
use crate::state::{Sandbox, Version};
use crate::urls;

/// Name of the secret that is the API key. The broker adds it to requests, in the
/// header `x-api-key`.
pub const API_KEY: &str = "api_key";

/// How this client calls itself.
pub const USER_AGENT: &str = concat!("sandbox-broker-e2b/", env!("CARGO_PKG_VERSION"));

/// Longest answer, in bytes: a page of 100 sandboxes with much metadata.
const MAX_ANSWER: usize = 4 << 20;

/// Sandboxes per page of a listing; the service's maximum.
const PAGE: &str = "100";

/// Longest cursor that is handed on, in bytes.
const MAX_CURSOR: usize = 4 << 10;

/// The oldest agent that speaks the protocol.
const OLDEST: Version = Version(0, 1, 0);

/// The control plane of one configuration.
pub struct Api<'a> {
    config: &'a Config,
    base: String,
}

/// An answer, read to its end.
struct Read {
    status: u16,
    host: String,
    retry_after: Option<String>,
    next_token: Option<String>,
    body: Vec<u8>,
}

impl Read {
    fn error(&self) -> Error {
        errors::of_api(&Answer {
            host: &self.host,
            status: self.status,
            retry_after: self.retry_after.as_deref(),
            body: &self.body,
        })
    }

    fn json<'d, T: Deserialize<'d>>(&'d self) -> Result<T, Error> {
        serde_json::from_slice(&self.body).map_err(|e| {
            Error::new(Code::Internal, format!("the answer of {} is not one of the E2B API", self.host))
                .with("json", sandbox_broker_sdk::quote(&e.to_string()))
        })
    }
}

impl<'a> Api<'a> {
    /// The control plane that `config` names.
    pub fn new(config: &'a Config) -> Self {
        Self { config, base: urls::api(config) }
    }

    fn request(&self, method: Method, path: &str) -> Request {
        Request::new(method, format!("{}{path}", self.base))
            .header("user-agent", USER_AGENT)
            .header("accept", "application/json")
            .timeout(self.config.timeout())
    }

    fn post(&self, path: &str, body: &impl Serialize) -> Request {
        self.request(Method::Post, path).json(body)
    }

    /// Sends a request, again where that is safe, and reads the answer. The
    /// deadline holds for all tries together.
    async fn send(&self, request: Request, effect: Effect) -> Result<Read, Error> {
        let begun = Instant::now();
        let mut tries = 0;
        loop {
            tries += 1;
            let left = self.config.timeout().saturating_sub(begun.elapsed());
            let result = once(request.clone().timeout(left)).await;
            let outcome = match &result {
                Ok((answer, _)) if answer.status < 300 => return result.map(|(answer, _)| answer),
                Ok((answer, should_retry)) => Outcome::Status {
                    status: answer.status,
                    retry_after: answer.retry_after.as_deref().and_then(seconds),
                    should_retry: *should_retry,
                },
                Err(e) => Outcome::Transport(e.code),
            };
            let left = self.config.timeout().saturating_sub(begun.elapsed());
            let Some(pause) = retry::pause(effect, tries, outcome, left) else {
                return result.map(|(answer, _)| answer);
            };
            log::debug(
                "a request to the E2B API is tried again",
                &[("tries", &tries.to_string()), ("pause_ms", &pause.as_millis().to_string())],
            );
            time::sleep(pause).await;
        }
    }

    /// Tries the current route and, where a server may not have it, the one
    /// before it. Servers word a missing route as they like, some just as a
    /// missing sandbox; either has done nothing, and a real "not found" is said
    /// again.
    async fn send_versions(&self, requests: [Request; 2], effect: Effect) -> Result<Read, Error> {
        let [current, before] = requests;
        let answer = self.send(current, effect).await?;
        if !matches!(answer.status, 404 | 405) {
            return Ok(answer);
        }
        let again = self.send(before, effect).await?;
        let missing = errors::route_is_missing(again.status, &again.body);
        Ok(if missing { answer } else { again })
    }

    /// Makes a sandbox.
    pub async fn create(&self, spec: &Spec) -> Result<SandboxRef, Error> {
        refuse_choices(&spec.choices)?;
        let body = Create::new(self.config, spec);
        let before = Create { secure: Some(true), ..Create::new(self.config, spec) };
        let requests = [self.post("/v2/sandboxes", &body), self.post("/sandboxes", &before)];
        let answer = self.send_versions(requests, Effect::Twice).await?;
        if !(200..300).contains(&answer.status) {
            return Err(answer.error());
        }
        let sandbox: Sandbox = answer.json()?;
        let envd = sandbox.envd_version.clone().unwrap_or_default();
        let sandbox = sandbox.into_ref()?;
        if Version::parse(&envd) < OLDEST {
            self.kill(&sandbox.id).await?;
            return Err(Error::new(
                Code::FailedPrecondition,
                format!("template {} is too old (its agent is {envd}): build it again", body.template),
            ));
        }
        Ok(sandbox)
    }

    /// Wakes a sandbox and makes sure of its time. The service only ever
    /// lengthens the life of a running one here.
    pub async fn connect(&self, id: &str, ttl_ms: u64) -> Result<SandboxRef, Error> {
        let id = path_id(id)?;
        let body = Timeout { timeout: whole_seconds(ttl_ms) };
        let requests = [
            self.post(&format!("/v2/sandboxes/{id}/connect"), &body),
            self.post(&format!("/sandboxes/{id}/connect"), &body),
        ];
        let answer = self.send_versions(requests, Effect::Same).await?;
        match answer.status {
            200..300 => answer.json::<Sandbox>()?.into_ref(),
            _ => Err(answer.error()),
        }
    }

    /// Sets the end of a sandbox.
    pub async fn extend(&self, id: &str, ttl_ms: u64) -> Result<(), Error> {
        let path = format!("/sandboxes/{}/timeout", path_id(id)?);
        let body = Timeout { timeout: whole_seconds(ttl_ms) };
        let answer = self.send(self.post(&path, &body), Effect::Same).await?;
        match answer.status {
            200..300 => Ok(()),
            _ => Err(answer.error()),
        }
    }

    /// Puts a sandbox to sleep; one that sleeps already is a success.
    pub async fn pause(&self, id: &str) -> Result<(), Error> {
        let path = format!("/sandboxes/{}/pause", path_id(id)?);
        let answer = self.send(self.request(Method::Post, &path), Effect::Same).await?;
        match answer.status {
            200..300 | 409 => Ok(()),
            404 | 405 if errors::route_is_missing(answer.status, &answer.body) => {
                Err(Error::new(Code::Unimplemented, format!("the server {} does not pause sandboxes", answer.host)))
            }
            _ => Err(answer.error()),
        }
    }

    /// Ends a sandbox; one that is gone is a success. A 404 of something that
    /// is not the E2B API proves nothing and is an error.
    pub async fn kill(&self, id: &str) -> Result<(), Error> {
        let path = format!("/sandboxes/{}", path_id(id)?);
        let answer = self.send(self.request(Method::Delete, &path), Effect::Same).await?;
        match answer.status {
            200..300 => Ok(()),
            404 if !errors::route_is_missing(404, &answer.body) => Ok(()),
            _ => Err(answer.error()),
        }
    }

    /// One page of the sandboxes that carry all of `labels`.
    pub async fn list(&self, labels: &[(String, String)], cursor: Option<&str>) -> Result<Page, Error> {
        let filter = urls::metadata_filter(labels);
        let mut pairs = vec![("state", "running,paused"), ("limit", PAGE)];
        if !labels.is_empty() {
            pairs.push(("metadata", &filter));
        }
        if let Some(cursor) = cursor {
            pairs.push(("nextToken", cursor));
        }
        let current = format!("/v2/sandboxes{}", urls::query(&pairs));
        // Tells of all that run, in one page.
        pairs.retain(|(name, _)| *name == "metadata");
        let before = format!("/sandboxes{}", urls::query(&pairs));
        let requests = [current, before].map(|path| self.request(Method::Get, &path));
        let answer = self.send_versions(requests, Effect::Same).await?;
        if !(200..300).contains(&answer.status) {
            return Err(answer.error());
        }
        // An empty listing is `null` on some servers.
        let entries: Option<Vec<Entry>> = answer.json()?;
        let sandboxes = matching(entries.unwrap_or_default(), labels);
        let next = answer.next_token.filter(|next| {
            // The same page again would go on forever.
            !next.is_empty() && next.len() <= MAX_CURSOR && Some(next.as_str()) != cursor
        });
        Ok(Page { sandboxes, next })
    }
}

async fn once(request: Request) -> Result<(Read, Option<bool>), Error> {
    let answer = request.send().await?;
    let owned = |name: &str| answer.header(name).map(str::to_owned);
    let should_retry = answer.header("should-retry").and_then(|v| v.parse().ok());
    let (status, host) = (answer.status, answer.host.clone());
    let (retry_after, next_token) = (owned("retry-after"), owned("x-next-token"));
    let body = answer.bytes(MAX_ANSWER).await?;
    Ok((Read { status, host, retry_after, next_token, body }, should_retry))
}

fn seconds(text: &str) -> Option<Duration> {
    text.trim().parse().ok().map(Duration::from_secs)
}

fn path_id(id: &str) -> Result<&str, Error> {
    if urls::is_id(id) { Ok(id) } else { Err(Error::new(Code::InvalidArgument, "the sandbox's id is not one of E2B")) }
}

/// Whole seconds, rounded up: a sandbox must not end early.
fn whole_seconds(ms: u64) -> u64 {
    ms.div_ceil(1000).max(1)
}

/// Refuses what the template decides, or what there is not.
fn refuse_choices(choices: &Choices) -> Result<(), Error> {
    let Choices { image: _, cpu_millis, memory_mib, disk_mib, region, volumes } = choices;
    let chosen = [
        ("cpu-millis", cpu_millis.is_some()),
        ("memory-mib", memory_mib.is_some()),
        ("disk-mib", disk_mib.is_some()),
        ("region", region.is_some()),
        ("volumes", !volumes.is_empty()),
    ];
    match chosen.iter().find(|(_, chosen)| *chosen) {
        Some((name, _)) => Err(Error::new(
            Code::InvalidArgument,
            format!("E2B cannot give a sandbox its own `{name}`: choose a template that has it"),
        )),
        None => Ok(()),
    }
}

#[derive(Serialize)]
struct Timeout {
    timeout: u64,
}

#[derive(Serialize)]
struct Create<'a> {
    #[serde(rename = "templateID")]
    template: &'a str,
    timeout: u64,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    metadata: BTreeMap<&'a str, &'a str>,
    #[serde(rename = "envVars", skip_serializing_if = "BTreeMap::is_empty")]
    env: BTreeMap<&'a str, &'a str>,
    // The one member of the protocol that is spelled like this.
    #[serde(skip_serializing_if = "Option::is_none")]
    allow_internet_access: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    network: Option<&'a Network>,
    /// Only on the route before the current one, where it has to be asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    secure: Option<bool>,
}

impl<'a> Create<'a> {
    fn new(config: &'a Config, spec: &'a Spec) -> Self {
        let pairs = |list: &'a [(String, String)]| list.iter().map(|(k, v)| (k.as_str(), v.as_str()));
        let mut metadata: BTreeMap<_, _> = config.metadata.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        metadata.extend(pairs(&spec.labels));
        Self {
            template: spec.choices.image.as_deref().unwrap_or(&config.template),
            timeout: whole_seconds(spec.ttl_ms),
            metadata,
            env: pairs(&spec.env).collect(),
            allow_internet_access: config.allow_internet_access,
            network: config.network.as_ref(),
            secure: None,
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Entry {
    #[serde(rename = "sandboxID")]
    id: String,
    #[serde(default)]
    started_at: Option<String>,
    #[serde(default)]
    end_at: Option<String>,
    #[serde(default)]
    metadata: Option<BTreeMap<String, String>>,
}

/// Keeps the entries that carry all of `labels`: the caller may end what is
/// listed, so a server that ignores the filter must not widen it.
fn matching(entries: Vec<Entry>, labels: &[(String, String)]) -> Vec<Listed> {
    let entries = entries.into_iter().filter_map(|entry| {
        let metadata = entry.metadata.unwrap_or_default();
        let carries = labels.iter().all(|(k, v)| metadata.get(k) == Some(v));
        (carries && urls::is_id(&entry.id)).then(|| Listed {
            id: entry.id,
            labels: metadata.into_iter().collect(),
            created_unix_ms: entry.started_at.as_deref().and_then(unix_ms),
            ends_unix_ms: entry.end_at.as_deref().and_then(unix_ms),
        })
    });
    entries.collect()
}

/// Milliseconds since 1970 of an RFC 3339 time.
pub fn unix_ms(time: &str) -> Option<u64> {
    let time: jiff::Timestamp = time.parse().ok()?;
    time.as_millisecond().try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect()
    }

    fn nothing_chosen() -> Choices {
        Choices { image: None, cpu_millis: None, memory_mib: None, disk_mib: None, region: None, volumes: vec![] }
    }

    #[test]
    fn an_image_is_a_template_and_what_a_template_decides_is_refused_by_name() {
        let image = Choices { image: Some("mine".into()), ..nothing_chosen() };
        refuse_choices(&image).expect("templates are E2B's images");
        let spec = Spec { labels: vec![], env: vec![], ttl_ms: 0, choices: image, attrs: vec![] };
        assert_eq!(Create::new(&Config::default(), &spec).template, "mine");
        let e = refuse_choices(&Choices { memory_mib: Some(512), ..nothing_chosen() }).expect_err("its own memory");
        assert_eq!(e.code, Code::InvalidArgument);
        assert!(e.message.contains("memory-mib"), "{}", e.message);
    }

    #[test]
    fn the_key_is_the_brokers_to_add() {
        let config = Config::default();
        let request = Api::new(&config).request(Method::Get, "/x");
        assert_eq!(request.url, "https://api.e2b.app/x");
        assert_eq!(request.header_value("x-api-key"), None);
    }

    #[test]
    fn a_creation_asks_for_what_was_configured_and_nothing_more() {
        let spec = Spec {
            labels: text(&[("broker", "b1"), ("a", "label")]),
            env: text(&[("X", "y")]),
            ttl_ms: 60_001,
            choices: nothing_chosen(),
            attrs: vec![],
        };
        let config = Config::parse(
            r#"{"template":"tpl","metadata":{"a":"config","c":"d"},"allow_internet_access":false,"network":{"allow_out":["1.1.1.1"]}}"#,
        )
        .expect("fits");
        assert_eq!(
            serde_json::to_string(&Create::new(&config, &spec)).expect("json"),
            r#"{"templateID":"tpl","timeout":61,"metadata":{"a":"label","broker":"b1","c":"d"},"envVars":{"X":"y"},"allow_internet_access":false,"network":{"allowOut":["1.1.1.1"]}}"#
        );
        let bare = Spec { labels: vec![], env: vec![], ttl_ms: 0, choices: nothing_chosen(), attrs: vec![] };
        assert_eq!(
            serde_json::to_string(&Create::new(&Config::default(), &bare)).expect("json"),
            r#"{"templateID":"base","timeout":1}"#
        );
    }

    #[test]
    fn a_server_that_ignores_the_filter_does_not_widen_it() {
        let entries: Vec<Entry> = serde_json::from_str(
            r#"[{"sandboxID":"mine","startedAt":"2026-11-23T03:00:00.5Z","endAt":"2026-11-23T03:05:00+00:00","metadata":{"b":"1","x":"y"}},
            {"sandboxID":"theirs","metadata":{"b":"2"}},{"sandboxID":"bare"},{"sandboxID":"../odd","metadata":{"b":"1"}}]"#,
        )
        .expect("a listing");
        let listed = matching(entries, &text(&[("b", "1")]));
        assert_eq!(listed.len(), 1);
        assert_eq!((listed[0].id.as_str(), listed[0].labels.len()), ("mine", 2));
        assert_eq!(listed[0].created_unix_ms, Some(1_795_402_800_500));
        assert_eq!(listed[0].ends_unix_ms, Some(1_795_403_100_000));
    }

    #[test]
    fn time_is_rounded_up_to_whole_seconds() {
        assert_eq!([0, 1, 1000, 1001].map(whole_seconds), [1, 1, 1, 2]);
    }
}
