//! From the file to a configuration of which every part was checked, plugins included. Owns the order of these checks;
//! deliberately starts nothing.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use futures_util::future::join_all;

use super::home;
use super::surroundings::Surroundings;
use sandbox_broker_config::{self as config, Config, Mistake, Mistakes, PluginSource};
use sandbox_broker_plugin::{Engine, Plugin};
use sandbox_broker_secrets::{Keyring, Secrets};

/// For each provider: its plugin, and its settings as the plugin wants them.
pub(super) type Providers = BTreeMap<String, (Arc<Plugin>, serde_json::Value)>;

/// A configuration of which every part was checked, plugins included.
#[derive(Debug)]
pub struct Checked {
    /// What the file says.
    pub config: Config,
    /// For each provider: its plugin, and its settings as the plugin wants them.
    pub providers: Providers,
    /// For each provider: its secrets, which are in force once they are published.
    pub secrets: BTreeMap<String, Secrets>,
}

/// Reads and checks a configuration and the plugins that it names.
#[derive(Debug)]
pub struct Loader {
    pub(super) surroundings: Surroundings,
    engine: Engine,
    keyring: Keyring,
}

impl Loader {
    /// A loader with a plugin engine whose compiled code is kept in the state
    /// directory.
    ///
    /// # Errors
    /// When the state directory cannot be made or the engine not started.
    pub fn new(surroundings: Surroundings) -> anyhow::Result<Self> {
        let state = &surroundings.state;
        home::prepare(state)?;
        let engine = Engine::new(Some(&state.join("compiled")))?;
        Ok(Loader { surroundings, engine, keyring: Keyring::default() })
    }

    /// Reads the file, compiles and questions every plugin that it names, and
    /// checks each section against its plugin.
    ///
    /// # Errors
    /// All mistakes at once.
    pub async fn load(&self) -> Result<Checked, Mistakes> {
        let config = config::load(&self.surroundings.config, &|name| std::env::var(name).ok())?;
        let mut providers = BTreeMap::new();
        let mut mistakes = Vec::new();
        // All at once: a plugin takes milliseconds, and seconds when it is compiled for the first time.
        let checks =
            config.providers.iter().map(async |(name, section)| (name, self.check(&config, name, section).await));
        for (name, checked) in join_all(checks).await {
            match checked {
                Ok(checked) => {
                    providers.insert(name.clone(), checked);
                }
                Err(found) => mistakes.extend(found),
            }
        }
        let wrong = wrong_kinds(&config, &providers);
        // A provider of the wrong kind must be changed anyway, so its missing secrets are no news.
        let unfit = |provider: &str| wrong.iter().any(|(name, _)| name == provider);
        let missing = config.missing().iter().filter(|(provider, _)| !unfit(provider)).map(|(_, mistake)| mistake);
        mistakes.extend(missing.cloned());
        mistakes.extend(wrong.into_iter().map(|(_, mistake)| mistake));
        mistakes.extend(no_mounts(&config, &providers));
        if mistakes.is_empty() {
            let secrets = self.secrets(&config, &providers);
            return Ok(Checked { config, providers, secrets });
        }
        let files = self.files(&config);
        Err(Mistakes::new(mistakes, files))
    }

    /// The same configuration, with what the files that it names hold by now.
    pub(super) fn again(&self, config: &Config) -> Result<Config, Mistakes> {
        config::again(config, &|name| std::env::var(name).ok())
    }

    fn secrets(&self, config: &Config, providers: &Providers) -> BTreeMap<String, Secrets> {
        let of = |(name, (_, settings)): (&String, &(Arc<Plugin>, serde_json::Value))| {
            let section = &config.providers[name];
            (name.clone(), self.keyring.section(name, settings, &section.allow, &section.secrets))
        };
        providers.iter().map(of).collect()
    }

    async fn check(
        &self,
        config: &Config,
        name: &str,
        section: &config::Provider,
    ) -> Result<(Arc<Plugin>, serde_json::Value), Vec<Mistake>> {
        let wrong = |message: String| vec![config.plugin_mistake(name, &message)];
        let path = self.surroundings.plugin(&section.plugin).map_err(wrong)?;
        let plugin = self.engine.load(&path).await.map_err(|e| wrong(e.to_string()))?;
        let trial = config.trial_of(name, &plugin.schema);
        self.engine.try_schema(&trial).await.map_err(|e| wrong(e.to_string()))?;
        let settings = config.check_provider_config(name, &plugin.schema).map_err(|found| found.list().to_vec())?;
        for settings in variants(config, section, &settings) {
            let found = plugin.validate(&settings.to_string()).await.map_err(|e| wrong(e.to_string()))?;
            let found: Vec<Mistake> =
                found.iter().filter_map(|(at, message)| config.mistake_at(name, at, message)).collect();
            if !found.is_empty() {
                return Err(found);
            }
        }
        Ok((plugin, settings))
    }

    /// Every file whose change may change the result of a load.
    pub(super) fn files(&self, config: &Config) -> Vec<PathBuf> {
        let mut files = config.files().to_vec();
        let builtin = config.providers.values().filter(|p| matches!(p.plugin, PluginSource::Builtin(_)));
        files.extend(builtin.filter_map(|p| self.surroundings.plugin(&p.plugin).ok()));
        files
    }

    /// The schemas of the built-in plugins, by name.
    pub async fn schemas(&self) -> BTreeMap<String, serde_json::Value> {
        let mut schemas = BTreeMap::new();
        let entries = self.surroundings.plugins.iter().filter_map(|d| fs::read_dir(d).ok()).flatten().flatten();
        for path in entries.map(|e| e.path()).filter(|p| p.extension().is_some_and(|e| e == "wasm")) {
            if let (Some(name), Ok(plugin)) = (path.file_stem(), self.engine.load(&path).await) {
                schemas.entry(name.to_string_lossy().into_owned()).or_insert_with(|| plugin.schema.clone());
            }
        }
        schemas
    }
}

/// A section's settings as its plugin gets them: one for each person when they differ from person to person.
fn variants(config: &Config, section: &config::Provider, settings: &serde_json::Value) -> Vec<serde_json::Value> {
    if !section.is_per_user() {
        return vec![settings.clone()];
    }
    let people = config.auth.iter().flat_map(|auth| &auth.tokens);
    people.map(|token| config::settings_of(&token.name, settings)).collect()
}

/// Why storage cannot be mounted in the sandboxes of the provider in use, if it is to be.
fn no_mounts(config: &Config, providers: &Providers) -> Option<Mistake> {
    let provider = &config.sandbox.provider;
    let abilities = providers.get(provider)?.0.abilities().filter(|_| !config.storage.is_empty())?;
    let lacks = [("root", abilities.root), ("stdin", abilities.stdin)];
    let (ability, _) = lacks.into_iter().find(|(_, has)| !has)?;
    let message = format!(
        "storage is mounted by processes of root that read from their standard input, and this plugin says that it lacks \
         the ability `{ability}`: use another provider, or no [storage]"
    );
    Some(config.plugin_mistake(provider, &message))
}

/// The mistakes of keys that name a provider of the wrong kind, each with the name of that provider.
fn wrong_kinds(config: &Config, providers: &Providers) -> Vec<(String, Mistake)> {
    let kind = |name: &str| Some(providers.get(name)?.0.description.kind);
    let wrong = |of: config::Use<'_>| {
        let found = kind(of.provider).filter(|found| *found != of.kind)?;
        let fitting: Vec<&str> =
            providers.keys().map(String::as_str).filter(|name| kind(name) == Some(of.kind)).collect();
        Some((of.provider.to_owned(), config.wrong_kind(of, found, &fitting)))
    };
    config.uses().filter_map(wrong).collect()
}
