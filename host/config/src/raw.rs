//! The file as it is written: every key, its type, its default and its description. Owns the one definition that checking,
//! editors and the documentation's test share; deliberately holds nothing that is validated.
//!
//! Every key may be missing here, even a required one: a mistake is taken out before the file is read into these types, so
//! that the rest of the file can still be checked.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::value::*;

/// Configuration of the sandbox broker. Text may hold `${NAME}`,
/// `${NAME:-default}` and `${file:/path}`.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(title = "broker.toml", extend("required" = ["sandbox"]))]
pub(super) struct File {
    /// Where the broker listens and who may talk to it.
    pub(super) server: Server,
    /// Who may use it. Without this section everybody who reaches it may, so
    /// it then listens on loopback only.
    pub(super) auth: Option<Auth>,
    /// The sandbox that a terminal gets.
    pub(super) sandbox: Sandbox,
    /// The storage mounted in every sandbox.
    pub(super) storage: Storage,
    /// Providers by name.
    #[schemars(extend("propertyNames" = NAME.schema()))]
    pub(super) providers: BTreeMap<String, Provider>,
}

/// Where the broker listens and who may talk to it.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Server {
    /// IP address and port. Port 0 takes any free one. Beyond loopback only
    /// with `[auth]`. Cannot change while the broker runs.
    #[schemars(schema_with = "listen_schema")]
    pub(super) listen: String,
    /// Origin of a web page, besides the broker's own, that may open
    /// `/terminal` and call the API.
    #[schemars(schema_with = "origin_schema")]
    pub(super) frontend_url: Option<String>,
    /// Origin under which people reach the broker when that is not its address,
    /// such as the origin of a proxy in front of it.
    #[schemars(schema_with = "origin_schema")]
    pub(super) public_url: Option<String>,
    /// More such origins, when people reach the broker under several.
    #[schemars(schema_with = "origins_schema")]
    pub(super) public_urls: Vec<String>,
    /// Addresses or networks of proxies whose `X-Forwarded-For` or `Forwarded`
    /// says who asks. Each must set that field itself.
    #[schemars(schema_with = "networks_schema")]
    pub(super) trusted_proxies: Vec<String>,
    /// What to log: a level, or directives as of `tracing`'s `EnvFilter`.
    #[schemars(schema_with = "log_schema")]
    pub(super) log: String,
}

impl Default for Server {
    fn default() -> Self {
        Server {
            listen: "127.0.0.1:3000".into(),
            frontend_url: None,
            public_url: None,
            public_urls: Vec::new(),
            trusted_proxies: Vec::new(),
            log: "info".into(),
        }
    }
}

/// Who may use the broker.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(extend("required" = ["tokens"]))]
pub(super) struct Auth {
    /// Tokens that open the broker. `broker token` makes one.
    #[schemars(length(min = 1))]
    pub(super) tokens: Vec<Token>,
}

/// A token, known by its hash only.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(extend("required" = ["name", "sha256"]))]
pub(super) struct Token {
    /// Whose it is; the log calls its holder so.
    #[schemars(schema_with = "name_schema")]
    pub(super) name: Option<String>,
    /// SHA-256 of the token in hexadecimal.
    #[schemars(schema_with = "sha256_schema")]
    pub(super) sha256: Option<String>,
}

/// The sandbox that a terminal gets.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(extend("required" = ["provider"]))]
pub(super) struct Sandbox {
    /// Which of `[providers]` makes it. New terminals follow a change at once,
    /// open ones stay where they are.
    #[schemars(schema_with = "name_schema")]
    pub(super) provider: Option<String>,
    /// A session ends after this long without input and output. 1s to 720h.
    #[schemars(schema_with = "duration_schema")]
    pub(super) timeout: String,
    /// A session ends this long after it began, however much it is used. Its
    /// clients are warned before. By default, age ends no session. 1s to 8760h.
    #[schemars(schema_with = "duration_schema")]
    pub(super) max_age: Option<String>,
    /// A sandbox ends by itself this long after the broker was last heard of.
    /// The broker renews it every third of this. 3s to 24h.
    #[schemars(schema_with = "duration_schema")]
    pub(super) lease: String,
    /// Sessions at the same time; more are refused.
    #[schemars(range(min = 1, max = 10000))]
    pub(super) max_sessions: usize,
    /// Sessions of one person at the same time, with `[auth]`. By default a
    /// quarter of `max_sessions` when there are several tokens, and all of them
    /// when there is one.
    #[schemars(range(min = 1, max = 10000))]
    pub(super) max_sessions_per_user: Option<usize>,
    /// Directory in which the shell starts; by default the sandbox's own.
    #[schemars(schema_with = "path_schema")]
    pub(super) workdir: Option<String>,
    /// Program and arguments of the shell.
    #[schemars(length(min = 1), inner(length(min = 1)))]
    pub(super) shell: Vec<String>,
    /// Environment of everything in the sandbox. An entry whose text is empty
    /// is left out.
    #[schemars(extend("propertyNames" = VARIABLE.schema()))]
    pub(super) env: BTreeMap<String, String>,
    /// User of all processes; by default the sandbox's own.
    #[schemars(schema_with = "text_schema")]
    pub(super) user: Option<String>,
    /// A session that its client can come back to waits this long for it. 0s
    /// to 24h.
    #[schemars(schema_with = "duration_schema")]
    pub(super) keep_after_disconnect: String,
    /// Who waits for a client that does not read: nobody, or the shell for its
    /// driver.
    pub(super) on_slow_client: SlowClient,
    /// Whose size the terminal has when there are several clients.
    pub(super) size: SizeRule,
    /// What new sandboxes are like, where their provider leaves a choice.
    pub(super) choices: Choices,
}

/// What new sandboxes are like. What is not here is the provider's or its
/// section's default. A provider that cannot give a choice makes no sandbox.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Choices {
    /// Image or template, in the provider's words.
    #[schemars(schema_with = "image_schema")]
    pub(super) image: Option<String>,
    /// Processor time, thousandths of a core.
    #[schemars(range(min = 1, max = 1000000))]
    pub(super) cpu_millis: Option<u32>,
    /// Memory, in whole MiB. 1MiB to 1024GiB.
    #[schemars(schema_with = "size_schema")]
    pub(super) memory: Option<String>,
    /// Disk, in whole MiB. 1MiB to 1024GiB.
    #[schemars(schema_with = "size_schema")]
    pub(super) disk: Option<String>,
    /// Where, in the provider's words.
    #[schemars(schema_with = "region_schema")]
    pub(super) region: Option<String>,
}

/// Who waits for a client that does not read.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum SlowClient {
    /// Nobody.
    #[default]
    Gap,
    /// The shell, for its driver.
    Pause,
}

/// Whose size the terminal has.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum SizeRule {
    /// The driver's.
    #[default]
    Driver,
    /// The least of all.
    Smallest,
}

impl Default for Sandbox {
    fn default() -> Self {
        Sandbox {
            provider: None,
            timeout: "1h".into(),
            max_age: None,
            lease: "2m".into(),
            max_sessions: 100,
            max_sessions_per_user: None,
            workdir: None,
            shell: vec!["/bin/bash".into(), "-l".into()],
            env: BTreeMap::new(),
            user: None,
            keep_after_disconnect: "2h".into(),
            on_slow_client: SlowClient::Gap,
            size: SizeRule::Driver,
            choices: Choices::default(),
        }
    }
}

/// The storage mounted in every sandbox.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Storage {
    /// Whether to mount it. A session whose storage cannot be mounted fails;
    /// it never goes on without.
    pub(super) enabled: bool,
    /// Which of `[providers]` mounts it.
    #[schemars(schema_with = "name_schema")]
    pub(super) provider: Option<String>,
    /// Where in the sandbox it appears. The shell starts there.
    #[schemars(schema_with = "mount_schema")]
    pub(super) path: Option<String>,
    /// Whether writing to it is refused.
    pub(super) read_only: bool,
    /// Whether people with different tokens may have the same storage, on
    /// purpose. Otherwise `{user}` in the storage's settings gives each their
    /// own.
    pub(super) shared: bool,
    /// Several mounts, instead of the keys above. The shell starts in the
    /// first.
    #[schemars(length(max = 8))]
    pub(super) mounts: Vec<Mount>,
}

/// One of several mounts.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(extend("required" = ["provider", "path"]))]
pub(super) struct Mount {
    /// Which of `[providers]` mounts it.
    #[schemars(schema_with = "name_schema")]
    pub(super) provider: Option<String>,
    /// Where in the sandbox it appears. Not in another mount.
    #[schemars(schema_with = "mount_schema")]
    pub(super) path: Option<String>,
    /// Whether writing to it is refused.
    pub(super) read_only: bool,
}

/// A provider: a plugin, what it may reach, and its own settings.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(extend("required" = ["plugin"]))]
pub(super) struct Provider {
    /// A built-in plugin by name, or the path of a `.wasm` file, relative to
    /// this file.
    #[schemars(schema_with = "plugin_schema")]
    pub(super) plugin: Option<String>,
    /// A service that the broker starts itself for this provider.
    pub(super) embedded: Option<Embedded>,
    /// Services on this machine's loopback that sandboxes of the embedded
    /// service reach on their own loopback, over TCP: a port, HOST:PORT or a
    /// URL. One that is elsewhere, or empty, needs nothing and is left out.
    #[schemars(schema_with = "services_schema")]
    pub(super) host_services: Vec<String>,
    /// Where the plugin's requests may go. Nowhere else.
    #[schemars(schema_with = "grants_schema")]
    pub(super) allow: Vec<String>,
    /// Whether a name in `allow` may lead to a private or loopback address. An
    /// address that is written out in `allow` is always allowed.
    pub(super) allow_private: bool,
    /// Secrets by the name that the plugin knows. The broker adds each to the
    /// requests that it is bound to; the plugin never sees them.
    #[schemars(extend("propertyNames" = SECRET_NAME.schema()))]
    pub(super) secrets: BTreeMap<String, Secret>,
    /// Names of secrets that the plugin may see even so.
    #[schemars(schema_with = "secret_names_schema")]
    pub(super) reveal: Vec<String>,
    /// Whom TLS trusts at this provider's servers, and what the broker shows
    /// there.
    pub(super) tls: Tls,
    /// What the plugin may use.
    pub(super) limits: Limits,
    /// The plugin's own settings, checked against the schema that it exports.
    pub(super) config: Map<String, Value>,
}

/// A secret, and what it may be used for.
#[derive(Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(extend("required" = ["value"], "format" = SECRET.name))]
pub(super) struct Secret {
    /// The secret itself.
    pub(super) value: String,
    /// Where it goes: origins without a wildcard, perhaps with a path below
    /// which requests must be. Each must be in `allow`.
    #[schemars(schema_with = "destinations_schema")]
    pub(super) to: Vec<String>,
    /// How a request there carries it.
    pub(super) carry: Option<Carry>,
    /// Tokens that the plugin may have made from a storage account's key. By
    /// default none.
    pub(super) sas: Option<Sas>,
}

/// How a request carries a secret.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(extend("format" = CARRY.name))]
pub(super) enum Carry {
    /// As `Authorization: Bearer`.
    Bearer,
    /// In a header of this name, as it is.
    Header(#[schemars(schema_with = "header_schema")] String),
    /// As the password of this user, in `Authorization: Basic`.
    Basic(#[schemars(schema_with = "user_schema")] String),
    /// By a signature with the key of this storage account of Azure.
    SharedKey(#[schemars(schema_with = "account_schema")] String),
    /// By a signature of AWS, version 4.
    Sigv4(Sigv4),
    /// By a token that the secret, a private key, signs: `Authorization: Bearer`.
    Jwt(Jwt),
}

/// What a signed token (RFC 7519) says.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Jwt {
    /// How it is signed.
    #[schemars(schema_with = "algorithm_schema")]
    pub(super) algorithm: String,
    /// Who makes it (`iss`).
    #[schemars(schema_with = "claim_schema")]
    pub(super) issuer: String,
    /// For whom it is (`aud`).
    #[serde(default)]
    #[schemars(schema_with = "claim_schema")]
    pub(super) audience: Option<String>,
    /// Whom it is about (`sub`).
    #[serde(default)]
    #[schemars(schema_with = "claim_schema")]
    pub(super) subject: Option<String>,
    /// Which key signs it (`kid`).
    #[serde(default)]
    #[schemars(schema_with = "claim_schema")]
    pub(super) key_id: Option<String>,
    /// How long it is good.
    #[serde(default = "token_life")]
    #[schemars(schema_with = "duration_schema")]
    pub(super) life: String,
}

fn token_life() -> String {
    "5m".to_owned()
}

/// Whose signature of AWS it is, and for what.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Sigv4 {
    /// The id of the key.
    #[schemars(schema_with = "key_id_schema")]
    pub(super) key_id: String,
    /// The region of the service.
    #[schemars(schema_with = "scope_schema")]
    pub(super) region: String,
    /// The service's name in signatures, such as `s3`.
    #[schemars(schema_with = "scope_schema")]
    pub(super) service: String,
}

/// Tokens for containers of a storage account.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(extend("required" = ["containers"]))]
pub(super) struct Sas {
    /// Containers that they may be for. `{user}` in a name stands for the
    /// session's user.
    #[schemars(schema_with = "containers_schema")]
    pub(super) containers: Vec<String>,
    /// How long they may live. 1m to 24h.
    #[schemars(schema_with = "duration_schema")]
    pub(super) max_life: String,
}

impl Default for Sas {
    fn default() -> Self {
        Sas { containers: Vec::new(), max_life: "1h".into() }
    }
}

/// Services that the broker can start itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum Embedded {
    Sandboxd,
}

/// Whom TLS trusts at a provider's servers, and what the broker shows there.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Tls {
    /// File in PEM with the CAs that are trusted there, instead of those that
    /// the system trusts. Relative to this file.
    #[schemars(schema_with = "file_schema")]
    pub(super) ca: Option<String>,
    /// File in PEM with the certificate that the broker shows there, and what
    /// leads from it to the CA.
    #[schemars(schema_with = "file_schema")]
    pub(super) cert: Option<String>,
    /// File in PEM with the private key of `cert`, without a passphrase.
    #[schemars(schema_with = "file_schema")]
    pub(super) key: Option<String>,
}

/// What a plugin may use.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Limits {
    /// Memory of an instance. 1MiB to 4GiB.
    #[schemars(schema_with = "size_schema")]
    pub(super) memory: String,
    /// Memory of all instances of this section together. 1MiB to 1024GiB.
    #[schemars(schema_with = "size_schema")]
    pub(super) total_memory: String,
    /// CPU time of a call without waiting. 10ms to 60s.
    #[schemars(schema_with = "duration_schema")]
    pub(super) cpu: String,
    /// How long a call such as creating a sandbox may take. 1s to 10m.
    #[schemars(schema_with = "duration_schema")]
    pub(super) call_timeout: String,
}

impl Default for Limits {
    fn default() -> Self {
        Limits { memory: "64MiB".into(), total_memory: "4GiB".into(), cpu: "1s".into(), call_timeout: "60s".into() }
    }
}
