//! A broker that serves: how it starts and how it shuts down. Owns the order of both, each in one function that reads from
//! top to bottom; deliberately holds no policy.

use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Instant;

use anyhow::Context as _;
use futures_util::FutureExt as _;
use sandboxd_gatekeeper::Gatekeeper;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::blueprint::{base, blueprint, settings};
use super::loader::{Checked, Loader};
use super::providers::{embedded_for, mounts, provider};
use super::reload::{Reloader, Relog};
use super::{home, inherit, sign_ins};
use crate::embedded::Embedded;
use crate::heap;
use sandbox_broker_config::{Fingerprint, Watcher};
use sandbox_broker_http::{self as http, App, ConfigStatus};
use sandbox_broker_plugin::LiveMounts;
use sandbox_broker_secrets::Secrets;
use sandbox_broker_session::Sessions;
use sandbox_broker_terminal as terminal;

/// A broker that serves.
pub struct Broker {
    /// Where it listens.
    pub address: SocketAddr,
    sessions: Sessions,
    stop: CancellationToken,
    serving: tokio::task::JoinHandle<usize>,
    /// Asks for a reload. One request in the queue is enough.
    reload: mpsc::Sender<()>,
    /// Tasks that live as long as the broker; dropping them ends them.
    _keeping: Vec<AbortOnDropHandle<()>>,
}

impl Broker {
    /// Starts what is needed, listens and serves. The order is part of the contract:
    ///
    /// 1. The state directory is opened, and everything that the configuration names is made. So a mistake costs nobody a
    ///    session.
    /// 2. The address is bound. A broker whose address is in use takes no session from another one.
    /// 3. The sessions of an earlier broker are claimed and put into the table.
    /// 4. The listener accepts. A client that comes back finds its session.
    /// 5. The tasks start that live as long as the broker.
    ///
    /// # Errors
    /// [`Mistakes`](sandbox_broker_config::Mistakes) of the configuration, or what could not be started.
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
        let provider = provider(&checked, selected, embedded.as_deref(), base.recorder.as_ref())?;
        let live_mounts = LiveMounts::default();
        let mounts = mounts(&checked, &live_mounts)?;
        // This comes before the claim: a broker whose address is in use must not take sessions from another one.
        let listen = checked.config.server.listen;
        let listener = TcpListener::bind(listen).await;
        let listener = listener.with_context(|| format!("cannot listen on {listen} (server.listen)"))?;
        let address = listener.local_addr()?;
        let (server, places) = (embedded.clone(), &loader.surroundings);
        let inherited = inherit::claim_all(&checked, &provider, server, &gatekeeper, places, &base, &live_mounts);
        let inherited = inherited.await?;
        checked.secrets.values().for_each(Secrets::publish);
        for warning in checked.warnings() {
            tracing::warn!("{warning}");
        }
        let (config, secrets) = (checked.config, checked.secrets);

        let generation = 1;
        let providers = watch::Sender::new(inherited.providers(&provider));
        let first = Arc::new(blueprint(&config, provider, mounts, &base, generation));
        let (blueprint, current) = watch::channel(first);
        let (settings, who) = watch::channel(Arc::new(settings(&config)));
        let (status, told) = watch::channel(ConfigStatus { generation, ..ConfigStatus::default() });
        let sessions = Sessions::new(current);
        // This comes before clients can ask for these sessions.
        let unclaimed = inherited.enter(&sessions, &config, &base);
        let stop = CancellationToken::new();
        let app = App {
            sessions: sessions.clone(),
            settings: who.clone(),
            config: told,
            terminal: terminal::Limits::default(),
            broker: base.broker_id.clone(),
            sign_ins: Arc::new(sign_ins::JournalSignIns(base.sign_ins.clone())),
            kept: sign_ins::kept(&base.sign_ins).await?,
        };
        let usual = http::Limits::default();
        // Each session has a connection. As many more may be asking or leaving.
        let limits = http::Limits { connections: usual.connections.max(config.sandbox.max_sessions * 2), ..usual };
        let door = http::Door::new(limits, who, gatekeeper.clone());
        let serving = tokio::spawn(door.clone().serve(listener, http::router(app), stop.clone()));

        let (watcher, changes) = Watcher::new(loader.files(&config)).context("cannot watch the configuration")?;
        tracing::info!("configuration: {}", config.summary());
        tracing::info!(url = %format_args!("http://{address}"), ms = started.elapsed().as_millis() as u64, "listening");
        let servers = watch::Sender::new(embedded);
        let keeping = vec![
            spawn("claiming sessions", unclaimed.claim(sessions.clone(), base.clone(), config.sandbox.lease)),
            spawn("keeping the state directory", home::look_after(home, base.journal.clone(), status.clone())),
            spawn("telling of the embedded server", tell_of_builds(servers.subscribe(), status.clone())),
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
        let reloader = Reloader {
            loader,
            config,
            secrets,
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
        let follow = spawn("following changes", reloader.follow(watcher, changes, asked));
        let keeping = keeping.into_iter().chain([follow]).collect();
        Ok(Broker { address, sessions, stop, serving, reload, _keeping: keeping })
    }

    /// Asks for the configuration to be read again, as after a change of its files. The log tells the result. Returns at
    /// once.
    pub fn reload(&self) {
        // When the queue is full, a reload is due anyway.
        let _ = self.reload.try_send(());
    }

    /// Closes the listener, tells clients, and ends every sandbox that the next broker cannot go on with. Returns when all
    /// of it is done or its deadlines have passed.
    pub async fn shutdown(self) {
        let started = Instant::now();
        tracing::info!(sessions = self.sessions.count(), "shutting down");
        self.stop.cancel();
        // Both at once: each has a deadline, and a service manager has one deadline for the whole shutdown.
        let ((), open) = tokio::join!(self.sessions.shutdown(), self.serving);
        let open = open.unwrap_or(0);
        tracing::info!(ms = started.elapsed().as_millis() as u64, connections_cut = open, "shut down");
    }
}

/// Keeps the status up to date with the build of the embedded server in use, until the broker ends.
async fn tell_of_builds(mut servers: watch::Receiver<Option<Arc<Embedded>>>, status: watch::Sender<ConfigStatus>) {
    loop {
        let server = servers.borrow_and_update().clone();
        let Some(mut other) = server.as_deref().map(Embedded::other_build) else {
            if servers.changed().await.is_err() {
                return;
            }
            continue;
        };
        // Its users keep the server alive; this task must not.
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

/// Runs a part of the broker. Logs it when the part panics, which nothing else would notice.
fn spawn(what: &'static str, task: impl Future<Output = ()> + Send + 'static) -> AbortOnDropHandle<()> {
    AbortOnDropHandle::new(tokio::spawn(async move {
        if AssertUnwindSafe(task).catch_unwind().await.is_err() {
            tracing::error!(part = what, "a part of the broker ended by a bug; restart the broker");
        }
    }))
}
