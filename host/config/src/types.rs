//! The sections of a configuration after it was checked, as the rest of the broker reads them. Owns these types and nothing
//! else; deliberately knows neither TOML nor how anything was written.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::binding::BoundSecret;
use super::egress::EgressGrant;
use super::origin::Origin;
use super::tls::Tls;
use sandbox_broker_core::sandbox::Choices;
use sandbox_broker_core::secret::Secret;

/// Where the broker listens and who may talk to it.
#[derive(Clone, Debug)]
pub struct Server {
    /// Not loopback only when [`Auth`] is there. Port 0 means any free one.
    pub listen: SocketAddr,
    /// Origin of a page on another server that may use the broker.
    pub frontend_url: Option<Origin>,
    /// The broker's own origins besides its address, the first of them first.
    pub public_urls: Vec<Origin>,
    /// Proxies that are believed about their clients' addresses.
    pub trusted_proxies: Vec<IpNet>,
    /// Directives of `tracing_subscriber::EnvFilter`, known to be valid.
    pub log: String,
}

/// Who may use the broker.
#[derive(Clone, Debug)]
pub struct Auth {
    /// Never empty; names differ.
    pub tokens: Vec<Token>,
}

/// A token.
#[derive(Clone, Debug)]
pub struct Token {
    /// Whose it is.
    pub name: String,
    /// SHA-256 of the token's text.
    pub sha256: [u8; 32],
}

/// The sandbox that a terminal gets.
#[derive(Clone, Debug)]
pub struct Sandbox {
    /// A key of [`Config::providers`](crate::Config::providers).
    pub provider: String,
    /// Inactivity after which a session ends. 1 s to 30 days.
    pub timeout: Duration,
    /// Age at which a session ends. 1 s to a year; `None` when age ends no session.
    pub max_age: Option<Duration>,
    /// Time to live of a sandbox at its provider. The broker renews it every third of this. 3 s to 24 h.
    pub lease: Duration,
    /// Sessions at the same time, 1 to 10,000.
    pub max_sessions: usize,
    /// Sessions of one person at the same time, 1 to 10,000.
    pub max_sessions_per_user: usize,
    /// Absolute path.
    pub workdir: Option<String>,
    /// Program and arguments, never empty.
    pub shell: Vec<String>,
    /// Environment of everything in the sandbox; no value is empty.
    pub env: BTreeMap<String, Secret>,
    /// Whose processes they are.
    pub user: Option<String>,
    /// How long a session that is kept waits for its clients. Up to 24 h.
    pub keep_after_disconnect: Duration,
    /// Whether the shell waits for its driver to read.
    pub pause_for_slow_driver: bool,
    /// Whether the terminal has the smallest size of all clients, instead of the driver's.
    pub smallest_size: bool,
    /// What new sandboxes are like. Within the contract's bounds, and without volumes.
    pub choices: Choices,
}

/// Storage mounted in every sandbox.
#[derive(Clone, Debug)]
pub struct Mount {
    /// A key of [`Config::providers`](crate::Config::providers).
    pub provider: String,
    /// Absolute path without `.` and `..`, in no other mount and no system
    /// directory.
    pub path: String,
    /// Whether writing to it is refused.
    pub read_only: bool,
    /// Pointer of the key that names the provider.
    pub(super) named: String,
}

/// What a provider provides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// It makes sandboxes.
    Sandbox,
    /// It plans mounts.
    Storage,
}

impl Kind {
    /// Its name, as plugins say it.
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Sandbox => "sandbox",
            Kind::Storage => "storage",
        }
    }
}

/// A key that names a provider and so puts it in use.
#[derive(Clone, Copy, Debug)]
pub struct Use<'a> {
    /// A key of [`Config::providers`](crate::Config::providers).
    pub provider: &'a str,
    /// What it has to provide.
    pub kind: Kind,
    /// Pointer of the key.
    pub(super) named: &'a str,
}

/// One section of `[providers]`.
#[derive(Clone, Debug)]
pub struct Provider {
    /// The section's name.
    pub name: String,
    /// What code it runs.
    pub plugin: PluginSource,
    /// A service that the broker starts for it.
    pub embedded: Option<Embedded>,
    /// Ports of this machine's loopback that its sandboxes find on theirs.
    pub host_services: Vec<u16>,
    /// Where its requests may go.
    pub allow: Vec<EgressGrant>,
    /// Whether a granted name may lead to a private or loopback address.
    pub allow_private: bool,
    /// By the name that the plugin knows.
    pub secrets: BTreeMap<String, BoundSecret>,
    /// Which of `secrets` the plugin may see.
    pub reveal: Vec<String>,
    /// Whom TLS trusts at its servers, and what the broker shows there.
    pub tls: Tls,
    /// What it may use.
    pub limits: PluginLimits,
    /// The plugin's settings, references filled in, not yet checked: see
    /// [`crate::Config::check_provider_config`].
    pub(super) config: Settings,
}

impl Provider {
    /// Whether its settings differ from person to person.
    pub fn is_per_user(&self) -> bool {
        self.config.0.values().any(super::user::is_in)
    }
}

/// A plugin's settings. `Debug` shows the names only: the text of a reference
/// may be among the values.
#[derive(Clone)]
pub(super) struct Settings(pub(super) Map<String, Value>);

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.keys()).finish()
    }
}

/// Where a plugin's code comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PluginSource {
    /// Part of the broker, by this name. The loader knows whether it exists.
    Builtin(String),
    /// A file: absolute when the configuration's path is.
    Path(PathBuf),
}

/// A service that the broker starts itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Embedded {
    /// The sandbox server for this machine.
    Sandboxd,
}

/// What a plugin may use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PluginLimits {
    /// Bytes of linear memory and tables of one instance. 1 MiB to 4 GiB.
    pub memory: u64,
    /// The same of all instances of the section together. 1 MiB to 1 TiB.
    pub total_memory: u64,
    /// CPU time of one call without waiting. 10 ms to 60 s.
    pub cpu: Duration,
    /// Wall time of one call that answers once. 1 s to 10 min.
    pub call_timeout: Duration,
}
