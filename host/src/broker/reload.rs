//! Changes while the broker runs. Owns the swap: everything new is built and checked first, then put into force at once, and
//! a mistake keeps what is in force. Deliberately knows no file's content.

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use futures_util::FutureExt as _;
use sandboxd_gatekeeper::Gatekeeper;
use tokio::sync::{mpsc, watch};

use super::blueprint::{Base, blueprint, settings};
use super::inherit;
use super::loader::Loader;
use super::providers::{embedded_for, mounts, provider};
use crate::embedded::Embedded;
use sandbox_broker_config::{Config, Fingerprint, Mistakes, Watcher};
use sandbox_broker_core::sandbox::Provider;
use sandbox_broker_http::{ConfigStatus, Settings};
use sandbox_broker_plugin::LiveMounts;
use sandbox_broker_secrets::Secrets;
use sandbox_broker_session::{Blueprint, Sessions};

/// Changes what is logged, by directives of the configuration.
pub type Relog = Box<dyn Fn(&str) + Send + Sync>;

/// Follows changes, and holds what a reload swaps.
pub(super) struct Reloader {
    pub(super) loader: Loader,
    pub(super) config: Config,
    /// The secrets of the configuration in force, by provider.
    pub(super) secrets: BTreeMap<String, Secrets>,
    pub(super) fingerprint: Fingerprint,
    pub(super) base: Base,
    /// The providers of this and earlier configurations. The earlier ones may still have sandboxes.
    pub(super) providers: watch::Sender<Vec<Arc<dyn Provider>>>,
    pub(super) embedded: watch::Sender<Option<Arc<Embedded>>>,
    pub(super) gatekeeper: Gatekeeper,
    pub(super) live_mounts: LiveMounts,
    pub(super) sessions: Sessions,
    pub(super) blueprint: watch::Sender<Arc<Blueprint>>,
    pub(super) settings: watch::Sender<Arc<Settings>>,
    pub(super) status: watch::Sender<ConfigStatus>,
    pub(super) relog: Relog,
}

impl Reloader {
    /// Follows changes of the files, and requests to read them again, until the broker ends.
    pub(super) async fn follow(
        mut self,
        watcher: Watcher,
        mut changes: mpsc::Receiver<()>,
        mut asked: mpsc::Receiver<()>,
    ) {
        let mut told = None;
        loop {
            let wished = tokio::select! {
                change = changes.recv() => if change.is_some() { false } else { return },
                Some(()) = asked.recv() => true,
            };
            if wished {
                tracing::info!("asked to read the configuration again");
            }
            // A panic must not end this task, because then no later change would be read.
            let reloaded = AssertUnwindSafe(self.reload()).catch_unwind().await;
            let reloaded = reloaded.unwrap_or_else(|_| Err(Refusal::bug(self.loader.files(&self.config))));
            let files = match reloaded {
                Ok(changed) => {
                    told = None;
                    if wished && !changed {
                        tracing::info!("the configuration has not changed; nothing was reloaded");
                    }
                    self.loader.files(&self.config)
                }
                Err(refused) => {
                    // The status comes before the log, so that a reader of the log finds the refusal in the status.
                    self.status.send_modify(|status| status.error = Some(refused.text.clone()));
                    // Watching other files gives a signal of its own, and so does an editor that writes in several
                    // steps. Neither is news.
                    let news = Some((refused.text.clone(), Fingerprint::of(&refused.files)));
                    if wished || told != news {
                        for line in refused.lines() {
                            tracing::error!("{line}");
                        }
                        tracing::error!("the change is refused; the configuration before it stays in force");
                    }
                    told = news;
                    // Keys and tokens go on rotating while somebody corrects the file.
                    self.renew_secrets();
                    let mut files = refused.files;
                    files.extend(self.loader.files(&self.config));
                    files.sort();
                    files.dedup();
                    files
                }
            };
            watcher.set_paths(files);
        }
    }

    /// Reads the secret files of the configuration in force again, and nothing else of it.
    fn renew_secrets(&mut self) {
        // A file that is missing for the moment is read when it is there again.
        let Ok(by_now) = self.loader.again(&self.config) else { return };
        for (provider, secrets) in &mut self.secrets {
            if let Some(renewed) = secrets.renewed(&by_now.providers[provider].secrets) {
                renewed.publish();
                *secrets = renewed;
                tracing::info!(%provider, "a secret has changed, and is live under the configuration in force");
            }
        }
    }

    /// Builds and checks everything new, then swaps once. Returns whether there was a change.
    async fn reload(&mut self) -> Result<bool, Refusal> {
        let fingerprint = Fingerprint::of(&self.loader.files(&self.config));
        if fingerprint == self.fingerprint && self.status.borrow().error.is_none() {
            return Ok(false);
        }
        let started = Instant::now();
        let checked = self.loader.load().await.map_err(|m| Refusal::mistakes(&m))?;
        let fixed = Config::refuse_live_changes(&self.config, &checked.config);
        if !fixed.is_empty() {
            let files = self.loader.files(&checked.config);
            return Err(Refusal::mistakes(&Mistakes::new(fixed, files)));
        }
        let files = self.loader.files(&checked.config);
        let failed = |e: anyhow::Error| Refusal { text: format!("{e:#}"), files: files.clone() };
        let selected = &checked.config.sandbox.provider;
        let (places, running) = (&self.loader.surroundings, self.embedded.borrow().clone());
        let embedded = embedded_for(&checked.config, selected, places, running, &self.gatekeeper);
        let embedded = embedded.await.map_err(failed)?;
        let recorder = self.base.recorder.as_ref();
        let provider = provider(&checked, selected, embedded.as_deref(), recorder).map_err(failed)?;
        let mounts = mounts(&checked, &self.live_mounts).map_err(failed)?;
        for warning in checked.warnings() {
            tracing::warn!("{warning}");
        }

        // Nothing below can fail.
        checked.secrets.values().for_each(Secrets::publish);
        let generation = self.status.borrow().generation + 1;
        self.providers.send_modify(|known| inherit::replace(known, &provider));
        self.blueprint.send_replace(Arc::new(blueprint(&checked.config, provider, mounts, &self.base, generation)));
        self.settings.send_replace(Arc::new(settings(&checked.config)));
        if let Some(auth) = &checked.config.auth {
            let ended = self.sessions.end_unknown(|user| auth.tokens.iter().any(|token| token.name == user));
            if ended > 0 {
                tracing::warn!(ended, "ended the sessions of people whose tokens were withdrawn");
            }
        }
        self.status.send_modify(|status| (status.generation, status.error) = (generation, None));
        (self.relog)(&checked.config.server.log);
        if embedded.is_some() {
            self.embedded.send_replace(embedded);
        }
        self.config = checked.config;
        self.secrets = checked.secrets;
        self.fingerprint = fingerprint;
        tracing::info!("configuration: {}", self.config.summary());
        tracing::info!(generation, ms = started.elapsed().as_millis() as u64, "configuration is live");
        Ok(true)
    }
}

/// Why a change is not put into force, and the files whose change may correct it.
struct Refusal {
    text: String,
    files: Vec<PathBuf>,
}

impl Refusal {
    fn mistakes(mistakes: &Mistakes) -> Self {
        Refusal { text: mistakes.to_string(), files: mistakes.files().to_vec() }
    }

    /// The reload itself panicked; the log has the panic.
    fn bug(files: Vec<PathBuf>) -> Self {
        Refusal { text: "the reload failed by a bug of the broker; its log says where".to_owned(), files }
    }

    fn lines(&self) -> impl Iterator<Item = &str> {
        self.text.lines()
    }
}
