//! The composition root: what the broker is made of, how it starts, reloads
//! and shuts down. The only module that sees all others; deliberately holds
//! no policy of its own.

mod desk;
mod home;
mod inherit;
mod sign_ins;
mod surroundings;
mod trial;
mod warnings;

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use anyhow::Context as _;
use bytes::Bytes;
use futures_util::FutureExt as _;
use futures_util::future::join_all;
use sandboxd::Gatekeeper;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::embedded::{self, Embedded, FUSE_TEMPLATE};
use crate::heap;
use sandbox_broker_config::{
    self as config, Config, Embedded as EmbeddedKind, Fingerprint, Grant, Kind, Mistake, Mistakes, PluginSource,
    Watcher,
};
use sandbox_broker_core::sandbox::{Command, Provider};
use sandbox_broker_core::storage::Mounter;
use sandbox_broker_http::{self as http, App, ConfigStatus, Settings};
use sandbox_broker_journal::{Journal, Owner, Sqlite};
use sandbox_broker_plugin::{
    ComponentMounter, ComponentProvider, Engine, Keyring, LiveMounts, Plugin, Secrets, Section,
};
use sandbox_broker_session::{Blueprint, Invitations, Mount, Sessions, SizeRule, SlowClient, new_id};
use sandbox_broker_terminal as terminal;

pub use desk::Desk;
use home::Home;
pub use surroundings::Surroundings;
pub use trial::Trial;

/// What people are told about sandboxes of the embedded server.
const EMBEDDED_ISOLATION: &str = "shares this machine's kernel: not for code of strangers";

/// Of each provider: its plugin and its settings, as the plugin wants them.
type Providers = BTreeMap<String, (Arc<Plugin>, serde_json::Value)>;

/// A configuration of which every part was checked, plugins included.
#[derive(Debug)]
pub struct Checked {
    /// What the file says.
    pub config: Config,
    /// Of each provider: its plugin and its settings, as the plugin wants
    /// them.
    pub providers: Providers,
    /// Of each provider: its secrets, in force once they are published.
    pub secrets: BTreeMap<String, Secrets>,
}

/// Reads and checks a configuration and the plugins that it names.
#[derive(Debug)]
pub struct Loader {
    surroundings: Surroundings,
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
        // At the same time: a plugin takes milliseconds, and the first time
        // seconds.
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
        // Who takes the wrong provider has no use for its secrets.
        let unfit = |provider: &str| wrong.iter().any(|(name, _)| name == provider);
        let missing = config.missing().iter().filter(|(provider, _)| !unfit(provider)).map(|(_, mistake)| mistake);
        mistakes.extend(missing.cloned());
        mistakes.extend(wrong.into_iter().map(|(_, mistake)| mistake));
        if mistakes.is_empty() {
            let secrets = self.secrets(&config, &providers);
            return Ok(Checked { config, providers, secrets });
        }
        let files = self.files(&config);
        Err(Mistakes::new(mistakes, files))
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

    /// Everything whose change may change the outcome of a load.
    fn files(&self, config: &Config) -> Vec<PathBuf> {
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

/// A section's settings as its plugin gets them: those of each person, where
/// they differ.
fn variants(config: &Config, section: &config::Provider, settings: &serde_json::Value) -> Vec<serde_json::Value> {
    if !section.is_per_user() {
        return vec![settings.clone()];
    }
    let people = config.auth.iter().flat_map(|auth| &auth.tokens);
    people.map(|token| config::settings_of(&token.name, settings)).collect()
}

/// Keys that name a provider whose plugin is of another kind than they need, by
/// that provider.
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

/// Changes what is logged, by directives of the configuration.
pub type Relog = Box<dyn Fn(&str) + Send + Sync>;

/// A broker that serves.
pub struct Broker {
    /// Where it listens.
    pub address: SocketAddr,
    sessions: Sessions,
    stop: CancellationToken,
    serving: tokio::task::JoinHandle<usize>,
    /// Asks for a reload. One that waits already is enough.
    reload: mpsc::Sender<()>,
    /// Tasks that live as long as the broker.
    _keeping: Vec<AbortOnDropHandle<()>>,
}

/// What every session is made with, whatever the configuration.
#[derive(Clone)]
struct Base {
    broker_id: String,
    recorder: Option<Bytes>,
    journal: Arc<dyn Journal>,
    /// The journal again, for the sign-ins in it.
    sign_ins: Arc<Sqlite>,
    owner: Owner,
    invitations: Invitations,
}

/// What a reload swaps.
struct Live {
    loader: Loader,
    config: Config,
    fingerprint: Fingerprint,
    base: Base,
    /// The providers of the last configurations, for what they still have.
    providers: watch::Sender<Vec<Arc<dyn Provider>>>,
    embedded: watch::Sender<Option<Arc<Embedded>>>,
    gatekeeper: Gatekeeper,
    live_mounts: LiveMounts,
    sessions: Sessions,
    blueprint: watch::Sender<Arc<Blueprint>>,
    settings: watch::Sender<Arc<Settings>>,
    status: watch::Sender<ConfigStatus>,
    relog: Relog,
}

impl Broker {
    /// Checks everything, starts what is needed, listens.
    ///
    /// # Errors
    /// [`Mistakes`] of the configuration, or what could not be started.
    pub async fn start(loader: Loader, checked: Checked, relog: Relog) -> anyhow::Result<Self> {
        let started = Instant::now();
        let (base, home) = base(&loader.surroundings)?;
        let fingerprint = Fingerprint::of(&loader.files(&checked.config));
        let selected = &checked.config.sandbox.provider;
        let gatekeeper = Gatekeeper::default();
        let embedded = embedded_for(&checked.config, selected, &loader.surroundings, None, &gatekeeper).await?;
        if embedded.is_none() {
            Embedded::beware(&loader.surroundings.state, &gatekeeper).await?;
        }
        let provider = provider(&checked, selected, embedded.as_deref())?;
        let live_mounts = LiveMounts::default();
        let mounts = mounts(&checked, &live_mounts)?;
        // Before the claim: sessions are taken from nobody for an address that
        // is in use.
        let listen = checked.config.server.listen;
        let listener = TcpListener::bind(listen).await;
        let listener = listener.with_context(|| format!("cannot listen on {listen} (server.listen)"))?;
        let address = listener.local_addr()?;
        let (server, places) = (embedded.clone(), &loader.surroundings);
        let heirs = inherit::heirs(&checked, &provider, server, &gatekeeper, places, &base, &live_mounts);
        let heirs = heirs.await?;
        checked.secrets.values().for_each(Secrets::publish);
        for warning in checked.warnings() {
            tracing::warn!("{warning}");
        }
        let config = checked.config;

        let generation = 1;
        let providers = watch::Sender::new(heirs.providers(&provider));
        let first = Arc::new(plan(&config, provider, mounts, &base, generation));
        let (blueprint, current) = watch::channel(first);
        let (settings, who) = watch::channel(Arc::new(access(&config)));
        let (status, told) = watch::channel(ConfigStatus { generation, ..ConfigStatus::default() });
        let sessions = Sessions::new(current);
        // Before anybody can ask for them.
        let unclaimed = heirs.enter(&sessions, &config, &base);
        let stop = CancellationToken::new();
        let app = App {
            sessions: sessions.clone(),
            settings: who.clone(),
            config: told,
            terminal: terminal::Limits::default(),
            broker: base.broker_id.clone(),
            sign_ins: Arc::new(sign_ins::Kept(base.sign_ins.clone())),
            kept: sign_ins::kept(&base.sign_ins).await?,
        };
        let usual = http::Limits::default();
        // Each session has a connection, and as many may be asking or leaving.
        let limits = http::Limits { connections: usual.connections.max(config.sandbox.max_sessions * 2), ..usual };
        let door = http::Door::new(limits, who, gatekeeper.clone());
        let serving = tokio::spawn(door.clone().serve(listener, http::router(app), stop.clone()));

        let (watcher, changes) = Watcher::new(loader.files(&config)).context("cannot watch the configuration")?;
        tracing::info!("configuration: {}", config.summary());
        tracing::info!(url = %format_args!("http://{address}"), ms = started.elapsed().as_millis() as u64, "listening");
        let servers = watch::Sender::new(embedded);
        let keeping = vec![
            spawn("claiming sessions", unclaimed.claim(sessions.clone(), base.clone(), config.sandbox.lease)),
            spawn("keeping the state directory", home::keep(home, base.journal.clone(), status.clone())),
            spawn("telling of the embedded server", tell_of(servers.subscribe(), status.clone())),
            spawn("renewing claims", inherit::renew(base.clone(), config.sandbox.lease)),
            spawn("reaping sandboxes", inherit::reap(sessions.clone(), base.broker_id.clone(), providers.subscribe())),
            spawn(
                "giving memory back",
                heap::keep_small({
                    let sessions = sessions.clone();
                    move || sessions.count() + door.connections()
                }),
            ),
        ];
        let live = Live {
            loader,
            config,
            fingerprint,
            base,
            providers,
            embedded: servers,
            gatekeeper,
            live_mounts,
            sessions: sessions.clone(),
            blueprint,
            settings,
            status,
            relog,
        };
        let (reload, asked) = mpsc::channel(1);
        let follow = spawn("following changes", live.follow(watcher, changes, asked));
        let keeping = keeping.into_iter().chain([follow]).collect();
        Ok(Broker { address, sessions, stop, serving, reload, _keeping: keeping })
    }

    /// Reads the configuration again, as after a change of its files, and says
    /// in the log what came of it. Returns at once.
    pub fn reload(&self) {
        // Full means that a reload is due anyway.
        let _ = self.reload.try_send(());
    }

    /// Tells clients, ends every sandbox, closes the listener. Returns when
    /// all of it is done or its deadlines have passed.
    pub async fn shutdown(self) {
        let started = Instant::now();
        tracing::info!(sessions = self.sessions.count(), "shutting down");
        self.stop.cancel();
        // At the same time: each has a deadline, and a supervisor one for both.
        let ((), open) = tokio::join!(self.sessions.shutdown(), self.serving);
        let open = open.unwrap_or(0);
        tracing::info!(ms = started.elapsed().as_millis() as u64, connections_cut = open, "shut down");
    }
}

impl Live {
    /// Follows changes of the files, and wishes to look at them, until the
    /// broker ends.
    async fn follow(mut self, watcher: Watcher, mut changes: mpsc::Receiver<()>, mut asked: mpsc::Receiver<()>) {
        loop {
            let wished = tokio::select! {
                change = changes.recv() => if change.is_some() { false } else { return },
                Some(()) = asked.recv() => true,
            };
            if wished {
                tracing::info!("asked to read the configuration again");
            }
            // A bug in a reload must not be the last one's: who edits the file
            // next would wait for ever.
            let reloaded = AssertUnwindSafe(self.reload()).catch_unwind().await;
            let reloaded = reloaded.unwrap_or_else(|_| Err(Refusal::bug(self.loader.files(&self.config))));
            let files = match reloaded {
                Ok(changed) => {
                    if wished && !changed {
                        tracing::info!("the configuration has not changed; nothing was reloaded");
                    }
                    self.loader.files(&self.config)
                }
                Err(refused) => {
                    // Before the log: who reads there that it is refused finds it in the status.
                    self.status.send_modify(|status| status.error = Some(refused.text.clone()));
                    for line in refused.lines() {
                        tracing::error!("{line}");
                    }
                    tracing::error!("the change is refused; the configuration before it stays in force");
                    refused.files
                }
            };
            watcher.set_paths(files);
        }
    }

    /// Builds and checks everything new, then swaps once. Returns whether
    /// there was a change.
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
        let provider = provider(&checked, selected, embedded.as_deref()).map_err(failed)?;
        let mounts = mounts(&checked, &self.live_mounts).map_err(failed)?;
        for warning in checked.warnings() {
            tracing::warn!("{warning}");
        }

        // Nothing below can fail.
        checked.secrets.values().for_each(Secrets::publish);
        let generation = self.status.borrow().generation + 1;
        self.providers.send_modify(|known| inherit::replace(known, &provider));
        self.blueprint.send_replace(Arc::new(plan(&checked.config, provider, mounts, &self.base, generation)));
        self.settings.send_replace(Arc::new(access(&checked.config)));
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
        self.fingerprint = fingerprint;
        tracing::info!("configuration: {}", self.config.summary());
        tracing::info!(generation, ms = started.elapsed().as_millis() as u64, "configuration is live");
        Ok(true)
    }
}

/// Why a change is not put into force, and whose change may mend it.
struct Refusal {
    text: String,
    files: Vec<PathBuf>,
}

impl Refusal {
    fn mistakes(mistakes: &Mistakes) -> Self {
        Refusal { text: mistakes.to_string(), files: mistakes.files().to_vec() }
    }

    /// The reload itself broke; the log has the panic.
    fn bug(files: Vec<PathBuf>) -> Self {
        Refusal { text: "the reload failed by a bug of the broker; its log says where".to_owned(), files }
    }

    fn lines(&self) -> impl Iterator<Item = &str> {
        self.text.lines()
    }
}

/// Keeps the status up to date with the embedded server, whichever is in use,
/// until the broker ends.
async fn tell_of(mut servers: watch::Receiver<Option<Arc<Embedded>>>, status: watch::Sender<ConfigStatus>) {
    loop {
        let server = servers.borrow_and_update().clone();
        let Some(mut other) = server.as_deref().map(Embedded::other_build) else {
            if servers.changed().await.is_err() {
                return;
            }
            continue;
        };
        // It is kept by whoever uses it, not by being told of.
        drop(server);
        loop {
            let build = other.borrow_and_update().clone();
            status.send_if_modified(|status| {
                let new = status.other_build != build;
                status.other_build = build;
                new
            });
            tokio::select! {
                changed = other.changed() => if changed.is_err() { return },
                changed = servers.changed() => match changed {
                    Ok(()) => break,
                    Err(_) => return,
                },
            }
        }
    }
}

/// Runs a part of the broker, and says so if it ends by a bug: nothing else
/// would notice.
fn spawn(what: &'static str, task: impl Future<Output = ()> + Send + 'static) -> AbortOnDropHandle<()> {
    AbortOnDropHandle::new(tokio::spawn(async move {
        if AssertUnwindSafe(task).catch_unwind().await.is_err() {
            tracing::error!(part = what, "a part of the broker ended by a bug; restart the broker");
        }
    }))
}

/// What every session of this process is made with, and where it is kept.
fn base(surroundings: &Surroundings) -> anyhow::Result<(Base, Home)> {
    let state = &surroundings.state;
    let journal = Arc::new(Sqlite::open(state)?);
    let home = Home::of(state)?;
    let broker_id = home.broker_id.clone();
    let invitations = Invitations::new(home.invitations.as_bytes());
    let owner = Owner { broker: broker_id.clone(), instance: new_id().to_string() };
    let sign_ins = Arc::clone(&journal);
    Ok((Base { broker_id, recorder: surroundings.recorder(), journal, sign_ins, owner, invitations }, home))
}

/// The embedded server, if the provider needs one: the one that runs already,
/// or a new one.
async fn embedded_for(
    config: &Config,
    provider: &str,
    surroundings: &Surroundings,
    running: Option<Arc<Embedded>>,
    gatekeeper: &Gatekeeper,
) -> anyhow::Result<Option<Arc<Embedded>>> {
    match config.providers[provider].embedded {
        None => Ok(None),
        Some(EmbeddedKind::Sandboxd) => {
            let ports = &config.providers[provider].host_services;
            match running {
                Some(running) => {
                    running.forward(ports);
                    Ok(Some(running))
                }
                None => {
                    let sandboxes = config.sandbox.max_sessions;
                    let server = Embedded::ensure(&surroundings.state, sandboxes, ports, gatekeeper).await?;
                    Ok(Some(Arc::new(server)))
                }
            }
        }
    }
}

/// A provider of sandboxes, as configured.
fn provider(checked: &Checked, name: &str, embedded: Option<&Embedded>) -> anyhow::Result<Arc<dyn Provider>> {
    let (plugin, mut new) = section(checked, name);
    if let Some(Embedded { socket, key, .. }) = embedded {
        // What an operator would write for a server of their own.
        for key in ["api_url", "sandbox_url"] {
            new.config[key] = embedded::ORIGIN.into();
        }
        new.allow.push(Grant::parse(embedded::ORIGIN).context("the embedded server has no origin")?);
        new.socket = Some(socket.clone());
        new.secrets.insert("api_key", key.clone());
        new.isolation = Some(EMBEDDED_ISOLATION.to_owned());
        if !checked.config.storage.is_empty() {
            new.config["template"] = FUSE_TEMPLATE.into();
        }
    }
    Ok(Arc::new(ComponentProvider::new(plugin, new)?))
}

/// The storage of new sessions.
fn mounts(checked: &Checked, live: &LiveMounts) -> anyhow::Result<Vec<Mount>> {
    let mut mounters = Mounters::new(checked, live);
    let mut mounts = Vec::new();
    for config::Mount { provider, path, read_only, .. } in &checked.config.storage {
        let mounter = mounters.find(provider)?.expect("the configuration was checked to have it");
        mounts.push(Mount { mounter, path: path.clone(), read_only: *read_only });
    }
    Ok(mounts)
}

/// Storage providers, as configured. Mounts of one section share a mounter.
struct Mounters<'a> {
    checked: &'a Checked,
    live: &'a LiveMounts,
    made: BTreeMap<String, Arc<dyn Mounter>>,
}

impl<'a> Mounters<'a> {
    fn new(checked: &'a Checked, live: &'a LiveMounts) -> Self {
        Mounters { checked, live, made: BTreeMap::new() }
    }

    /// The one of a section, if there is such a section for storage.
    fn find(&mut self, name: &str) -> anyhow::Result<Option<Arc<dyn Mounter>>> {
        if let Some(mounter) = self.made.get(name) {
            return Ok(Some(Arc::clone(mounter)));
        }
        let plugin = self.checked.providers.get(name).map(|(plugin, _)| plugin);
        if plugin.is_none_or(|plugin| plugin.description.kind != Kind::Storage) {
            return Ok(None);
        }
        let (plugin, section) = section(self.checked, name);
        let mounter: Arc<dyn Mounter> = Arc::new(ComponentMounter::new(plugin, section, self.live.clone())?);
        self.made.insert(name.to_owned(), Arc::clone(&mounter));
        Ok(Some(mounter))
    }
}

/// A provider's plugin, and what the configuration says of it.
fn section(checked: &Checked, name: &str) -> (Arc<Plugin>, Section) {
    let section = &checked.config.providers[name];
    let (plugin, settings) = &checked.providers[name];
    let section = Section {
        name: name.to_owned(),
        config: settings.clone(),
        allow: section.allow.clone(),
        allow_private: section.allow_private,
        secrets: checked.secrets[name].clone(),
        reveal: section.reveal.clone(),
        limits: section.limits.clone(),
        isolation: None,
        per_user: section.is_per_user(),
        socket: None,
    };
    (plugin.clone(), section)
}

/// What sessions from now on are made of.
fn plan(config: &Config, provider: Arc<dyn Provider>, mounts: Vec<Mount>, base: &Base, generation: u64) -> Blueprint {
    let sandbox = &config.sandbox;
    let Base { broker_id, recorder, journal, owner, invitations, .. } = base.clone();
    Blueprint {
        provider,
        broker_id,
        command: Command {
            argv: sandbox.shell.clone(),
            cwd: mounts.first().map(|mount| mount.path.clone()).or_else(|| sandbox.workdir.clone()),
            env: TERMINAL_ENV.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
            user: sandbox.user.clone(),
        },
        sandbox_env: sandbox.env.iter().map(|(k, v)| (k.clone(), v.expose().to_owned())).collect(),
        idle_timeout: sandbox.timeout,
        max_age: sandbox.max_age,
        lease: sandbox.lease,
        generation,
        max_sessions: sandbox.max_sessions,
        max_sessions_per_user: sandbox.max_sessions_per_user,
        mounts,
        keep: sandbox.keep_after_disconnect,
        slow: if sandbox.pause_for_slow_driver { SlowClient::Pause } else { SlowClient::Gap },
        size: if sandbox.smallest_size { SizeRule::Smallest } else { SizeRule::Driver },
        recorder,
        journal,
        owner,
        invitations,
    }
}

/// What xterm.js is and speaks.
const TERMINAL_ENV: [(&str, &str); 4] =
    [("TERM", "xterm-256color"), ("COLORTERM", "truecolor"), ("LANG", "C.UTF-8"), ("LC_ALL", "C.UTF-8")];

/// Who may come, and what the page is told.
fn access(config: &Config) -> Settings {
    let origin = |o: &config::Origin| o.as_str().parse::<http::Origin>().expect("the configuration has checked it");
    Settings {
        public_urls: config.server.public_urls.iter().map(origin).collect(),
        frontend_url: config.server.frontend_url.as_ref().map(origin),
        tokens: config
            .auth
            .as_ref()
            .map(|auth| auth.tokens.iter().map(|t| http::Token::from_sha256(&t.name, t.sha256)).collect()),
        provider: config.sandbox.provider.clone(),
        trusted_proxies: config.server.trusted_proxies.clone(),
    }
}
