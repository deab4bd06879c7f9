//! A provider's own settings, as its plugin wants them: checked against the schema that the plugin exports, and the
//! plugin's words placed in the file. Owns what counts as a mistake there; deliberately holds no plugin.

use serde_json::Value;

use crate::check::Checker;
use crate::config::Config;
use crate::document::{Mark, SourceMap, join};
use crate::mistake::{Mistake, Mistakes};
use crate::user::{self, settings_of};
use sandbox_stdx::words::clean;

/// Bytes of a plugin's own words about its section, at most.
const MAX_PLUGIN_WORDS: usize = 1024;

impl Config {
    /// A provider's `config`, checked against the schema that its plugin exports, as the plugin is to get it. References
    /// have taken the types that the schema wants. It is empty for a provider that does not exist. A setting that its
    /// references left empty is no mistake while the provider is not in use.
    ///
    /// Settings with `{user}` are checked for each person and returned with `{user}` in them: [`settings_of`] makes a
    /// person's own.
    pub fn check_provider_config(&self, provider: &str, schema: &Value) -> Result<Value, Mistakes> {
        let settings = Value::Object(self.providers.get(provider).map(|p| p.config.0.clone()).unwrap_or_default());
        if !user::is_in(&settings) {
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
        mistakes.retain_mut(|(pointer, mistake)| self.is_mistake(provider, pointer, mistake));
        if mistakes.is_empty() {
            return Ok(value);
        }
        Err(Mistakes::new(mistakes.into_iter().map(|(_, mistake)| mistake).collect(), self.files.clone()))
    }

    /// The input of [`trial`], which must succeed before [`check_provider_config`](Self::check_provider_config) is called.
    pub fn trial_of(&self, provider: &str, schema: &Value) -> Vec<u8> {
        let at = format!("{}/config", join("/providers", provider));
        let whole: Vec<&str> = self.map.references(&at).collect();
        let config = self.providers.get(provider).map(|p| &p.config.0);
        serde_json::json!({ "schema": schema, "config": config, "at": at, "whole": whole }).to_string().into_bytes()
    }

    /// A mistake in a provider's section. `pointer` is a JSON Pointer into its `config`, as a plugin gives it, and `message`
    /// is the plugin's words. `None` when [`check_provider_config`](Self::check_provider_config) would not count it either.
    pub fn mistake_at(&self, provider: &str, pointer: &str, message: &str) -> Option<Mistake> {
        let pointer = if pointer.starts_with('/') { pointer } else { "" };
        let pointer = format!("{}/config{pointer}", join("/providers", provider));
        let mut mistake = self.map.at(&pointer, tame(message));
        self.is_mistake(provider, &pointer, &mut mistake).then_some(mistake)
    }

    /// Whether a mistake in a provider's section counts. A text that its references left empty is a setting that is not set.
    /// In a provider that is not in use, that is no mistake. In one that is, the message names the missing variable.
    fn is_mistake(&self, provider: &str, pointer: &str, mistake: &mut Mistake) -> bool {
        // A mistake about the key itself, such as an unknown key, always counts.
        let at_value = |mark: &&Mark| mistake.position == Some(mark.value);
        let mark = self.map.mark(pointer).filter(|mark| !mark.sources.is_empty() && mark.empty).filter(at_value);
        if mark.is_none() {
            return true;
        }
        if let Some(message) = mark.and_then(Mark::missing) {
            mistake.message = message;
        }
        self.uses().any(|of| of.provider == provider)
    }

    /// A mistake about a provider's plugin itself, such as a file that is not a component.
    pub fn plugin_mistake(&self, provider: &str, message: &str) -> Mistake {
        self.map.at(&format!("{}/plugin", join("/providers", provider)), tame(message))
    }
}

/// Does what [`Config::check_provider_config`] does, and drops the result. A plugin's schema may be made to check for ever,
/// to need more memory than there is, or to break the checker, so this is to be called in a process that may fail.
///
/// # Errors
/// When the text does not come from [`Config::trial_of`].
pub fn trial(text: &[u8]) -> Result<(), String> {
    #[derive(serde::Deserialize)]
    struct Trial {
        schema: Value,
        config: Value,
        at: String,
        whole: Vec<String>,
    }
    let Trial { schema, mut config, at, whole } = serde_json::from_slice(text).map_err(|e| e.to_string())?;
    // A schema that is not valid is reported by the check itself, in its place.
    if let Ok(checker) = Checker::new(schema) {
        checker.check(&mut config, &SourceMap::of_references(whole), &at);
    }
    Ok(())
}

/// A plugin's words as one line of bounded length.
fn tame(words: &str) -> String {
    clean(words, MAX_PLUGIN_WORDS)
}
