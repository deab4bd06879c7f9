//! A provider on trial: as sessions get it, without a broker that serves.
//!
//! The trial's sandboxes carry another broker name, so that a serving broker does not take them for its own left-overs and
//! end them.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::bail;
use bytes::Bytes;
use sandboxd_gatekeeper::Gatekeeper;
use sha2::{Digest as _, Sha256};

use super::blueprint::TERMINAL_ENV;
use super::home::broker_id;
use super::loader::{Checked, Loader};
use super::providers::{embedded_for, provider};
use crate::embedded::Embedded;
use sandbox_broker_config::Kind;
use sandbox_broker_core::sandbox::{Choices, Command, Provider, Spec};
use sandbox_broker_secrets::Secrets;
use sandbox_broker_session::{LABEL_BROKER, LABEL_SESSION, new_id};
use sandbox_stdx::hex::hex;

/// One provider, and what sessions would ask of it.
#[derive(Debug)]
pub struct Trial {
    /// The provider.
    pub provider: Arc<dyn Provider>,
    /// Title and version of its plugin.
    pub plugin: String,
    /// The recorder, if this broker has one.
    pub recorder: Option<Bytes>,
    /// Whose processes and files they are.
    pub user: Option<String>,
    labels: BTreeMap<String, String>,
    env: BTreeMap<String, String>,
    lease: std::time::Duration,
    choices: Choices,
    shell: Vec<String>,
    /// Kept alive while the trial lasts.
    _embedded: Option<Arc<Embedded>>,
}

impl Trial {
    /// The provider of this name, or the one of new sessions.
    ///
    /// # Errors
    /// When there is no such provider, or what it needs on this machine cannot
    /// be started.
    pub async fn of(loader: &Loader, checked: &Checked, name: Option<&str>) -> anyhow::Result<Self> {
        let Checked { config, providers, .. } = checked;
        let name = name.unwrap_or(&config.sandbox.provider);
        let makes =
            |name: &str| providers.get(name).is_some_and(|(plugin, _)| plugin.description.kind == Kind::Sandbox);
        if !makes(name) {
            let fitting: Vec<&str> = providers.keys().map(String::as_str).filter(|name| makes(name)).collect();
            bail!(
                "there is no provider of sandboxes {name:?} in {}: expected one of {}",
                config.path().display(),
                fitting.join(", ")
            );
        }
        checked.secrets.values().for_each(Secrets::publish);
        let places = &loader.surroundings;
        let embedded = embedded_for(config, name, places, None, &Gatekeeper::default()).await?;
        let recorder = places.recorder();
        let own = broker_id(&places.state)?;
        let broker = hex(&Sha256::digest(format!("trial of {own}"))[..8]);
        let description = &providers[name].0.description;
        let sandbox = &config.sandbox;
        Ok(Trial {
            provider: provider(checked, name, embedded.as_deref(), recorder.as_ref())?,
            recorder,
            plugin: format!("{} {}", description.title, description.version),
            user: sandbox.user.clone(),
            labels: BTreeMap::from([
                (LABEL_BROKER.to_owned(), broker),
                (LABEL_SESSION.to_owned(), new_id().to_string()),
            ]),
            env: sandbox.env.iter().map(|(key, value)| (key.clone(), value.expose().to_owned())).collect(),
            lease: sandbox.lease,
            choices: sandbox.choices.clone(),
            shell: sandbox.shell.clone(),
            _embedded: embedded,
        })
    }

    /// The sandbox that a session would ask for.
    pub fn spec(&self) -> Spec {
        let (labels, env, choices) = (self.labels.clone(), self.env.clone(), self.choices.clone());
        Spec { labels, env, ttl: self.lease, choices }
    }

    /// The shell of a session. It starts in the sandbox's default directory, because only a session makes the configured
    /// one.
    pub fn shell(&self) -> Command {
        Command {
            argv: self.shell.clone(),
            env: TERMINAL_ENV.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect(),
            user: self.user.clone(),
            ..Command::default()
        }
    }
}
