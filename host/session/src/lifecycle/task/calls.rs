//! The calls that lead to a shell, and the resize.
//!
//! Owns what is asked of the provider and what is written down of it. Each
//! call is a future that the loop polls beside everything else.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use sandbox_broker_core::abilities::Lease;
use sandbox_broker_core::sandbox::{Code, Error, Fault, SandboxRef, Size, Spec};
use sandbox_broker_fallback::program::DIRECTORY;
use sandbox_broker_journal as journal;
use tokio::time::{Instant, sleep_until, timeout};
use tracing::{debug, info};

use super::parts::{CallResult, LiveTerminal, SessionTask};
use crate::blueprint::LABEL_NONCE;
use crate::failure::log_failure;
use crate::lifecycle::cleanup;
use crate::lifecycle::opening::{Opening, ShellTerminal, find_sandbox};
use crate::reports::Reports;

/// How long a resize may take before the next one is tried.
const RESIZE_DEADLINE: Duration = Duration::from_secs(10);

/// Life of a sandbox whose lease cannot be moved, if sessions have no greatest age.
const FIXED_LEASE: Duration = Duration::from_secs(24 * 3600);

impl SessionTask {
    pub(super) fn create(&mut self) -> BoxFuture<'static, CallResult> {
        let (provider, ledger) = (self.provider(), Arc::clone(&self.ledger));
        let (call, reports) = Reports::of(&self.call);
        self.reports = Some(reports);
        let mut labels = cleanup::labels(&self.blueprint.broker_id, &self.shared.id);
        labels.insert(LABEL_NONCE.to_owned(), ledger.entry().nonce);
        let (env, choices) = (self.blueprint.sandbox_env.clone(), self.blueprint.choices.clone());
        let (spec, lease) = (Spec { labels, env, ttl: self.life(), choices }, self.blueprint.lease);
        async move {
            let began = Instant::now();
            if let Some(id) = ledger.entry().sandbox {
                let found = find_sandbox(&*provider, &call, id, lease).await;
                match &found {
                    Ok(sandbox) => info!(sandbox = sandbox.id, elapsed = ?began.elapsed(), "sandbox found again"),
                    Err(error) => log_failure("could not find the sandbox again", error),
                }
                return CallResult::Created(found);
            }
            if let Err(error) = ledger.intend().await {
                log_failure("could not write down that a sandbox is to be made", &error);
                return CallResult::Created(Err(error));
            }
            let result = provider.create(&call, &spec).await;
            match &result {
                Ok(sandbox) => {
                    let id = sandbox.id.clone();
                    ledger.note(|entry| (entry.state, entry.sandbox) = (journal::State::Made, Some(id))).await;
                    info!(sandbox = sandbox.id, elapsed = ?began.elapsed(), "sandbox created");
                }
                Err(error) => log_failure("could not create a sandbox", error),
            }
            CallResult::Created(result)
        }
        .boxed()
    }

    /// How long a new sandbox lives if nobody extends it. One whose lease cannot be moved must live as long as its session
    /// may.
    fn life(&self) -> Duration {
        match self.blueprint.provider.abilities().lease {
            Lease::Fixed => self.blueprint.max_age.unwrap_or(FIXED_LEASE),
            Lease::Settable | Lease::Grows | Lease::None => self.blueprint.lease,
        }
    }

    pub(super) fn open(&self, sandbox: SandboxRef, size: Size) -> BoxFuture<'static, CallResult> {
        let (provider, call, ledger) = (self.provider(), self.call.clone(), Arc::clone(&self.ledger));
        let lease = self.blueprint.lease;
        let mut command = self.blueprint.command.clone();
        if let Some(first) = self.blueprint.mounts.first() {
            command.cwd = Some(first.path.clone());
        }
        let sandbox = self.live(sandbox);
        let opening = Opening { provider, call, sandbox, command, size, lease, answers: self.shared.kept };
        // Where the provider has no terminals, every shell has the recorder's.
        let recorder = self.shared.kept || !self.blueprint.provider.abilities().terminal;
        let recorder = self.blueprint.recorder.clone().filter(|_| recorder);
        async move {
            let began = Instant::now();
            let before = ledger.entry().terminal;
            let id = opening.sandbox.get().id;
            let opened = match &before {
                Some(journal::Terminal::Recorded { .. }) => opening.resume().await,
                Some(journal::Terminal::Plain { pty }) => opening.attach(pty).await,
                None => opening.start(recorder).await,
            };
            match &opened {
                Ok(opened) => {
                    let terminal = match &opened.shell {
                        ShellTerminal::Plain(terminal, _) => journal::Terminal::Plain { pty: terminal.pty.clone() },
                        ShellTerminal::Recorded(..) => journal::Terminal::Recorded { directory: DIRECTORY.to_owned() },
                    };
                    info!(sandbox = id, ?terminal, elapsed = ?began.elapsed(), "shell started");
                    ledger
                        .note(|entry| (entry.state, entry.terminal) = (journal::State::Running, Some(terminal)))
                        .await;
                }
                Err(error) => log_failure("could not start the shell", error),
            }
            CallResult::Opened(Box::new(opened))
        }
        .boxed()
    }
}

impl LiveTerminal {
    /// Sets the size, not before `begins`.
    pub(super) fn resize(&self, size: Size, begins: Instant) -> BoxFuture<'static, CallResult> {
        let control = self.control.clone();
        async move {
            sleep_until(begins).await;
            let late =
                |_| Err(Error::new(Fault::Provider, Code::DeadlineExceeded, "the resize was not answered in time"));
            let result = timeout(RESIZE_DEADLINE, control.resize(size)).await.unwrap_or_else(late);
            match &result {
                Ok(()) => debug!(cols = size.cols, rows = size.rows, "resized"),
                Err(error) => log_failure("could not resize the terminal", error),
            }
            CallResult::Resized(size, result)
        }
        .boxed()
    }
}
