//! What sessions are made of, and what the HTTP front end is told. Owns the translation from the configuration; deliberately
//! makes no session.

use std::sync::Arc;

use bytes::Bytes;

use super::home::Home;
use super::surroundings::Surroundings;
use sandbox_broker_config::{self as config, Config};
use sandbox_broker_core::sandbox::{Command, Provider};
use sandbox_broker_http::{self as http, Settings};
use sandbox_broker_journal::{Journal, Owner, Sqlite};
use sandbox_broker_session::{Blueprint, Invitations, Mount, SizeRule, SlowClient, new_id};

/// What every session is made with, independent of the configuration.
#[derive(Clone)]
pub(super) struct Base {
    pub(super) broker_id: String,
    pub(super) recorder: Option<Bytes>,
    pub(super) journal: Arc<dyn Journal>,
    /// The same journal, for the sign-ins in it.
    pub(super) sign_ins: Arc<Sqlite>,
    pub(super) owner: Owner,
    invitations: Invitations,
}

/// Opens the state directory: what every session of this process is made with, and where it is kept.
pub(super) fn base(surroundings: &Surroundings) -> anyhow::Result<(Base, Home)> {
    let state = &surroundings.state;
    let journal = Arc::new(Sqlite::open(state)?);
    let home = Home::of(state)?;
    let broker_id = home.broker_id.clone();
    let invitations = Invitations::new(home.invitations.as_bytes());
    let owner = Owner { broker: broker_id.clone(), instance: new_id().to_string() };
    let sign_ins = Arc::clone(&journal);
    Ok((Base { broker_id, recorder: surroundings.recorder(), journal, sign_ins, owner, invitations }, home))
}

/// What new sessions are made of.
pub(super) fn blueprint(
    config: &Config,
    provider: Arc<dyn Provider>,
    mounts: Vec<Mount>,
    base: &Base,
    generation: u64,
) -> Blueprint {
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
        choices: sandbox.choices.clone(),
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

/// The environment of a shell, for xterm.js.
pub(super) const TERMINAL_ENV: [(&str, &str); 4] =
    [("TERM", "xterm-256color"), ("COLORTERM", "truecolor"), ("LANG", "C.UTF-8"), ("LC_ALL", "C.UTF-8")];

/// Who may use the broker, and what the page is told.
pub(super) fn settings(config: &Config) -> Settings {
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
