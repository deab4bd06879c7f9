//! `broker.toml`: read, checked, and watched for changes. The only place that
//! knows TOML.
//!
//! Owns the way from text to an immutable [`Config`] with every mistake in
//! words and in place, the schema for editors, and the watch over files.
//! Deliberately knows no plugin: what a plugin says about its own section comes
//! in as a schema, and its words are placed by [`Config::mistake_at`].
//!
//! ```text
//! text ─ document ─ JSON + positions ─ check ─ types right ─ validate ─ Config
//!        (TOML, references)            (schema of raw)      (rules over several keys)
//! ```
//!
//! Each step reports all it finds and takes that out, so that the next can
//! still look at the rest.

mod check;
mod document;
mod fingerprint;
mod grant;
mod interpolate;
mod mistake;
mod raw;
mod schema;
mod types;
mod user;
mod validate;
mod value;
mod watch;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};

use serde::Deserialize as _;
use serde_json::Value;

use check::Checker;
use document::{Mark, SourceMap, join};

pub use fingerprint::Fingerprint;
pub use grant::{Grant, HostPattern, Scheme};
pub use interpolate::{Environment, MAX_REFERENCED_BYTES};
pub use mistake::{Mistake, Mistakes, Position};
pub use schema::schema;
pub use types::{Auth, Embedded, Kind, Limits, Mount, PluginSource, Provider, Sandbox, Server, Token, Use};
pub use user::settings_of;
pub use value::Origin;
pub use watch::Watcher;

use sandbox_broker_core::words::clean;

/// Bytes of a configuration, at most. The shipped one has some 5 KiB; a
/// thousand providers would still fit.
pub const MAX_BYTES: u64 = 1024 * 1024;

/// Bytes of a plugin's own words about its section, at most.
const MAX_PLUGIN_WORDS: usize = 1024;

/// Checks files. Compiled once: that takes longer than all the rest of a load.
static FILE: LazyLock<Checker> =
    LazyLock::new(|| Checker::new(schema::of_file()).expect("our own schema is a valid one"));

/// A configuration that was checked. Never changes; a reload makes another.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where the broker listens.
    pub server: Server,
    /// Who may use it; everybody on loopback without it.
    pub auth: Option<Auth>,
    /// The sandbox that a terminal gets.
    pub sandbox: Sandbox,
    /// What is mounted in it, in this order; nothing while storage is not
    /// enabled. No paths overlap.
    pub storage: Vec<Mount>,
    /// Providers by name. [`Sandbox::provider`] and [`Mount::provider`] are
    /// among them.
    pub providers: BTreeMap<String, Provider>,
    path: PathBuf,
    map: SourceMap,
    files: Vec<PathBuf>,
    warnings: Vec<Mistake>,
    missing: Vec<(String, Mistake)>,
}

/// Reads and checks the file at `path`, which is also its name in messages.
/// Variables come from `env`. Reads files but runs nothing; takes some
/// milliseconds and blocks for them.
pub fn load(path: &Path, env: Environment<'_>) -> Result<Config, Mistakes> {
    let whole_file = |position, message: String| {
        let mistake = Mistake { file: name(path), position, key: String::new(), message };
        Mistakes::new(vec![mistake], vec![path.to_owned()])
    };
    let bytes = read(path).map_err(|reason| whole_file(None, reason))?;
    let text = std::str::from_utf8(&bytes).map_err(|_| {
        whole_file(document::not_utf8(&bytes), "not TOML: found bytes that are not UTF-8, expected text".into())
    })?;
    let mut config = parse(path, text, env)?;
    if config.warnings.iter().any(|warning| warning.key.contains(".secrets.")) {
        config.warnings.extend(readable_by_others(path));
    }
    Ok(config)
}

/// As [`load`], of text that was read already. `path` says where it would
/// stand: paths in it are relative to that, unless absolute.
pub fn parse(path: &Path, text: &str, env: Environment<'_>) -> Result<Config, Mistakes> {
    let base = path.parent().unwrap_or(Path::new(""));
    let mut files = vec![path.to_owned()];
    let document = match document::read(name(path), text, base, env) {
        Ok(document) => document,
        Err(mistakes) => return Err(Mistakes::new(mistakes, files)),
    };
    let referenced: BTreeSet<&PathBuf> = document.files.iter().collect();
    let open: Vec<Mistake> = referenced.into_iter().filter_map(|path| readable_by_others(path)).collect();
    files.extend(document.files);
    let (mut value, map) = (document.value, document.map);
    let providers: Vec<String> =
        value.get("providers").and_then(Value::as_object).map(|p| p.keys().cloned().collect()).unwrap_or_default();

    let mut wrong = document.mistakes;
    let checked = FILE.check(&mut value, &map, "");
    // A value that could not be filled in is null here, which is no second mistake.
    let known = |pointer: &str| wrong.iter().any(|(p, _)| p == pointer);
    let checked: Vec<_> = checked.into_iter().filter(|(pointer, _)| !known(pointer)).collect();
    wrong.extend(checked);
    check::prune(&mut value, &wrong);

    // What serde says may hold a value, so it is not repeated.
    let Ok(file) = raw::File::deserialize(value) else {
        wrong.push((String::new(), map.at("", "it fits its schema and still cannot be read: a bug of the broker")));
        return Err(Mistakes::new(wrong.into_iter().map(|(_, mistake)| mistake).collect(), files));
    };
    let pointers: BTreeSet<String> = wrong.iter().map(|(pointer, _)| pointer.clone()).collect();
    let context = validate::Context { map: &map, base, wrong: &pointers, providers: &providers };
    let validate::Outcome { config, mut mistakes, mut warnings, missing } = validate::validate(file, &context);
    mistakes.extend(wrong.into_iter().map(|(_, mistake)| mistake));
    warnings.extend(open);
    files.extend(config.providers.values().filter_map(|provider| match &provider.plugin {
        PluginSource::Path(path) => Some(path.clone()),
        PluginSource::Builtin(_) => None,
    }));
    if !mistakes.is_empty() {
        mistakes.extend(missing.into_iter().map(|(_, mistake)| mistake));
        return Err(Mistakes::new(mistakes, files));
    }
    let validate::Parts { server, auth, sandbox, storage, providers } = config;
    Ok(Config { server, auth, sandbox, storage, providers, path: path.to_owned(), map, files, warnings, missing })
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

    /// What is not wrong but unwise.
    pub fn warnings(&self) -> &[Mistake] {
        &self.warnings
    }

    /// Secrets that providers in use do not have, as mistakes, by provider. No
    /// broker may start with one. They are apart from the other mistakes
    /// because they are no news about a provider that cannot be used anyway:
    /// see [`wrong_kind`](Self::wrong_kind).
    pub fn missing(&self) -> &[(String, Mistake)] {
        &self.missing
    }

    /// Every key that names a provider, the sandbox's first. A provider that
    /// none of them names is not in use.
    pub fn uses(&self) -> impl Iterator<Item = Use<'_>> {
        let sandbox = Use { provider: &self.sandbox.provider, kind: Kind::Sandbox, named: "/sandbox/provider" };
        let storage = self.storage.iter();
        let storage = storage.map(|m| Use { provider: &m.provider, kind: Kind::Storage, named: &m.named });
        std::iter::once(sandbox).chain(storage)
    }

    /// The mistake of a key that names a provider of another kind than it
    /// needs; `fitting` are those of the kind.
    pub fn wrong_kind(&self, of: Use<'_>, found: Kind, fitting: &[&str]) -> Mistake {
        let name = check::found(&Value::from(of.provider), self.map.mark(of.named), of.named, true);
        let fitting = if fitting.is_empty() { "of which there is none".into() } else { fitting.join(", ") };
        let (found, kind) = (found.as_str(), of.kind.as_str());
        let message =
            format!("found {name}, whose plugin is of kind {found}, expected a provider of kind {kind}: {fitting}");
        self.map.at(of.named, message)
    }

    /// A provider's `config` after a check against the schema that its plugin
    /// exports: this is what to hand to the plugin. References have taken the
    /// types that the schema wants. A provider that does not exist has an
    /// empty one. A setting that its references left empty is no mistake while
    /// the provider is not in use.
    ///
    /// Settings with `{user}` are checked for each person, and come back with
    /// it: [`settings_of`] makes a person's own.
    pub fn check_provider_config(&self, provider: &str, schema: &Value) -> Result<Value, Mistakes> {
        let settings = Value::Object(self.providers.get(provider).map(|p| p.config.0.clone()).unwrap_or_default());
        if !user::names(&settings) {
            return self.check_settings(provider, schema, settings);
        }
        let mut all = settings.clone();
        for token in self.auth.iter().flat_map(|auth| &auth.tokens) {
            all = self.check_settings(provider, schema, settings_of(&token.name, &settings))?;
        }
        user::restore(&settings, &mut all);
        Ok(all)
    }

    fn check_settings(&self, provider: &str, schema: &Value, mut value: Value) -> Result<Value, Mistakes> {
        let at = format!("{}/config", join("/providers", provider));
        let mut mistakes = match Checker::new(schema.clone()) {
            Ok(checker) => checker.check(&mut value, &self.map, &at),
            Err(reason) => {
                let message = format!("the plugin exports no valid JSON Schema for this section: {}", tame(&reason));
                vec![(at.clone(), self.map.at(&at, message))]
            }
        };
        mistakes.retain_mut(|(pointer, mistake)| self.counts(provider, pointer, mistake));
        if mistakes.is_empty() {
            return Ok(value);
        }
        Err(Mistakes::new(mistakes.into_iter().map(|(_, mistake)| mistake).collect(), self.files.clone()))
    }

    /// What [`trial`] wants to know before
    /// [`check_provider_config`](Self::check_provider_config) may be asked.
    pub fn trial_of(&self, provider: &str, schema: &Value) -> Vec<u8> {
        let at = format!("{}/config", join("/providers", provider));
        let whole: Vec<&str> = self.map.references(&at).collect();
        let config = self.providers.get(provider).map(|p| &p.config.0);
        serde_json::json!({ "schema": schema, "config": config, "at": at, "whole": whole }).to_string().into_bytes()
    }

    /// A mistake in a provider's section: `pointer` is a JSON Pointer into its
    /// `config`, as a plugin gives it, and `message` the plugin's words. None
    /// where [`check_provider_config`](Self::check_provider_config) would find
    /// none either.
    pub fn mistake_at(&self, provider: &str, pointer: &str, message: &str) -> Option<Mistake> {
        let pointer = if pointer.starts_with('/') { pointer } else { "" };
        let pointer = format!("{}/config{pointer}", join("/providers", provider));
        let mut mistake = self.map.at(&pointer, tame(message));
        self.counts(provider, &pointer, &mut mistake).then_some(mistake)
    }

    /// Whether a mistake in a provider's section is one. A text that its
    /// references left empty is simply not set: no matter in a provider that
    /// is not in use, and otherwise the variable is what to talk about.
    fn counts(&self, provider: &str, pointer: &str, mistake: &mut Mistake) -> bool {
        // Not one about the key itself, such as one that is not known.
        let at_value = |mark: &&Mark| mistake.position == Some(mark.value);
        let mark = self.map.mark(pointer).filter(|mark| !mark.sources.is_empty() && mark.empty).filter(at_value);
        if mark.is_none() {
            return true;
        }
        if let Some(message) = validate::missing(mark) {
            mistake.message = message;
        }
        self.uses().any(|of| of.provider == provider)
    }

    /// A mistake about a provider's plugin itself, such as a file that is no
    /// component.
    pub fn plugin_mistake(&self, provider: &str, message: &str) -> Mistake {
        self.map.at(&format!("{}/plugin", join("/providers", provider)), tame(message))
    }

    /// What `new` changes although it cannot change while the broker runs.
    /// Empty when the broker can go on with `new`.
    pub fn refuse_live_changes(old: &Config, new: &Config) -> Vec<Mistake> {
        validate::refuse_live_changes(old, new)
    }

    /// One line for the log. Of secrets and of the environment it has the names
    /// and whether they are set.
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
                provider.secrets.iter().map(|(name, secret)| format!("{name}:{secret:?}")).collect();
            let _ = write!(line, " secrets=[{}]}}", secrets.join(" "));
        }
        line
    }
}

/// Does what [`Config::check_provider_config`] does, without an outcome: a
/// plugin's schema may be made so that it never ends, needs more memory than
/// there is, or breaks the checker. To be called where none of that matters.
///
/// # Errors
/// When the text is none of [`Config::trial_of`].
pub fn trial(text: &[u8]) -> Result<(), String> {
    #[derive(serde::Deserialize)]
    struct Trial {
        schema: Value,
        config: Value,
        at: String,
        whole: Vec<String>,
    }
    let Trial { schema, mut config, at, whole } = serde_json::from_slice(text).map_err(|e| e.to_string())?;
    // That it is no schema is told by the check itself, in place.
    if let Ok(checker) = Checker::new(schema) {
        checker.check(&mut config, &SourceMap::of_references(whole), &at);
    }
    Ok(())
}

fn name(path: &Path) -> Arc<str> {
    path.display().to_string().escape_debug().to_string().into()
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    let describe = |e: std::io::Error| match e.kind() {
        ErrorKind::NotFound => format!(
            "cannot be read: there is no file {}; name another one with --config (-c), or put the broker.toml that comes \
             with the broker there",
            std::path::absolute(path).unwrap_or_else(|_| path.to_owned()).display()
        ),
        kind => format!("cannot be read: {kind}"),
    };
    // Before it is opened: opening a FIFO would wait for its writer.
    if !path.metadata().map_err(describe)?.is_file() {
        return Err("cannot be read: not a file".into());
    }
    let mut bytes = Vec::new();
    File::open(path).map_err(describe)?.take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(describe)?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err("cannot be read: larger than 1 MiB".into());
    }
    Ok(bytes)
}

/// A warning about a file that holds secrets as text.
fn readable_by_others(path: &Path) -> Option<Mistake> {
    use std::os::unix::fs::PermissionsExt as _;
    let mode = path.metadata().ok()?.permissions().mode() & 0o777;
    (mode & 0o077 != 0).then(|| Mistake {
        file: name(path),
        position: None,
        key: String::new(),
        message: format!("holds secrets and can be read by others (mode {mode:04o}); chmod 600 keeps it private"),
    })
}

/// Somebody else's words as one line of bounded length.
fn tame(words: &str) -> String {
    clean(words, MAX_PLUGIN_WORDS)
}
