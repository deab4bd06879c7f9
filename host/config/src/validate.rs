//! From the file as written to the configuration that the broker reads. Owns
//! every rule that joins several keys, and every bound; deliberately leaves
//! the plugins' own settings to whoever holds the plugins.
//!
//! A rule is silent about keys that are wrong by themselves: they were
//! reported, and what is said about a wrong value helps nobody.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::ops::RangeInclusive;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use super::check::found;
use super::document::{Mark, SourceMap, join};
use super::grant::{Grant, HostPattern, Scheme};
use super::interpolate::Source;
use super::mistake::{Mistake, meant};
use super::types::{Auth, Embedded, Limits, Mount, PluginSource, Provider, Sandbox, Server, Settings, Token};
use super::value::{self, Origin};
use super::{Config, raw};
use sandbox_broker_core::secret::Secret;

/// From one second, below which nobody can type, to 30 days, so that sums of
/// times stay far from overflow.
const TIMEOUT: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(30 * 24 * 3600);

/// From the shortest that a test needs to a year, after which nobody remembers
/// what a session was for.
const MAX_AGE: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(365 * 24 * 3600);

/// At least 3 s, so that a third of it survives a slow request. At most 24 h,
/// the longest that providers give.
const LEASE: RangeInclusive<Duration> = Duration::from_secs(3)..=Duration::from_secs(24 * 3600);

/// Not longer than a lease may be, which covers a broker that never returns.
const KEEP: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_secs(24 * 3600);

/// One person may have this part of all sessions, unless the file says more.
const SHARE: usize = 4;

/// From the least that a component's runtime starts with to all that 32-bit
/// memory has.
const MEMORY: RangeInclusive<u64> = 1 << 20..=4 << 30;

/// From one tick of the clock that interrupts plugins to what nobody waits for.
const CPU: RangeInclusive<Duration> = Duration::from_millis(10)..=Duration::from_secs(60);

/// From what a request to another continent needs to what nobody waits for.
const CALL_TIMEOUT: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(600);

/// What the rules look at beside the file's values.
pub(super) struct Context<'a> {
    /// Where things stand.
    pub(super) map: &'a SourceMap,
    /// The directory of the file.
    pub(super) base: &'a Path,
    /// Pointers of what is wrong by itself.
    pub(super) wrong: &'a BTreeSet<String>,
    /// Every name in `[providers]`, also of wrong ones.
    pub(super) providers: &'a [String],
}

/// What came out.
pub(super) struct Outcome {
    /// Meaningless when there are mistakes.
    pub(super) config: Parts,
    /// What is wrong.
    pub(super) mistakes: Vec<Mistake>,
    /// What is not wrong but unwise.
    pub(super) warnings: Vec<Mistake>,
    /// Secrets that providers in use do not have, by provider.
    pub(super) missing: Vec<(String, Mistake)>,
}

/// The sections of a [`Config`].
pub(super) struct Parts {
    pub(super) server: Server,
    pub(super) auth: Option<Auth>,
    pub(super) sandbox: Sandbox,
    pub(super) storage: Vec<Mount>,
    pub(super) providers: BTreeMap<String, Provider>,
}

/// Applies every rule to what was read.
pub(super) fn validate(file: raw::File, context: &Context<'_>) -> Outcome {
    let mut rules =
        Rules { context, used: BTreeSet::new(), mistakes: Vec::new(), warnings: Vec::new(), missing: Vec::new() };
    let auth = rules.auth(file.auth);
    let server = rules.server(file.server, auth.is_some());
    let mut providers = BTreeMap::new();
    for (name, provider) in file.providers {
        let provider = rules.provider(&name, provider);
        providers.insert(name, provider);
    }
    let people = auth.as_ref().map_or(0, |auth| auth.tokens.len());
    let sandbox = rules.sandbox(file.sandbox, &providers, people);
    let storage = rules.storage(file.storage, &providers, people);
    rules.storage_on_loopback(&sandbox, &storage, &providers);
    let config = Parts { server, auth, sandbox, storage, providers };
    Outcome { config, mistakes: rules.mistakes, warnings: rules.warnings, missing: rules.missing }
}

/// The origins that people know the broker by, each with its pointer.
fn public_urls(server: &raw::Server) -> impl Iterator<Item = (String, Origin)> {
    let first = server.public_url.iter().map(|url| ("/server/public_url".to_owned(), url));
    let more = server.public_urls.iter().enumerate();
    let more = more.map(|(i, url)| (format!("/server/public_urls/{i}"), url));
    first.chain(more).filter_map(|(pointer, url)| Some((pointer, Origin::parse(url)?)))
}

/// What is missing where a text is empty, as far as its reference tells.
pub(super) fn missing(mark: Option<&Mark>) -> Option<String> {
    match mark?.sources.as_slice() {
        [Source::Variable(variable) | Source::Default(variable)] => {
            Some(format!("Missing required environment variable: {variable}"))
        }
        _ => None,
    }
}

/// Where a text came from, for a message; nothing where it stands in the file.
fn sources(mark: Option<&Mark>) -> String {
    let sources = mark.map_or(&[][..], |mark| &mark.sources);
    let names: Vec<String> = sources.iter().map(Source::to_string).collect();
    if names.is_empty() { String::new() } else { format!(" (from {})", names.join(", ")) }
}

/// What editors and shells put at the end of a text. No key ends so.
const LINE_END: [char; 2] = ['\r', '\n'];

fn secret(text: &str) -> Secret {
    Secret::new(text.trim_end_matches(LINE_END))
}

struct Rules<'a> {
    context: &'a Context<'a>,
    /// Providers in use.
    used: BTreeSet<String>,
    mistakes: Vec<Mistake>,
    warnings: Vec<Mistake>,
    /// Secrets that are missing, by provider.
    missing: Vec<(String, Mistake)>,
}

impl Rules<'_> {
    fn mistake(&mut self, pointer: &str, message: impl Into<String>) {
        self.mistakes.push(self.context.map.at(pointer, message));
    }

    fn warning(&mut self, pointer: &str, message: impl Into<String>) {
        self.warnings.push(self.context.map.at(pointer, message));
    }

    /// Whether the value, something in it or something around it is wrong by
    /// itself.
    fn is_wrong(&self, pointer: &str) -> bool {
        let inside = format!("{pointer}/");
        self.context
            .wrong
            .iter()
            .any(|w| w == pointer || w.starts_with(&inside) || pointer.starts_with(&format!("{w}/")))
    }

    fn text(&self, pointer: &str, text: &str) -> String {
        found(&Value::from(text), self.context.map.mark(pointer), pointer, true)
    }

    /// Reads a value that has bounds; its least one when it is wrong.
    fn within<T: PartialOrd + Copy>(
        &mut self,
        pointer: &str,
        text: &str,
        read: fn(&str) -> Option<T>,
        bounds: &RangeInclusive<T>,
        words: &str,
    ) -> T {
        let value = read(text);
        match value.filter(|value| bounds.contains(value)) {
            Some(value) => value,
            None => {
                let found = self.text(pointer, text);
                self.mistake(pointer, format!("found {found}, expected {words}"));
                *bounds.start()
            }
        }
    }

    fn auth(&mut self, auth: Option<raw::Auth>) -> Option<Auth> {
        let mut tokens = Vec::new();
        for (i, token) in auth?.tokens.into_iter().enumerate() {
            let (Some(name), Some(sha256)) = (token.name, token.sha256.as_deref().and_then(value::sha256)) else {
                continue;
            };
            if tokens.iter().any(|known: &Token| known.name == name) {
                self.mistake(
                    &format!("/auth/tokens/{i}/name"),
                    "found the name of another token, expected a name of its own",
                );
            }
            tokens.push(Token { name, sha256 });
        }
        Some(Auth { tokens })
    }

    fn server(&mut self, server: raw::Server, auth: bool) -> Server {
        let loopback = SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0));
        let listen = server.listen.parse().unwrap_or(loopback);
        if !listen.ip().to_canonical().is_loopback() && !auth && !self.is_wrong("/auth") {
            self.mistake(
                "/server/listen",
                "found an address beyond loopback, where anybody could open a terminal, expected a loopback address \
                 such as \"127.0.0.1:3000\", or an [auth] section with a token (make one with `broker token`)",
            );
        }
        self.openness(&server, listen, auth);
        Server {
            listen,
            frontend_url: server.frontend_url.as_deref().and_then(Origin::parse),
            public_urls: public_urls(&server).map(|(_, url)| url).collect(),
            trusted_proxies: server.trusted_proxies.iter().filter_map(|text| value::network(text)).collect(),
            log: server.log,
        }
    }

    /// What is unwise where others can reach the broker: by its own address, or
    /// by one that something before it has.
    fn openness(&mut self, server: &raw::Server, listen: SocketAddr, auth: bool) {
        let public = || public_urls(server).filter(|(_, url)| !url.is_loopback());
        let beyond = !listen.ip().to_canonical().is_loopback();
        let in_the_clear = "tokens, and all that is typed, go over plain http, where others can read them; put a \
                            proxy with TLS before the broker and its https address into public_url";
        for (pointer, url) in public() {
            if !auth {
                self.warning(
                    &pointer,
                    format!("there is no [auth]: everybody who reaches {url} can open a terminal, unless a proxy asks who they are"),
                );
            } else if !url.is_secure() {
                self.warning(&pointer, in_the_clear);
            }
        }
        if beyond && auth && public().next().is_none() {
            self.warning("/server/listen", in_the_clear);
        }
    }

    fn sandbox(&mut self, sandbox: raw::Sandbox, providers: &BTreeMap<String, Provider>, people: usize) -> Sandbox {
        let timeout =
            self.within("/sandbox/timeout", &sandbox.timeout, value::duration, &TIMEOUT, "a duration of 1s to 720h");
        let max_age = sandbox
            .max_age
            .as_deref()
            .map(|text| self.within("/sandbox/max_age", text, value::duration, &MAX_AGE, "a duration of 1s to 8760h"));
        let lease = self.within("/sandbox/lease", &sandbox.lease, value::duration, &LEASE, "a duration of 3s to 24h");
        let keep = ("/sandbox/keep_after_disconnect", &sandbox.keep_after_disconnect);
        let keep = self.within(keep.0, keep.1, value::duration, &KEEP, "a duration of 0s to 24h");
        let provider = sandbox.provider.unwrap_or_default();
        self.names("/sandbox/provider", &provider, providers);
        let env = sandbox.env.into_iter().filter(|(_, text)| !text.is_empty());
        Sandbox {
            provider,
            timeout,
            max_age,
            lease,
            max_sessions: sandbox.max_sessions,
            max_sessions_per_user: sandbox.max_sessions_per_user.unwrap_or(match people {
                0 | 1 => sandbox.max_sessions,
                _ => sandbox.max_sessions.div_ceil(SHARE),
            }),
            workdir: sandbox.workdir,
            shell: sandbox.shell,
            env: env.map(|(name, text)| (name, Secret::new(text))).collect(),
            user: sandbox.user,
            keep_after_disconnect: keep,
            pause_for_slow_driver: matches!(sandbox.on_slow_client, raw::SlowClient::Pause),
            smallest_size: matches!(sandbox.size, raw::SizeRule::Smallest),
        }
    }

    /// The storage of every sandbox; none while it is not enabled, and then no
    /// rule but those of single keys applies.
    fn storage(&mut self, storage: raw::Storage, providers: &BTreeMap<String, Provider>, people: usize) -> Vec<Mount> {
        if !storage.enabled {
            return Vec::new();
        }
        let shared = storage.shared;
        let listed = !storage.mounts.is_empty() || self.is_wrong("/storage/mounts");
        let written = |key: &&str| self.context.map.mark(&format!("/storage/{key}")).is_some();
        let single = ["provider", "path", "read_only"].into_iter().find(written);
        let mounts = match single {
            _ if !listed => vec![("/storage".to_owned(), self.only_mount(storage))],
            None => storage.mounts.into_iter().enumerate().map(|(i, m)| (format!("/storage/mounts/{i}"), m)).collect(),
            Some(key) => {
                let message = "found this key beside a list of mounts, expected it in each [[storage.mounts]]";
                self.mistake(&format!("/storage/{key}"), message);
                Vec::new()
            }
        };
        let mut done: Vec<Mount> = Vec::new();
        for (at, mount) in mounts {
            let (named, placed) = (format!("{at}/provider"), format!("{at}/path"));
            let (Some(provider), Some(path)) = (mount.provider, mount.path) else { continue };
            self.names(&named, &provider, providers);
            if done.iter().any(|other| value::overlap(&other.path, &path)) {
                let found = self.text(&placed, &path);
                self.mistake(
                    &placed,
                    format!("found {found}, which overlaps another mount, expected a path beside it"),
                );
            }
            let own = providers.get(&provider).is_some_and(Provider::is_per_user);
            if people > 1 && !own && !shared && !self.is_wrong("/storage/shared") && providers.contains_key(&provider) {
                let found = self.text(&named, &provider);
                self.mistake(
                    &named,
                    format!(
                        "found {found}, where everybody with a token would read and delete everybody's files, expected \
                         {{user}} in its settings, as in container = \"files-{{user}}\", or storage.shared = true to mean it"
                    ),
                );
            }
            if people == 0 && own && !self.is_wrong("/auth") {
                let found = self.text(&named, &provider);
                self.mistake(
                    &named,
                    format!(
                        "found {found}, whose settings have {{user}}, expected [auth] with a token for each person"
                    ),
                );
            }
            done.push(Mount { provider, path, read_only: mount.read_only, named });
        }
        done
    }

    /// Storage on this machine's loopback, which is another than a sandbox's.
    fn storage_on_loopback(&mut self, sandbox: &Sandbox, storage: &[Mount], providers: &BTreeMap<String, Provider>) {
        let Some(boxes) = providers.get(&sandbox.provider).filter(|boxes| boxes.embedded.is_some()) else { return };
        let used: BTreeSet<&str> = storage.iter().map(|mount| mount.provider.as_str()).collect();
        for files in used.into_iter().filter_map(|name| providers.get(name)) {
            for (i, grant) in files.allow.iter().enumerate() {
                let local = match &grant.host {
                    HostPattern::Address(address) => address.is_loopback(),
                    HostPattern::Name(name) => name == "localhost",
                    HostPattern::Under(_) => false,
                };
                if local && !boxes.host_services.contains(&grant.port) {
                    let (port, name) = (grant.port, &boxes.name);
                    self.warning(
                        &format!("{}/allow/{i}", join("/providers", &files.name)),
                        format!("sandboxes do not reach port {port} of this machine's loopback: add it to providers.{name}.host_services"),
                    );
                }
            }
        }
    }

    /// The mount of a section without a list of them.
    fn only_mount(&mut self, storage: raw::Storage) -> raw::Mount {
        let raw::Storage { provider, path, read_only, .. } = storage;
        for (key, there, expected) in [
            ("provider", provider.is_some(), "the name of a [providers.NAME] section"),
            ("path", path.is_some(), value::MOUNT.expected),
        ] {
            let pointer = format!("/storage/{key}");
            if !there && !self.is_wrong(&pointer) {
                self.mistake(&pointer, format!("found nothing, expected {expected}: storage is enabled"));
            }
        }
        raw::Mount { provider, path, read_only }
    }

    /// A key at `pointer` names a provider, which is in use by that.
    fn names(&mut self, pointer: &str, name: &str, providers: &BTreeMap<String, Provider>) {
        match providers.get(name) {
            Some(provider) if self.used.insert(name.to_owned()) => self.in_use(provider),
            Some(_) => {}
            None if self.is_wrong(pointer) || self.context.providers.iter().any(|known| known == name) => {}
            None => self.unknown_provider(pointer, name),
        }
    }

    fn unknown_provider(&mut self, pointer: &str, name: &str) {
        let known: Vec<&str> = self.context.providers.iter().map(String::as_str).collect();
        let found = self.text(pointer, name);
        let mut message = match known.as_slice() {
            [] => format!("found {found}, expected the name of a [providers.NAME] section, of which there is none"),
            known => format!("found {found}, expected the name of a [providers.NAME] section: {}", known.join(", ")),
        };
        if let Some(meant) = meant(name, known) {
            message.push_str(&format!("; did you mean {meant}?"));
        }
        self.mistake(pointer, message);
    }

    /// What only a provider in use must fulfil.
    fn in_use(&mut self, provider: &Provider) {
        for name in provider.secrets.iter().filter(|(_, secret)| secret.is_empty()).map(|(name, _)| name) {
            let pointer = format!("/providers/{}/secrets/{name}", provider.name);
            let mark = self.context.map.mark(&pointer);
            let message = missing(mark).unwrap_or_else(|| match mark.map(|mark| mark.sources.as_slice()) {
                Some([Source::File(path)]) => format!("found an empty file {path:?}, expected the secret in it"),
                _ => "found empty text, expected the secret: this provider is in use".to_owned(),
            });
            if !self.is_wrong(&pointer) {
                self.missing.push((provider.name.clone(), self.context.map.at(&pointer, message)));
            }
        }
    }

    fn provider(&mut self, name: &str, provider: raw::Provider) -> Provider {
        let at = join("/providers", name);
        let allow: Vec<Grant> = provider.allow.iter().filter_map(|text| Grant::parse(text)).collect();
        for (i, grant) in allow.iter().enumerate().filter(|_| !provider.secrets.is_empty()) {
            let local = matches!(grant.host, HostPattern::Address(address) if address.is_loopback());
            if grant.scheme == Scheme::Http && !local {
                self.warning(&format!("{at}/allow/{i}"), "secrets may go there over http, where others can read them");
            }
        }
        for (secret, text) in &provider.secrets {
            let pointer = format!("{at}/secrets/{secret}");
            let mark = self.context.map.mark(&pointer);
            let (written, from) = (mark.is_some_and(|mark| mark.sources.is_empty()), sources(mark));
            if text.trim_end_matches(LINE_END).contains(char::is_control) && !provider.reveal.contains(secret) {
                self.warning(
                    &pointer,
                    format!(
                        "found a line end or another control character in the secret{from}; no request can carry it"
                    ),
                );
            }
            if written && !text.is_empty() {
                self.warning(
                    &pointer,
                    "the secret stands in this file as text; a reference, ${NAME} or ${file:/path}, keeps it out",
                );
            }
        }
        for (i, secret) in provider.reveal.iter().enumerate() {
            let pointer = format!("{at}/reveal/{i}");
            if !provider.secrets.contains_key(secret) && !self.is_wrong(&format!("{at}/secrets")) {
                let found = self.text(&pointer, secret);
                let known: Vec<&str> = provider.secrets.keys().map(String::as_str).collect();
                let known = if known.is_empty() { "of which there is none".into() } else { known.join(", ") };
                self.mistake(&pointer, format!("found {found}, expected a name in this provider's secrets: {known}"));
            }
        }
        let plugin = provider.plugin.unwrap_or_default();
        let plugin = if value::is_builtin(&plugin) {
            PluginSource::Builtin(plugin)
        } else {
            PluginSource::Path(self.context.base.join(plugin))
        };
        let limits = self.limits(&at, &provider.limits);
        let host_services: BTreeSet<u16> =
            provider.host_services.iter().filter_map(|text| value::service(text).flatten()).collect();
        let host_services: Vec<u16> = host_services.into_iter().collect();
        if provider.embedded.is_none() && !host_services.is_empty() {
            self.warning(
                &format!("{at}/host_services"),
                "has no effect: only sandboxes of an `embedded` service are on this machine",
            );
        }
        Provider {
            name: name.to_owned(),
            plugin,
            embedded: provider.embedded.map(|raw::Embedded::Sandboxd| Embedded::Sandboxd),
            host_services,
            allow,
            allow_private: provider.allow_private,
            secrets: provider.secrets.into_iter().map(|(name, text)| (name, secret(&text))).collect(),
            reveal: provider.reveal,
            limits,
            config: Settings(provider.config),
        }
    }

    fn limits(&mut self, at: &str, limits: &raw::Limits) -> Limits {
        let key = |key: &str| format!("{at}/limits/{key}");
        Limits {
            memory: self.within(&key("memory"), &limits.memory, value::size, &MEMORY, "a size of 1MiB to 4GiB"),
            cpu: self.within(&key("cpu"), &limits.cpu, value::duration, &CPU, "a duration of 10ms to 60s"),
            call_timeout: self.within(
                &key("call_timeout"),
                &limits.call_timeout,
                value::duration,
                &CALL_TIMEOUT,
                "a duration of 1s to 10m",
            ),
        }
    }
}

/// What of a configuration cannot change while the broker runs, one mistake
/// for each such key that does.
pub(super) fn refuse_live_changes(old: &Config, new: &Config) -> Vec<Mistake> {
    let mut mistakes = Vec::new();
    if old.server.listen != new.server.listen {
        let pointer = "/server/listen";
        let found = found(&Value::from(new.server.listen.to_string()), new.map.mark(pointer), pointer, true);
        mistakes.push(new.map.at(
            pointer,
            format!("found {found}, expected the address that the broker listens on: it cannot change live, restart the broker"),
        ));
    }
    // Whoever takes lines out may not know that they kept everybody else out.
    if old.auth.is_some() && new.auth.is_none() {
        mistakes.push(new.map.at(
            "/auth",
            "found no [auth] section, which the broker began with: without it everybody who reaches the broker can open \
             a terminal. To mean that, restart the broker",
        ));
    }
    mistakes
}
