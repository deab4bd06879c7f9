//! The JSON messages of the control plane, as the official SDKs send and read them, and which requests are refused.
//!
//! A member that asks for something this server cannot do is refused, never ignored.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::error::ApiError;
use crate::machine::Machine;
use crate::sandbox::Sandbox;

/// The version of E2B's in-sandbox daemon whose behaviour this server has.
pub(crate) const ENVD_VERSION: &str = "0.6.13";

/// Pairs of metadata or of environment in one request.
const MAX_PAIRS: usize = 256;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct CreateRequest {
    #[serde(rename = "templateID")]
    pub(super) template_id: String,
    pub(super) timeout: Option<i64>,
    #[serde(default)]
    pub(super) metadata: Option<BTreeMap<String, String>>,
    #[serde(default)]
    pub(super) env_vars: Option<BTreeMap<String, String>>,
    #[serde(default)]
    auto_pause: Option<bool>,
    #[serde(default)]
    auto_pause_memory: Option<bool>,
    #[serde(default)]
    auto_resume: Option<AutoResumeRequest>,
    #[serde(rename = "allow_internet_access")]
    allow_internet_access: Option<bool>,
    #[serde(default)]
    network: Option<NetworkRequest>,
    #[serde(default)]
    iam: Option<Value>,
    #[serde(default)]
    mcp: Option<Value>,
    #[serde(default)]
    volume_mounts: Option<Vec<Value>>,
}

#[derive(Debug, Deserialize)]
struct AutoResumeRequest {
    #[serde(default)]
    enabled: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct NetworkRequest {
    #[serde(default)]
    allow_out: Option<Vec<String>>,
    #[serde(default)]
    deny_out: Option<Vec<String>>,
    #[serde(default)]
    allow_public_traffic: Option<bool>,
    #[serde(flatten)]
    rest: BTreeMap<String, Value>,
}

impl CreateRequest {
    /// Refuses a request for something this server cannot do.
    pub(super) fn check(&self) -> Result<(), ApiError> {
        let refuse =
            |what: &str| Err(ApiError::bad_request(format!("{what} is not supported by this server: leave it out")));
        if self.auto_pause == Some(true) {
            return refuse("autoPause (pausing a sandbox)");
        }
        if self.auto_pause_memory == Some(false) {
            return refuse("autoPauseMemory=false (pausing a sandbox)");
        }
        if self.auto_resume.as_ref().is_some_and(|resume| resume.enabled) {
            return refuse("autoResume (pausing a sandbox)");
        }
        if self.iam.as_ref().is_some_and(|value| !is_empty(value)) {
            return refuse("iam");
        }
        if self.mcp.as_ref().is_some_and(|value| !is_empty(value)) {
            return refuse("mcp");
        }
        if self.volume_mounts.as_ref().is_some_and(|mounts| !mounts.is_empty()) {
            return refuse("volumeMounts");
        }
        if let Some(network) = &self.network {
            if network.allow_out.as_ref().is_some_and(|hosts| !hosts.is_empty()) {
                return refuse("network.allowOut");
            }
            if network.deny_out.as_ref().is_some_and(|hosts| hosts.iter().any(|host| !is_everything(host))) {
                return refuse("network.denyOut other than 0.0.0.0/0");
            }
            if network.allow_public_traffic == Some(false) {
                return refuse("network.allowPublicTraffic=false");
            }
            if let Some((name, _)) = network.rest.iter().find(|(_, value)| !is_empty(value)) {
                return refuse(&format!("network.{name}"));
            }
        }
        for pairs in [&self.metadata, &self.env_vars].into_iter().flatten() {
            if pairs.len() > MAX_PAIRS {
                return Err(ApiError::bad_request(format!(
                    "metadata and envVars may have at most {MAX_PAIRS} pairs each"
                )));
            }
        }
        let bad_name = |name: &String| name.is_empty() || name.contains(['=', '\0']);
        if let Some((name, _)) =
            self.env_vars.iter().flatten().find(|(name, value)| bad_name(name) || value.contains('\0'))
        {
            return Err(ApiError::bad_request(format!(
                "the name or value of environment variable '{}' is not valid",
                name.escape_default()
            )));
        }
        Ok(())
    }

    /// Whether the sandbox gets a network. Without this it gets none.
    pub(super) fn wants_network(&self) -> bool {
        let all_denied =
            self.network.as_ref().and_then(|network| network.deny_out.as_ref()).is_some_and(|hosts| !hosts.is_empty());
        self.allow_internet_access != Some(false) && !all_denied
    }
}

/// The range of all IPv4 addresses, which E2B takes for all traffic.
fn is_everything(host: &str) -> bool {
    host == "0.0.0.0/0"
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(items) => items.is_empty(),
        Value::Object(members) => members.values().all(is_empty),
        Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct ConnectRequest {
    #[serde(default)]
    pub(super) timeout: Option<i64>,
    #[serde(default)]
    pub(super) memory: Option<bool>,
}

#[derive(Debug, Deserialize)]
pub(super) struct TimeoutRequest {
    pub(super) timeout: i64,
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct RefreshRequest {
    #[serde(default)]
    pub(super) duration: Option<i64>,
}

/// The answer to create and connect.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Created<'a> {
    #[serde(rename = "templateID")]
    template_id: &'a str,
    #[serde(rename = "sandboxID")]
    sandbox_id: &'a str,
    #[serde(rename = "clientID")]
    client_id: &'static str,
    envd_version: &'static str,
    envd_access_token: &'a str,
    domain: Option<&'a str>,
    /// Not part of E2B's API. Calls for files have the rights of the acting user and no more, so a client need not
    /// check that itself.
    files_as_user: bool,
}

impl<'a> From<&'a Sandbox> for Created<'a> {
    fn from(sandbox: &'a Sandbox) -> Self {
        Self {
            template_id: &sandbox.template,
            sandbox_id: &sandbox.id,
            client_id: CLIENT_ID,
            envd_version: ENVD_VERSION,
            envd_access_token: &sandbox.token,
            domain: None,
            files_as_user: true,
        }
    }
}

/// A deprecated member that clients still require.
const CLIENT_ID: &str = "local";

/// One row of a listing.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Listed<'a> {
    #[serde(rename = "templateID")]
    template_id: &'a str,
    #[serde(rename = "sandboxID")]
    sandbox_id: &'a str,
    #[serde(rename = "clientID")]
    client_id: &'static str,
    started_at: jiff::Timestamp,
    end_at: jiff::Timestamp,
    envd_version: &'static str,
    cpu_count: usize,
    #[serde(rename = "memoryMB")]
    memory_mb: u64,
    #[serde(rename = "diskSizeMB")]
    disk_size_mb: u64,
    state: &'static str,
    metadata: &'a BTreeMap<String, String>,
}

impl<'a> Listed<'a> {
    pub(super) fn new(sandbox: &'a Sandbox, machine: Machine) -> Self {
        Self {
            template_id: &sandbox.template,
            sandbox_id: &sandbox.id,
            client_id: CLIENT_ID,
            started_at: sandbox.started,
            end_at: sandbox.lease.borrow().until_date,
            envd_version: ENVD_VERSION,
            cpu_count: machine.cpus,
            memory_mb: machine.memory_mb,
            disk_size_mb: machine.disk_mb,
            state: "running",
            metadata: &sandbox.metadata,
        }
    }
}

/// The answer to info.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Detail<'a> {
    #[serde(flatten)]
    listed: Listed<'a>,
    envd_access_token: &'a str,
    domain: Option<&'a str>,
    allow_internet_access: bool,
    lifecycle: Lifecycle,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Lifecycle {
    auto_resume: bool,
    on_timeout: &'static str,
}

impl<'a> Detail<'a> {
    pub(super) fn new(sandbox: &'a Sandbox, machine: Machine) -> Self {
        Self {
            listed: Listed::new(sandbox, machine),
            envd_access_token: &sandbox.token,
            domain: None,
            allow_internet_access: sandbox.network,
            lifecycle: Lifecycle { auto_resume: false, on_timeout: "kill" },
        }
    }
}
