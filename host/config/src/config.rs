//! A configuration that was checked, and what the broker asks of it. Owns the sections and their places in the file;
//! deliberately knows no rule: what is here has passed them all.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::check;
use crate::document::SourceMap;
use crate::mistake::Mistake;
use crate::rules::empty_secrets;
use crate::types::{Auth, Embedded, Kind, Mount, PluginSource, Provider, Sandbox, Server, Use};
use sandbox_broker_core::sandbox::Choices;
use sandbox_broker_core::secret::Secret;

/// A configuration that was checked. Never changes; a reload makes another.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where the broker listens.
    pub server: Server,
    /// Who may use it; everybody on loopback without it.
    pub auth: Option<Auth>,
    /// The sandbox that a terminal gets.
    pub sandbox: Sandbox,
    /// What is mounted in the sandbox, in this order; empty while storage is not enabled. No two paths overlap.
    pub storage: Vec<Mount>,
    /// Providers by name. [`Sandbox::provider`] and [`Mount::provider`] are keys of it.
    pub providers: BTreeMap<String, Provider>,
    pub(super) path: PathBuf,
    /// The file's text. Files and variables are named in it and not filled in; a secret may stand there even so.
    pub(super) text: Secret,
    pub(super) map: SourceMap,
    pub(super) files: Vec<PathBuf>,
    pub(super) warnings: Vec<Mistake>,
    pub(super) missing: Vec<(String, Mistake)>,
}

impl Config {
    /// The file, as it was named.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Everything whose change may change the configuration or a plugin: the
    /// file, secret files, plugin files.
    pub fn files(&self) -> &[PathBuf] {
        &self.files
    }

    /// Warnings: what is not wrong but unwise.
    pub fn warnings(&self) -> &[Mistake] {
        &self.warnings
    }

    /// Secrets that providers in use lack, as mistakes, by provider. No broker may start with such a mistake. They are
    /// apart from the other mistakes because a provider of the wrong kind cannot be used anyway: see
    /// [`wrong_kind`](Self::wrong_kind).
    pub fn missing(&self) -> &[(String, Mistake)] {
        &self.missing
    }

    /// The secrets that this provider lacks, as mistakes, whether it is in use or not: to try it takes them.
    pub fn missing_of(&self, provider: &str) -> Vec<Mistake> {
        let provider = self.providers.get(provider);
        let empty = provider.map(|provider| empty_secrets(provider, &self.map)).unwrap_or_default();
        empty.into_iter().map(|(_, mistake)| mistake).collect()
    }

    /// Every key that names a provider, the sandbox's first. A provider is in use when one of them names it.
    pub fn uses(&self) -> impl Iterator<Item = Use<'_>> {
        let sandbox = Use { provider: &self.sandbox.provider, kind: Kind::Sandbox, named: "/sandbox/provider" };
        let storage = self.storage.iter();
        let storage = storage.map(|m| Use { provider: &m.provider, kind: Kind::Storage, named: &m.named });
        std::iter::once(sandbox).chain(storage)
    }

    /// The mistake of a key that names a provider of the wrong kind. `fitting` are the providers of the right kind.
    pub fn wrong_kind(&self, of: Use<'_>, found: Kind, fitting: &[&str]) -> Mistake {
        let name = check::found(&Value::from(of.provider), self.map.mark(of.named), of.named, true);
        let fitting = if fitting.is_empty() { "of which there is none".into() } else { fitting.join(", ") };
        let (found, kind) = (found.as_str(), of.kind.as_str());
        let message =
            format!("found {name}, whose plugin is of kind {found}, expected a provider of kind {kind}: {fitting}");
        self.map.at(of.named, message)
    }

    /// One line for the log. It shows the names of secrets and of variables and whether they are set, never their values.
    pub fn summary(&self) -> String {
        let Config { server, sandbox, .. } = self;
        let mut line = format!("listen={}", server.listen);
        if let Some(origin) = &server.frontend_url {
            let _ = write!(line, " frontend_url={origin}");
        }
        for origin in &server.public_urls {
            let _ = write!(line, " public_url={origin}");
        }
        let tokens = self.auth.iter().flat_map(|auth| &auth.tokens).map(|token| token.name.as_str());
        let tokens: Vec<&str> = tokens.collect();
        let _ =
            write!(line, " auth={}", if tokens.is_empty() { "none".into() } else { format!("[{}]", tokens.join(" ")) });
        let _ = write!(line, " provider={} timeout={:?} lease={:?}", sandbox.provider, sandbox.timeout, sandbox.lease);
        if let Some(age) = sandbox.max_age {
            let _ = write!(line, " max_age={age:?}");
        }
        let _ = write!(line, " max_sessions={} per_user={}", sandbox.max_sessions, sandbox.max_sessions_per_user);
        let Choices { image, cpu_millis, memory_mib, disk_mib, region, volumes: _ } = &sandbox.choices;
        for (name, text) in [("image", image), ("region", region)] {
            if let Some(text) = text {
                let _ = write!(line, " {name}={text:?}");
            }
        }
        for (name, number) in [("cpu_millis", cpu_millis), ("memory_mib", memory_mib), ("disk_mib", disk_mib)] {
            if let Some(number) = number {
                let _ = write!(line, " {name}={number}");
            }
        }
        let mounts: Vec<String> = self
            .storage
            .iter()
            .map(|mount| {
                let mode = if mount.read_only { ":ro" } else { "" };
                format!("{:?}={}{mode}", mount.path, mount.provider)
            })
            .collect();
        let _ = write!(
            line,
            " storage={}",
            if mounts.is_empty() { "none".into() } else { format!("[{}]", mounts.join(" ")) }
        );
        let _ = write!(line, " env=[{}]", sandbox.env.keys().map(String::as_str).collect::<Vec<_>>().join(" "));
        for provider in self.providers.values() {
            let _ = write!(line, " {}={{plugin=", provider.name);
            let _ = match &provider.plugin {
                PluginSource::Builtin(name) => write!(line, "{name}"),
                PluginSource::Path(path) => write!(line, "{path:?}"),
            };
            if let Some(Embedded::Sandboxd) = provider.embedded {
                line.push_str(" embedded=sandboxd");
            }
            let grants: Vec<String> = provider.allow.iter().map(ToString::to_string).collect();
            let _ = write!(line, " allow=[{}]", grants.join(" "));
            let secrets: Vec<String> =
                provider.secrets.iter().map(|(name, secret)| format!("{name}:{:?}", secret.value)).collect();
            let _ = write!(line, " secrets=[{}]}}", secrets.join(" "));
        }
        line
    }
}
